// PushSpoolFormat: the bytes of a spool file. Pure. All integers little-endian.
//
//     header, 48 bytes:  0 "PTSPOOL1"   8 run id (8)   16 generation base (8)   24 partition (4)   28 partitions (4)
//                        32 what the run's OrderClock is ahead of CLOCK_BOOTTIME, microseconds (8)
//                        40 the boot, a checksum of its name; 0: not known (4)   44 CRC-32 of bytes 0...43
//     record, 192 bytes: 0 number (8)   8 uploaded (8)   16 downloaded (8)   24 left (8)   32 timestamp (8)
//                        40 passkey, zero-filled (64)   104 infohash (20)   124 peer id (20)   144 address (16)
//                        160 announces (4)   164 interval (4)   168 min interval (4)   172 port (2)
//                        174 passkey bytes (1)   175 family 4 or 6 (1)   176 event (1)
//                        177 flags: 1 follows its own, 2 the session is not in the swarm (1)
//                        178 what it is: 0 (1)   179 what order is by: 1 machine, 2 common; 2 + n: common, and in doubt
//                        by 2^n us at most (1)   180 order (8)
//                        188 CRC-32 of bytes 0...187
//     run, 192 bytes:    0 run id (8)   8 generation base (8)   16 and 24 clock and boot as in the header (8, 4)
//                        178 what it is: 1 (1)   188 CRC-32 of bytes 0...187
//                        the records behind it are of this run, and the order of such as is by the machine's clock is by
//                        this one, up to the next run; those before the first are of the header's
//
// Versions that had no common clock wrote 0 at 179, as did the one after them for either. Who does not know of the doubt
// takes such an order for one by the machine's clock.
//
// Who does not know a boot finds zeros there, and takes what is by the machine's clock for what its own would say.

import Wire

enum PushSpoolFormat {
  static let headerBytes = 48
  static let recordBytes = 192
  private static let magic = Array("PTSPOOL1".utf8)
  /// At byte 179.
  private static let common: UInt8 = 2

  /// What the first `headerBytes` bytes say.
  enum Header {
    /// The run that was the newest, and its clock.
    case run(PushRun, OrderClock.Anchor?)
    case otherPartitioning(Int)
    case damaged
  }

  /// What one record turned out to be.
  enum Record {
    case announce(UInt64, QueuedAnnounce, doubt: UInt64)
    case run(PushRun, OrderClock.Anchor?)
  }

