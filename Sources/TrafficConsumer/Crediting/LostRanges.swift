// LostRanges: entries of one stream that are gone before they were dealt with: where they were, how many, and when that was
// found. A value; the writer thread owns it, and keeps the table `lost_ranges` equal to it in the same transaction.
//
// Redis says how many entries it ever added, never which. So a row says "so many of these ids"; others of them were dealt
// with, and are in AppliedRanges like everything that was not missed. Should the entries come back, each of these ids is looked
// at by its content (L2 and L3), credited if it was not, and no longer missing.

/// Some entries of the ids from `first` to `last`.
struct LostRange: Equatable, Sendable {
  var first: EntryID
  var last: EntryID
  var entries: Int64
  /// Entries that ever had one of these ids: when all of them are in the stream, none is missing.
  var total: Int64
  /// Unix seconds.
  var foundAt: Int64
  /// An operator has seen it: it stays in the list, and is not reported any more.
  var isAcknowledged = false
}

struct LostRanges: Equatable, Sendable {
  /// Of the present epoch, in order of `first`.
  private(set) var rows: [LostRange] = []
  /// Rows that a new epoch leaves to the one before; written and forgotten with it.
  private(set) var left: [LostRange] = []
  /// Entries of earlier epochs that no operator has acknowledged.
  var earlier: Int64 = 0

  init() {}

  init(stored rows: [LostRange], earlier: Int64) {
    self.rows = rows
    self.earlier = earlier
  }

  /// Entries of this epoch, acknowledged or not.
  var entries: Int64 { rows.reduce(0) { $0 + $1.entries } }
  /// What is reported.
  var unacknowledged: Int64 { rows.reduce(earlier) { $0 + ($1.isAcknowledged ? 0 : $1.entries) } }

  func contains(_ id: EntryID) -> Bool { rows.contains { $0.first <= id && id <= $0.last } }

  mutating func add(_ row: LostRange) {
    let place = rows.firstIndex { $0.first > row.first } ?? rows.count
    rows.insert(row, at: place)
  }

  /// An entry that was pending and is gone. False when it was counted before: with its neighbours, or when it was told
  /// and could not be acknowledged.
  mutating func addVanished(_ id: EntryID, in gap: AppliedRanges.Gap, at time: Int64) -> Bool {
    guard !contains(id) else { return false }
    let before = rows.lastIndex { $0.last < id && $0.first > gap.after && !$0.isAcknowledged }
    if let before, !rows[(before + 1)...].contains(where: { $0.first < id }) {
      rows[before].last = id
      rows[before].entries += 1
      rows[before].total += 1
    } else {
      add(LostRange(first: id, last: id, entries: 1, total: 1, foundAt: time))
    }
    return true
  }

  /// An entry that is there after all is no longer missing. The narrowest row that may have meant it gives way.
  mutating func fill(_ id: EntryID) {
    guard !rows.isEmpty else { return }
    let candidates = rows.indices.filter { rows[$0].first <= id && id <= rows[$0].last }
    guard let row = candidates.min(by: { rows[$0].entries < rows[$1].entries }) else { return }
    rows[row].entries -= 1
    if rows[row].entries == 0 { rows.remove(at: row) }
  }

  /// All entries of these ids are in the stream. Returns how many were still missing.
  mutating func found(first: EntryID, last: EntryID) -> Int64 {
    let found = rows.filter { $0.first == first && $0.last == last }
    rows.removeAll { $0.first == first && $0.last == last }
    return found.reduce(0) { $0 + $1.entries }
  }

  /// Ids above `end` will be given to other entries: what was lost there stays lost, under the epoch that ends. A row on
  /// both sides goes on below.
  mutating func beginEpoch(keepingThrough end: EntryID?) {
    let kept = rows.filter { row in end.map { row.first <= $0 } ?? false }
    left = rows.filter { row in !kept.contains(row) }
    earlier += left.reduce(0) { $0 + ($1.isAcknowledged ? 0 : $1.entries) }
    rows = kept.map { row in
      var row = row
      row.last = min(row.last, end ?? row.last)
      return row
    }
  }

  /// Once `left` is written.
  mutating func forgetLeft() { left = [] }

  /// Whether all of a gap is a place of loss.
  func covers(_ gap: AppliedRanges.Gap) -> Bool {
    let parts = parts(of: gap)
    return parts.count == 1 && parts[0] == (gap.after.successor, gap.before.predecessor)
  }

  /// The parts of a gap, in order, in which something was lost: first and last id of each.
  func parts(of gap: AppliedRanges.Gap) -> [(first: EntryID, last: EntryID)] {
    var parts: [(first: EntryID, last: EntryID)] = []
    let inside = (first: gap.after.successor, last: gap.before.predecessor)
    for row in rows where row.first <= inside.last && row.last >= inside.first {
      let part = (first: max(row.first, inside.first), last: min(row.last, inside.last))
      if let open = parts.last, part.first <= open.last {
        parts[parts.count - 1].last = max(open.last, part.last)
      } else {
        parts.append(part)
      }
    }
    return parts
  }
}
