// StoreCheck: whether a database is whole and its sums add up. Read-only; main thread of `check`.

import SQLite

enum StoreCheck {
  struct Result: Equatable, Sendable {
    var name: String
    var isOK: Bool
    var detail: String
  }

  private static let summed = [
    "uploaded", "downloaded", "seed_seconds", "leech_seconds", "elapsed_seconds", "events", "completed",
  ]

  /// All checks, on one state of the database.
  static func run(_ database: borrowing SQLiteDatabase) throws(StoreError) -> [Result] {
    try store { () throws(SQLiteError) in
      try database.transaction(.deferred) { () throws(SQLiteError) in
        var results = [try integrity(database), try foreignKeys(database)]
        results.append(try compare("windows and days = sessions", "sessions", rowsBySession, database))
        results.append(try compare("sessions = users", "users", by("user_id"), database))
        results.append(try compare("sessions = torrents", "torrents", by("torrent_id"), database))
        results.append(try snatches(database))
        results.append(try entries(database))
        return results
      }
    }
  }

  /// SQLite's own check alone, of a file of whatever schema; nil: nothing is wrong.
  static func integrity(path: String) throws(StoreError) -> Result? {
    try store { () throws(SQLiteError) in
      let result = try integrity(SQLiteDatabase(path: path, access: .readOnly))
      return result.isOK ? nil : result
    }
  }

  private static func integrity(_ database: borrowing SQLiteDatabase) throws(SQLiteError) -> Result {
    let verdict = try database.text("PRAGMA integrity_check(1)") ?? "no answer"
    return Result(name: "integrity", isOK: verdict == "ok", detail: verdict)
  }

  private static func foreignKeys(_ database: borrowing SQLiteDatabase) throws(SQLiteError) -> Result {
    let check = try database.prepare("PRAGMA foreign_key_check")
    guard try check.step() else { return Result(name: "references", isOK: true, detail: "ok") }
    return Result(name: "references", isOK: false, detail: "a row of \(check.text(0)) refers to nothing")
  }

  private static var sums: String { summed.map { "sum(\($0)) AS \($0)" }.joined(separator: ", ") }

  /// Every entry is in one of these, wherever retention has brought it.
  private static var rowsBySession: String {
    let tables = ["windows", "days", "folded"].map { "SELECT session_id, \(summed.joined(separator: ", ")) FROM \($0)" }
    return "SELECT session_id AS id, \(sums) FROM (\(tables.joined(separator: " UNION ALL "))) GROUP BY session_id"
  }

  private static func by(_ column: String) -> String {
    "SELECT \(column) AS id, \(sums) FROM sessions GROUP BY \(column)"
  }

  /// Compares rows added up from below with the rows above, in both directions.
  private static func compare(
    _ name: String, _ table: String, _ parts: String, _ database: borrowing SQLiteDatabase
  ) throws(SQLiteError) -> Result {
    let numbers = summed.joined(separator: ", ")
    let isNothing = summed.map { "\($0) = 0" }.joined(separator: " AND ")
    let whole = "SELECT id, \(numbers) FROM \(table)"
    let added = "SELECT id, \(numbers) FROM (\(parts))"
    let difference = try database.prepare(
      """
      WITH whole AS (\(whole)), added AS (\(added))
      SELECT count(*) FROM (SELECT * FROM (SELECT * FROM whole EXCEPT SELECT * FROM added) WHERE NOT (\(isNothing))
        UNION ALL SELECT * FROM (SELECT * FROM added EXCEPT SELECT * FROM whole) WHERE NOT (\(isNothing)))
      """)
    _ = try difference.step()
    let count = difference.integer(0)
    return Result(name: name, isOK: count == 0, detail: count == 0 ? "ok" : "\(count) rows differ")
  }

  private static func snatches(_ database: borrowing SQLiteDatabase) throws(SQLiteError) -> Result {
    let rows = try database.integer("SELECT count(*) FROM snatches") ?? 0
    let sum = try database.integer("SELECT coalesce(sum(completed), 0) FROM users") ?? 0
    return Result(name: "snatches", isOK: rows == sum, detail: rows == sum ? "ok" : "\(rows) rows, \(sum) counted")
  }

  private static func entries(_ database: borrowing SQLiteDatabase) throws(SQLiteError) -> Result {
    let dead = try database.integer("SELECT coalesce(sum(dead), 0) FROM streams") ?? 0
    let letters = try database.integer("SELECT count(*) FROM dead_letters WHERE state = 'dead'") ?? 0
    let lost = try LostRangeTable.entries(in: database)
    guard lost.open == 0 else {
      return Result(name: "entries", isOK: false, detail: "\(lost.open) entries are missing: lost list says where")
    }
    guard letters <= dead else {
      return Result(name: "entries", isOK: false, detail: "\(letters) dead letters, \(dead) counted")
    }
    let acknowledged = lost.acknowledged == 0 ? "ok" : "ok; \(lost.acknowledged) missing entries are acknowledged"
    return Result(name: "entries", isOK: true, detail: acknowledged)
  }
}