  static func header(run: PushRun, anchor: OrderClock.Anchor?, partition: Int, partitionCount: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: headerBytes)
    bytes.withUnsafeMutableBytes { bytes in
      bytes.copyBytes(from: magic)
      bytes.storeBytes(of: run.id.littleEndian, toByteOffset: 8, as: UInt64.self)
      bytes.storeBytes(of: run.generationBase.littleEndian, toByteOffset: 16, as: UInt64.self)
      bytes.storeBytes(of: UInt32(partition).littleEndian, toByteOffset: 24, as: UInt32.self)
      bytes.storeBytes(of: UInt32(partitionCount).littleEndian, toByteOffset: 28, as: UInt32.self)
      put(anchor, to: bytes.baseAddress! + 32)
      let sum = CRC32.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<44]))
      bytes.storeBytes(of: sum.littleEndian, toByteOffset: 44, as: UInt32.self)
    }
    return bytes
  }

  private static func put(_ anchor: OrderClock.Anchor?, to target: UnsafeMutableRawPointer) {
    target.storeBytes(of: (anchor?.aheadMicroseconds ?? 0).littleEndian, as: Int64.self)
    target.storeBytes(of: (anchor?.boot ?? 0).littleEndian, toByteOffset: 8, as: UInt32.self)
  }

  private static func anchor(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> OrderClock.Anchor? {
    let boot = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt32.self))
    let ahead = Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int64.self))
    return boot == 0 ? nil : OrderClock.Anchor(boot: boot, aheadMicroseconds: ahead)
  }

  /// Writes `recordBytes` bytes that say which run the records behind them are of, and by which clock.
  static func encode(_ run: PushRun, anchor: OrderClock.Anchor?, to target: UnsafeMutableRawPointer) {
    target.initializeMemory(as: UInt8.self, repeating: 0, count: recordBytes)
    target.storeBytes(of: run.id.littleEndian, as: UInt64.self)
    target.storeBytes(of: run.generationBase.littleEndian, toByteOffset: 8, as: UInt64.self)
    put(anchor, to: target + 16)
    target.storeBytes(of: 1, toByteOffset: 178, as: UInt8.self)
    let sum = CRC32.checksum(UnsafeRawBufferPointer(start: target, count: 188))
    target.storeBytes(of: sum.littleEndian, toByteOffset: 188, as: UInt32.self)
  }

  /// Writes `recordBytes` bytes; `doubt` is by what an order by the common clock is in doubt, microseconds.
  static func encode(
    _ number: UInt64, _ announce: QueuedAnnounce, doubt: UInt64 = 0, to target: UnsafeMutableRawPointer
  ) {
    let record = announce.record
    target.initializeMemory(as: UInt8.self, repeating: 0, count: recordBytes)
    func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
      target.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
    }
    put(number, at: 0)
    put(record.uploaded, at: 8)
    put(record.downloaded, at: 16)
    put(record.left, at: 24)
    put(record.timestamp, at: 32)
    record.passkey.withBytes { (target + 40).copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    record.infoHash.store(to: target + 104)
    record.peerID.store(to: target + 124)
    record.address.store(to: target + 144)
    put(announce.announces, at: 160)
    put(record.intervalSeconds, at: 164)
    put(record.minIntervalSeconds, at: 168)
    put(record.port, at: 172)
    put(UInt8(record.passkey.count), at: 174)
    put(record.address.family.rawValue, at: 175)
    put(record.event.rawValue, at: 176)
    put(UInt8((announce.followsOwn ? 1 : 0) + (record.isGone ? 2 : 0)), at: 177)
    let bits = doubt == 0 ? 0 : max(1, UInt64.bitWidth - (doubt - 1).leadingZeroBitCount)
    put(announce.basis == .common ? common + UInt8(bits) : 1, at: 179)
    put(announce.order, at: 180)
    put(CRC32.checksum(UnsafeRawBufferPointer(start: target, count: 188)), at: 188)
  }

  static func decodeHeader(_ bytes: UnsafeRawBufferPointer, partition: Int, partitionCount: Int) -> Header {
    guard bytes.count >= headerBytes, bytes[..<8].elementsEqual(magic),
      bytes.loadUnaligned(fromByteOffset: 44, as: UInt32.self).littleEndian
        == CRC32.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<44]))
    else { return .damaged }
    let count = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 28, as: UInt32.self)))
    let index = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt32.self)))
    guard count == partitionCount, index == partition else { return .otherPartitioning(count) }
    return .run(
      PushRun(
        id: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)),
        generationBase: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self))),
      anchor(bytes, at: 32))
  }

  /// Nil when the `recordBytes` bytes are not as they were written.
  static func decode(record bytes: UnsafeRawBufferPointer) -> Record? {
    func get<Value: FixedWidthInteger>(_ type: Value.Type, at offset: Int) -> Value {
      Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
    }
    guard get(UInt32.self, at: 188) == CRC32.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<188])) else {
      return nil
    }
    if bytes[178] == 1 {
      let run = PushRun(id: get(UInt64.self, at: 0), generationBase: get(UInt64.self, at: 8))
      return .run(run, anchor(bytes, at: 16))
    }
    guard
      let passkey = Passkey(UnsafeRawBufferPointer(rebasing: bytes[40..<40 + min(64, Int(bytes[174]))])),
      let family = IPAddress.Family(rawValue: bytes[175]), let event = AnnounceEvent(rawValue: bytes[176])
    else { return nil }
    let base = bytes.baseAddress!
    let address =
      family == .v4
      ? IPAddress(v4: bytes.loadUnaligned(fromByteOffset: 144, as: UInt32.self)) : IPAddress(v6: base + 144)
    let record = AnnounceRecord(
      passkey: passkey, infoHash: InfoHash(base + 104), peerID: PeerID(base + 124), address: address,
      port: get(UInt16.self, at: 172), event: event, isGone: bytes[177] & 2 != 0, uploaded: get(UInt64.self, at: 8),
      downloaded: get(UInt64.self, at: 16), left: get(UInt64.self, at: 24), timestamp: get(Int64.self, at: 32),
      intervalSeconds: get(UInt32.self, at: 164), minIntervalSeconds: get(UInt32.self, at: 168))
    var announce = QueuedAnnounce(
      record: record, order: get(UInt64.self, at: 180), announces: max(1, get(UInt32.self, at: 160)))
    announce.followsOwn = bytes[177] & 1 != 0
    announce.basis = bytes[179] >= common ? .common : .machine
    let doubt: UInt64 = bytes[179] > common ? 1 << min(53, UInt64(bytes[179] - common)) : 0
    return .announce(get(UInt64.self, at: 0), announce, doubt: doubt)
  }
}
