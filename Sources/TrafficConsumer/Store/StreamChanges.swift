// StreamChange: what is stored of a stream besides its entries, changed by the writer in a transaction of its own. Writer
// thread.

import Linux
import SQLite

enum StreamChange: Equatable, Sendable {
  /// Another stream under the same name: its ids say nothing about ours.
  case newEpoch
  /// The stream's end behind this id is gone.
  case rollBack(to: EntryID)
  /// Entries that were pending and are gone from the stream.
  case vanished([EntryID])
  /// Redis has no entry in these, and cannot tell whether it ever had (servers before Redis 7).
  case closeGaps([AppliedRanges.Gap])
  /// Every entry up to this id is dealt with or known to be lost: Redis' count says so.
  case accounted(through: EntryID)
  /// Entries up to an id that Redis has counted, and that are nowhere.
  case lost(Int64, through: EntryID)
  /// All entries between two ids between which some were lost are in the stream, and dealt with.
  case found(first: EntryID, last: EntryID)
  /// Entries that Redis had counted before we looked first; below zero when some of them came back.
  case goneBefore(Int64)
}

extension StoreWriter {
  func make(_ change: StreamChange, stream: Int) throws(StoreError) {
    switch change {
    case .newEpoch: try beginEpoch(stream: stream)
    case .rollBack(let end): try rollBack(stream: stream, to: end)
    case .vanished(let ids): try noteVanished(ids, stream: stream)
    case .closeGaps(let gaps): try self.change(stream: stream) { for gap in gaps { $0.applied.close(gap) } }
    case .accounted(let end):
      try self.change(stream: stream) { state in
        state.applied.closeGaps(through: end, except: state.lost.parts)
        (state.accountedTo, state.accountedHandled) = (end, state.counters.handled)
      }
    case .lost(let entries, let end): try noteLost(entries, through: end, stream: stream)
    case .found(let first, let last):
      try self.change(stream: stream) { state in
        let entries = state.lost.found(first: first, last: last)
        state.counters.handled += entries
        state.counters.duplicates += entries
      }
    case .goneBefore(let entries):
      try self.change(stream: stream) { $0.counters.addedBefore = ($0.counters.addedBefore ?? 0) + entries }
    }
  }

  /// Changes one stream's state in a transaction of its own.
  func change(stream index: Int, _ body: (inout StreamState) -> Void) throws(StoreError) {
    var state = streams[index]
    body(&state)
    try transaction { () throws(SQLiteError) in
      try streamTable.write(&state, before: streams[index], in: database)
    }
    streams[index] = state
  }

  /// Another stream under the same name: its ids say nothing about ours.
  private func beginEpoch(stream index: Int) throws(StoreError) {
    try change(stream: index) { state in
      state.epoch += 1
      state.applied = AppliedRanges()
      state.lost.beginEpoch(keepingThrough: nil)
      state.anchors = []
      state.counters.handled = 0
      state.counters.addedBefore = nil
      (state.accountedTo, state.accountedHandled) = (.zero, 0)
      state.backupFloor = nil
    }
  }

  /// The stream's end is gone: ids above it will be given to other entries. So that an identity stays one entry's, what
  /// comes now belongs to the next epoch; what is left of the old one is known in both.
  func rollBack(stream index: Int, to end: EntryID) throws(StoreError) {
    try change(stream: index) { state in
      state.epoch += 1
      state.applied.removeAll(above: end)
      state.applied.markAllChanged()
      state.lost.beginEpoch(keepingThrough: end)
      state.accountedTo = min(state.accountedTo, end)
      state.anchors.removeAll { $0.id > end }
      state.counters.rollbacks += 1
      state.counters.addedBefore = nil
    }
  }

  /// Entries that were pending and are gone from the stream. Those that had been applied do not matter.
  private func noteVanished(_ ids: [EntryID], stream index: Int) throws(StoreError) {
    let before = streams[index].lost.entries
    try change(stream: index) { state in for id in ids { state.noteVanished(id) } }
    report(streams[index].lost.entries - before, stream: index)
  }

  /// Entries that are nowhere were added since the count last came out: between others, or behind them.
  private func noteLost(_ entries: Int64, through end: EntryID, stream index: Int) throws(StoreError) {
    try change(stream: index) { state in
      let first = min(max(state.accountedTo, state.applied.ranges.first?.first.predecessor ?? .zero).successor, end)
      let total = state.counters.handled - state.accountedHandled + entries
      state.lost.add(
        LostRange(first: first, last: end, entries: entries, total: total, foundAt: Clock.unixSeconds()))
    }
    report(entries, stream: index)
  }

  private func report(_ entries: Int64, stream index: Int) {
    guard entries > 0 else { return }
    Log.error(
      "entries are missing from the stream",
      ["stream": streams[index].name, "entries": entries, "see": "traffic-consumer lost list"])
  }

  /// What an operator has seen is kept, and not reported any more: rows that begin with one of `ids`, or all. Returns how
  /// many rows that were.
  func acknowledgeLoss(beginningAt ids: [EntryID]?) throws(StoreError) -> Int {
    let count = try transaction { () throws(SQLiteError) in try LostRangeTable.acknowledge(ids, in: database) }
    for index in streams.indices {
      streams[index].lost = try store { () throws(SQLiteError) in
        try LostRangeTable.load(stream: streams[index].id, epoch: streams[index].epoch, from: database)
      }
    }
    return count
  }
}

extension StreamState {
  /// Notes an entry that was not dealt with before. What is not in the last backup stays in the stream.
  mutating func noteDealtWith(_ id: EntryID) {
    counters.handled += 1
    lost.fill(id)
    if let floor = backupFloor, id < floor { backupFloor = id }
    if let lowest = lowestSinceBackup, id < lowest { lowestSinceBackup = id }
  }

  /// Notes an entry that was pending and is gone from the stream.
  mutating func noteVanished(_ id: EntryID) {
    guard let gap = applied.gap(around: id) else { return }
    if lost.addVanished(id, in: gap, at: Clock.unixSeconds()) { counters.vanished += 1 }
  }
}
