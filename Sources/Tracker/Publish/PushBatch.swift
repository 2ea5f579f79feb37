// PushBatch: up to a few hundred announces as one EVALSHA, encoded into a buffer that is used again. Owned by one
// publisher, on its thread. The same bytes are sent again after a failure: the script recognises what it has applied.

import Glibc
import Shared

/// One script call.
final class PushBatch {
  /// Records in one call. Redis runs nothing else meanwhile: 256 take about two milliseconds.
  static let maximumRecords = 256

  /// The number of the first record in the publisher's run.
  private(set) var first: UInt64 = 0
  private(set) var announces: [QueuedAnnounce] = []
  private var buffer = RedisCommandBuffer(capacity: 64 * 1024)
  /// Whether it is on its way: its reply is owed.
  var isSent = false

  var count: Int { announces.count }
  /// The number after the last record.
  var end: UInt64 { first + UInt64(announces.count) }
  var encodedBytes: Int { buffer.count }

  /// Takes the oldest announces out of the queue and encodes them; false when there are none.
  func fill(from queue: EventQueue, call: PushCall, willWait: Bool) -> Bool {
    announces.removeAll(keepingCapacity: true)
    buffer.removeAll()
    isSent = false
    first = queue.take(Self.maximumRecords, into: &announces, willWait: willWait)
    guard !announces.isEmpty else { return false }
    encode(call)
    return true
  }

  /// Fills the buffer from the announces.
  private func encode(_ call: PushCall) {
    call.begin(first: first, count: announces.count, acceptGap: false, into: &buffer)
    announces.withUnsafeBufferPointer { announces in
      for index in announces.indices { call.appendKey(of: announces[index].record, to: &buffer) }
      call.appendHeader(first: first, acceptGap: false, to: &buffer)
      for index in announces.indices { call.append(announces[index], to: &buffer) }
    }
  }

  /// Sends the call; the reply is read by the publisher.
  func send(on connection: inout RedisConnection) throws(RedisError) {
    isSent = true
    try connection.send(buffer)
  }
}

/// What all calls of a run have in common.
struct PushCall {
  var partition: PushPartition
  var run: PushRun
  /// From SCRIPT LOAD.
  var scriptHash: String
  var ttlSeconds: Int
  var maximumStreamLength: Int
  var creditFirstAnnounce: Bool

  /// Command name, keys' count and the two keys that are not snapshots.
  func begin(first: UInt64, count: Int, acceptGap: Bool, into buffer: inout RedisCommandBuffer) {
    let keys = 2 + count
    buffer.begin(
      argumentCount: 3 + keys + PushScript.headerArguments + count * PushScript.fieldsPerRecord)
    buffer.append("EVALSHA" as StaticString)
    buffer.append(scriptHash)
    buffer.append(decimal: UInt64(keys))
    buffer.append(partition.streamKey)
    buffer.append(partition.stateKey(run: run.id))
  }

  func appendHeader(first: UInt64, acceptGap: Bool, to buffer: inout RedisCommandBuffer) {
    buffer.append(decimal: first)
    buffer.append(decimal: UInt64(ttlSeconds))
    buffer.append(decimal: UInt64(maximumStreamLength))
    buffer.append(creditFirstAnnounce ? "1" : "0" as StaticString)
    buffer.append(decimal: run.generationBase)
    buffer.append(acceptGap ? "1" : "0" as StaticString)
  }

