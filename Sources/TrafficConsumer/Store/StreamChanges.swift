// What the writer does to streams besides applying entries. Writer thread.

import Linux
import SQLite

extension StoreWriter {
  /// Changes one stream's state in a transaction of its own.
  func change(stream index: Int, _ body: (inout StreamState) -> Void) throws(StoreError) {
    var state = streams[index]
    body(&state)
    try transaction { () throws(SQLiteError) in try streamTable.write(&state, before: streams[index]) }
    streams[index] = state
  }

  /// Another stream under the same name: its ids say nothing about ours.
  func beginEpoch(stream index: Int) throws(StoreError) {
    try change(stream: index) { state in
      state.epoch += 1
      state.applied = AppliedRanges()
      state.anchors = []
      state.counters.handled = 0
      state.counters.addedBefore = nil
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
      state.anchors.removeAll { $0.id > end }
      state.counters.rollbacks += 1
      state.counters.addedBefore = nil
    }
  }

  /// Nothing lies between these applied ranges.
  func join(_ pairs: [(left: EntryID, right: EntryID)], stream index: Int) throws(StoreError) {
    try change(stream: index) { state in
      for pair in pairs { state.applied.merge(left: pair.left, right: pair.right) }
    }
  }

  /// Entries that were pending and are gone from the stream. Those that had been applied do not matter.
  func noteVanished(_ ids: [EntryID], stream index: Int) throws(StoreError) {
    try change(stream: index) { state in
      for id in ids where !state.applied.contains(id) {
        state.counters.vanished += 1
        state.counters.handled += 1
        state.applied.insert(AppliedRanges.Range(first: id, last: id))
      }
    }
  }

  /// Compares Redis' count of entries ever added with what became of them. `waiting`: pending and undelivered.
  func count(stream index: Int, added: Int64, waiting: Int64) throws(StoreError) {
    let missing = streams[index].missing(added: added, waiting: waiting)
    guard missing != 0 || streams[index].counters.addedBefore == nil else { return }
    let isFirst = streams[index].counters.addedBefore == nil
    try change(stream: index) { state in
      let before = state.counters.addedBefore ?? 0
      state.counters.addedBefore = before + missing
      // What was gone before the first look is not ours to miss.
      if !isFirst { state.counters.lost = max(0, state.counters.lost + missing) }
    }
    if missing > 0 && !isFirst {
      Log.error("entries are missing from the stream", ["stream": streams[index].name, "entries": missing])
    }
  }
}

extension StreamState {
  /// Entries that Redis counts as added and that are neither dealt with nor waiting, beyond those already known of.
  func missing(added: Int64, waiting: Int64) -> Int64 {
    if counters.addedBefore == nil { return added - counters.handled - waiting }
    return added - counters.addedBefore! - counters.handled - waiting
  }
}
