// StreamTable: reads and writes the rows of streams, their applied ranges and anchors. Belongs to the writer thread.

import SQLite

final class StreamTable {
  /// Under which `former` is stored; epochs are counted from 1.
  private static let formerEpoch: Int64 = 0

  private let updateStream: SQLiteStatement
  private let deleteRange: SQLiteStatement
  private let deleteRanges: SQLiteStatement
  private let writeRange: SQLiteStatement
  private let deleteAnchor: SQLiteStatement
  private let writeAnchor: SQLiteStatement

  init(_ database: borrowing SQLiteDatabase) throws(SQLiteError) {
    updateStream = try database.prepare(
      """
      UPDATE streams SET epoch = ?2, applied = ?3, duplicates = ?4, dead = ?5, redelivered = ?6, vanished = ?7,
        rollbacks = ?8, handled = ?9, added_before = ?10, backup_floor = ?11, accounted_to = ?12,
        accounted_handled = ?13, restored_through = ?14, newest_announce = ?15, returns_through = ?16 WHERE id = ?1
      """)
    deleteRange = try database.prepare("DELETE FROM applied_ranges WHERE stream_id = ?1 AND epoch = ?2 AND first = ?3")
    deleteRanges = try database.prepare("DELETE FROM applied_ranges WHERE stream_id = ?1")
    writeRange = try database.prepare(
      "INSERT OR REPLACE INTO applied_ranges(stream_id, epoch, first, last) VALUES (?1, ?2, ?3, ?4)")
    deleteAnchor = try database.prepare("DELETE FROM anchors WHERE stream_id = ?1 AND entry_id = ?2")
    writeAnchor = try database.prepare(
      "INSERT OR REPLACE INTO anchors(stream_id, entry_id, hash, handled) VALUES (?1, ?2, ?3, ?4)")
  }

  /// The stream's row, made when there is none.
  static func load(name: String, from database: borrowing SQLiteDatabase) throws(SQLiteError) -> StreamState {
    // The last backup has nothing of a new one.
    let insert = try database.prepare(
      """
      INSERT OR IGNORE INTO streams(name, backup_floor)
        VALUES (?1, CASE WHEN EXISTS (SELECT 1 FROM meta WHERE name = 'last_backup') THEN zeroblob(16) END)
      """)
    try insert.bind(name, at: 1)
    try insert.run()
    return try read(name: name, from: database) ?? StreamState(id: 0, name: name)
  }

  /// The stream, its row and what belongs to it of one moment, beside a writer; nil when there is none.
  static func snapshot(name: String, from database: borrowing SQLiteDatabase) throws(SQLiteError) -> StreamState? {
    try database.transaction(.deferred) { () throws(SQLiteError) in try read(name: name, from: database) }
  }

  /// The stream's row; nil when there is none.
  static func read(name: String, from database: borrowing SQLiteDatabase) throws(SQLiteError) -> StreamState? {
    let select = try database.prepare(
      """
      SELECT id, epoch, applied, duplicates, dead, redelivered, vanished, rollbacks, handled, added_before,
        backup_floor, accounted_to, accounted_handled, restored_through, newest_announce, returns_through,
        upgraded_epoch, upgraded_through
      FROM streams WHERE name = ?1
      """)
    try select.bind(name, at: 1)
    guard try select.step() else { return nil }
    var state = StreamState(id: select.integer(0), name: name, epoch: select.integer(1))
    state.counters = StreamCounters(
      applied: select.integer(2), duplicates: select.integer(3), dead: select.integer(4),
      redelivered: select.integer(5), vanished: select.integer(6), rollbacks: select.integer(7),
      handled: select.integer(8), addedBefore: select.isNull(9) ? nil : select.integer(9))
    state.backupFloor = EntryID(stored: select.bytes(10))
    state.accountedTo = EntryID(stored: select.bytes(11)) ?? .zero
    state.accountedHandled = select.integer(12)
    state.restoredThrough = EntryID(stored: select.bytes(13)) ?? .zero
    (state.newestAnnounce, state.returnsThrough) = (select.integer(14), select.integer(15))
    if let through = EntryID(stored: select.bytes(17)) {
      state.upgraded = StreamState.Upgrade(epoch: select.integer(16), through: through)
    }
    state.lost = try LostRangeTable.load(stream: state.id, epoch: state.epoch, from: database)
    state.applied = try ranges(of: state.id, epoch: state.epoch, from: database)
    state.former = try ranges(of: state.id, epoch: formerEpoch, from: database)
    let anchors = try database.prepare(
      "SELECT entry_id, hash, handled FROM anchors WHERE stream_id = ?1 ORDER BY entry_id")
    try anchors.bind(state.id, at: 1)
    while try anchors.step() {
      guard let id = EntryID(stored: anchors.bytes(0)) else { continue }
      state.anchors.append(
        StreamState.Anchor(
          id: id, hash: UInt64(bitPattern: anchors.integer(1)), stored: anchors.isNull(2) ? nil : anchors.integer(2)))
    }
    return state
  }

