// PushPartition: the names of a partition's keys. Pure.

import Wire

/// One stream with its snapshots and the states of its publishers' runs. All of them share a slot of a Redis Cluster, so
/// that one script call may touch them.
struct PushPartition: Sendable, Equatable {
  let index: Int
  /// `tracker:traffic`, with several partitions `tracker:traffic:{p0}`.
  let streamKey: String
  /// A snapshot's key is this, the passkey, `:`, the infohash, `:`, the peer id.
  let snapshotPrefix: String

  static func all(streamKey: String, lastKeyPrefix: String, count: Int) -> [PushPartition] {
    StreamPartition.all(count).map {
      PushPartition(index: $0.index, streamKey: $0.name(streamKey), snapshotPrefix: $0.name(lastKeyPrefix) + ":")
    }
  }

  /// Where the trackers keep the clock that they have in common.
  var clockKey: String { streamKey + ":clock" }

  /// A stream that clock.lua makes and deletes where it may not ask for the time.
  var clockEntryKey: String { clockKey + ":entry" }

  /// Where a publisher's run keeps its place.
  func stateKey(run: UInt64) -> String { "\(streamKey):publisher:" + String(run, radix: 16) }
}
