// ConfigError: everything that is wrong with a configuration, all at once. Thrown by TrackerConfig and ConsumerConfig.

/// One thing that is wrong.
public struct ConfigProblem: Sendable, Equatable, CustomStringConvertible {
  /// Where it stands: `file.yaml:12`, or `environment variable TRACKER__HTTP__ADDR`.
  public let location: String
  /// The setting, as `http.announce_routes[1]`; empty when it is about the file as a whole.
  public let setting: String
  /// What is wrong and what was expected, without secrets.
  public let message: String

  public init(location: String, setting: String, message: String) {
    self.location = location
    self.setting = setting
    self.message = message
  }

  public var description: String {
    setting.isEmpty ? "\(location): \(message)" : "\(location): \(setting): \(message)"
  }
}

/// Why a configuration was refused; never empty. The description has one line for each problem.
public struct ConfigError: Error, Sendable, Equatable, CustomStringConvertible {
  public let problems: [ConfigProblem]

  public init(_ problems: [ConfigProblem]) { self.problems = problems }

  public var description: String { problems.map(\.description).joined(separator: "\n") }
}