  private static func ranges(of stream: Int64, epoch: Int64, from database: borrowing SQLiteDatabase)
    throws(SQLiteError) -> AppliedRanges
  {
    let ranges = try database.prepare("SELECT first, last FROM applied_ranges WHERE stream_id = ?1 AND epoch = ?2")
    try ranges.bind(stream, at: 1)
    try ranges.bind(epoch, at: 2)
    var stored: [AppliedRanges.Range] = []
    while try ranges.step() {
      guard let first = EntryID(stored: ranges.bytes(0)), let last = EntryID(stored: ranges.bytes(1)) else { continue }
      stored.append(AppliedRanges.Range(first: first, last: last))
    }
    return AppliedRanges(stored: stored)
  }

  /// The names of all streams that were ever read.
  static func names(in database: borrowing SQLiteDatabase) throws(SQLiteError) -> [String] {
    let select = try database.prepare("SELECT name FROM streams ORDER BY id")
    var names: [String] = []
    while try select.step() { names.append(select.text(0)) }
    return names
  }

  /// Writes what changed in a state; call it once per transaction, at its end.
  func write(_ state: inout StreamState, before: StreamState, in database: borrowing SQLiteDatabase) throws(SQLiteError)
  {
    if state.epoch != before.epoch {
      try deleteRanges.bind(state.id, at: 1)
      try deleteRanges.run()
    }
    try write(state.applied.takeChanges(), of: state.id, epoch: state.epoch)
    if state.epoch != before.epoch { try write(state.former.takeChanges(), of: state.id, epoch: Self.formerEpoch) }
    if state.anchors != before.anchors { try writeAnchors(state, before) }
    if state.lost != before.lost { try LostRangeTable.write(state, in: database) }
    try writeRow(state)
  }

  private func write(_ changes: (removed: [EntryID], written: [AppliedRanges.Range]), of stream: Int64, epoch: Int64)
    throws(SQLiteError)
  {
    for first in changes.removed {
      try deleteRange.bind(stream, at: 1)
      try deleteRange.bind(epoch, at: 2)
      try deleteRange.bind(first.bytes, at: 3)
      try deleteRange.run()
    }
    for range in changes.written {
      try writeRange.bind(stream, at: 1)
      try writeRange.bind(epoch, at: 2)
      try writeRange.bind(range.first.bytes, at: 3)
      try writeRange.bind(range.last.bytes, at: 4)
      try writeRange.run()
    }
  }

  private func writeAnchors(_ state: StreamState, _ before: StreamState) throws(SQLiteError) {
    for anchor in before.anchors where !state.anchors.contains(anchor) {
      try deleteAnchor.bind(state.id, at: 1)
      try deleteAnchor.bind(anchor.id.bytes, at: 2)
      try deleteAnchor.run()
    }
    for anchor in state.anchors where !before.anchors.contains(anchor) {
      try writeAnchor.bind(state.id, at: 1)
      try writeAnchor.bind(anchor.id.bytes, at: 2)
      try writeAnchor.bind(Int64(bitPattern: anchor.hash), at: 3)
      if let handled = anchor.storedHandled {
        try writeAnchor.bind(handled, at: 4)
      } else {
        try writeAnchor.bindNull(at: 4)
      }
      try writeAnchor.run()
    }
  }

  private func writeRow(_ state: StreamState) throws(SQLiteError) {
    let counters = state.counters
    let numbers = [
      state.id, state.epoch, counters.applied, counters.duplicates, counters.dead, counters.redelivered,
      counters.vanished, counters.rollbacks, counters.handled,
    ]
    for (index, number) in numbers.enumerated() { try updateStream.bind(number, at: Int32(index + 1)) }
    if let before = counters.addedBefore {
      try updateStream.bind(before, at: 10)
    } else {
      try updateStream.bindNull(at: 10)
    }
    if let floor = state.backupFloor {
      try updateStream.bind(floor.bytes, at: 11)
    } else {
      try updateStream.bindNull(at: 11)
    }
    try updateStream.bind(state.accountedTo.bytes, at: 12)
    try updateStream.bind(state.accountedHandled, at: 13)
    try updateStream.bind(state.restoredThrough.bytes, at: 14)
    try updateStream.bind(state.newestAnnounce, at: 15)
    try updateStream.bind(state.returnsThrough, at: 16)
    try updateStream.run()
  }
}

extension StreamState.Anchor {
  /// `handled`, or below zero where it is the least: -1 is 0 or more.
  fileprivate var storedHandled: Int64? { handled.map { isLeast ? -1 - $0 : $0 } }

  fileprivate init(id: EntryID, hash: UInt64, stored: Int64?) {
    let isLeast = stored.map { $0 < 0 } ?? false
    self.init(id: id, hash: hash, handled: stored.map { isLeast ? -1 - $0 : $0 }, isLeast: isLeast)
  }
}
