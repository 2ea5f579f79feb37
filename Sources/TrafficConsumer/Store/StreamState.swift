// StreamState: one stream as the database knows it: what was dealt with (L1), what was lost, counters, anchors. A value; the writer
// thread owns it, changes a copy inside a transaction and keeps the copy when the transaction is committed.

import Wire

struct StreamState: Sendable {
  /// What a version applied that kept no fingerprints, before another one came: up to an entry of an epoch.
  struct Upgrade: Sendable {
    var epoch: Int64
    var through: EntryID
  }

  /// An entry and the hash of what it held.
  struct Anchor: Equatable, Sendable {
    var id: EntryID
    var hash: UInt64
    /// Entries of the epoch dealt with up to this one, itself among them; nil when that is not known.
    var handled: Int64?
    /// There may have been more: some were found by their number.
    var isLeast = false
  }

  let id: Int64
  let name: String
  var epoch: Int64 = 1
  var counters = StreamCounters()
  var applied = AppliedRanges()
  /// Ids that were dealt with in earlier epochs. Now they may be other entries'.
  var former = AppliedRanges()
  var lost = LostRanges()
  /// Up to here an older state of the stream had come back when the epoch began.
  var restoredThrough = EntryID.zero
  /// In order; at most `maximumAnchors`, the older the further apart.
  var anchors: [Anchor] = []
  var backupFloor: EntryID?
  /// The lowest entry dealt with since a backup began; nil when that was not noted from its beginning.
  var lowestSinceBackup: EntryID?
  /// Up to here every entry is dealt with or known to be lost: Redis' count has shown it.
  var accountedTo = EntryID.zero
  /// Entries up to there that were dealt with or lost.
  var accountedHandled: Int64 = 0
  /// Unix seconds of the newest announce that was applied.
  var newestAnnounce: Int64 = 0
  /// Announces up to this time were applied in an epoch that has ended: the trackers may give them back under other ids.
  var returnsThrough: Int64 = 0
  /// Nil: nothing.
  var upgraded: Upgrade?

  /// A year with a third between the ages of two neighbours: whatever older state of the stream comes back, it has one of
  /// them, and at most a quarter of its age has to be read again.
  static let maximumAnchors = 64
  static let anchorSpacingMilliseconds: UInt64 = 1000

  /// Whether an entry could not be recognised by what it holds: it has no counters, and an earlier version, which has
  /// forgotten its fingerprint, may have applied it. Then its id decides.
  func isBeyondContent(_ event: TrafficEvent, _ id: EntryID) -> Bool {
    event.counters == nil && isBeforeUpgrade(id)
  }

  /// An earlier version may have dealt with it.
  func isBeforeUpgrade(_ id: EntryID) -> Bool { upgraded.map { id <= $0.through } ?? false }

  func isBeyondContent(_ entry: StreamEntry) -> Bool {
    if case .event(let event) = entry.content { isBeyondContent(event, entry.id) } else { false }
  }

  /// Whether such an entry, of an id that is new in an epoch which began after the upgrade, is taken for one that was applied:
  /// Redis has an older file, or has lost its end. As a rule it was, and to credit it again would be bytes that were never
  /// moved. It was not where nothing of that id was ever dealt with (it was pending, or is known to be missing), nor where no
  /// older state of the stream can have had the id, and it was announced later than all that was applied then.
  func isForgotten(_ event: TrafficEvent, _ id: EntryID) -> Bool {
    guard let upgraded, epoch > upgraded.epoch, isBeyondContent(event, id) else { return false }
    guard id <= restoredThrough || event.timestamp <= returnsThrough else { return false }
    // What was dealt with in the epochs before the upgrade's is not known.
    if upgraded.epoch > 1 || former.contains(id) { return true }
    // Before or in the midst of what was dealt with: of the older state, and pending then.
    if id <= restoredThrough, let gap = former.gap(around: id), gap.before < .maximum { return false }
    return !lost.mayHold(id, restoredThrough: restoredThrough)
  }

  /// Up to where, from an entry on, everything is dealt with or lost; nil when this entry is not dealt with.
  func settledEnd(from id: EntryID) -> EntryID? {
    let ranges = applied.ranges
    guard var index = ranges.firstIndex(where: { $0.first <= id && id <= $0.last }) else { return nil }
    while index + 1 < ranges.count,
      lost.covers(AppliedRanges.Gap(after: ranges[index].last, before: ranges[index + 1].first))
    { index += 1 }
    return ranges[index].last
  }

  /// Up to here a copy of this state has everything.
  var completeThrough: EntryID { applied.ranges.first.flatMap { settledEnd(from: $0.first) } ?? .zero }

  /// There are spaces between what was dealt with of which it is not known whether something was lost there.
  var hasOpenGaps: Bool { applied.ranges.count > 1 && applied.gaps.dropFirst().contains { !lost.covers($0) } }

  /// Entries that Redis must have counted as added; nil when it is not known how many were gone before.
  var counted: Int64? { counters.addedBefore.map { $0 + counters.handled + lost.entries } }

  /// Entries that Redis counts as added and that are neither dealt with, nor known to be lost or gone before, nor unread
  /// in the stream. 0 says that every entry is accounted for.
  func missing(added: Int64, unread: Int64) -> Int64 {
    added - (counters.addedBefore ?? 0) - counters.handled - lost.entries - unread
  }

  /// Entries with ids from one on were dealt with.
  mutating func countHandled(_ entries: Int64, from id: EntryID) {
    counters.handled += entries
    guard let last = anchors.last, id <= last.id else { return }
    for index in anchors.indices where anchors[index].id >= id { anchors[index].handled? += entries }
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
    if anchors.count > Self.maximumAnchors { anchors.remove(at: densestAnchor) }
  }

  /// From where the count goes on when what is behind `common`, a remembered entry, is gone: from the last of which it is known
  /// how many were dealt with up to it, if it is `there`; zero is the epoch's beginning, if that is not trimmed.
  /// Else from `common`, of which it is known how many there were at least: as many may be called lost as were found by
  /// their number, and nothing that is missing is hidden.
  func beginOfCount(through common: EntryID, there: Set<EntryID>, firstEntry: EntryID?) -> EntryID {
    let before = anchors.filter { $0.id <= common }
    guard counters.addedBefore != nil, let last = before.last, last.handled == nil || last.isLeast else {
      return common
    }
    let counted = before.filter { $0.handled != nil && !$0.isLeast }.map(\.id)
    if let begin = counted.last(where: there.contains) { return begin }
    // An earlier version kept no such bound.
    if last.handled == nil { return counted.last ?? common }
    let isWhole = firstEntry.map { $0 <= applied.ranges.first?.first ?? .zero } ?? false
    return isWhole ? .zero : common
  }

  /// The anchor that is missed least: the one whose neighbours are closest together for their age. Never the oldest or the
  /// newest.
  private var densestAnchor: Int {
    let newest = anchors[anchors.count - 1].id.milliseconds
    var densest = (index: 1, spacing: Double.infinity)
    for index in 1..<(anchors.count - 1) {
      let (older, younger) = (anchors[index - 1].id.milliseconds, anchors[index + 1].id.milliseconds)
      let spacing = Double(younger &- older) / Double(newest &- older &+ 1)
      if spacing < densest.spacing { densest = (index, spacing) }
    }
    return densest.index
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
  /// Applied with a `dt` below zero, by this process.
  var backward: Int64 = 0
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
      sum.backward += after.counters.backward - before.counters.backward
    }
    return sum
  }
}
