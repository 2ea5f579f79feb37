// WindowTable: the rows of `windows`: what a batch adds to windows, gathered in memory and written in key order at its end. Belongs to
// the writer thread.

import SQLite

final class WindowTable {
  private struct Row {
    var start: Int64
    var session: Int
    var sums: TrafficSums
  }
  private struct Key: Hashable {
    var start: Int64
    var session: Int
  }

  private var rows: [Row] = []
  private var index: [Key: Int] = [:]
  private let addWindow: SQLiteStatement

  init(_ database: borrowing SQLiteDatabase) throws(SQLiteError) {
    addWindow = try database.prepare(
      """
      INSERT INTO windows(start, session_id, \(StoreSchema.sumColumns))
      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
      ON CONFLICT DO UPDATE SET \(Self.sumUpdates)
      """)
  }

  /// How a row of sums takes in another, inside an upsert.
  static let sumUpdates = """
    uploaded = uploaded + excluded.uploaded, downloaded = downloaded + excluded.downloaded,
    seed_seconds = seed_seconds + excluded.seed_seconds, leech_seconds = leech_seconds + excluded.leech_seconds,
    elapsed_seconds = elapsed_seconds + excluded.elapsed_seconds, events = events + excluded.events,
    completed = completed + excluded.completed, first_seen = min(first_seen, excluded.first_seen),
    last_seen = max(last_seen, excluded.last_seen)
    """

  /// Adds to a window; `session` is a place in the SessionTable.
  func add(_ sums: TrafficSums, start: Int64, session: Int) {
    let key = Key(start: start, session: session)
    if let found = index[key] {
      rows[found].sums.add(sums)
    } else {
      index[key] = rows.count
      rows.append(Row(start: start, session: session, sums: sums))
    }
  }

  /// Drops what was gathered: after a rollback.
  func forget() {
    rows.removeAll(keepingCapacity: true)
    index.removeAll(keepingCapacity: true)
  }

  /// Writes what was gathered.
  func flush(sessions table: SessionTable) throws(SQLiteError) {
    guard !rows.isEmpty else { return }
    var resolved = rows.map { (start: $0.start, session: table.sessions[$0.session].id, sums: $0.sums) }
    resolved.sort { ($0.start, $0.session) < ($1.start, $1.session) }
    for row in resolved {
      try addWindow.bind(row.start, at: 1)
      try addWindow.bind(row.session, at: 2)
      try addWindow.bind(row.sums, from: 3)
      try addWindow.run()
    }
    forget()
  }
}
