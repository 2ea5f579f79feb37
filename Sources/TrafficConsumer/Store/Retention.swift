// Retention: windows that are old enough go, days that are old enough are folded into `folded`, explanations go: sums stay
// as they are. Writer thread.

import Shared

/// How long rows are kept, in seconds.
struct RetentionTimes: Equatable, Sendable {
  var windows: Int64
  var days: Int64
  var explanations: Int64
}

extension StoreWriter {
  /// Rows moved or deleted by one call: a fraction of a second, so that batches do not wait.
  static let retentionRows = 20_000

  /// The time retention counts from: the end of the newest day, or now if that is earlier; nil without any data. A site
  /// that stood still, or a test with old data, keeps its history; a client with a wrong clock cannot make others' go.
  func newestTime(now: Int64) throws(StoreError) -> Int64? {
    let newest = try store { () throws(SQLiteError) in try database.integer("SELECT max(start) FROM days") }
    return newest.map { min(now, $0 + WindowAggregator.daySeconds) }
  }

  /// Takes one step. Returns whether there is more to do.
  @discardableResult
  func maintainRetention(now: Int64, _ times: RetentionTimes) throws(StoreError) -> Bool {
    guard let newest = try newestTime(now: now) else { return false }
    let windowFloor = try raise("windows_floor", to: aggregator.windowStart(of: max(0, newest - times.windows)))
    let dayFloor = try raise("days_floor", to: WindowAggregator.dayStart(of: max(0, newest - times.days)))
    let windows = try transaction { () throws(SQLiteError) in
      let delete = try database.prepare(
        """
        DELETE FROM windows WHERE (start, session_id) IN
          (SELECT start, session_id FROM windows WHERE start < ?1 ORDER BY start, session_id LIMIT ?2)
        """)
      try delete.bind(windowFloor, at: 1)
      try delete.bind(Self.retentionRows, at: 2)
      try delete.run()
      return database.changes
    }
    let days = try transaction { () throws(SQLiteError) in try foldDays(before: dayFloor) }
    let explanations = try transaction { () throws(SQLiteError) in
      try explanationTable.delete(before: newest - times.explanations, limit: Self.retentionRows)
    }
    return [windows, days, explanations].contains(Self.retentionRows)
  }

  /// Floors only rise: what is below one is gone for good.
  private func raise(_ name: String, to value: Int64) throws(StoreError) -> Int64 {
    let before = try Meta.integer(name, in: database) ?? 0
    if value > before {
      try transaction { () throws(SQLiteError) in
        let write = try database.prepare("INSERT OR REPLACE INTO meta(name, value) VALUES (?1, ?2)")
        try write.bind(name, at: 1)
        try write.bind(value, at: 2)
        try write.run()
      }
    }
    return max(value, before)
  }

  private func foldDays(before floor: Int64) throws(SQLiteError) -> Int {
    let oldest = """
      SELECT start, session_id FROM days WHERE start < ?1 ORDER BY start, session_id LIMIT ?2
      """
    let fold = try database.prepare(
      """
      INSERT INTO folded(session_id, \(StoreSchema.sumColumns))
      SELECT session_id, sum(uploaded), sum(downloaded), sum(seed_seconds), sum(leech_seconds), sum(elapsed_seconds),
        sum(events), sum(completed), min(first_seen), max(last_seen)
      FROM days WHERE (start, session_id) IN (\(oldest)) GROUP BY session_id
      ON CONFLICT(session_id) DO UPDATE SET \(WindowRows.sumUpdates)
      """)
    try fold.bind(floor, at: 1)
    try fold.bind(Self.retentionRows, at: 2)
    try fold.run()
    let delete = try database.prepare("DELETE FROM days WHERE (start, session_id) IN (\(oldest))")
    try delete.bind(floor, at: 1)
    try delete.bind(Self.retentionRows, at: 2)
    try delete.run()
    return database.changes
  }
}
