// CommandLineOptions: the options both daemons share, and what `--help`, `--version` and `--check-config` do. Main thread.

import Glibc
import Linux

/// `--config`, `--check-config`, `--version`, `--help`, `--debug`, `--json`.
public struct CommandLineOptions: Sendable, Equatable {
  /// nil: the daemon's default place.
  public let configPath: String?
  public let checksConfig: Bool
  public let showsVersion: Bool
  public let showsHelp: Bool
  public let isDebug: Bool
  public let isJSON: Bool
  /// Everything, also the verbs and the options the caller added.
  public let arguments: CommandLineArguments

  /// The shared options, for `--help` and the parser.
  public static let all: [CommandLineOption] = [
    CommandLineOption("config", short: "c", value: "PATH", help: "the configuration file"),
    CommandLineOption(
      "check-config", help: "check the configuration, print the settings in force without secrets, and end (0 or 78)"),
    CommandLineOption("debug", help: "log more"),
    CommandLineOption("json", help: "log lines as JSON"),
    CommandLineOption("version", help: "print version and commit, and end"),
    CommandLineOption("help", short: "h", help: "print this, and end"),
  ]

  /// Parses the arguments behind the program's name; `more` are options of the caller's own.
  public init(_ arguments: [String], more: [CommandLineOption] = []) throws(UsageError) {
    let arguments = try CommandLineArguments(arguments, options: Self.all + more)
    self.init(arguments)
  }

  /// Takes the shared options from arguments that were parsed with `all` among their options.
  public init(_ arguments: CommandLineArguments) {
    self.arguments = arguments
    configPath = arguments.value("config")
    checksConfig = arguments.has("check-config")
    showsVersion = arguments.has("version")
    showsHelp = arguments.has("help")
    isDebug = arguments.has("debug")
    isJSON = arguments.has("json")
  }

  /// For a program without verbs: the first positional is a mistake.
  public func refusePositionals() throws(UsageError) {
    if let first = arguments.positionals.first { throw UsageError("unexpected argument \(first)") }
  }

  /// Sets the log as `--debug` and `--json` say.
  public func configureLog() { Log.configure(level: isDebug ? .debug : .info, json: isJSON) }

  /// Writes a usage error as one line on standard error.
  public static func report(_ error: UsageError, program: String) -> ExitCode {
    writeError("\(program): \(error)\n")
    return .usage
  }

  /// Writes everything that is wrong with a configuration, one problem a line, on standard error.
  public static func report(_ error: ConfigError) -> ExitCode {
    writeError("\(error)\n")
    return .configuration
  }

  /// `--check-config`: prints the settings on standard output and the warnings on standard error, or reports what is wrong.
  public static func checkConfig(
    _ load: () throws(ConfigError) -> (described: String, warnings: [ConfigProblem])
  ) -> ExitCode {
    do throws(ConfigError) {
      let (described, warnings) = try load()
      for warning in warnings { writeError("warning: \(warning)\n") }
      print(described, terminator: "")
      return .ok
    } catch {
      return report(error)
    }
  }

  /// What lies over a configuration file: the variables, and the secrets that systemd passes in files
  /// (LoadCredential=), named like the variables they stand for. A variable wins over a file.
  public static func settingsEnvironment() -> [String: String] {
    let variables = environment()
    guard let folder = variables["CREDENTIALS_DIRECTORY"] else { return variables }
    return variables.merging(Credentials.read(folder: folder)) { variable, _ in variable }
  }

  /// The process' environment, as the `load` functions take it. Variables that are not UTF-8 are repaired.
  public static func environment() -> [String: String] {
    var result: [String: String] = [:]
    var next = environ
    while let entry = next.pointee {
      let text = String(cString: entry)
      if let equals = text.firstIndex(of: "=") {
        result[String(text[..<equals])] = String(text[text.index(after: equals)...])
      }
      next += 1
    }
    return result
  }

  private static func writeError(_ text: String) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let written = retryingInterrupts { rest.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) } }
      // Standard error is gone: there is nowhere left to say it.
      guard written > 0 else { return }
      rest = rest.dropFirst(written)
    }
  }
}
