// ExplanationTable: the rows of `explanations`: what a batch's entries were credited, one row a batch. Belongs to the writer
// thread.

import SQLite
import Wire

final class ExplanationTable {
  private var bytes: [UInt8] = []
  private var times: (first: Int64, last: Int64) = (.max, 0)
  private let insert: SQLiteStatement
  private let deleteOld: SQLiteStatement
  private let countChanges: SQLiteStatement

  init(_ database: borrowing SQLiteDatabase) throws(SQLiteError) {
    insert = try database.prepare("INSERT INTO explanations(first_ts, last_ts, entries) VALUES (?1, ?2, ?3)")
    deleteOld = try database.prepare(
      "DELETE FROM explanations WHERE id IN (SELECT id FROM explanations WHERE last_ts < ?1 LIMIT ?2)")
    countChanges = try database.prepare("SELECT changes()")
  }

  /// Gathers one entry of the open transaction.
  func add(_ credit: Credit, of event: TrafficEvent, id: EntryID, session: Int64) {
    times = (min(times.first, event.timestamp), max(times.last, event.timestamp))
    Explanation(
      session: session, entryID: id, timestamp: event.timestamp, rule: credit.rule,
      reportedUpload: event.uploadedDelta, reportedDownload: event.downloadedDelta,
      elapsedSeconds: Int64(event.elapsedSeconds), creditedUpload: credit.sums.uploaded,
      creditedDownload: credit.sums.downloaded, seedSeconds: credit.sums.seedSeconds,
      leechSeconds: credit.sums.leechSeconds
    ).append(to: &bytes)
  }

  func forget() {
    bytes.removeAll(keepingCapacity: true)
    times = (.max, 0)
  }

  /// Writes what was gathered.
  func flush() throws(SQLiteError) {
    guard !bytes.isEmpty else { return }
    try insert.bind(times.first, at: 1)
    try insert.bind(times.last, at: 2)
    try insert.bind(bytes, at: 3)
    try insert.run()
    forget()
  }

  /// Deletes batches whose entries are all older than a time; returns how many.
  func delete(before time: Int64, limit: Int) throws(SQLiteError) -> Int {
    try deleteOld.bind(time, at: 1)
    try deleteOld.bind(limit, at: 2)
    try deleteOld.run()
    defer { countChanges.reset() }
    return try countChanges.step() ? Int(countChanges.integer(0)) : 0
  }
}
