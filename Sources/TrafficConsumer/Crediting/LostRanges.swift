// LostRanges: entries of one stream that are gone before they were dealt with: where they were, how many, and when that was
// found. A value; the writer thread owns it, and keeps the table `lost_ranges` equal to it in the same transaction.
//
// Redis says how many entries it ever added, never which. So a row says "so many of these ids"; others of them were dealt
// with, and are in AppliedRanges like everything that was not missed. Should the entries come back, each of these ids is looked
// at by its content (L2 and L3), credited if it was not, and no longer missing. A file of Redis' that has them is an older one,
// so that rows are filled in a later epoch than the one they were found in.

/// Some entries of the ids from `first` to `last`.
struct LostRange: Equatable, Sendable {
  /// The epoch of the stream in which they were lost.
  var epoch: Int64
  var first: EntryID
  var last: EntryID
  var entries: Int64
  /// Entries that ever had one of these ids: of so many in the stream, as many fewer can be missing.
  var total: Int64
  /// Unix seconds.
  var foundAt: Int64
  /// An operator has seen it: it stays in the list, and is not reported any more.
  var isAcknowledged = false

  func contains(_ id: EntryID) -> Bool { first <= id && id <= last }

  /// An earlier version knew the number only, of no epoch: what comes back cannot be told to be of these.
  var isNumberOnly: Bool { epoch == 0 }

  /// Whether an announce of this time (Unix seconds) can be what was missed.
  func mayHold(announced: Int64) -> Bool { announced <= foundAt }

  /// Whatever has come back of it meanwhile.
  func isSame(as other: Self) -> Bool {
    (epoch, first, last, total, foundAt) == (other.epoch, other.first, other.last, other.total, other.foundAt)
  }
}

struct LostRanges: Equatable, Sendable {
  /// Of the present epoch, in order of `first`.
  private(set) var rows: [LostRange] = [] { didSet { end = rows.map(\.last).max() ?? .zero } }
  /// The highest id of them: what is dealt with is above it, as a rule.
  private var end = EntryID.zero
  /// Of earlier epochs: no part of what the stream's count has to come to.
  private(set) var earlier: [LostRange] = []

  /// Pending entries that vanish have a row each, for any id between two of them may be another consumer's; up to so many.
  private static let maximumRows = 1000

  init() {}

  /// `all`: in order of `first`.
  init(stored all: [LostRange], epoch: Int64) {
    rows = all.filter { $0.epoch == epoch }
    end = rows.map(\.last).max() ?? .zero
    earlier = all.filter { $0.epoch != epoch }
  }

  /// Every row of every epoch.
  var all: [LostRange] { earlier + rows }
  /// Entries of this epoch, acknowledged or not.
  var entries: Int64 { rows.reduce(0) { $0 + $1.entries } }
  /// What is reported.
  var unacknowledged: Int64 { all.reduce(0) { $0 + ($1.isAcknowledged ? 0 : $1.entries) } }

  /// Whether something of this epoch was lost behind an id, or may have been.
  func reaches(behind id: EntryID) -> Bool { end > id }

  func contains(_ id: EntryID) -> Bool { id <= end && rows.contains { $0.contains(id) } }

  /// Whether an entry with this id may be one that is missing.
  func mayHold(_ id: EntryID, restoredThrough: EntryID) -> Bool {
    contains(id) || id <= restoredThrough && earlier.contains { $0.contains(id) && !$0.isNumberOnly }
  }

  mutating func add(_ row: LostRange) {
    let place = rows.firstIndex { $0.first > row.first } ?? rows.count
    rows.insert(row, at: place)
  }

  /// Entries that are nowhere. `older` of them are missing in the older state that has come back as well, up to `end`: what an
  /// earlier epoch's row says of that place is the same. Not one that an operator has seen: these would never be seen.
  mutating func add(_ row: LostRange, older: Int64, restoredThrough end: EntryID) {
    var (rest, older) = (row, older)
    for index in earlier.indices where older > 0 {
      let known = earlier[index]
      guard !known.isNumberOnly, !known.isAcknowledged, known.first <= min(row.last, end), row.first <= known.last
      else { continue }
      var part = row
      part.entries = min(older, known.entries)
      part.foundAt = known.foundAt
      rest.entries -= part.entries
      older -= part.entries
      earlier[index].entries -= part.entries
      add(part)
    }
    earlier.removeAll { $0.entries == 0 }
    if rest.entries > 0 { add(rest) }
  }

