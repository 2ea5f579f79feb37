// DeadLetterVerbs: `dlq list|show|replay|discard|purge`.

import Glibc
import Linux
import Settings
import Wire

enum DeadLetterVerbs {
  static let all: [Verb] = [list, show, DeadLetterReplayVerb.verb, discard, purge]

  private static let reasons = """
    Reasons: odd_field_count, missing_field, duplicate_field, malformed_value, impossible_value, unsupported_version,
    total_overflow, repeatedly_fatal. Bytes of a field that are not text are shown as \\xNN, as is a backslash.
    """

  private static let list = Verb(
    words: ["dlq", "list"], arguments: "", summary: "the dead letters",
    details: "The oldest first; all states unless --state says which.\n\(reasons)",
    examples: [
      ("traffic-consumer dlq list --state dead", "what waits for a decision"),
      ("traffic-consumer dlq list --reason malformed_value --since yesterday -o jsonl", "for a script"),
    ],
    options: Verb.reading + [
      CommandLineOption("reason", value: "REASON", help: "only these"),
      CommandLineOption("since", value: "TIME", help: "failed at this time or later"),
      CommandLineOption("state", value: "STATE", help: "dead, replayed or discarded"),
      CommandLineOption("limit", value: "N", help: "at most this many (1000)"),
    ],
    run: { input throws(VerbError) in
      try input.noArguments()
      let filter = DeadLetterFilter(
        reason: input.arguments.value("reason"), since: try input.time("since"), state: try state(input),
        limit: try input.count("limit", default: 1000))
      let isTable = try input.format() == .table
      var output = try input.stream(isTable ? columns.dropLast() : columns)
      do throws(VerbError) {
        _ = try input.reading { database throws(StoreError) in
          try DeadLetterTable.each(filter, in: database) { letter in
            output.add(isTable ? cells(letter).dropLast() : cells(letter))
          }
        }
      } catch {
        if output.isBegun { output.finish() }
        throw error
      }
      output.finish()
      return .ok
    })

  private static let show = Verb(
    words: ["dlq", "show"], arguments: "ID", summary: "one dead letter, whole",
    details: "Its fields as received, and what was tried since.\n\(reasons)",
    examples: [("traffic-consumer dlq show 17", "everything about dead letter 17")],
    options: Verb.reading,
    run: { input throws(VerbError) in
      let id = try id(input.onlyArgument("an id"))
      let found = try input.reading { database throws(StoreError) in try DeadLetterTable.find(id, in: database) }
      guard let letter = found.compactMap({ $0 }).first else {
        throw VerbError(.nothingMatched, "no dead letter \(id)")
      }
      let history = letter.history.split(separator: "\n").joined(separator: ",")
      if try input.format() == .table {
        let redacts = isatty(STDOUT_FILENO) == 1 && !input.arguments.has("show-passkeys")
        var table = OutputTable(
          columns.dropLast() + letter.fields.shown.map { "  " + $0.name } + ["history"])
        let fields = letter.fields.shown.map { field -> OutputCell in
          guard let value = field.value else { return .null }
          return redacts && field.name == TrafficField.passkey.name ? .passkey(value) : .text(value)
        }
        table.rows = [cells(letter).dropLast() + fields + [.text(history.isEmpty ? "-" : history)]]
        try input.write(table, isObject: true)
      } else {
        let table = OutputTable(columns + ["history"], rows: [cells(letter) + [.json("[\(history)]")]])
        try input.write(table, isObject: true)
      }
      return .ok
    })

  private static let discard = Verb(
    words: ["dlq", "discard"], arguments: "ID... --note TEXT", summary: "marks dead letters as not to be replayed",
    details: "They stay until they are purged. The note is kept with them.",
    examples: [("traffic-consumer dlq discard 17 18 --note 'sent by the load test'", "two that are not wanted")],
    options: [CommandLineOption("note", value: "TEXT", help: "why")],
    request: StoreRequest(name: "discard") { words, writer throws(StoreError) in
      let ids = words.dropFirst().compactMap { Int64($0) }
      return .ok([String(try writer.discard(ids, note: words.first ?? ""))])
    },
    run: { input throws(VerbError) in
      guard !input.positionals.isEmpty else { throw VerbError(.usage, "dlq discard needs ids") }
      guard let note = input.arguments.value("note"), !note.isEmpty else {
        throw VerbError(.usage, "dlq discard needs --note TEXT: the reason, for later")
      }
      var ids: [Int64] = []
      for text in input.positionals { ids.append(try id(text)) }
      let count = try StoreAccess.performInPortions([note], ids.map { String($0) }, input)
      Standard.output("\(count) discarded\n")
      return count == ids.count ? .ok : count > 0 ? .partial : .nothingMatched
    })

  private static let purge = Verb(
    words: ["dlq", "purge"], arguments: "--older-than D --state replayed|discarded --yes",
    summary: "deletes dead letters that are done with",
    details: "Those that are dead are never deleted.",
    examples: [("traffic-consumer dlq purge --older-than 90d --state replayed --yes", "last quarter's")],
    options: [
      CommandLineOption("older-than", value: "DURATION", help: "resolved longer ago than this: 90d, 12h"),
      CommandLineOption("state", value: "STATE", help: "replayed or discarded"),
      CommandLineOption("yes", help: "yes, delete them"),
    ],
    request: StoreRequest(name: "purge") { words, writer throws(StoreError) in
      guard words.count == 2, let before = Int64(words[0]), let state = DeadLetterState(rawValue: words[1]),
        state != .dead
      else { return .error(.usage, "purge needs a time and a state") }
      return .ok([String(try writer.purge(state, before: before))])
    },
    run: { input throws(VerbError) in
      try input.noArguments()
      guard let text = input.arguments.value("older-than"), let age = DurationText.parse(text) else {
        throw VerbError(.usage, "dlq purge needs --older-than, a duration: 90d, 12h")
      }
      guard let state = try state(input), state != .dead else {
        throw VerbError(.usage, "dlq purge needs --state replayed or --state discarded")
      }
      guard input.arguments.has("yes") else { throw VerbError(.usage, "dlq purge deletes for good; say --yes") }
      let before = Clock.unixSeconds() - age.components.seconds
      let count = try StoreAccess.perform([String(before), state.rawValue], input).first ?? "0"
      Standard.output("\(count) purged\n")
      return count == "0" ? .nothingMatched : .ok
    })

  private static let columns = [
    "id", "entry_id", "reason", "detail", "state", "deliveries", "failed_at", "fields",
  ]

  private static func cells(_ letter: DeadLetter) -> [OutputCell] {
    let fields = letter.fields.shown.map { field in
      "\(JSONText.quoted(field.name)):\(field.value.map { JSONText.quoted($0) } ?? "null")"
    }
    return [
      .integer(letter.id), .text(letter.entryID.description), .text(letter.reason), .text(letter.detail),
      .text(letter.state.rawValue), .integer(letter.deliveries), .time(letter.failedAt),
      .json("{\(fields.joined(separator: ","))}"),
    ]
  }

  static func id(_ text: String) throws(VerbError) -> Int64 {
    if let id = Int64(text), id > 0 { return id }
    throw VerbError(.badData, "\(text): expected the id of a dead letter, a number (`dlq list` shows them)")
  }

  private static func state(_ input: VerbInput) throws(VerbError) -> DeadLetterState? {
    input.arguments.value("state") == nil ? nil : try input.choice("state", default: DeadLetterState.dead)
  }
}
