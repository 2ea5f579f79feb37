// DatabaseVerbs: `heal`, `backup`, `check`: the verbs about the database as a whole.

import Glibc
import Settings

enum DatabaseVerbs {
  static let all: [Verb] = [heal, backup, RestoreVerb.verb, check]

  private static let heal = Verb(
    words: ["heal"], arguments: "", summary: "reads the stream again and applies what is missing",
    details: """
      Entries that were applied are recognised, however often it runs. Needed after an older backup was put in place
      (the daemon also does it by itself at its start) or after another program acknowledged entries.
      """,
    examples: [
      ("traffic-consumer heal", "the whole stream"), ("traffic-consumer heal --from-id 1700000000000-0", "a part"),
    ],
    options: Verb.reading + [CommandLineOption("from-id", value: "ID", help: "from this entry on")],
    run: { input throws(VerbError) in
      try input.noArguments()
      let text = input.arguments.value("from-id") ?? "0-0"
      guard EntryID(text) != nil else {
        throw VerbError(.badData, "--from-id \(text): expected an id: 1700000000000-0")
      }
      let words = try StoreAccess.heal(from: text, input)
      let numbers = words.map { OutputCell.integer(Int64($0) ?? 0) }
      guard numbers.count == 4 else { throw VerbError(.inputOutput, "the daemon's answer is none") }
      try input.write(
        OutputTable(["applied", "duplicates", "dead", "already_applied"], rows: [numbers]), isObject: true)
      return .ok
    })

  private static let backup = Verb(
    words: ["backup"], arguments: "--to FILE", summary: "copies the database while it is in use, and checks the copy",
    details: """
      From then on the stream is trimmed no further than the latest backup holds: putting it in place and starting
      the daemon brings back the exact totals. Take backups regularly, or the stream grows until it is full.
      """,
    examples: [("traffic-consumer backup --to /var/backups/traffic.db", "for a timer")],
    options: [CommandLineOption("to", value: "FILE", help: "the copy; replaced in one step when it is complete")],
    run: { input throws(VerbError) in
      try input.noArguments()
      guard let target = input.arguments.value("to") else { throw VerbError(.usage, "backup needs --to FILE") }
      let bytes = try StoreAccess.backup(to: absolute(target), input)
      Standard.output("\(bytes) bytes, verified: \(target)\n")
      return .ok
    })

  private static let check = Verb(
    words: ["check"], arguments: "", summary: "whether the database is whole and its sums add up",
    details: """
      SQLite's own integrity check; windows and days add up to sessions, sessions to users and torrents; every
      entry ever added to the stream, as Redis counts them, is dealt with, or waits there; none is missing that was not
      acknowledged; no stream that is not read any more has unread entries. One line per check; exit code 74 when one fails.
      """,
    examples: [("traffic-consumer check", "after a disk or power failure, and now and then")],
    options: Verb.reading,
    run: { input throws(VerbError) in
      try input.noArguments()
      let streams = try input.streamSettings()
      let results = try input.reading { database throws(StoreError) in
        try StoreCheck.run(database) + StreamCheck.run(streams, database)
      }.flatMap { $0 }
      var table = OutputTable(["check", "ok", "detail"])
      for result in results { table.rows.append([.text(result.name), .flag(result.isOK), .text(result.detail)]) }
      try input.write(table)
      guard let failed = results.first(where: { !$0.isOK }) else { return .ok }
      throw VerbError(.inputOutput, "\(failed.name): \(failed.detail)")
    })

  private static func absolute(_ path: String) -> String {
    guard !path.hasPrefix("/"), let here = getcwd(nil, 0) else { return path }
    defer { free(here) }
    return String(cString: here) + "/" + path
  }
}

extension VerbError {
  init(_ failure: StreamHealer.Failure, _ input: VerbInput) {
    switch failure {
    case .store(let error): self.init(error, path: input.config.databasePath)
    case .redis(let error): self.init(.unavailable, "Redis: \(error)")
    case .foreignGroup(let stream, let owner):
      self.init(.configuration, "the group of stream \(stream) belongs to another database (\(owner.prefix(8)))")
    }
  }
}

extension StoreAccess {
  /// By the daemon, beside its writer, or under the lock. Returns the bytes of the copy.
  static func backup(to path: String, _ input: VerbInput) throws(VerbError) -> String {
    if let answer = try asked(["backup", path], input) { return answer.first ?? "0" }
    return try withWriter(input) { writer throws(VerbError) in
      do throws(StoreError) {
        return String(try writer.backup(to: path))
      } catch {
        throw VerbError(error, path: input.config.databasePath)
      }
    }
  }

  /// Heals through the daemon, or without one with a reader and a writer of this process' own. Returns numbers: applied,
  /// duplicates, dead, recognised.
  static func heal(from id: String, _ input: VerbInput) throws(VerbError) -> [String] {
    if let answer = try asked(["heal", id], input) { return answer }
    let streams = try input.streamSettings()
    return try withWriter(input) { writer throws(VerbError) in
      do throws(StreamHealer.Failure) {
        return try StreamHealer.heal(from: EntryID(id) ?? .zero, writer, streams).healWords
      } catch {
        throw VerbError(error, input)
      }
    }
  }
}