  /// An entry that was pending and is gone. False when it was counted before: with its neighbours, or when it was told
  /// and could not be acknowledged.
  mutating func addVanished(_ id: EntryID, in gap: AppliedRanges.Gap, epoch: Int64, at time: Int64) -> Bool {
    guard !contains(id) else { return false }
    let before = rows.lastIndex { $0.last < id && $0.first > gap.after && !$0.isAcknowledged }
    if let before, rows.count >= Self.maximumRows, !rows[(before + 1)...].contains(where: { $0.first < id }) {
      rows[before].last = id
      rows[before].entries += 1
      rows[before].total += 1
    } else {
      add(LostRange(epoch: epoch, first: id, last: id, entries: 1, total: 1, foundAt: time))
    }
    return true
  }

  /// An entry that is there after all is no longer missing. The narrowest row that may have meant it gives way; one of an
  /// earlier epoch only where the older state ends that has come back, and if it was `announced` before that was missed.
  /// Whether there was such a row.
  mutating func fill(_ id: EntryID, restoredThrough: EntryID, announced: Int64?) -> Bool {
    if id <= end, Self.fill(id, in: &rows, where: { _ in true }) { return true }
    guard id <= restoredThrough, !earlier.isEmpty else { return false }
    return Self.fill(id, in: &earlier) { row in announced.map(row.mayHold(announced:)) ?? true }
  }

  private static func fill(_ id: EntryID, in rows: inout [LostRange], where mayHold: (LostRange) -> Bool) -> Bool {
    let candidates = rows.indices.filter { rows[$0].contains(id) && !rows[$0].isNumberOnly && mayHold(rows[$0]) }
    guard let row = candidates.min(by: { rows[$0].entries < rows[$1].entries }) else { return false }
    rows[row].entries -= 1
    if rows[row].entries == 0 { rows.remove(at: row) }
    return true
  }

  /// So many entries of a row's ids are in the stream, and dealt with. Returns how many of this epoch's are found by that.
  mutating func found(_ row: LostRange, present: Int64) -> Int64 {
    _ = Self.found(row, present, in: &earlier)
    return Self.found(row, present, in: &rows)
  }

  private static func found(_ row: LostRange, _ present: Int64, in rows: inout [LostRange]) -> Int64 {
    guard let index = rows.firstIndex(where: { $0.isSame(as: row) }) else { return 0 }
    let found = rows[index].entries - min(rows[index].entries, max(0, row.total - present))
    rows[index].entries -= found
    if rows[index].entries == 0 { rows.remove(at: index) }
    return found
  }

  /// Ids above `end` will be given to other entries: what was lost there stays lost, under the epoch that ends. So does what
  /// was lost across it: how much of that the older state has counted nobody knows.
  mutating func beginEpoch(_ epoch: Int64, keepingThrough end: EntryID?) {
    let kept = rows.filter { row in end.map { row.last <= $0 } ?? false }
    earlier += rows.filter { row in !kept.contains(row) }
    rows = kept.map { row in
      var row = row
      row.epoch = epoch
      return row
    }
  }

  /// Where the first of those rows begins that go beyond an id.
  func beginning(across id: EntryID) -> EntryID? {
    rows.lazy.filter { $0.first <= id && id < $0.last }.map(\.first).min()
  }

  /// Entries of this epoch that were lost up to an id, as far as that is certain.
  func entries(through id: EntryID) -> Int64 { rows.reduce(0) { $0 + ($1.last <= id ? $1.entries : 0) } }

  /// Where to look for what may have come back, and up to which id it can be what was lost.
  func places(restoredThrough: EntryID) -> [(row: LostRange, end: EntryID)] {
    rows.map { ($0, $0.last) }
      + earlier.filter { !$0.isNumberOnly && $0.first <= restoredThrough }.map { ($0, min($0.last, restoredThrough)) }
  }

  /// Whether all of a gap is a place of loss.
  func covers(_ gap: AppliedRanges.Gap) -> Bool {
    let parts = parts(of: gap)
    return parts.count == 1 && parts[0] == (gap.after.successor, gap.before.predecessor)
  }

  /// The parts of a gap, in order, in which something was lost: first and last id of each.
  func parts(of gap: AppliedRanges.Gap) -> [(first: EntryID, last: EntryID)] {
    var parts: [(first: EntryID, last: EntryID)] = []
    let inside = (first: gap.after.successor, last: gap.before.predecessor)
    // Two replies may meet within a millisecond: nothing fits between their ends.
    guard inside.first <= inside.last else { return [] }
    for row in rows where row.first <= inside.last && row.last >= inside.first {
      let part = (first: max(row.first, inside.first), last: min(row.last, inside.last))
      // Ids of one millisecond are neighbours: nothing lies between two places of loss that end to begin.
      if let open = parts.last, part.first <= open.last.successor {
        parts[parts.count - 1].last = max(open.last, part.last)
      } else {
        parts.append(part)
      }
    }
    return parts
  }
}
