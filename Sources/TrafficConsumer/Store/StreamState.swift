// StreamState: one stream as the database knows it: what was dealt with (L1), counters, anchors. A value; the writer
// thread owns it, changes a copy inside a transaction and keeps the copy when the transaction is committed.

struct StreamState: Sendable {
  /// An entry and the hash of what it held.
  struct Anchor: Equatable, Sendable {
    var id: EntryID
    var hash: UInt64
  }

  let id: Int64
  let name: String
  var epoch: Int64 = 1
  var counters = StreamCounters()
  var applied = AppliedRanges()
  /// In order; at most `maximumAnchors`.
  var anchors: [Anchor] = []
  var backupFloor: EntryID?

  /// With at least a second between two of them, half a minute of the stream's end: the length of a failover.
  static let maximumAnchors = 32
  static let anchorSpacingMilliseconds: UInt64 = 1000

  /// Notes an entry of the stream's end.
  mutating func addAnchor(_ anchor: Anchor) {
    guard let last = anchors.last else {
      anchors.append(anchor)
      return
    }
    guard anchor.id > last.id else { return }
    // The newest is always kept; the one before it only when it is far enough from its own predecessor.
    if anchors.count > 1,
      last.id.milliseconds < anchors[anchors.count - 2].id.milliseconds &+ Self.anchorSpacingMilliseconds
    {
      anchors.removeLast()
    }
    anchors.append(anchor)
    if anchors.count > Self.maximumAnchors { anchors.removeFirst() }
  }
}

/// What happened to a stream's entries. Since the database was made, but for the last two.
struct StreamCounters: Equatable, Sendable {
  var applied: Int64 = 0
  /// Recognised by L2 or L3.
  var duplicates: Int64 = 0
  var dead: Int64 = 0
  /// Recognised by L1: the same entry delivered again. Not part of the sum.
  var redelivered: Int64 = 0
  /// Delivered and pending, but deleted from the stream before they were applied.
  var vanished: Int64 = 0
  /// Added to the stream and never to be seen, by Redis' own count.
  var lost: Int64 = 0
  /// Times Redis came back with an older state of the stream.
  var rollbacks: Int64 = 0
  /// Within the epoch: distinct entries dealt with.
  var handled: Int64 = 0
  /// Within the epoch: entries Redis counts as added that were gone before we looked first; nil until known.
  var addedBefore: Int64?

  /// What happened between two states of the same streams.
  static func difference(from before: [StreamState], to after: [StreamState]) -> StreamCounters {
    var sum = StreamCounters()
    for (before, after) in zip(before, after) {
      sum.applied += after.counters.applied - before.counters.applied
      sum.duplicates += after.counters.duplicates - before.counters.duplicates
      sum.dead += after.counters.dead - before.counters.dead
      sum.redelivered += after.counters.redelivered - before.counters.redelivered
      sum.vanished += after.counters.vanished - before.counters.vanished
    }
    return sum
  }
}
