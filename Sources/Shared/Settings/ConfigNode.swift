// ConfigNode: the configuration tree after the environment was laid over the file, each value with its origin. Made by
// ConfigReader, read by ConfigSection. Plain values.

/// A value of the configuration.
struct ConfigNode {
  enum Content {
    case scalar(YAMLScalar)
    case list([ConfigNode])
    case map([(key: String, value: ConfigNode)])
  }
  var content: Content
  var origin: EffectiveSetting.Origin

  init(_ content: Content, origin: EffectiveSetting.Origin) {
    self.content = content
    self.origin = origin
  }

  /// A list item or the root; a map's value is reported on its key's line.
  init(_ node: YAMLNode, line: Int? = nil) {
    origin = .file(line: line ?? node.line)
    switch node.content {
    case .scalar(let scalar): content = .scalar(scalar)
    case .sequence(let items): content = .list(items.map { ConfigNode($0) })
    case .mapping(let entries): content = .map(entries.map { ($0.key, ConfigNode($0.value, line: $0.keyLine)) })
    }
  }

  var isNull: Bool {
    if case .scalar(let scalar) = content, case .file = origin { return scalar.isNull }
    return false
  }

  /// What is there, for a message.
  var kind: String {
    switch content {
    case .scalar: isNull ? "nothing" : "a single value"
    case .list: "a list"
    case .map: "a map"
    }
  }

  // MARK: Environment

  /// Puts a value at a path, making maps and list items on the way. Returns why it cannot, or nil.
  mutating func set(_ value: String, at path: ArraySlice<String>, variable: String) -> String? {
    guard let step = path.first else {
      content = .scalar(YAMLScalar(value, .doubleQuoted))
      origin = .environment(variable: variable)
      return nil
    }
    if isNull { content = step.allSatisfy(\.isNumber) ? .list([]) : .map([]) }
    switch content {
    case .scalar: return "there is a single value where this variable expects a section"
    case .map(var entries):
      let index = entries.firstIndex { $0.key == step } ?? entries.count
      if index == entries.count {
        entries.append((step, ConfigNode(.scalar(YAMLScalar("")), origin: .environment(variable: variable))))
        entries[index].value.content = Self.empty(before: path.dropFirst())
      }
      let complaint = entries[index].value.set(value, at: path.dropFirst(), variable: variable)
      content = .map(entries)
      return complaint
    case .list(var items):
      switch Self.place(of: step, in: items) {
      case .failure(let complaint): return complaint.message
      case .success(let index):
        if index == items.count {
          items.append(ConfigNode(Self.empty(before: path.dropFirst()), origin: .environment(variable: variable)))
        }
        let complaint = items[index].set(value, at: path.dropFirst(), variable: variable)
        content = .list(items)
        return complaint
      }
    }
  }

  /// What a new node must be for the rest of the path to fit.
  private static func empty(before rest: ArraySlice<String>) -> Content {
    guard let next = rest.first else { return .scalar(YAMLScalar("")) }
    return next.allSatisfy(\.isNumber) ? .list([]) : .map([])
  }

  /// The index a path step names: a number (one more than there are appends), or an item's `name` in lower case with `_`
  /// for everything that is no letter or digit (`passkey_approval`).
  private static func place(of step: String, in items: [ConfigNode]) -> Result<Int, ConfigComplaint> {
    if step.allSatisfy(\.isNumber) {
      guard let index = Int(step), index <= items.count else {
        return .failure(ConfigComplaint("the list has \(items.count) items, and the next one would be \(items.count)"))
      }
      return .success(index)
    }
    let named = items.indices.filter { items[$0].environmentName == step }
    switch named.count {
    case 1: return .success(named[0])
    case 0: return .failure(ConfigComplaint("the list has no item named \(step)"))
    default: return .failure(ConfigComplaint("the list has \(named.count) items named \(step); use the number"))
    }
  }

  private var environmentName: String? {
    guard case .map(let entries) = content,
      case .scalar(let name)? = entries.first(where: { $0.key == "name" })?.value.content
    else { return nil }
    return String(name.text.lowercased().map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
  }
}

/// Why a value does not do: what was expected. Without the value when that may be a secret.
public struct ConfigComplaint: Error, Sendable {
  public let message: String
  public init(_ message: String) { self.message = message }
}
