// Retention: windows that are old enough become days, days that are old enough are folded into `folded`, explanations
// go: sums stay as they are. Writer thread.

import SQLite

/// How long rows are kept, in seconds.
struct RetentionTimes: Equatable, Sendable {
  var windows: Int64
  var days: Int64
  var explanations: Int64
}

extension StoreWriter {
  /// Rows moved or deleted by one call: a fraction of a second, so that batches do not wait.
  static let retentionRows = 20_000

  /// The time retention counts from: the end of the newest window's day, or now if that is earlier; nil without any data. A site
  /// that stood still, or a test with old data, keeps its history; a client with a wrong clock cannot make others' go.
  func newestTime(now: Int64) throws(StoreError) -> Int64? {
    let newest = try store { () throws(SQLiteError) in
      try database.integer(
        "SELECT max(start) FROM (SELECT max(start) AS start FROM windows UNION ALL SELECT max(start) FROM days)")
    }
    return newest.map { min(now, WindowAggregator.dayStart(of: $0) + WindowAggregator.daySeconds) }
  }

  /// Deletes fingerprints of entries that cannot come back: older than the explained ones, than what the streams hold
  /// (`oldestMilliseconds` of their entries' ids), than what the last backup lacks and than a dead letter that waits, each
  /// with the hour that L3 reaches. A part of the sessions at each call, all of them in turn.
  func forgetFingerprints(now: Int64, _ times: RetentionTimes, oldestMilliseconds: UInt64) throws(StoreError) {
    let oldestLetter = try store { () throws(SQLiteError) in
      let select = try database.prepare("SELECT min(entry_id) FROM dead_letters WHERE state = 'dead'")
      return try select.step() ? EntryID(stored: select.bytes(0))?.milliseconds : nil
    }
    let floors = streams.compactMap { $0.backupFloor?.milliseconds } + [oldestMilliseconds, oldestLetter ?? .max]
    let explained = UInt64(max(0, now - times.explanations)) * 1000
    let reach = SessionLedger.fingerprintMilliseconds
    let horizon = floors.reduce(explained, min)
    let first = fingerprintCursor
    let isLast = try transaction { () throws(SQLiteError) in
      let delete = try database.prepare(
        "DELETE FROM fingerprints WHERE session_id >= ?1 AND session_id < ?2 AND newest < ?3")
      try delete.bind(first, at: 1)
      try delete.bind(first + Int64(Self.retentionRows), at: 2)
      try delete.bind(Int64(clamping: horizon - min(reach, horizon)), at: 3)
      try delete.run()
      return try database.integer("SELECT max(id) FROM sessions") ?? 0 < first + Int64(Self.retentionRows)
    }
    fingerprintCursor = isLast ? 0 : first + Int64(Self.retentionRows)
  }

  /// Takes one step. Returns whether there is more to do.
  @discardableResult
  func maintainRetention(now: Int64, _ times: RetentionTimes) throws(StoreError) -> Bool {
    guard let newest = try newestTime(now: now) else { return false }
    let windowFloor = try raise(MetaTable.windowsFloor, to: aggregator.windowStart(of: max(0, newest - times.windows)))
    let dayFloor = try raise(MetaTable.daysFloor, to: WindowAggregator.dayStart(of: max(0, newest - times.days)))
    let windows = try transaction { () throws(SQLiteError) in
      try move(
        from: "windows", before: windowFloor, to: "days", keys: "start, session_id",
        values: "start / \(WindowAggregator.daySeconds) * \(WindowAggregator.daySeconds) AS day, session_id",
        groups: "day, session_id")
    }
    let days = try transaction { () throws(SQLiteError) in
      try move(
        from: "days", before: dayFloor, to: "folded", keys: "session_id", values: "session_id", groups: "session_id")
    }
    let explanations = try transaction { () throws(SQLiteError) in
      try explanationTable.delete(before: newest - times.explanations, limit: Self.retentionRows)
    }
    return [windows, days, explanations].contains(Self.retentionRows)
  }

  /// Floors only rise: what is below one is gone for good.
  private func raise(_ name: String, to value: Int64) throws(StoreError) -> Int64 {
    let before = try MetaTable.integer(name, in: database) ?? 0
    if value > before {
      try transaction { () throws(SQLiteError) in try MetaTable.set(name, value, in: database) }
    }
    return max(value, before)
  }

  /// Adds the oldest rows of one table to another and deletes them; returns how many.
  private func move(
    from source: String, before floor: Int64, to target: String, keys: String, values: String, groups: String
  ) throws(SQLiteError) -> Int {
    let oldest = "SELECT start, session_id FROM \(source) WHERE start < ?1 ORDER BY start, session_id LIMIT ?2"
    let add = try database.prepare(
      """
      INSERT INTO \(target)(\(keys), \(StoreSchema.sumColumns))
      SELECT \(values), sum(uploaded), sum(downloaded), sum(seed_seconds), sum(leech_seconds), sum(elapsed_seconds),
        sum(events), sum(completed), min(first_seen), max(last_seen)
      FROM \(source) WHERE (start, session_id) IN (\(oldest)) GROUP BY \(groups)
      ON CONFLICT DO UPDATE SET \(WindowTable.sumUpdates)
      """)
    try add.bind(floor, at: 1)
    try add.bind(Self.retentionRows, at: 2)
    try add.run()
    let delete = try database.prepare("DELETE FROM \(source) WHERE (start, session_id) IN (\(oldest))")
    try delete.bind(floor, at: 1)
    try delete.bind(Self.retentionRows, at: 2)
    try delete.run()
    return database.changes
  }
}
