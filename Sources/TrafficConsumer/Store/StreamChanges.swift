// StreamChange: what is stored of a stream besides its entries, changed by the writer in a transaction of its own. Writer
// thread.

import Linux
import SQLite

enum StreamChange: Equatable, Sendable {
  /// Another stream under the same name: its ids say nothing about ours. `goneBefore`: what Redis has counted and no longer
  /// has, and is not missing. `restoredThrough`: up to there it may be an older state of ours.
  case newEpoch(goneBefore: Int64?, restoredThrough: EntryID)
  /// The stream's end behind an id is gone. What is left of it ends at `restoredThrough` at the latest.
  case rollBack(to: EntryID, restoredThrough: EntryID)
  /// Entries that were pending and are gone from the stream.
  case vanished([EntryID])
  /// Redis has no entry in these, and cannot tell whether it ever had (servers before Redis 7).
  case closeGaps([AppliedRanges.Gap])
  /// Every entry up to this id is dealt with or known to be lost: Redis' count says so.
  case accounted(through: EntryID)
  /// Entries are nowhere.
  case lost(MissingEntries)
  /// So many entries with the ids of a place of loss are in the stream, and dealt with.
  case found(LostRange, present: Int64)
  /// Entries that Redis had counted before we looked first; below zero when some of them came back.
  case goneBefore(Int64)
}

/// Entries that Redis has counted and that are nowhere.
struct MissingEntries: Equatable, Sendable {
  var entries: Int64
  /// Up to where they may have been.
  var through: EntryID
  /// Entries up to there, but for those that were gone before we looked first.
  var counted: Int64
  /// Where the count last came out.
  var since: Accounted
  /// So many of them were missing before, in the older state of the stream that has come back. Rather too few.
  var older: Int64 = 0
}

/// A place in the stream up to which Redis' count came out.
struct Accounted: Equatable, Sendable {
  var through: EntryID
  /// Entries up to there that were dealt with or lost.
  var counted: Int64
}

extension StoreWriter {
  func make(_ change: StreamChange, stream: Int) throws(StoreError) {
    switch change {
    case .newEpoch(let goneBefore, let end): try beginEpoch(stream: stream, goneBefore, restoredThrough: end)
    case .rollBack(let common, let end): try rollBack(stream: stream, to: common, restoredThrough: end)
    case .vanished(let ids): try noteVanished(ids, stream: stream)
    case .closeGaps(let gaps): try self.change(stream: stream) { for gap in gaps { $0.applied.close(gap) } }
    case .accounted(let end):
      try self.change(stream: stream) { state in
        state.applied.closeGaps(through: end, except: state.lost.parts)
        (state.accountedTo, state.accountedHandled) = (end, state.counters.handled + state.lost.entries)
      }
    case .lost(let missing): try noteLost(missing, stream: stream)
    case .found(let row, let present):
      try self.change(stream: stream) { state in
        let entries = state.lost.found(row, present: present)
        guard entries > 0 else { return }
        // Which of its ids they have is not known.
        for index in state.anchors.indices
        where row.contains(state.anchors[index].id) && state.anchors[index].id < row.last {
          state.anchors[index].isLeast = true
        }
        state.countHandled(entries, from: row.last)
        state.counters.duplicates += entries
      }
    case .goneBefore(let entries): try noteGoneBefore(entries, stream: stream)
    }
  }

  private func noteGoneBefore(_ entries: Int64, stream index: Int) throws(StoreError) {
    let before = streams[index].counters.addedBefore
    try change(stream: index) { $0.counters.addedBefore = (before ?? 0) + entries }
    // Something was counted twice, and may have hidden a loss.
    guard let before, entries < 0, before + entries < 0 else { return }
    Log.error(
      "more entries were dealt with than redis has counted: as many may be missing that are not reported",
      ["stream": streams[index].name, "entries": -entries])
  }

  /// Changes one stream's state in a transaction of its own, and what else is to be in that.
  func change(
    stream index: Int, _ body: (inout StreamState) -> Void,
    with more: (StreamState) throws(SQLiteError) -> Void = { (_) throws(SQLiteError) in }
  ) throws(StoreError) {
    var state = streams[index]
    body(&state)
    try transaction { () throws(SQLiteError) in
      try streamTable.write(&state, before: streams[index], in: database)
      try more(state)
    }
    streams[index] = state
  }

  /// Another stream under the same name: its ids say nothing about ours.
  private func beginEpoch(stream index: Int, _ goneBefore: Int64?, restoredThrough end: EntryID) throws(StoreError) {
    try change(stream: index) { state in
      state.beginEpoch(keepingThrough: nil, restoredThrough: end)
      state.anchors = []
      state.counters.handled = 0
      state.counters.addedBefore = goneBefore
      (state.accountedTo, state.accountedHandled) = (.zero, 0)
      // A backup, if there is one, has nothing of it.
      if state.backupFloor != nil { state.backupFloor = .zero }
    } with: { (state) throws(SQLiteError) in
      try burials.keepReturns(through: .zero, in: state)
    }
  }

