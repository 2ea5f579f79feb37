// UpdateReportVerbs: `tasks list`.

import Settings

enum UpdateReportVerbs {
  static let all: [Verb] = [list]

  private static let list = Verb(
    words: ["tasks", "list"], arguments: "", summary: "what self-update runs reported",
    details: """
      The latest first. dist/self-update-runner.sh leaves a report of each run, the failed ones too; the daemon imports
      them from `task_reports` of the configuration.
      """,
    examples: [
      ("traffic-consumer tasks list", "the last runs"),
      ("traffic-consumer tasks list --limit 1 -o json", "the last one, with the end of its standard error"),
    ],
    options: Verb.reading + [CommandLineOption("limit", value: "N", help: "at most this many (50)")],
    run: { input throws(VerbError) in
      try input.noArguments()
      let limit = try input.count("limit", default: 50)
      let rows = try input.reading { database throws(StoreError) in
        try UpdateReportTable.list(limit: limit, in: database)
      }
      .flatMap { $0 }
      let isTable = try input.format() == .table
      var table = OutputTable(isTable ? Array(columns.prefix(shortColumns)) : columns)
      for row in rows { table.rows.append(isTable ? Array(cells(row).prefix(shortColumns)) : cells(row)) }
      try input.write(table)
      return .ok
    })

  private static let columns = [
    "id", "type", "dry_run", "status", "exit_code", "release_tag", "started_at", "finished_at", "runner_host",
    "runner_pid", "binary_path", "stderr_tail", "imported_at", "report",
  ]
  /// What fits a terminal.
  private static let shortColumns = 9

  private static func cells(_ row: UpdateReportTable.Row) -> [OutputCell] {
    let report = row.report
    return [
      .integer(row.id), .text(report.type), .flag(report.isDryRun), .text(report.status), .integer(report.exitCode),
      report.releaseTag.map { .text($0) } ?? .null, .time(report.startedAt), .time(report.finishedAt),
      .text(report.runnerHost), .integer(report.runnerPID), .text(report.binaryPath), .text(report.stderrTail),
      .time(row.importedAt), .text(row.file),
    ]
  }
}
