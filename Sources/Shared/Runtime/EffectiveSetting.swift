// EffectiveSetting: what a configuration came to, for `--check-config` and for saying what a reload changed. Pure.

/// One setting with the value that is in force.
public struct EffectiveSetting: Sendable, Equatable {
  /// Where a value came from.
  public enum Origin: Sendable, Equatable {
    case builtIn
    case file(line: Int)
    case environment(variable: String)
  }
  /// The path from the root key: map keys and, in lists, indices.
  public let path: [String]
  /// The value as YAML of this subset (`"30m"`, `true`, `[]`), secrets replaced.
  public let shown: String
  public let origin: Origin

  public init(path: [String], shown: String, origin: Origin) {
    self.path = path
    self.shown = shown
    self.origin = origin
  }
}
