// StreamState: one stream as the database knows it: what was dealt with (L1), what was lost, counters, anchors. A value; the writer
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
  var lost = LostRanges()
  /// In order; at most `maximumAnchors`.
  var anchors: [Anchor] = []
  var backupFloor: EntryID?
  /// Up to here every entry is dealt with or known to be lost: Redis' count has shown it.
  var accountedTo = EntryID.zero
  /// Entries dealt with at that time.
  var accountedHandled: Int64 = 0

  /// With at least a second between two of them, half a minute of the stream's end: the length of a failover.
  static let maximumAnchors = 32
  static let anchorSpacingMilliseconds: UInt64 = 1000

  /// Up to where, from an entry on, everything is dealt with or lost; nil when this entry is not dealt with.
  func settledEnd(from id: EntryID) -> EntryID? {
    let ranges = applied.ranges
    guard var index = ranges.firstIndex(where: { $0.first <= id && id <= $0.last }) else { return nil }
    while index + 1 < ranges.count,
      lost.covers(AppliedRanges.Gap(after: ranges[index].last, before: ranges[index + 1].first))
    { index += 1 }
    return ranges[index].last
  }

  /// There are spaces between what was dealt with of which it is not known whether something was lost there.
  var hasOpenGaps: Bool { applied.ranges.count > 1 && applied.gaps.dropFirst().contains { !lost.covers($0) } }

  /// Entries that Redis counts as added and that are neither dealt with, nor known to be lost or gone before, nor unread
  /// in the stream. 0 says that every entry is accounted for.
  func missing(added: Int64, unread: Int64) -> Int64 {
    added - (counters.addedBefore ?? 0) - counters.handled - lost.entries - unread
  }

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

/// What happened to a stream's entries. Since the database was made, but for the last two. What is missing is in LostRanges.
struct StreamCounters: Equatable, Sendable {
  var applied: Int64 = 0
  /// Recognised by L2 or L3.
  var duplicates: Int64 = 0
  var dead: Int64 = 0
  /// Recognised by L1: the same entry delivered again. Not part of the sum.
  var redelivered: Int64 = 0
  /// Delivered and pending, but deleted from the stream before they were applied.
  var vanished: Int64 = 0
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
