// ConfigReader: reads one configuration: file, environment over it, then typed access by ConfigSection. It collects every
// problem, so that the operator sees all of them at once, and every value that came out, for `--check-config`. One thread.

import Glibc

/// Where a configuration comes from and what is wrong with it.
public final class ConfigReader {
  /// Shown in messages.
  private let file: String
  private(set) var root: ConfigNode
  /// With the line each stands on; the environment's behind the file's.
  private var problems: [(line: Int, problem: ConfigProblem)] = []
  private var warnings: [ConfigProblem] = []
  /// In the order they were read.
  public private(set) var settings: [EffectiveSetting] = []

  /// Reads a file and lays the environment over it.
  ///
  /// - Parameters:
  ///   - path: the file; nil takes `defaultPath`, which may be missing: defaults and environment may be enough.
  ///   - rootKeys: the one key the file has, by any of these names.
  ///   - environment: `PREFIX__LEVEL__SETTING=value`; other variables are ignored.
  public init(
    path: String?, defaultPath: String, rootKeys: [String], environment: [String: String], prefix: String
  ) throws(ConfigError) {
    file = path ?? defaultPath
    root = ConfigNode(.map([]), origin: .builtIn)
    if let bytes = try Self.read(file, mayBeMissing: path == nil) {
      root = try Self.settings(of: try Self.document(bytes, file: file), rootKeys: rootKeys, file: file)
    }
    overlay(environment, prefix: prefix + "__")
  }

  /// An empty configuration, for what its defaults are.
  init() {
    file = ""
    root = ConfigNode(.map([]), origin: .builtIn)
  }

  /// The whole configuration.
  public var section: ConfigSection { ConfigSection(reader: self, path: [], node: root) }

  /// Ends the reading: throws when anything was wrong, else returns what was read and what the operator should know.
  public func finish() throws(ConfigError) -> (settings: [EffectiveSetting], warnings: [ConfigProblem]) {
    if !problems.isEmpty { throw ConfigError(problems.sorted { $0.line < $1.line }.map(\.problem)) }
    return (settings, warnings)
  }

  // MARK: For sections

  var hasProblems: Bool { !problems.isEmpty }

  func report(_ message: String, setting path: [String], origin: EffectiveSetting.Origin) {
    problems.append((origin.line, problem(message, path, origin)))
  }
  func warn(_ message: String, setting path: [String], origin: EffectiveSetting.Origin) {
    warnings.append(problem(message, path, origin))
  }
  func record(_ setting: EffectiveSetting) { settings.append(setting) }

  private func problem(_ message: String, _ path: [String], _ origin: EffectiveSetting.Origin) -> ConfigProblem {
    let location =
      switch origin {
      case .builtIn: file
      case .file(let line): "\(file):\(line)"
      case .environment(let variable): "environment variable \(variable)"
      }
    return ConfigProblem(location: location, setting: EffectiveSetting.name(path), message: message)
  }

  // MARK: Sources

  private static func read(_ path: String, mayBeMissing: Bool) throws(ConfigError) -> [UInt8]? {
    func failure(_ code: Int32) -> ConfigError {
      let reason = String(cString: strerror(code))
      let advice = mayBeMissing ? "" : "; --config names the file"
      return ConfigError([ConfigProblem(location: path, setting: "", message: "cannot be read: \(reason)\(advice)")])
    }
    guard let stream = fopen(path, "re") else {
      if errno == ENOENT && mayBeMissing { return nil }
      throw failure(errno)
    }
    defer { fclose(stream) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    // One byte more than is accepted, so that the parser sees that it is too large.
    while bytes.count <= YAMLParser.maximumBytes {
      let count = fread(&buffer, 1, buffer.count, stream)
      bytes.append(contentsOf: buffer[..<count])
      if count < buffer.count {
        if ferror(stream) != 0 { throw failure(errno) }
        break
      }
    }
    return bytes
  }

  private static func document(_ bytes: [UInt8], file: String) throws(ConfigError) -> YAMLNode {
    do throws(YAMLError) {
      return try YAMLParser.parse(bytes)
    } catch {
      throw ConfigError([ConfigProblem(location: "\(file):\(error.line)", setting: "", message: error.problem.text)])
    }
  }

  private static func settings(of document: YAMLNode, rootKeys: [String], file: String) throws(ConfigError)
    -> ConfigNode
  {
    func refusal(_ line: Int, _ setting: String, _ message: String) -> ConfigError {
      ConfigError([ConfigProblem(location: "\(file):\(line)", setting: setting, message: message)])
    }
    let names = rootKeys.map { "`\($0):`" }.joined(separator: " or ")
    guard case .mapping(let entries) = document.content else {
      throw refusal(document.line, "", "expected the key \(names) with the settings below it, indented")
    }
    if let unknown = entries.first(where: { !rootKeys.contains($0.key) }) {
      throw refusal(unknown.keyLine, unknown.key, "unknown key; the settings belong below \(names), indented")
    }
    if entries.count > 1 {
      throw refusal(entries[1].keyLine, entries[1].key, "\(names) mean the same; write one of them")
    }
    var root = ConfigNode(entries[0].value)
    if root.isNull { root = ConfigNode(.map([]), origin: root.origin) }
    guard case .map = root.content else {
      throw refusal(entries[0].keyLine, entries[0].key, "expected settings below it, found \(root.kind)")
    }
    return root
  }

  private func overlay(_ environment: [String: String], prefix: String) {
    let overrides = environment.filter { $0.key.hasPrefix(prefix) }
      .map { (variable: $0.key, path: $0.key.dropFirst(prefix.count).lowercased().split(onto: "__"), value: $0.value) }
      .sorted { Self.precedes($0.path, $1.path) }
    var previous: [String] = []
    for (variable, path, value) in overrides {
      let complaint: String?
      if path.contains("") {
        complaint = "expected \(prefix)LEVEL__SETTING, two underscores between levels"
      } else if path == previous {
        complaint = "another variable, which differs in upper and lower case only, sets the same"
      } else {
        complaint = root.set(value, at: path[...], variable: variable)
      }
      previous = path
      if let complaint { report(complaint, setting: path, origin: .environment(variable: variable)) }
    }
  }

  /// Numbers by value, so that list items are appended in order.
  private static func precedes(_ left: [String], _ right: [String]) -> Bool {
    for (one, other) in zip(left, right) where one != other {
      if let one = Int(one), let other = Int(other) { return one < other }
      return one < other
    }
    return left.count < right.count
  }
}

extension String {
  /// The parts between separators, empty ones included.
  fileprivate func split(onto separator: String) -> [String] {
    var parts = [""]
    var rest = self[...]
    while let character = rest.first {
      if rest.hasPrefix(separator) {
        parts.append("")
        rest = rest.dropFirst(separator.count)
      } else {
        parts[parts.count - 1].append(character)
        rest = rest.dropFirst()
      }
    }
    return parts
  }
}

extension EffectiveSetting.Origin {
  /// For sorting: what is missing first, the file by line, then the environment.
  fileprivate var line: Int {
    switch self {
    case .builtIn: 0
    case .file(let line): line
    case .environment: .max
    }
  }
}
