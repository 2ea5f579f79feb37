// DeadLetterReplayVerb: `dlq replay`: picks the letters, hands them over in small portions, and says what came of each.

import Glibc
import Settings
import Wire

enum DeadLetterReplayVerb {
  static let verb = Verb(
    words: ["dlq", "replay"], arguments: "(ID... | --reason REASON | --all)", summary: "applies dead letters after all",
    details: """
      Each is applied once, under the id it had on the stream; --set repairs a field first. What fails again stays
      dead, with the new reason. --dry-run shows what would be credited and changes nothing. It may be interrupted
      at any time: a dead letter is replayed whole or not at all.
      """,
    examples: [
      ("traffic-consumer dlq replay 17 --set du=1048576", "one, with a repaired field"),
      ("traffic-consumer dlq replay --reason malformed_value --dry-run", "what would all of these bring"),
    ],
    options: Verb.reading + [
      CommandLineOption("reason", value: "REASON", help: "all dead ones of this reason"),
      CommandLineOption("all", help: "all dead ones"),
      CommandLineOption("set", value: "FIELD=VALUE", isRepeatable: true, help: "replace or add a field first"),
      CommandLineOption("dry-run", help: "show it, change nothing"),
      CommandLineOption("rate", value: "N", help: "at most this many a second"),
    ],
    request: StoreRequest(name: "replay") { words, writer throws(StoreError) in try answer(words, writer) },
    run: { input throws(VerbError) in try run(input) })

  /// Letters per request: a portion is done in well under a second, so that Ctrl-C answers at once.
  private static let portion = 50

  private static func run(_ input: VerbInput) throws(VerbError) -> VerbExit {
    let repairs = try repairs(input)
    let rate = try input.arguments.value("rate") == nil ? nil : input.count("rate", default: 1)
    let ids = try letters(input)
    guard !ids.isEmpty else { throw VerbError(.nothingMatched, "no dead letter to replay") }
    var output = try input.stream(["id", "result", "uploaded", "downloaded", "detail"])
    var counts: [ReplayResult.Outcome: Int] = [:]
    do throws(VerbError) {
      try replay(ids, repairs, rate: rate, input) { result, cells in
        output.add(cells)
        counts[result.outcome, default: 0] += 1
      }
    } catch {
      // What was done before is done.
      if output.isBegun { output.finish() }
      throw error
    }
    output.finish()
    return code(counts)
  }

  /// Portion by portion; `told` hears of each letter.
  private static func replay(
    _ ids: [Int64], _ repairs: [String], rate: Int64?, _ input: VerbInput,
    _ told: (ReplayResult, [OutputCell]) -> Void
  ) throws(VerbError) {
    let isDry = input.arguments.has("dry-run")
    let size = rate.map { Int(min($0, Int64(portion))) } ?? portion
    let isTerminal = isatty(STDERR_FILENO) == 1
    for start in stride(from: 0, to: ids.count, by: size) {
      let part = ids[start..<min(start + size, ids.count)]
      let words = [isDry ? "dry" : "wet", String(repairs.count)] + repairs + part.map { String($0) }
      let answer = try StoreAccess.perform(words, input)
      for at in stride(from: 0, to: answer.count, by: ReplayResult.wordCount) {
        let end = min(at + ReplayResult.wordCount, answer.count)
        guard let result = ReplayResult(words: answer[at..<end]) else { continue }
        told(result, cells(result, isDry: isDry))
      }
      if isTerminal && ids.count > size {
        Standard.write("\r\(start + part.count) of \(ids.count)", to: STDERR_FILENO)
      }
      if let rate, start + part.count < ids.count { usleep(UInt32(part.count) * 1_000_000 / UInt32(clamping: rate)) }
    }
    if isTerminal && ids.count > size { Standard.write("\n", to: STDERR_FILENO) }
  }

  /// `replay dry|wet <number of set> <field=value>... <id>...`; five words back for each letter.
  private static func answer(_ words: [String], _ writer: StoreWriter) throws(StoreError) -> ControlMessage {
    guard words.count >= 2, let settings = Int(words[1]), (0...(words.count - 2)).contains(settings) else {
      return .error(.usage, "a replay request that is none")
    }
    let repairs = words[2..<(2 + settings)].map { text in
      let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
    }
    var answer: [String] = []
    for id in words[(2 + settings)...].compactMap({ Int64($0) }) {
      answer += try writer.replay(id, repairs: repairs, isDryRun: words[0] == "dry").words
    }
    return .ok(answer)
  }

  private static func repairs(_ input: VerbInput) throws(VerbError) -> [String] {
    let repairs = input.arguments.values("set")
    for repair in repairs {
      let name = repair.prefix { $0 != "=" }
      guard name.count < repair.count, !name.isEmpty else {
        throw VerbError(.usage, "--set \(repair): expected FIELD=VALUE")
      }
      if TrafficField(rawValue: String(name)) == nil {
        let near = Suggestion.nearest(to: String(name), among: TrafficField.allCases.map(\.name))
        throw VerbError(.badData, "--set \(name): no such field" + (near.map { "; did you mean \($0)?" } ?? ""))
      }
    }
    return repairs
  }

  private static func letters(_ input: VerbInput) throws(VerbError) -> [Int64] {
    let reason = input.arguments.value("reason")
    let ways = [!input.positionals.isEmpty, reason != nil, input.arguments.has("all")].filter { $0 }.count
    guard ways == 1 else { throw VerbError(.usage, "dlq replay needs either ids, or --reason, or --all") }
    var ids: [Int64] = []
    for text in input.positionals { ids.append(try DeadLetterVerbs.id(text)) }
    guard ids.isEmpty else { return ids }
    let filter = DeadLetterFilter(reason: reason, state: .dead)
    return try input.reading { database throws(StoreError) in
      try DeadLetterTable.ids(filter, in: database)
    }.flatMap { $0 }
  }

  private static func cells(_ result: ReplayResult, isDry: Bool) -> [OutputCell] {
    let would = isDry && (result.outcome == .replayed || result.outcome == .duplicate || result.outcome == .failed)
    let text = would ? "would be \(result.outcome.rawValue)" : result.outcome.rawValue
    return [
      .integer(result.id), .text(text), .bytes(result.uploaded), .bytes(result.downloaded), .text(result.detail),
    ]
  }

  /// Nothing changed: 2 when there was nothing to do; 1 when some did not work.
  private static func code(_ counts: [ReplayResult.Outcome: Int]) -> VerbExit {
    let done = (counts[.replayed] ?? 0) + (counts[.duplicate] ?? 0)
    if done == counts.values.reduce(0, +) { return .ok }
    if done == 0 && counts[.failed] == nil { return .nothingMatched }
    return .partial
  }
}
