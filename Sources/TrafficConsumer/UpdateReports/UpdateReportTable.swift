// UpdateReportTable: the rows of imported task reports. Writer thread; `list` also for a reading verb.

import SQLite

enum UpdateReportTable {
  private static let columns = """
    id, report, type, dry_run, started_at, finished_at, status, exit_code, binary_path, release_tag, stderr_tail,
    runner_host, runner_pid, imported_at
    """

  /// A row: the report, and where it came from.
  struct Row: Equatable, Sendable {
    let id: Int64
    /// The name of the file it came in, which tells it from all others.
    let file: String
    let report: UpdateReport
    let importedAt: Int64
  }

  /// Adds a report unless a file of this name is there already. Returns whether it was added.
  static func insert(_ report: UpdateReport, file: String, now: Int64, in database: borrowing SQLiteDatabase)
    throws(SQLiteError) -> Bool
  {
    let insert = try database.prepare(
      """
      INSERT INTO tasks(report, type, dry_run, started_at, finished_at, status, exit_code, binary_path, release_tag,
        stderr_tail, runner_host, runner_pid, imported_at)
      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT(report) DO NOTHING
      """)
    try insert.bind(file, at: 1)
    try insert.bind(report.type, at: 2)
    try insert.bind(report.isDryRun ? 1 : 0, at: 3)
    try insert.bind(report.startedAt, at: 4)
    try insert.bind(report.finishedAt, at: 5)
    try insert.bind(report.status, at: 6)
    try insert.bind(report.exitCode, at: 7)
    try insert.bind(report.binaryPath, at: 8)
    if let tag = report.releaseTag { try insert.bind(tag, at: 9) }
    try insert.bind(report.stderrTail, at: 10)
    try insert.bind(report.runnerHost, at: 11)
    try insert.bind(report.runnerPID, at: 12)
    try insert.bind(now, at: 13)
    try insert.run()
    return database.changes == 1
  }

  /// The latest first.
  static func list(limit: Int64, in database: borrowing SQLiteDatabase) throws(StoreError) -> [Row] {
    try store { () throws(SQLiteError) in
      let select = try database.prepare(
        "SELECT \(columns) FROM tasks ORDER BY started_at DESC, id DESC LIMIT ?1")
      try select.bind(limit, at: 1)
      var rows: [Row] = []
      while try select.step() {
        let report = UpdateReport(
          type: select.text(2), isDryRun: select.integer(3) != 0, startedAt: select.integer(4),
          finishedAt: select.integer(5), status: select.text(6), exitCode: select.integer(7),
          binaryPath: select.text(8), releaseTag: select.isNull(9) ? nil : select.text(9), stderrTail: select.text(10),
          runnerHost: select.text(11), runnerPID: select.integer(12))
        rows.append(Row(id: select.integer(0), file: select.text(1), report: report, importedAt: select.integer(13)))
      }
      return rows
    }
  }
}
