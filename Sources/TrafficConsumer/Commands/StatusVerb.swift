// StatusVerb: `status`: what the daemon says, or without one what the database and Redis say.

import Redis
import Settings

enum StatusVerb {
  /// Nagios: beyond this an undelivered entry's age is a warning, and beyond that critical. Users look at their ratio
  /// within the hour.
  private static let warningLagSeconds = 60.0
  private static let criticalLagSeconds = 900.0

  static let verb = Verb(
    words: ["status"], arguments: "", summary: "whether it runs, and how far behind it is",
    details: """
      ready: the daemon writes and every stream is read. lag: entries not delivered yet, and the age of the oldest.
      --check prints one line for Nagios and ends with 0 (ok), 1 (warning), 2 (critical) or 3 (unknown).
      """,
    examples: [
      ("traffic-consumer status -o json", "for a script"),
      ("traffic-consumer status --check", "for Nagios and its relatives"),
    ],
    options: Verb.reading + [CommandLineOption("check", help: "one line and the exit codes of Nagios")],
    run: { input throws(VerbError) in
      if input.arguments.has("check") { return check(input) }
      try input.noArguments()
      let (report, redis) = try collect(input)
      try input.write(table(report), isObject: true)
      guard let redis else { return .ok }
      throw VerbError(.unavailable, "Redis: \(redis)")
    })

  /// The report, and why Redis could not be asked if it could not.
  private static func collect(_ input: VerbInput) throws(VerbError) -> (StatusReport, String?) {
    var report = StatusReport()
    var trouble: String?
    let streams = try input.streamSettings()
    let answer = try StoreAccess.ask(["status"], input)
    if let answer {
      report.read(answer)
    } else {
      trouble = askRedis(streams, &report)
    }
    for path in input.databases {
      do throws(StoreError) {
        let database = try StoreConnection.openForReading(path: path)
        try report.add(database)
        // The daemon has said it. The other databases' streams are another configuration's.
        guard answer == nil, trouble == nil, path == input.config.databasePath else { continue }
        let abandoned = AbandonedStreams(streams, try AbandonedStreams.stored(in: database))
        do throws(RedisError) {
          report.leftBehind = try abandoned.unread().reduce(0) { $0 + $1.entries }
        } catch {
          trouble = error.description
        }
      } catch {
        throw VerbError(error, path: path)
      }
    }
    return (report, trouble)
  }

  private static func askRedis(_ settings: StreamSettings, _ report: inout StatusReport) -> String? {
    do throws(RedisError) {
      var sums: (lag: Int64, pending: Int64) = (0, 0)
      for index in settings.streams.indices {
        var commands = try StreamCommands(settings, stream: index)
        // No stream or no group yet: nothing waits that we know of.
        guard try commands.censusIfAny() != nil else { continue }
        let survey = try commands.survey(beyond: .zero)
        sums.lag += survey.shownUnread
        sums.pending += survey.census.pending
      }
      (report.lagEntries, report.pendingEntries) = sums
      return nil
    } catch {
      return "\(error)"
    }
  }

  private static func table(_ report: StatusReport) -> OutputTable {
    OutputTable(
      [
        "ready", "lag_entries", "lag_seconds", "pending_entries", "applied", "duplicates", "dead_letters", "lost",
        "redelivered", "epoch", "rollbacks", "left_behind", "withheld", "withheld_uploaded", "withheld_downloaded",
      ],
      rows: [
        [
          .flag(report.isReady), report.lagEntries.map { .integer($0) } ?? .null,
          report.lagSeconds.map { .real($0) } ?? .null, report.pendingEntries.map { .integer($0) } ?? .null,
          .integer(report.applied), .integer(report.duplicates), .integer(report.deadLetters), .integer(report.lost),
          .integer(report.redelivered), .integer(report.epoch), .integer(report.rollbacks),
          report.leftBehind.map { .integer($0) } ?? .null, .integer(report.withheld.entries),
          .integer(report.withheld.uploaded), .integer(report.withheld.downloaded),
        ]
      ])
  }

  private static func check(_ input: VerbInput) -> VerbExit {
    let report: StatusReport
    do throws(VerbError) {
      report = try collect(input).0
    } catch {
      Standard.output("UNKNOWN - \(error.message)\n")
      return VerbExit(code: 3)
    }
    let lag = report.lagSeconds ?? 0
    let numbers =
      "lag \(report.lagEntries.map { String($0) } ?? "?") entries, \(report.deadLetters) dead letters, "
      + "\(report.lost) lost, \(report.leftBehind ?? 0) left behind | lag_seconds=\(OutputTable.number(lag, digits: 3)) dead=\(report.deadLetters) lost=\(report.lost)"
    if !report.isReady || lag > criticalLagSeconds {
      Standard.output("CRITICAL - \(report.isReady ? "far behind" : "not ready"); \(numbers)\n")
      return VerbExit(code: 2)
    }
    if lag > warningLagSeconds || report.deadLetters > 0 || report.lost > 0 || report.leftBehind ?? 0 > 0 {
      Standard.output("WARNING - \(numbers)\n")
      return VerbExit(code: 1)
    }
    Standard.output("OK - \(numbers)\n")
    return VerbExit(code: 0)
  }
}