  /// `<prefix><passkey>:<infohash>:<peer_id>`.
  func appendKey(of record: AnnounceRecord, to buffer: inout RedisCommandBuffer) {
    var prefix = partition.snapshotPrefix
    let infoHash = record.infoHash
    let peerID = record.peerID
    prefix.withUTF8 { prefix in
      record.passkey.withBytes { passkey in
        buffer.append(byteCount: prefix.count + passkey.count + 82) { target in
          target.copyMemory(from: prefix.baseAddress!, byteCount: prefix.count)
          var at = target + prefix.count
          at.copyMemory(from: passkey.baseAddress!, byteCount: passkey.count)
          at += passkey.count
          at.storeBytes(of: UInt8(ascii: ":"), as: UInt8.self)
          Self.writeHex(infoHash, to: at + 1)
          at.storeBytes(of: UInt8(ascii: ":"), toByteOffset: 41, as: UInt8.self)
          Self.writeHex(peerID, to: at + 42)
        }
      }
    }
  }

  /// The arguments of one record, in the order of `PushScript.RecordField`.
  func append(_ announce: borrowing QueuedAnnounce, to buffer: inout RedisCommandBuffer) {
    let record = announce.record
    record.passkey.withBytes { buffer.append($0) }
    buffer.append(byteCount: 40) { Self.writeHex(record.infoHash, to: $0) }
    buffer.append(byteCount: 40) { Self.writeHex(record.peerID, to: $0) }
    buffer.append(decimal: UInt64(record.port))
    Self.append(record.address, to: &buffer)
    buffer.append(record.address.family == .v4 ? "IPv4" : "IPv6" as StaticString)
    buffer.append(decimal: record.uploaded)
    buffer.append(decimal: record.downloaded)
    buffer.append(decimal: record.left)
    buffer.append(Self.word(record.event))
    buffer.append(decimal: UInt64(max(0, record.timestamp)))
    buffer.append(decimal: UInt64(record.intervalSeconds))
    buffer.append(decimal: UInt64(record.minIntervalSeconds))
    buffer.append(decimal: UInt64(announce.announces))
    buffer.append(decimal: announce.order)
  }

  private static func word(_ event: AnnounceEvent) -> StaticString {
    switch event {
    case .none: "none"
    case .started: "started"
    case .completed: "completed"
    case .stopped: "stopped"
    }
  }

  private static func append(_ address: IPAddress, to buffer: inout RedisCommandBuffer) {
    withUnsafeTemporaryAllocation(byteCount: 16 + Int(INET6_ADDRSTRLEN), alignment: 8) { memory in
      address.store(to: memory.baseAddress!)
      let text = (memory.baseAddress! + 16).assumingMemoryBound(to: CChar.self)
      _ = inet_ntop(
        address.family == .v4 ? AF_INET : AF_INET6, memory.baseAddress!, text, socklen_t(INET6_ADDRSTRLEN))
      buffer.append(UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }
  }

  private static func writeHex(_ value: some Bytes20, to target: UnsafeMutableRawPointer) {
    withUnsafeTemporaryAllocation(byteCount: 24, alignment: 8) { bytes in
      value.store(to: bytes.baseAddress!)
      for index in 0..<20 {
        let byte = bytes[index]
        // Two digits at once: 0-9 are 0x30 up, a-f 0x61 up.
        let high = byte >> 4
        let low = byte & 15
        target.storeBytes(of: high + (high < 10 ? 0x30 : 0x57), toByteOffset: index * 2, as: UInt8.self)
        target.storeBytes(of: low + (low < 10 ? 0x30 : 0x57), toByteOffset: index * 2 + 1, as: UInt8.self)
      }
    }
  }
}

/// A publisher's run: the numbering of its records. It ends when the tracker ends without a spool.
struct PushRun: Equatable {
  /// Names the run's state in Redis.
  let id: UInt64
  /// The generation of record n, if it begins one, is this plus n: drawn at random, it does not repeat when clocks jump or
  /// snapshots are lost. Sixteen digits, and the sum stays exact in the script (below 2^53).
  let generationBase: UInt64

  init() {
    id = UInt64.random(in: 1...UInt64.max)
    generationBase = UInt64.random(in: 1_000_000_000_000_000..<(1 << 52))
  }

  init(id: UInt64, generationBase: UInt64) {
    self.id = id
    self.generationBase = generationBase
  }
}
