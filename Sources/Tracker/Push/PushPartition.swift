// PushPartition: which stream a user's announces go to, and the names of its keys. Pure.

import Wire

/// One stream with its snapshots. All keys of a partition share its hash tag, so that one script call may touch them in a
/// Redis Cluster (cluster specification, "hash tags").
struct PushPartition: Sendable, Equatable {
  let index: Int
  /// `tracker:traffic`, with several partitions `tracker:traffic:{p0}`.
  let streamKey: String
  /// A snapshot's key is this, the passkey, `:`, the infohash, `:`, the peer id.
  let snapshotPrefix: String

  /// All partitions: with one the names are the plain ones.
  static func all(streamKey: String, lastKeyPrefix: String, count: Int) -> [PushPartition] {
    guard count > 1 else {
      return [PushPartition(index: 0, streamKey: streamKey, snapshotPrefix: lastKeyPrefix + ":")]
    }
    return (0..<count).map {
      PushPartition(index: $0, streamKey: "\(streamKey):{p\($0)}", snapshotPrefix: "\(lastKeyPrefix):{p\($0)}:")
    }
  }

  /// Where a publisher's run keeps its place.
  func stateKey(run: UInt64) -> String { "\(streamKey):publisher:" + String(run, radix: 16) }

  /// The partition of a passkey: FNV-1a, 64 bits, of its bytes, modulo the number of partitions. This is a promise to
  /// sites that compute it themselves; changing it would move users between streams.
  static func index(of passkey: Passkey, count: Int) -> Int {
    guard count > 1 else { return 0 }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    passkey.withBytes { bytes in
      for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    }
    return Int(hash % UInt64(count))
  }
}
