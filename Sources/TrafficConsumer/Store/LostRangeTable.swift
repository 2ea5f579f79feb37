// LostRangeTable: the rows of `lost_ranges`: written with their stream by the writer thread, listed by `lost list`.

import SQLite

enum LostRangeTable {
  /// A row with the name of its stream.
  struct Row: Sendable {
    var stream: String
    var range: LostRange
  }

  static func load(stream: Int64, epoch: Int64, from database: borrowing SQLiteDatabase) throws(SQLiteError)
    -> LostRanges
  {
    let select = try database.prepare(
      """
      SELECT epoch, first, last, entries, total, found_at, acknowledged FROM lost_ranges WHERE stream_id = ?1
      ORDER BY first, id
      """)
    try select.bind(stream, at: 1)
    var rows: [LostRange] = []
    while try select.step() { rows.append(row(select, from: 0)) }
    return LostRanges(stored: rows, epoch: epoch)
  }

  /// Writes a stream's rows anew. Rare, and few.
  static func write(_ state: StreamState, in database: borrowing SQLiteDatabase) throws(SQLiteError) {
    let delete = try database.prepare("DELETE FROM lost_ranges WHERE stream_id = ?1")
    try delete.bind(state.id, at: 1)
    try delete.run()
    let insert = try database.prepare(
      """
      INSERT INTO lost_ranges(stream_id, epoch, first, last, entries, total, found_at, acknowledged)
      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
      """)
    for row in state.lost.all {
      try insert.bind(state.id, at: 1)
      try insert.bind(row.epoch, at: 2)
      try insert.bind(row.first.bytes, at: 3)
      try insert.bind(row.last.bytes, at: 4)
      try insert.bind(row.entries, at: 5)
      try insert.bind(row.total, at: 6)
      try insert.bind(row.foundAt, at: 7)
      try insert.bind(row.isAcknowledged ? 1 : 0, at: 8)
      try insert.run()
    }
  }

  /// Where rows begin: in different streams, and epochs of one, they may begin with the same id.
  struct Beginning: Hashable, Sendable {
    var stream: String
    var epoch: Int64
    var first: EntryID
  }

  /// Returns how many rows were not acknowledged before.
  static func acknowledge(_ rows: [Beginning]?, in database: borrowing SQLiteDatabase) throws(SQLiteError) -> Int {
    let all = "UPDATE lost_ranges SET acknowledged = 1 WHERE acknowledged = 0"
    guard let rows else {
      try database.execute(all)
      return database.changes
    }
    let update = try database.prepare(
      all + " AND first = ?1 AND epoch = ?2 AND stream_id = (SELECT id FROM streams WHERE name = ?3)")
    var count = 0
    for row in rows {
      try update.bind(row.first.bytes, at: 1)
      try update.bind(row.epoch, at: 2)
      try update.bind(row.stream, at: 3)
      try update.run()
      count += database.changes
    }
    return count
  }

  /// Every row of every epoch, the oldest finding first.
  static func list(in database: borrowing SQLiteDatabase) throws(SQLiteError) -> [Row] {
    let select = try database.prepare(
      """
      SELECT name, lost_ranges.epoch, first, last, entries, total, found_at, acknowledged FROM lost_ranges JOIN streams s ON s.id = stream_id
      ORDER BY found_at, lost_ranges.id
      """)
    var rows: [Row] = []
    while try select.step() { rows.append(Row(stream: select.text(0), range: row(select, from: 1))) }
    return rows
  }

  /// Entries missing: those no operator has acknowledged, and the others.
  static func entries(in database: borrowing SQLiteDatabase) throws(SQLiteError) -> (open: Int64, acknowledged: Int64) {
    let select = try database.prepare(
      """
      SELECT coalesce(sum(entries) FILTER (WHERE acknowledged = 0), 0),
        coalesce(sum(entries) FILTER (WHERE acknowledged = 1), 0) FROM lost_ranges
      """)
    _ = try select.step()
    return (select.integer(0), select.integer(1))
  }

  private static func row(_ select: borrowing SQLiteStatement, from column: Int32) -> LostRange {
    LostRange(
      epoch: select.integer(column), first: EntryID(stored: select.bytes(column + 1)) ?? .zero,
      last: EntryID(stored: select.bytes(column + 2)) ?? .zero, entries: select.integer(column + 3),
      total: select.integer(column + 4), foundAt: select.integer(column + 5),
      isAcknowledged: select.integer(column + 6) != 0)
  }
}
