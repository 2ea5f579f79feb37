// PushCall: how a call of push.lua is written: its keys and arguments. Pure; used by the publisher's thread.

import Redis
import Wire

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
  /// What the common clock is ahead of the OrderClock and of this machine's, and what it says.
  var correctionMicroseconds: Int64 = 0
  var wallCorrectionMicroseconds: Int64 = 0
  var nowMicroseconds: UInt64 = 0
  /// What Redis' clock may say at most.
  var latestRedisMicroseconds = PushScript.maximumMicroseconds
  var doubt = CommonClock.Doubt()
  /// Added to orders that a spool kept by this machine's clock in another boot. Where that is off now it may have been set
  /// meanwhile, or was off then: no order is known, and they are of a time that push.lua takes for wrong.
  var machineCorrectionMicroseconds: Int64 {
    let off = max(correctionMicroseconds.magnitude, wallCorrectionMicroseconds.magnitude)
    return off <= CommonClock.warningMicroseconds ? correctionMicroseconds : Self.beyondAllMicroseconds
  }
  /// More than 48 bits of ticks.
  private static let beyondAllMicroseconds: Int64 = 1 << 53
  /// From when on Redis has forgotten nothing.
  var sinceMicroseconds: UInt64 = 0

  /// From where the script accepts a gap: the record that Redis expects, and what restore.lua has given back of those behind
  /// it; nil: this process nothing.
  struct Gap: Equatable {
    var place: UInt64
    var given: GivenBack?
  }

  /// How far a giving back has come. Redis keeps that of the last: whatever it is set back to, no other looks like it.
  struct GivenBack: Equatable {
    /// The run that the process named itself, and how often it has begun to give back.
    var process: UInt64
    var turn: UInt32
    var records: UInt32 = 0

    var name: String { "\(process)-\(turn)-" }
    var text: String { "\(name)\(records)" }
  }

  /// Encodes the call for records that are numbered from `first`; with none it only asks for, or with `gapFrom` sets, the
  /// place of the run.
  func encode(
    _ announces: [QueuedAnnounce], first: UInt64, gapFrom: Gap? = nil, correctionMicroseconds: Int64 = 0,
    records: inout PushRecords, into buffer: inout RedisCommandBuffer
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
        records.append(
          announces[index], number: first + UInt64(index), run: run, correctionMicroseconds: correctionMicroseconds,
          machineCorrectionMicroseconds: machineCorrectionMicroseconds)
      }
    }
    buffer.append(decimal: first)
    buffer.append(decimal: UInt64(ttlSeconds))
    buffer.append(decimal: UInt64(maximumStreamLength))
    buffer.append(creditFirstAnnounce ? "1" : "0" as StaticString)
    if let gapFrom {
      buffer.append("\(gapFrom.place):\(gapFrom.given?.text ?? "*")")
    } else {
      buffer.append("-" as StaticString)
    }
    buffer.append(decimal: UInt64(partition.snapshotPrefix.utf8.count))
    buffer.append(decimal: maximumBytesPerSecond)
    buffer.append(records.bytes)
    buffer.append(decimal: nowMicroseconds / PushScript.orderTickMicroseconds)
    buffer.append("\(wallCorrectionMicroseconds / Int64(PushScript.orderTickMicroseconds))")
    buffer.append(decimal: sinceMicroseconds / PushScript.orderTickMicroseconds)
    buffer.append(decimal: latestRedisMicroseconds)
    buffer.append(decimal: doubt.until / PushScript.orderTickMicroseconds)
    buffer.append(decimal: doubt.by / PushScript.orderTickMicroseconds)
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
