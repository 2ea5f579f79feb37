// PushBatch: up to a few hundred announces as one EVALSHA, encoded into a buffer that is used again. Owned by one
// publisher, on its thread. The same bytes are sent again after a failure: the script recognises what it has applied.

import Redis
import Wire

/// One script call.
final class PushBatch {
  /// Records in one call. Redis runs nothing else meanwhile: 256 take about two milliseconds.
  static let maximumRecords = 256

  /// The number of the first record in the publisher's run.
  private(set) var first: UInt64 = 0
  private(set) var announces: [QueuedAnnounce] = []
  private var buffer = RedisCommandBuffer(capacity: 64 * 1024)
  private var records = PushRecords()
  /// Of the records from `tailsFirst` up to `tailsEnd`: what PushScript told of them.
  private var tails: [UInt8] = []
  private var tailsFirst: UInt64 = 0
  private var tailsEnd: UInt64 = 0
  /// Whether it is on its way: its reply is owed.
  var isSent = false

  var count: Int { announces.count }
  /// The number after the last record.
  var end: UInt64 { first + UInt64(announces.count) }
  var encodedBytes: Int { buffer.count }
  /// What it occupies.
  var memoryBytes: Int { buffer.capacity + announces.capacity * MemoryLayout<QueuedAnnounce>.stride }

  /// Gives memory back before the batch is held: a quiet publisher holds thousands of calls of one announce each, and
  /// each would hold the room of a full one.
  func trim() {
    buffer.trim()
    // Array(announces) would share the memory.
    if announces.capacity > 2 * announces.count { announces = announces.withUnsafeBufferPointer { Array($0) } }
  }

  /// Takes the oldest announces out of the queue and encodes them; false when there are none.
  func fill(from queue: EventQueue, call: PushCall, willWait: Bool) -> Bool {
    announces.removeAll(keepingCapacity: true)
    buffer.removeAll()
    isSent = false
    tails.removeAll(keepingCapacity: true)
    first = queue.take(Self.maximumRecords, into: &announces, willWait: willWait)
    guard !announces.isEmpty else { return false }
    call.encode(announces, first: first, records: &records, into: &buffer)
    return true
  }

  /// Keeps what the script told of the records it applied, `next` being the number after them.
  func keepTails(_ bytes: UnsafeRawBufferPointer, of applied: UInt64, next: UInt64) {
    if tailsEnd != next - applied || tails.isEmpty {
      tails.removeAll(keepingCapacity: true)
      tailsFirst = next - applied
    }
    tails.append(contentsOf: bytes)
    tailsEnd = next
  }

  /// Whether anything is known of its records that Redis can be given back.
  var isRestorable: Bool { !tails.isEmpty }

  /// The call of restore.lua that gives the applied records back to a Redis that has lost them.
  func encodeRestoration(_ call: PushCall, scriptHash: String, into buffer: inout RedisCommandBuffer) {
    records.removeAll()
    for (offset, announce) in announces.enumerated() {
      records.append(announce, number: first + UInt64(offset), run: call.run)
    }
    buffer.begin(argumentCount: 3 + 1 + announces.count + 6)
    buffer.append("EVALSHA" as StaticString)
    buffer.append(scriptHash)
    buffer.append(decimal: UInt64(1 + announces.count))
    buffer.append(call.partition.streamKey)
    for index in announces.indices { call.appendKey(of: announces[index].record, to: &buffer) }
    buffer.append(decimal: UInt64(call.ttlSeconds))
    buffer.append(decimal: UInt64(call.maximumStreamLength))
    buffer.append(decimal: UInt64(call.partition.snapshotPrefix.utf8.count))
    buffer.append(records.bytes)
    buffer.append(tails)
    buffer.append(decimal: tailsFirst - first)
  }

  /// Sends the call; the reply is read by the publisher.
  func send(on connection: inout RedisConnection) throws(RedisError) { try connection.send(buffer) }
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
  /// Bytes in one direction that no line carries in a second; 0: no limit.
  var maximumBytesPerSecond: UInt64 = 0

  /// Encodes the call for records that are numbered from `first`; with none it only asks for, or with `acceptGap` sets, the
  /// place of the run.
  func encode(
    _ announces: [QueuedAnnounce], first: UInt64, acceptGap: Bool = false, records: inout PushRecords,
    into buffer: inout RedisCommandBuffer
  ) {
    records.removeAll()
    let keys = 2 + announces.count
    buffer.begin(argumentCount: 3 + keys + PushScript.headerArguments)
    buffer.append("EVALSHA" as StaticString)
    buffer.append(scriptHash)
    buffer.append(decimal: UInt64(keys))
    buffer.append(partition.streamKey)
    buffer.append(partition.stateKey(run: run.id))
    announces.withUnsafeBufferPointer { announces in
      for index in announces.indices {
        appendKey(of: announces[index].record, to: &buffer)
        records.append(announces[index], number: first + UInt64(index), run: run)
      }
    }
    buffer.append(decimal: first)
    buffer.append(decimal: UInt64(ttlSeconds))
    buffer.append(decimal: UInt64(maximumStreamLength))
    buffer.append(creditFirstAnnounce ? "1" : "0" as StaticString)
    buffer.append(acceptGap ? "1" : "0" as StaticString)
    buffer.append(decimal: UInt64(partition.snapshotPrefix.utf8.count))
    buffer.append(decimal: maximumBytesPerSecond)
    buffer.append(records.bytes)
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
  /// The generation of record n, if it begins one, is this plus n, modulo 2^48: drawn at random, it does not repeat within a
  /// session when clocks jump or snapshots are lost.
  let generationBase: UInt64

  init() {
    id = UInt64.random(in: 1...UInt64.max)
    generationBase = UInt64.random(in: 0..<(1 << 48))
  }

  init(id: UInt64, generationBase: UInt64) {
    self.id = id
    self.generationBase = generationBase
  }
  /// The name of the generation that record `number` begins, if it begins one: eight characters of base 64 (RFC 4648,
  /// section 5), the first in the lowest byte.
  func generationName(_ number: UInt64) -> UInt64 {
    var rest = generationBase &+ number
    var name: UInt64 = 0
    for _ in 0..<8 {
      name = name << 8 | UInt64(Self.alphabet[Int(rest & 63)])
      rest >>= 6
    }
    return name
  }

  private static let alphabet: InlineArray<64, UInt8> = {
    var letters = InlineArray<64, UInt8>(repeating: 0)
    for (index, letter) in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8.enumerated() {
      letters[index] = letter
    }
    return letters
  }()
}
