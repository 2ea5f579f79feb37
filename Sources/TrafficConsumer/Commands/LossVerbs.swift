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
      var table = OutputTable(["stream", "epoch", "from", "to", "entries", "found_at", "acknowledged"])
      for row in rows {
        table.rows.append([
          .text(row.stream), .integer(row.range.epoch), .text(row.range.first.description),
          .text(row.range.last.description),
          .integer(row.range.entries), .time(row.range.foundAt), .flag(row.range.isAcknowledged),
        ])
      }
      try input.write(table)
      return .ok
    })

  private static let acknowledge = Verb(
    words: ["lost", "acknowledge"], arguments: "(FROM... [--stream S] [--epoch N] | --all)",
    summary: "says that a loss is known, so that it is reported no more",
    details: """
      FROM is the first id of a row of `lost list`. When rows of several streams or epochs begin with it nothing is done,
      and --stream and --epoch say which is meant. The rows stay, and are filled if the entries come back after all;
      status, check and the metric do not count them any more.
      """,
    examples: [
      ("traffic-consumer lost acknowledge --all", "after the cause was found"),
      ("traffic-consumer lost acknowledge 1700000000000-1", "one row"),
      ("traffic-consumer lost acknowledge 0-1 --stream tracker:traffic:1", "of several that begin so"),
    ],
    options: [
      CommandLineOption("all", help: "every row"),
      CommandLineOption("stream", value: "S", help: "rows of this stream"),
      CommandLineOption("epoch", value: "N", help: "rows of this epoch"),
    ],
    request: StoreRequest(name: "acknowledge") { words, writer throws(StoreError) in
      let rows = words.first == "all" ? nil : words.dropFirst().compactMap { LostRangeTable.Beginning($0) }
      return .ok([String(try writer.acknowledgeLoss(rows))])
    },
    run: { input throws(VerbError) in
      let isAll = input.arguments.has("all")
      guard isAll != !input.positionals.isEmpty else {
        throw VerbError(.usage, "lost acknowledge needs either ids of `from`, or --all")
      }
      let rows = isAll ? [] : try beginnings(input)
      if !isAll, rows.isEmpty { return .nothingMatched }
      let count = try StoreAccess.performInPortions([isAll ? "all" : "rows"], rows.map(\.word), input)
      Standard.output("\(count) acknowledged\n")
      return count == 0 ? .nothingMatched : .ok
    })

  /// Which rows are meant, when that is certain.
  private static func beginnings(_ input: VerbInput) throws(VerbError) -> [LostRangeTable.Beginning] {
    try input.oneDatabase()
    let (stream, epoch) = (input.arguments.value("stream"), try input.arguments.value("epoch").map(number))
    let rows = try input.reading { database throws(StoreError) in
      try store { () throws(SQLiteError) in try LostRangeTable.list(in: database) }
    }.flatMap { $0 }.filter { (stream ?? $0.stream) == $0.stream && (epoch ?? $0.range.epoch) == $0.range.epoch }
    var chosen: [LostRangeTable.Beginning] = []
    for text in input.positionals {
      guard let first = EntryID(text) else { throw VerbError(.badData, "\(text): expected an id: 1700000000000-0") }
      let found = Set(
        rows.lazy.filter { $0.range.first == first && !$0.range.isAcknowledged }
          .map { LostRangeTable.Beginning(stream: $0.stream, epoch: $0.range.epoch, first: first) })
      if found.count > 1 {
        let list = found.map { "\($0.stream) epoch \($0.epoch)" }.sorted().joined(separator: ", ")
        throw VerbError(.badData, "\(text): rows of \(list) begin with it; say which with --stream and --epoch")
      }
      chosen += found
    }
    return chosen
  }

  private static func number(_ text: String) throws(VerbError) -> Int64 {
    if let number = Int64(text), number >= 0 { return number }
    throw VerbError(.badData, "--epoch \(text): expected a number")
  }
}

extension LostRangeTable.Beginning {
  /// One word of a request.
  fileprivate var word: String { "\(first) \(epoch) \(stream)" }

  fileprivate init?(_ word: String) {
    let parts = word.split(separator: " ", maxSplits: 2)
    guard parts.count == 3, let first = EntryID(String(parts[0])), let epoch = Int64(parts[1]) else { return nil }
    self.init(stream: String(parts[2]), epoch: epoch, first: first)
  }
}
