// ConsumerCommand: finds the verb of a command line and runs it. Main thread.

import Linux
import Settings

enum ConsumerCommand {
  static let verbs: [Verb] =
    [RunVerb.verb] + QueryVerbs.all + DeadLetterVerbs.all + LossVerbs.all + [StatusVerb.verb] + DatabaseVerbs.all
    + UpdateReportVerbs.all
    + ShellVerbs.all

  /// Runs the arguments behind the program's name. Returns the exit code.
  static func main(_ arguments: [String]) -> Int32 {
    do throws(UsageError) {
      return try dispatch(arguments)
    } catch {
      return CommandLineOptions.report(error, program: "traffic-consumer").rawValue
    }
  }

  private static func dispatch(_ arguments: [String]) throws(UsageError) -> Int32 {
    let leading = leadingWords(arguments)
    guard let verb = verbs.first(where: { leading.starts(with: $0.words) }) else {
      return try withoutVerb(arguments, leading)
    }
    let parsed = try CommandLineArguments(arguments, options: Verb.shared + verb.options)
    let options = CommandLineOptions(parsed)
    if options.showsHelp {
      Standard.output(verb.help)
      return 0
    }
    if let code = common(options) { return code.rawValue }
    return start(verb, parsed, options)
  }

  /// What every command line may ask for instead of work.
  private static func common(_ options: CommandLineOptions) -> ExitCode? {
    if options.showsVersion {
      Standard.output("traffic-consumer \(Version.text)\n")
      return .ok
    }
    if options.checksConfig {
      return CommandLineOptions.checkConfig { () throws(ConfigError) in
        let config = try ConsumerConfig.load(
          path: options.configPath, environment: CommandLineOptions.settingsEnvironment())
        return (config.describe(), config.warnings)
      }
    }
    return nil
  }

  private static func start(_ verb: Verb, _ parsed: CommandLineArguments, _ options: CommandLineOptions) -> Int32 {
    var config: ConsumerConfig
    do throws(ConfigError) {
      config = try ConsumerConfig.load(
        path: options.configPath, environment: CommandLineOptions.settingsEnvironment())
    } catch {
      return CommandLineOptions.report(error).rawValue
    }
    options.configureLog()
    for warning in config.warnings { Log.warning("configuration", ["problem": warning.description]) }
    if let path = parsed.values("database").first { config.databasePath = path }
    let positionals = Array(parsed.positionals.dropFirst(verb.words.count))
    do throws(VerbError) {
      return try verb.run(VerbInput(verb: verb, arguments: parsed, positionals: positionals, config: config)).code
    } catch {
      Standard.error(error.message)
      return error.code.rawValue
    }
  }

  private static func withoutVerb(_ arguments: [String], _ leading: [String]) throws(UsageError) -> Int32 {
    if let first = leading.first, first != "help" { throw unknown(leading) }
    if leading.first == "help", let verb = verbs.first(where: { leading.dropFirst().starts(with: $0.words) }) {
      Standard.output(verb.help)
      return 0
    }
    let options = try CommandLineOptions(arguments, more: Array(Verb.shared.dropFirst(CommandLineOptions.all.count)))
    if options.showsHelp || leading.first == "help" {
      Standard.output(overview)
      return 0
    }
    if let code = common(options) { return code.rawValue }
    throw UsageError("no verb given; `traffic-consumer --help` lists them, `traffic-consumer run` is the daemon")
  }

  private static func unknown(_ leading: [String]) -> UsageError {
    let group = verbs.filter { $0.words.count > 1 && $0.words[0] == leading[0] }
    if !group.isEmpty {
      let second = group.map { $0.words[1] }
      guard leading.count > 1 else {
        return UsageError("\(leading[0]) what? \(second.joined(separator: ", "))")
      }
      let near = Suggestion.nearest(to: leading[1], among: second).map { "; did you mean \(leading[0]) \($0)?" }
      return UsageError(
        "unknown verb \(leading[0]) \(leading[1])" + (near ?? ": there is \(second.joined(separator: ", "))"))
    }
    let first = verbs.map { $0.words[0] }
    let near = Suggestion.nearest(to: leading[0], among: first).map { "; did you mean \($0)?" }
    return UsageError("unknown verb \(leading[0])" + (near ?? "; --help lists the verbs"))
  }

  /// The first words that are no option, of which a verb may consist. The value of a shared option is not one of them.
  private static func leadingWords(_ arguments: [String]) -> [String] {
    let options = verbs.flatMap(\.options) + Verb.shared
    var words: [String] = []
    var skipsNext = false
    for argument in arguments {
      if skipsNext {
        skipsNext = false
      } else if argument.hasPrefix("-") {
        let takesValue = options.contains { option in
          option.value != nil && (argument == "--\(option.name)" || argument == option.short.map { "-\($0)" })
        }
        skipsNext = takesValue
      } else {
        words.append(argument)
      }
    }
    return words
  }

  static var overview: String {
    let width = verbs.map { $0.name.count }.max() ?? 0
    var text = "traffic-consumer \(Version.text) - from the tracker's traffic stream to totals in SQLite\n\nVerbs:\n"
    for verb in verbs {
      text += "  \(verb.name)\(String(repeating: " ", count: width - verb.name.count + 2))\(verb.summary)\n"
    }
    text += "\nOptions of every verb:\n" + CommandLineOption.help(Verb.shared)
    return text + "\n`traffic-consumer VERB --help` says more, with examples.\n"
  }
}