  /// The stream's end is gone: ids above it will be given to other entries. So that an identity stays one entry's, what
  /// comes now belongs to the next epoch; what is left of the old one is known in both.
  func rollBack(stream index: Int, to common: EntryID, restoredThrough end: EntryID) throws(StoreError) {
    try change(stream: index) { state in
      // Whether the count came out behind where something was lost across the common entry is open again.
      let settled = state.lost.beginning(across: common)?.predecessor ?? common
      state.beginEpoch(keepingThrough: common, restoredThrough: end)
      state.anchors.removeAll { $0.id > common }
      state.counters.rollbacks += 1
      // Nothing was at the epoch's beginning.
      if let handled = common == .zero ? 0 : state.anchors.last?.handled, state.counters.addedBefore != nil {
        state.counters.handled = handled
        if state.accountedTo > settled { state.setAccounted(through: settled) }
      } else {
        state.counters.addedBefore = nil
        (state.accountedTo, state.accountedHandled) = (.zero, 0)
      }
    } with: { (state) throws(SQLiteError) in
      try burials.keepReturns(through: common, in: state)
    }
  }

  /// Entries that were pending and are gone from the stream. Those that had been applied do not matter.
  private func noteVanished(_ ids: [EntryID], stream index: Int) throws(StoreError) {
    let before = streams[index].lost.entries
    try change(stream: index) { state in for id in ids { state.noteVanished(id, at: settings.unixSeconds()) } }
    report(streams[index].lost.entries - before, stream: index)
  }

  /// Entries that are nowhere were added since the count last came out: between others, or behind them.
  private func noteLost(_ missing: MissingEntries, stream index: Int) throws(StoreError) {
    try change(stream: index) { state in
      var since = Accounted(through: state.accountedTo, counted: state.accountedHandled)
      if missing.since.through > since.through { since = missing.since }
      let begin = max(since.through, state.applied.ranges.first?.first.predecessor ?? .zero)
      state.lost.add(
        LostRange(
          epoch: state.epoch, first: min(begin.successor, missing.through), last: missing.through,
          entries: missing.entries, total: missing.counted - since.counted, foundAt: settings.unixSeconds()),
        older: missing.older, restoredThrough: state.restoredThrough)
    }
    report(missing.entries, stream: index)
  }

  private func report(_ entries: Int64, stream index: Int) {
    guard entries > 0 else { return }
    Log.error(
      "entries are missing from the stream",
      ["stream": streams[index].name, "entries": entries, "see": "traffic-consumer lost list"])
  }

  /// What an operator has seen is kept, and not reported any more: rows that begin so, or all. Returns how many rows that
  /// were.
  func acknowledgeLoss(_ rows: [LostRangeTable.Beginning]?) throws(StoreError) -> Int {
    let count = try transaction { () throws(SQLiteError) in try LostRangeTable.acknowledge(rows, in: database) }
    for index in streams.indices {
      streams[index].lost = try store { () throws(SQLiteError) in
        try LostRangeTable.load(stream: streams[index].id, epoch: streams[index].epoch, from: database)
      }
    }
    return count
  }
}

extension StreamState {
  /// Ids above `end`, or all of them, will be given to other entries. What is lost stays lost, under the epoch that ends.
  fileprivate mutating func beginEpoch(keepingThrough end: EntryID?, restoredThrough: EntryID) {
    epoch += 1
    for range in applied.ranges { former.insert(range) }
    former.markAllChanged()
    if let end { applied.removeAll(above: end) } else { applied = AppliedRanges() }
    applied.markAllChanged()
    lost.beginEpoch(epoch, keepingThrough: end)
    self.restoredThrough = restoredThrough
    returnsThrough = newestAnnounce
  }

  /// The count came out up to a remembered entry, the last that is not above `end`.
  fileprivate mutating func setAccounted(through end: EntryID) {
    let anchor = anchors.last { $0.id <= end }
    (accountedTo, accountedHandled) = (.zero, 0)
    guard let anchor, let handled = anchor.handled else { return }
    (accountedTo, accountedHandled) = (anchor.id, handled + lost.entries(through: anchor.id))
  }

  /// Notes an entry that was not dealt with before. What is not in the last backup stays in the stream. `isNew`: by what it
  /// says it was not, either. `isDecided`: one or the other is known. `isCounted`: its id was dealt with in this epoch, and
  /// nothing tells that it is another entry's now.
  mutating func noteDealtWith(_ id: EntryID, isNew: Bool, isDecided: Bool, isCounted: Bool, announced: Int64?) {
    // Unless it was dealt with in another epoch, and is not missing.
    let mayBeLost = isDecided && (isNew || !former.contains(id))
    let wasLost = mayBeLost && lost.fill(id, restoredThrough: restoredThrough, announced: announced)
    // One too many would hide an entry that is gone.
    if !isCounted || wasLost { countHandled(1, from: id) }
    if let floor = backupFloor, id < floor { backupFloor = id }
    if let lowest = lowestSinceBackup, id < lowest { lowestSinceBackup = id }
  }

  /// Notes an entry that was pending and is gone from the stream.
  mutating func noteVanished(_ id: EntryID, at time: Int64) {
    guard let gap = applied.gap(around: id) else { return }
    if lost.addVanished(id, in: gap, epoch: epoch, at: time) { counters.vanished += 1 }
  }
}
