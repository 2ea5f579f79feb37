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
  /// Redis has no entry in these.
  case closeGaps([AppliedRanges.Gap])
  /// Redis' count of entries ever added, and of those pending and undelivered.
  case count(added: Int64, waiting: Int64)
}

extension StoreWriter {
  func make(_ change: StreamChange, stream: Int) throws(StoreError) {
    switch change {
    case .newEpoch: try beginEpoch(stream: stream)
    case .rollBack(let end): try rollBack(stream: stream, to: end)
    case .vanished(let ids): try noteVanished(ids, stream: stream)
    case .closeGaps(let gaps): try self.change(stream: stream) { for gap in gaps { $0.applied.close(gap) } }
    case .count(let added, let waiting): try count(stream: stream, added: added, waiting: waiting)
    }
  }

  /// Changes one stream's state in a transaction of its own.
  func change(stream index: Int, _ body: (inout StreamState) -> Void) throws(StoreError) {
    var state = streams[index]
    body(&state)
    try transaction { () throws(SQLiteError) in try streamTable.write(&state, before: streams[index]) }
    streams[index] = state
  }

  /// Another stream under the same name: its ids say nothing about ours.
  private func beginEpoch(stream index: Int) throws(StoreError) {
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

  /// Entries that were pending and are gone from the stream. Those that had been applied do not matter.
  private func noteVanished(_ ids: [EntryID], stream index: Int) throws(StoreError) {
    try change(stream: index) { state in
      for id in ids where !state.applied.contains(id) {
        state.counters.vanished += 1
        state.counters.handled += 1
        state.applied.insert(AppliedRanges.Range(first: id, last: id))
      }
    }
  }

  /// Compares Redis' count of entries ever added with what became of them. `waiting`: pending and undelivered.
  private func count(stream index: Int, added: Int64, waiting: Int64) throws(StoreError) {
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
