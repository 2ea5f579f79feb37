// Verb: one verb of the command line: its words, options, help and what it does. The list of all verbs is what help, shell
// completion and man pages are made from. Main thread.

import Glibc
import Linux
import Redis
import SQLite
import Settings

struct Verb: Sendable {
  /// `["query", "user"]`.
  let words: [String]
  /// What follows the words: `PASSKEY`.
  let arguments: String
  /// One line.
  let summary: String
  /// Sentences for its own help and man page.
  let details: String
  /// A command line that works, and what it does.
  let examples: [(command: String, meaning: String)]
  /// Options besides the shared ones.
  let options: [CommandLineOption]
  /// For a verb that writes: what the daemon, or this process under the lock, does for it.
  var request: StoreRequest?
  /// Does it.
  let run: @Sendable (VerbInput) throws(VerbError) -> VerbExit

  var name: String { words.joined(separator: " ") }

  /// The options every verb takes.
  static let shared: [CommandLineOption] =
    CommandLineOptions.all + [
      CommandLineOption(
        "database", value: "PATH", isRepeatable: true, help: "the database, instead of the configuration's")
    ]

  /// The options of verbs that read.
  static let reading: [CommandLineOption] = [
    CommandLineOption("output", short: "o", value: "FORMAT", help: "table (default), json, jsonl or csv"),
    CommandLineOption("show-passkeys", help: "do not shorten passkeys in tables on a terminal"),
  ]

  static let range: [CommandLineOption] = [
    CommandLineOption(
      "from", value: "TIME",
      help: "windows that begin at this time or later: 2026-01-31, 2h (ago), yesterday, Unix time"),
    CommandLineOption("to", value: "TIME", help: "windows that begin before this time"),
  ]

  /// The text of `--help`.
  var help: String {
    var text = "traffic-consumer \(name)\(arguments.isEmpty ? "" : " " + arguments) - \(summary)\n\n"
    if !details.isEmpty { text += details + "\n\n" }
    if !options.isEmpty { text += "Options:\n" + CommandLineOption.help(options) + "\n" }
    text += "Shared options:\n" + CommandLineOption.help(Self.shared) + "\nExamples:\n"
    for example in examples { text += "  \(example.command)\n      \(example.meaning)\n" }
    return text
  }
}

/// A failure of a verb: an exit code and one line for standard error.
struct VerbError: Error, Sendable {
  let code: ExitCode
  let message: String
  init(_ code: ExitCode, _ message: String) {
    self.code = code
    self.message = message
  }

  init(_ error: StoreError, path: String) {
    switch error {
    case .newerSchema, .olderSchema, .otherSchema, .otherWindow: self.init(.configuration, "\(path): \(error)")
    case .database(let error) where error.code == 14:
      self.init(.inputOutput, "\(path): no database there, or not readable (`traffic-consumer run` makes it)")
    case .fenced: self.init(.locked, "\(path): \(error)")
    case .ownFile: self.init(.badData, "\(error)")
    case .copy: self.init(.inputOutput, "\(error)")
    case .database, .empty, .damaged, .replaced: self.init(.inputOutput, "\(path): \(error)")
    }
  }
}

/// What a verb was given.
struct VerbInput: Sendable {
  let verb: Verb
  let arguments: CommandLineArguments
  let positionals: [String]
  let config: ConsumerConfig

  /// The databases asked for; the configuration's when none is named.
  var databases: [String] {
    let named = arguments.values("database")
    return named.isEmpty ? [config.databasePath] : named
  }

  func format() throws(VerbError) -> OutputFormat {
    guard let text = arguments.value("output") else { return .table }
    if let format = OutputFormat(rawValue: text) { return format }
    throw VerbError(.usage, "-o \(text): expected table, json, jsonl or csv")
  }

  func time(_ option: String) throws(VerbError) -> Int64? {
    guard let text = arguments.value(option) else { return nil }
    if let time = TimeText.parse(text, now: Clock.unixSeconds()) { return time }
    throw VerbError(
      .badData, "--\(option) \(text): expected a time: 2026-01-31, 2026-01-31T12:00:00Z, 2h, yesterday or Unix seconds")
  }

