// PushRecords: the announces of a call as PushScript reads them: one string, fixed part and texts of each record side by
// side. Owned by a PushBatch, on the publisher's thread; the memory is used again.
//
//     0 uploaded (7)   7 downloaded (7)   14 order, ticks of 16 us (6)   20 timestamp (4)
//     24 name of the generation, if it begins one (8)   32 passkey bytes (1)   33 bytes of address and port (1)
//     34 address (4 or 16), port (2)
//     then texts, each ended by NUL: port, ip, af, uploaded, downloaded, left, event (`gone`: AnnounceRecord.isGone),
//     timestamp, interval, min interval, n, the order again
//
// Integers are little-endian.

import Glibc
import Wire

extension QueuedAnnounce {
  /// Its order by the common clock.
  func commonOrder(correctionMicroseconds: Int64, machineCorrectionMicroseconds: Int64) -> UInt64 {
    let correction: Int64 =
      switch basis {
      case .process: correctionMicroseconds
      case .common: 0
      case .machine: machineCorrectionMicroseconds
      }
    return order.corrected(byMicroseconds: correction)
  }
}

struct PushRecords: ~Copyable {
  /// Seconds that fit into four bytes: up to the year 2106.
  static let maximumTimestamp = UInt64(UInt32.max)
  /// Room for a record: 52 bytes, an address of 45, eight numbers of 20 digits and their ends, rounded up.
  private static let maximumRecordBytes = 384

  private var storage: UnsafeMutableRawPointer
  private var capacity: Int
  private(set) var count = 0

  init() {
    capacity = 64 * Self.maximumRecordBytes
    storage = .allocate(byteCount: capacity, alignment: 8)
  }

  deinit { storage.deallocate() }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: storage, count: count) }

  mutating func removeAll() { count = 0 }

  /// Adds an announce that is record `number` of a run; the correction is added to an order by this process' clock, the other
  /// one to one by the machine's.
  mutating func append(
    _ announce: borrowing QueuedAnnounce, number: UInt64, run: PushRun, correctionMicroseconds: Int64 = 0,
    machineCorrectionMicroseconds: Int64 = 0
  ) {
    reserve()
    let record = announce.record
    let timestamp = UInt64(min(max(0, record.timestamp), Int64(Self.maximumTimestamp)))
    put(Self.counter(record.uploaded), bytes: 7)
    put(Self.counter(record.downloaded), bytes: 7)
    let micros = announce.commonOrder(
      correctionMicroseconds: correctionMicroseconds, machineCorrectionMicroseconds: machineCorrectionMicroseconds)
    let order = min(micros / PushScript.orderTickMicroseconds, TrafficEvent.maximumOrder)
    put(order, bytes: 6)
    put(timestamp, bytes: 4)
    put(run.generationName(number), bytes: 8)
    put(UInt64(record.passkey.count), bytes: 1)
    let addressBytes = record.address.family == .v4 ? 4 : 16
    put(UInt64(addressBytes + 2), bytes: 1)
    record.address.store(to: storage + count)
    let address = storage + count
    count += addressBytes
    put(UInt64(record.port), bytes: 2)
    putDigits(UInt64(record.port))
    let text = (storage + count).assumingMemoryBound(to: CChar.self)
    _ = inet_ntop(addressBytes == 4 ? AF_INET : AF_INET6, address, text, socklen_t(INET6_ADDRSTRLEN))
    count += strlen(text) + 1
    putText(record.address.family.text)
    putDigits(record.uploaded)
    putDigits(record.downloaded)
    putDigits(record.left)
    putText(record.isGone ? PushScript.gone : record.event.text)
    putDigits(timestamp)
    putDigits(UInt64(record.intervalSeconds))
    putDigits(UInt64(record.minIntervalSeconds))
    putDigits(UInt64(announce.announces))
    putDigits(order)
  }

  /// What is too large is refused by the script: here it only has to fit, and be too large for a double as well.
  private static func counter(_ bytes: UInt64) -> UInt64 {
    bytes <= PushScript.maximumBytes ? bytes : PushScript.maximumBytes + 2
  }

  /// The low bytes of a number. Always writes eight: `reserve` leaves room.
  private mutating func put(_ value: UInt64, bytes: Int) {
    storage.storeBytes(of: value.littleEndian, toByteOffset: count, as: UInt64.self)
    count += bytes
  }

  /// A word of up to fifteen bytes, which Swift keeps without memory of its own.
  private mutating func putText(_ word: String) {
    var word = word
    let target = storage + count
    count += word.withUTF8 {
      target.copyMemory(from: $0.baseAddress!, byteCount: $0.count)
      return $0.count
    }
    put(0, bytes: 1)
  }

  private mutating func putDigits(_ value: UInt64) {
    var digits = 1
    var rest = value
    while rest >= 10 {
      rest /= 10
      digits += 1
    }
    rest = value
    for at in stride(from: count + digits - 1, through: count, by: -1) {
      storage.storeBytes(of: UInt8(truncatingIfNeeded: rest % 10) + 0x30, toByteOffset: at, as: UInt8.self)
      rest /= 10
    }
    count += digits
    put(0, bytes: 1)
  }

  private mutating func reserve() {
    guard count + Self.maximumRecordBytes > capacity else { return }
    capacity *= 2
    let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 8)
    larger.copyMemory(from: storage, byteCount: count)
    storage.deallocate()
    storage = larger
  }
}
