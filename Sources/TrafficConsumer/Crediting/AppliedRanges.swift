// AppliedRanges: which entries of one stream have been dealt with, exactly and in bounded memory: identity L1. A value;
// the writer thread owns it, and keeps the table `applied_ranges` equal to it in the transaction of the entries.
//
// A range [first, last] says: every entry that the stream has, or ever had, from first to last has been dealt with. It
// is made from one reply that lists consecutive entries (XREADGROUP with `>`, XRANGE): entries are only ever added at the
// stream's end, so nothing new can appear between two neighbours of such a reply later; what had been deleted there before
// is missing in Redis' count, and then among LostRanges. Two ranges become one only when Redis'
// count of entries has shown that nothing ever lay between them (`closeGaps`). What remains between ranges is what others
// hold pending and what was lost, so the number of ranges is bounded by that and by how often `closeGaps` runs. A
// redelivery, however late, is recognised.

struct AppliedRanges: Sendable {
  struct Range: Hashable, Sendable {
    var first: EntryID
    var last: EntryID
  }

  /// The space between two ranges, or before the first one (`after` is zero): without both ends.
  struct Gap: Hashable, Sendable {
    var after: EntryID
    var before: EntryID
  }

  /// Disjoint, in order.
  private(set) var ranges: [Range] = []
  /// The first ids of rows to delete and ranges to write since `takeChanges`.
  private var removedFirsts: Set<EntryID> = []
  private var changedFirsts: Set<EntryID> = []

  init() {}

  /// As read from the database. A development version wrote ranges that end before they begin, between neighbouring places
  /// of loss: they say nothing.
  init(stored ranges: [Range]) {
    self.ranges = ranges.filter { $0.first <= $0.last }.sorted { $0.first < $1.first }
    removedFirsts = Set(ranges.lazy.filter { $0.first > $0.last }.map(\.first))
  }

  func contains(_ id: EntryID) -> Bool {
    guard let index = indexOfLast(startingAtOrBefore: id) else { return false }
    return ranges[index].last >= id
  }

  /// The highest id dealt with.
  var last: EntryID? { ranges.last?.last }

  /// Adds what one reply has shown to be consecutive; overlaps are joined.
  mutating func insert(_ new: Range) {
    precondition(new.first <= new.last, "a range ends before it begins")
    var joined = new
    var begin = indexOfLast(startingAtOrBefore: new.first) ?? 0
    if begin < ranges.count, ranges[begin].last < new.first { begin += 1 }
    var end = begin
    while end < ranges.count, ranges[end].first <= joined.last {
      joined.first = min(joined.first, ranges[end].first)
      joined.last = max(joined.last, ranges[end].last)
      end += 1
    }
    replace(begin..<end, with: joined)
  }

  /// Every entry up to `end` is accounted for: between two ranges nothing ever was but in the parts that `parts` names, in
  /// order and not side by side.
  /// The space before the first range stays: what was there before is not ours to judge.
  mutating func closeGaps(through end: EntryID, except parts: (Gap) -> [(first: EntryID, last: EntryID)]) {
    guard var open = ranges.first else { return }
    var joined: [Range] = []
    for range in ranges.dropFirst() {
      let gap = Gap(after: open.last, before: range.first)
      guard gap.before <= end else {
        joined.append(open)
        open = range
        continue
      }
      for part in parts(gap) {
        joined.append(Range(first: open.first, last: part.first.predecessor))
        open.first = part.last.successor
      }
      open.last = range.last
    }
    replaceAll(joined + [open])
  }

  /// The space between ranges that an id is in, when it is in one.
  func gap(around id: EntryID) -> Gap? {
    guard let below = indexOfLast(startingAtOrBefore: id) else {
      return Gap(after: .zero, before: ranges.first?.first ?? .maximum)
    }
    guard ranges[below].last < id else { return nil }
    return Gap(after: ranges[below].last, before: below + 1 < ranges.count ? ranges[below + 1].first : .maximum)
  }

  /// Joins the ranges on both sides of a gap. Does nothing when there is no such gap (any more).
  mutating func close(_ gap: Gap) {
    guard let index = indexOfLast(startingAtOrBefore: gap.after), ranges[index].last == gap.after,
      index + 1 < ranges.count, ranges[index + 1].first == gap.before
    else { return }
    replace(index..<index + 2, with: Range(first: ranges[index].first, last: ranges[index + 1].last))
  }

  /// Forgets every id above `end`.
  mutating func removeAll(above end: EntryID) {
    while let range = ranges.last, range.last > end {
      let index = ranges.count - 1
      if range.first > end {
        removedFirsts.insert(range.first)
        changedFirsts.remove(range.first)
        ranges.removeLast()
      } else {
        ranges[index].last = end
        changedFirsts.insert(range.first)
      }
    }
  }

  /// The spaces before and between the ranges, the lowest first.
  var gaps: [Gap] {
    var after = EntryID.zero
    return ranges.map { range in
      defer { after = range.last }
      return Gap(after: after, before: range.first)
    }
  }

  /// What changed since the last call: rows to delete by their `first`, and ranges to write.
  mutating func takeChanges() -> (removed: [EntryID], written: [Range]) {
    let written = ranges.filter { changedFirsts.contains($0.first) }
    defer {
      removedFirsts.removeAll()
      changedFirsts.removeAll()
    }
    return (Array(removedFirsts), written)
  }

  /// Every range is to be written: under another epoch.
  mutating func markAllChanged() {
    removedFirsts.removeAll()
    changedFirsts = Set(ranges.map(\.first))
  }

  private mutating func replace(_ indices: Swift.Range<Int>, with joined: Range) {
    for old in ranges[indices] {
      removedFirsts.insert(old.first)
      changedFirsts.remove(old.first)
    }
    removedFirsts.remove(joined.first)
    changedFirsts.insert(joined.first)
    ranges.replaceSubrange(indices, with: CollectionOfOne(joined))
  }

  private mutating func replaceAll(_ new: [Range]) {
    let before = Set(ranges)
    let firsts = Set(new.map(\.first))
    for range in ranges where !firsts.contains(range.first) {
      removedFirsts.insert(range.first)
      changedFirsts.remove(range.first)
    }
    for range in new where !before.contains(range) {
      removedFirsts.remove(range.first)
      changedFirsts.insert(range.first)
    }
    ranges = new
  }

  private func indexOfLast(startingAtOrBefore id: EntryID) -> Int? {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].first <= id { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? nil : low - 1
  }
}
