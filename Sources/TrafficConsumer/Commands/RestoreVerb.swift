// RestoreVerb: `restore`: stops the daemon, checks a copy, puts it in the database's place, and reads again what it lacks.

import Linux
import Redis
import Settings

enum RestoreVerb {
  static let verb = Verb(
    words: ["restore"], arguments: "FILE --yes",
    summary: "puts a backup in the database's place and reads what it lacks",
    details: """
      The copy is checked first, then the daemon is stopped; what was there is kept beside the database
      (traffic.db.before-restore-...). What the stream has and the copy lacks is applied, and what came of all this is
      said. The stream is kept from the last backup on: restoring that one brings back the exact totals.
      """,
    examples: [
      (
        "traffic-consumer restore /var/lib/pt-tracker/backups/traffic-20260131T060000Z.db --yes",
        "after a disk was lost"
      )
    ],
    options: Verb.reading + [CommandLineOption("yes", help: "yes, stop the daemon and replace the database")],
    run: { input throws(VerbError) in try run(input) })

  private static func run(_ input: VerbInput) throws(VerbError) -> VerbExit {
    try input.oneDatabase()
    let copy = try input.onlyArgument("a file")
    guard input.arguments.has("yes") else {
      throw VerbError(.usage, "restore stops the daemon and replaces the database; say --yes")
    }
    let path = input.config.databasePath
    let streams = try input.streamSettings()
    let objection: String?
    do throws(StoreError) { objection = try StoreRestore.objection(to: copy, for: path) } catch {
      guard case .database(let reason) = error, reason.code == 14 else { throw VerbError(error, path: copy) }
      throw VerbError(.inputOutput, "\(copy): no such file, or not readable")
    }
    if let objection { throw VerbError(.badData, "\(copy): \(objection)") }
    var hasStopped = false
    let lock = try StoreAccess.lockStoppingDaemon(input, hasStopped: &hasStopped)
    defer { withExtendedLifetime(lock) {} }
    let kept: String?
    do throws(SystemError) { kept = try StoreRestore.replace(path, with: copy) } catch {
      throw VerbError(.inputOutput, error.description)
    }
    let (healed, trouble) = try heal(streams, input)
    try show(kept: kept, hasStopped: hasStopped, healed, trouble, input)
    return trouble == nil ? .ok : .partial
  }

  /// What came of healing, or why Redis could not be read.
  private static func heal(_ streams: StreamSettings, _ input: VerbInput) throws(VerbError) -> (
    StreamCounters?, String?
  ) {
    let writer: StoreWriter
    do throws(StoreError) { writer = try StoreWriter(settings: input.config.storeSettings) } catch {
      throw VerbError(error, path: input.config.databasePath)
    }
    do throws(StreamHealer.Failure) {
      return (try StreamHealer.heal(from: .zero, writer, streams), nil)
    } catch {
      if case .redis(let error) = error {
        return (nil, "Redis: \(error); the daemon reads what is missing when it starts")
      }
      throw VerbError(error, input)
    }
  }

  private static func show(
    kept: String?, hasStopped: Bool, _ healed: StreamCounters?, _ trouble: String?, _ input: VerbInput
  ) throws(VerbError) {
    func number(_ value: Int64?) -> OutputCell { value.map { .integer($0) } ?? .null }
    let table = OutputTable(
      ["restored", "kept", "daemon_stopped", "applied", "duplicates", "dead", "already_applied"],
      rows: [
        [
          .text(input.config.databasePath), kept.map { .text($0) } ?? .null, .flag(hasStopped),
          number(healed?.applied), number(healed?.duplicates), number(healed?.dead), number(healed?.redelivered),
        ]
      ])
    try input.write(table, isObject: true)
    if let trouble { Standard.error(trouble) }
    if hasStopped { Standard.error("the daemon is stopped; start it: systemctl start traffic-consumer") }
  }
}
