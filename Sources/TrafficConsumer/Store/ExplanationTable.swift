// ExplanationTable: the rows of `explanations`: what a batch's entries were credited, one row a batch. Entries whose time is
// ahead of the writer's clock have a row of their own: it goes when the batch's others go, not when their time has come.
// Belongs to the writer thread.

import SQLite
import Wire

final class ExplanationTable {
  /// Clocks of two machines that are as they should be differ by less.
  static let toleranceSeconds: Int64 = 60

  /// Entries of the open transaction, packed, and the time from the first to the last.
  private struct Row {
    var bytes: [UInt8] = []
    var times: (first: Int64, last: Int64) = (.max, 0)

    mutating func add(_ explanation: Explanation) {
      times = (min(times.first, explanation.timestamp), max(times.last, explanation.timestamp))
      explanation.append(to: &bytes)
    }

    mutating func forget() {
      bytes.removeAll(keepingCapacity: true)
      times = (.max, 0)
    }
  }

  private var row = Row()
  private var ahead = Row()
  /// The writer's time when the open transaction's first entry was gathered.
  private var clock: Int64?
  private let unixSeconds: @Sendable () -> Int64
  private let insert: SQLiteStatement
  private let deleteOld: SQLiteStatement
  private let countChanges: SQLiteStatement

  init(_ database: borrowing SQLiteDatabase, unixSeconds: @escaping @Sendable () -> Int64) throws(SQLiteError) {
    self.unixSeconds = unixSeconds
    insert = try database.prepare("INSERT INTO explanations(first_ts, last_ts, entries) VALUES (?1, ?2, ?3)")
    deleteOld = try database.prepare(
      "DELETE FROM explanations WHERE id IN (SELECT id FROM explanations WHERE last_ts < ?1 LIMIT ?2)")
    countChanges = try database.prepare("SELECT changes()")
  }

  private var now: Int64 {
    if let clock { return clock }
    let seconds = unixSeconds()
    clock = seconds
    return seconds
  }

  /// Gathers one entry of the open transaction.
  func add(_ credit: Credit, of event: TrafficEvent, id: EntryID, session: Int64) {
    let explanation = Explanation(
      session: session, entryID: id, timestamp: event.timestamp, rule: credit.rule,
      reportedUpload: event.uploadedDelta, reportedDownload: event.downloadedDelta,
      elapsedSeconds: Int64(event.elapsedSeconds), creditedUpload: credit.sums.uploaded,
      creditedDownload: credit.sums.downloaded, seedSeconds: credit.sums.seedSeconds,
      leechSeconds: credit.sums.leechSeconds)
    event.timestamp > now + Self.toleranceSeconds ? ahead.add(explanation) : row.add(explanation)
  }

  func forget() {
    row.forget()
    ahead.forget()
    clock = nil
  }

  /// Writes what was gathered. What is ahead has a last time below its first.
  func flush() throws(SQLiteError) {
    try write(row, last: row.times.last)
    try write(ahead, last: now)
    forget()
  }

  private func write(_ row: borrowing Row, last: Int64) throws(SQLiteError) {
    guard !row.bytes.isEmpty else { return }
    try insert.bind(row.times.first, at: 1)
    try insert.bind(last, at: 2)
    try insert.bind(row.bytes, at: 3)
    try insert.run()
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