  func range() throws(VerbError) -> QueryRange {
    let range = QueryRange(from: try time("from"), to: try time("to"))
    if let from = range.from, let to = range.to, from >= to {
      throw VerbError(.badData, "--from \(TimeText.iso(from)) is not before --to \(TimeText.iso(to))")
    }
    return range
  }

  func count(_ option: String, default standard: Int64) throws(VerbError) -> Int64 {
    guard let text = arguments.value(option) else { return standard }
    if let count = Int64(text), count > 0 { return count }
    throw VerbError(.badData, "--\(option) \(text): expected a number above 0")
  }

  func choice<Choice: RawRepresentable & CaseIterable>(_ option: String, default standard: Choice) throws(VerbError)
    -> Choice where Choice.RawValue == String
  {
    guard let text = arguments.value(option) else { return standard }
    if let choice = Choice(rawValue: text) { return choice }
    let known = Choice.allCases.map(\.rawValue)
    let near = Suggestion.nearest(to: text, among: known).map { "; did you mean \($0)?" } ?? ""
    throw VerbError(.badData, "--\(option) \(text): expected \(known.joined(separator: ", "))\(near)")
  }

  /// Refuses more databases than the verb works on.
  func oneDatabase() throws(VerbError) {
    if databases.count > 1 { throw VerbError(.usage, "\(verb.name) takes one --database") }
  }

  /// The only argument behind the verb.
  func onlyArgument(_ what: String) throws(VerbError) -> String {
    guard let first = positionals.first else { throw VerbError(.usage, "\(verb.name) needs \(what)") }
    if positionals.count > 1 { throw VerbError(.usage, "\(verb.name) takes one \(what), not also \(positionals[1])") }
    return first
  }

  func noArguments() throws(VerbError) {
    if let first = positionals.first { throw VerbError(.usage, "\(verb.name) takes no argument: \(first)") }
  }

  /// The configured streams, to ask Redis about them.
  func streamSettings() throws(VerbError) -> StreamSettings {
    do throws(RedisURLError) { return try config.streamSettings() } catch {
      throw VerbError(.configuration, "redis.url: \(error)")
    }
  }

  /// Opens each database for reading and runs `body` on it.
  func reading<Value>(_ body: (borrowing SQLiteDatabase) throws(StoreError) -> Value) throws(VerbError) -> [Value] {
    var values: [Value] = []
    for path in databases {
      do throws(StoreError) {
        let database = try StoreConnection.openForReading(path: path)
        values.append(try body(database))
      } catch {
        throw VerbError(error, path: path)
      }
    }
    return values
  }

  private var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }
  private var colours: Bool { isTerminal && getenv("NO_COLOR").map { $0.pointee == 0 } ?? true }
  private var redacts: Bool { isTerminal && !arguments.has("show-passkeys") }

  /// Rows as `-o` says, written as they come: for lists that may be long.
  func stream(_ columns: [String]) throws(VerbError) -> OutputTable.Stream {
    OutputTable.Stream(columns, try format(), redacts: redacts, colours: colours) { Standard.output($0) }
  }

  /// Writes a table as `-o` says.
  func write(_ table: OutputTable, isObject: Bool = false) throws(VerbError) {
    let format = try format()
    Standard.output(table.text(format, isObject: isObject, redacts: redacts, colours: colours))
  }
}

/// Standard output and error, written whole.
enum Standard {
  static func output(_ text: String) { write(text, to: STDOUT_FILENO) }
  static func error(_ text: String) { write("traffic-consumer: \(text)\n", to: STDERR_FILENO) }

  static func write(_ text: String, to descriptor: Int32) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = retryingInterrupts { rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) } }
      // The reader has gone (`| head`): what is left is of no use.
      guard count > 0 else { return }
      rest = rest.dropFirst(count)
    }
  }
}

/// How a verb that did not fail ends the process.
struct VerbExit: Equatable, Sendable {
  let code: Int32

  static let ok = VerbExit(.ok)
  static let partial = VerbExit(.partial)
  static let nothingMatched = VerbExit(.nothingMatched)

  init(_ code: ExitCode) { self.code = code.rawValue }
  /// A code of another convention than ours: Nagios'.
  init(code: Int32) { self.code = code }
}
