// EffectiveSetting: what a configuration came to, for `--check-config` and for saying what a reload changed. Pure.

/// One setting with the value that is in force.
public struct EffectiveSetting: Sendable, Equatable {
  /// Where a value came from.
  public enum Origin: Sendable, Equatable {
    case builtIn
    case file(line: Int)
    case environment(variable: String)

    var isEnvironment: Bool {
      if case .environment = self { return true }
      return false
    }
  }
  /// The path below the root key: map keys and, in lists, indices.
  public let path: [String]
  /// The value as YAML of this subset (`"30m"`, `true`, `[]`), secrets replaced.
  public let shown: String
  public let origin: Origin
  /// Whether a reload changes it.
  public let isLive: Bool

  public init(path: [String], shown: String, origin: Origin, isLive: Bool = false) {
    self.path = path
    self.shown = shown
    self.origin = origin
    self.isLive = isLive
  }

  /// `http.announce_routes[1]`.
  public var name: String { Self.name(path) }

  /// The same for any path.
  public static func name(_ path: [String]) -> String {
    path.reduce("") { name, step in
      if !step.isEmpty && step.allSatisfy(\.isNumber) { return "\(name)[\(step)]" }
      return name.isEmpty ? step : "\(name).\(step)"
    }
  }

  /// The settings as a configuration file below `rootKey`, each line with its origin as a comment.
  public static func document(_ settings: [EffectiveSetting], rootKey: String) -> String {
    var text = "\(rootKey):\n"
    var open: [String] = []
    for setting in settings {
      let parents = setting.path.dropLast()
      var common = 0
      while common < min(open.count, parents.count) && open[common] == parents[common] { common += 1 }
      var isNewItem = false
      for depth in common..<parents.count {
        // A list's index becomes the dash before the first of its settings.
        if parents[depth].allSatisfy(\.isNumber) {
          isNewItem = true
        } else {
          text += indent(setting.path[..<depth], dash: isNewItem) + parents[depth] + ":\n"
          isNewItem = false
        }
      }
      open = Array(parents)
      text += indent(parents, dash: isNewItem) + "\(setting.path[setting.path.count - 1]): \(setting.shown)"
      text += "  # \(setting.origin.comment)\n"
    }
    return text
  }

  private static func indent(_ parents: ArraySlice<String>, dash: Bool) -> String {
    let spaces = String(repeating: " ", count: 2 * parents.count + 2)
    return dash ? spaces.dropLast(2) + "- " : spaces
  }
}

extension EffectiveSetting.Origin {
  fileprivate var comment: String {
    switch self {
    case .builtIn: "default"
    case .file(let line): "line \(line)"
    case .environment(let variable): variable
    }
  }
}
