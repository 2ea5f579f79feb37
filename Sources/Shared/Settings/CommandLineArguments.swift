// CommandLineArguments: splits a command line into options, flags and positionals. Used by both mains and by every verb
// of the consumer. Pure.

/// An option that is understood.
public struct CommandLineOption: Sendable, Equatable {
  /// `--name`.
  public let name: String
  /// `-n`, if it has a short form.
  public let short: Character?
  /// What stands for its value in the help (`PATH`); nil: a flag without value.
  public let value: String?
  /// Whether it may be given more than once.
  public let isRepeatable: Bool
  /// One line for `--help`.
  public let help: String

  public init(
    _ name: String, short: Character? = nil, value: String? = nil, isRepeatable: Bool = false, help: String
  ) {
    self.name = name
    self.short = short
    self.value = value
    self.isRepeatable = isRepeatable
    self.help = help
  }

  /// The lines for `--help`, in two columns.
  public static func help(_ options: [CommandLineOption]) -> String {
    let heads = options.map { option in
      (option.short.map { "-\($0), " } ?? "    ") + "--\(option.name)" + (option.value.map { " \($0)" } ?? "")
    }
    let width = heads.map(\.count).max() ?? 0
    return zip(heads, options).map { head, option in
      "  \(head)\(String(repeating: " ", count: width - head.count + 2))\(option.help)\n"
    }.joined()
  }
}

/// The command line is wrong: one sentence; the process ends with ExitCode.usage.
public struct UsageError: Error, Sendable, Equatable, CustomStringConvertible {
  public let description: String
  public init(_ description: String) { self.description = description }
}

/// What a command line says.
public struct CommandLineArguments: Sendable, Equatable {
  private var values: [String: [String]] = [:]
  private var flags: Set<String> = []
  /// What is no option, in order.
  public private(set) var positionals: [String] = []

  /// Parses the arguments behind the program's name. `--name value`, `--name=value`, `-n value`; `--` ends the options,
  /// and `-` alone is a positional. Options and positionals may be mixed.
  public init(_ arguments: [String], options: [CommandLineOption]) throws(UsageError) {
    var index = 0
    while index < arguments.count {
      let argument = arguments[index]
      index += 1
      if argument == "--" {
        positionals += arguments[index...]
        return
      }
      guard argument.hasPrefix("-"), argument != "-" else {
        positionals.append(argument)
        continue
      }
      let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      let option = try Self.option(parts[0], among: options)
      guard let value = option.value else {
        if parts.count == 2 { throw UsageError("--\(option.name) takes no value") }
        flags.insert(option.name)
        continue
      }
      if parts.count == 1 && index == arguments.count { throw UsageError("--\(option.name) needs a value: \(value)") }
      let given = parts.count == 2 ? parts[1] : arguments[index]
      if parts.count == 1 { index += 1 }
      if values[option.name] != nil && !option.isRepeatable { throw UsageError("--\(option.name) is given twice") }
      values[option.name, default: []].append(given)
    }
  }

  private static func option(_ text: String, among options: [CommandLineOption]) throws(UsageError) -> CommandLineOption
  {
    let found = options.first { option in
      text == "--\(option.name)" || (option.short.map { text == "-\($0)" } ?? false)
    }
    if let found { return found }
    let near = Suggestion.nearest(to: String(text.drop { $0 == "-" }), among: options.map(\.name))
    throw UsageError(
      "unknown option \(text)" + (near.map { "; did you mean --\($0)?" } ?? "; --help lists the options"))
  }

  /// Whether a flag was given.
  public func has(_ flag: String) -> Bool { flags.contains(flag) }
  /// The value of an option, nil when it was not given.
  public func value(_ option: String) -> String? { values[option]?.last }
  /// All values of a repeatable option, in order.
  public func values(_ option: String) -> [String] { values[option] ?? [] }
}
