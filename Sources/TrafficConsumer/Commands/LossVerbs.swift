// LossVerbs: `lost list` and `lost acknowledge`: what is missing from the stream.

import SQLite
import Settings

enum LossVerbs {
  static let all: [Verb] = [list, acknowledge]

  private static let list = Verb(
    words: ["lost", "list"], arguments: "", summary: "entries that are missing from the stream",
    details: """
      So many entries (column entries) with ids between from and to were added to the stream and deleted or trimmed before
      they were read. Several rows may be of several moments. When the entries come back, because Redis' file was
      restored, they are credited and the row goes; `heal` reads again.
      """,
    examples: [
      ("traffic-consumer lost list", "what is missing"), ("traffic-consumer lost list -o json", "for a script"),
    ],
    options: Verb.reading,
    run: { input throws(VerbError) in
      try input.noArguments()
      let rows = try input.reading { database throws(StoreError) in
        try store { () throws(SQLiteError) in try LostRangeTable.list(in: database) }
      }.flatMap { $0 }
      var table = OutputTable(["stream", "from", "to", "entries", "found_at", "acknowledged"])
      for row in rows {
        table.rows.append([
          .text(row.stream), .text(row.range.first.description), .text(row.range.last.description),
          .integer(row.range.entries), .time(row.range.foundAt), .flag(row.range.isAcknowledged),
        ])
      }
      try input.write(table)
      return .ok
    })

  private static let acknowledge = Verb(
    words: ["lost", "acknowledge"], arguments: "(FROM... | --all)",
    summary: "says that a loss is known, so that it is reported no more",
    details: """
      FROM is the first id of a row of `lost list`. The rows stay, and are filled if the entries come back after all;
      status, check and the metric do not count them any more.
      """,
    examples: [
      ("traffic-consumer lost acknowledge --all", "after the cause was found"),
      ("traffic-consumer lost acknowledge 1700000000000-1", "one row"),
    ],
    options: [CommandLineOption("all", help: "every row")],
    request: StoreRequest(name: "acknowledge") { words, writer throws(StoreError) in
      let ids = words.first == "all" ? nil : words.dropFirst().compactMap { EntryID($0) }
      return .ok([String(try writer.acknowledgeLoss(beginningAt: ids))])
    },
    run: { input throws(VerbError) in
      let isAll = input.arguments.has("all")
      guard isAll != !input.positionals.isEmpty else {
        throw VerbError(.usage, "lost acknowledge needs either ids of `from`, or --all")
      }
      for text in input.positionals where EntryID(text) == nil {
        throw VerbError(.badData, "\(text): expected an id: 1700000000000-0")
      }
      let count = try StoreAccess.performInPortions([isAll ? "all" : "ids"], input.positionals, input)
      Standard.output("\(count) acknowledged\n")
      return count == 0 ? .nothingMatched : .ok
    })
}
