// ConfigSection: typed access to one map of the configuration. Every accessor takes the default, reports what is wrong at
// its place, and returns something to go on with, so that one run finds all problems. Called by Setting, on one thread.

import Linux

/// One map of settings, present or not.
public final class ConfigSection {
  private let reader: ConfigReader
  private let path: [String]
  private let node: ConfigNode
  /// Keys that were asked for: the known ones.
  private var known: [String] = []
  /// Whether what is read next may change on a reload.
  var isReadingLive = false

  init(reader: ConfigReader, path: [String], node: ConfigNode) {
    self.reader = reader
    self.path = path
    self.node = node
  }

  // MARK: Values

  /// Any scalar setting. `convert` throws what was expected; `shown` gives the text for `--check-config` as YAML.
  public func value<Value>(
    _ key: String, default fallback: Value, shown: (Value) -> String,
    convert: (YAMLScalar) throws(ConfigComplaint) -> Value
  ) -> Value {
    guard let found = find(key) else {
      record(key, shown(fallback), .builtIn)
      return fallback
    }
    guard case .scalar(let scalar) = found.content else {
      refuse(key, "expected a single value, found \(found.kind)")
      return fallback
    }
    do throws(ConfigComplaint) {
      let value = try convert(scalar)
      record(key, shown(value), found.origin)
      return value
    } catch {
      refuse(key, error.message)
      return fallback
    }
  }

  /// `true` or `false`.
  public func bool(_ key: String, default fallback: Bool) -> Bool {
    value(key, default: fallback, shown: Self.show) { scalar throws(ConfigComplaint) in
      guard let bool = self.unquoted(scalar, key).bool else {
        throw ConfigComplaint("expected true or false, found \(Self.quoting(scalar))")
      }
      return bool
    }
  }

  /// A decimal number in a range.
  public func integer(_ key: String, default fallback: Int, in range: ClosedRange<Int>) -> Int {
    value(key, default: fallback, shown: Self.show) { scalar throws(ConfigComplaint) in
      let expected = "expected a decimal number from \(range.lowerBound) to \(range.upperBound)"
      guard let number = self.unquoted(scalar, key).integer else {
        throw ConfigComplaint("\(expected), found \(Self.quoting(scalar))")
      }
      guard range.contains(number) else { throw ConfigComplaint("\(expected), found \(number)") }
      return number
    }
  }

  /// A duration in a range, a multiple of `unit` (nanoseconds unless given).
  public func duration(
    _ key: String, default fallback: Duration, in range: ClosedRange<Duration>, unit: Duration = .nanoseconds(1)
  ) -> Duration {
    value(key, default: fallback, shown: Self.show) { scalar throws(ConfigComplaint) in
      let (low, high) = (DurationText.text(range.lowerBound), DurationText.text(range.upperBound))
      guard let duration = DurationText.parse(scalar.text) else {
        throw ConfigComplaint("expected a duration such as 30m, 1h30m or 500ms, found \(Self.quoting(scalar))")
      }
      guard range.contains(duration) else {
        throw ConfigComplaint("expected a duration from \(low) to \(high), found \(DurationText.text(duration))")
      }
      guard duration.wholeNanoseconds % unit.wholeNanoseconds == 0 else {
        let text = DurationText.text(unit)
        throw ConfigComplaint("expected a multiple of \(text), found \(DurationText.text(duration))")
      }
      return duration
    }
  }

  /// A text. `check` throws what was expected; `shown` redacts secrets.
  public func string(
    _ key: String, default fallback: String, shown: (String) -> String = { $0 },
    check: (String) throws(ConfigComplaint) -> Void = { _ in }
  ) -> String {
    func convert(_ scalar: YAMLScalar) throws(ConfigComplaint) -> String {
      let text = try Self.text(scalar)
      try check(text)
      return text
    }
    return value(key, default: fallback, shown: { JSONText.quoted(shown($0)) }, convert: convert)
  }

  /// A text that may be absent; an empty text means absent too, as in Chihaya's files.
  public func optionalString(
    _ key: String, default fallback: String? = nil, shown: (String) -> String = { $0 },
    check: (String) throws(ConfigComplaint) -> Void = { _ in }
  ) -> String? {
    func convert(_ scalar: YAMLScalar) throws(ConfigComplaint) -> String? {
      let text = try Self.text(scalar)
      if text.isEmpty { return nil }
      try check(text)
      return text
    }
    return value(key, default: fallback, shown: { JSONText.quoted($0.map(shown) ?? "") }, convert: convert)
  }

  /// A text without default.
  public func requiredString(
    _ key: String, expected: String, shown: (String) -> String = { $0 },
    check: (String) throws(ConfigComplaint) -> Void
  ) -> String {
    if find(key) == nil {
      refuse(key, "this setting is needed: \(expected)")
      return ""
    }
    return string(key, default: "", shown: shown, check: check)
  }

  /// A number between 0 and 1, such as `0.2`.
  public func fraction(_ key: String, default fallback: Double) -> Double {
    value(key, default: fallback, shown: Self.show) { scalar throws(ConfigComplaint) in
      let text = scalar.text.utf8
      // The common part of all YAML versions: digits, at most one point with digits on both sides.
      let plain = text.allSatisfy { $0.isDecimalDigit || $0 == UInt8(ascii: ".") } && text.first != UInt8(ascii: ".")
      let isNumber = self.unquoted(scalar, key).style == .plain
      guard isNumber, plain, text.last != UInt8(ascii: "."), let number = Double(scalar.text), (0...1).contains(number)
      else { throw ConfigComplaint("expected a number from 0 to 1, such as 0.2, found \(Self.quoting(scalar))") }
      return number
    }
  }

  /// A list, each item by `convert`, which throws what was expected. In the environment the list is written `[a, b]`.
  public func list<Value>(
    _ key: String, default fallback: [Value], shown: (Value) -> String,
    convert: (String) throws(ConfigComplaint) -> Value
  ) -> [Value] {
    guard let found = find(key) else {
      record(key, Self.flow(fallback.map(shown)), .builtIn)
      return fallback
    }
    guard let items = items(of: found) else {
      let example = found.origin.isEnvironment ? ", such as [\"a\", \"b\"]" : ""
      refuse(key, "expected a list\(example), found \(found.kind)")
      return fallback
    }
    var values: [Value] = []
    var isGood = true
    for (index, item) in items.enumerated() {
      do throws(ConfigComplaint) {
        guard case .scalar(let scalar) = item.content, !item.isNull else {
          throw ConfigComplaint("expected a text, found \(item.kind)")
        }
        values.append(try convert(try Self.text(scalar)))
      } catch {
        isGood = false
        reader.report(error.message, setting: path + [key, String(index)], origin: item.origin)
      }
    }
    guard isGood else { return fallback }
    record(key, Self.flow(values.map(shown)), found.origin)
    return values
  }

  /// A list of texts.
  public func strings(
    _ key: String, default fallback: [String], check: (String) throws(ConfigComplaint) -> Void = { _ in }
  ) -> [String] {
    list(key, default: fallback, shown: JSONText.quoted) { text throws(ConfigComplaint) in
      try check(text)
      return text
    }
  }

  // MARK: Sections

  /// Whether a key has a value that is not null.
  public func has(_ key: String) -> Bool { find(key) != nil }

  /// A map below this one; empty when it is absent. The caller ends it with `end()`.
  public func section(_ key: String) -> ConfigSection {
    guard let found = find(key) else {
      return ConfigSection(reader: reader, path: path + [key], node: ConfigNode(.map([]), origin: node.origin))
    }
    if case .map = found.content { return ConfigSection(reader: reader, path: path + [key], node: found) }
    let advice =
      found.origin.isEnvironment ? "set the variables of the settings in it" : "write settings below it, indented"
    refuse(key, "expected a section, found \(found.kind); \(advice)")
    return ConfigSection(reader: reader, path: path + [key], node: ConfigNode(.map([]), origin: found.origin))
  }

  /// A list of maps below this one; empty when it is absent.
  public func sections(_ key: String) -> [ConfigSection] {
    guard let found = find(key) else {
      record(key, "[]", .builtIn)
      return []
    }
    guard case .list(let items) = found.content else {
      refuse(key, "expected a list, found \(found.kind)")
      return []
    }
    if items.isEmpty { record(key, "[]", found.origin) }
    return items.enumerated().compactMap { index, item in
      let path = path + [key, String(index)]
      guard case .map = item.content else {
        reader.report("expected a map, found \(item.kind)", setting: path, origin: item.origin)
        return nil
      }
      return ConfigSection(reader: reader, path: path, node: item)
    }
  }

  /// A setting that is known and not supported: refused with what to do, unless it is empty, false or null.
  public func unsupported(_ key: String, _ advice: String) {
    guard let found = find(key) else { return }
    if case .scalar(let scalar) = found.content, scalar.text.isEmpty || scalar.text == "false" { return }
    refuse(key, advice)
  }

  /// A setting that another program needs: it is known, and means nothing.
  public func ignore(_ key: String) { _ = find(key) }

  /// Reports a problem with one setting of this section, at its place.
  public func refuse(_ key: String, _ message: String) {
    reader.report(message, setting: path + [key], origin: find(key)?.origin ?? node.origin)
  }

  /// Whether anything was wrong so far, anywhere: then a conclusion from what was read would mislead.
  public var hasProblems: Bool { reader.hasProblems }

  /// Notes what the operator should know about one setting.
  public func warn(_ key: String, _ message: String) {
    reader.warn(message, setting: path + [key], origin: find(key)?.origin ?? node.origin)
  }

  /// After everything was read: every other key is unknown.
  public func end() {
    guard case .map(let entries) = node.content else { return }
    for (key, value) in entries where !known.contains(key) {
      let place = path.isEmpty ? "" : " in \(EffectiveSetting.name(path))"
      let advice: String
      if let near = Suggestion.nearest(to: key, among: known) {
        advice = "did you mean \(near)?"
      } else {
        advice = "known\(place): \(known.joined(separator: ", "))"
      }
      reader.report("unknown setting; \(advice)", setting: path + [key], origin: value.origin)
    }
  }

  // MARK: Inside

  private func find(_ key: String) -> ConfigNode? {
    if !known.contains(key) { known.append(key) }
    guard case .map(let entries) = node.content, let found = entries.first(where: { $0.key == key })?.value,
      !found.isNull
    else { return nil }
    return found
  }

  private func record(_ key: String, _ shown: String, _ origin: EffectiveSetting.Origin) {
    reader.record(EffectiveSetting(path: path + [key], shown: shown, origin: origin, isLive: isReadingLive))
  }

  /// A variable's value is kept as a quoted text; where a number or truth value is asked for it counts as unquoted.
  private func unquoted(_ scalar: YAMLScalar, _ key: String) -> YAMLScalar {
    find(key)?.origin.isEnvironment == true ? YAMLScalar(scalar.text) : scalar
  }

  private func items(of found: ConfigNode) -> [ConfigNode]? {
    switch found.content {
    case .list(let items): return items
    case .map: return nil
    case .scalar(let scalar):
      guard case .environment = found.origin, let parsed = try? YAMLParser.parse(Array(scalar.text.utf8)),
        case .sequence(let items) = parsed.content
      else { return nil }
      return items.map { ConfigNode(ConfigNode($0).content, origin: found.origin) }
    }
  }

  static func text(_ scalar: YAMLScalar) throws(ConfigComplaint) -> String {
    if scalar.isAmbiguousText {
      throw ConfigComplaint("YAML parsers disagree whether \(scalar.text) is a text; put it in quotes")
    }
    if scalar.text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7f }) {
      throw ConfigComplaint("expected a text without control characters")
    }
    return scalar.text
  }

  /// The value for a message about a number, truth value or duration, none of which is a secret.
  private static func quoting(_ scalar: YAMLScalar) -> String {
    let text = scalar.text.count > 40 ? scalar.text.prefix(40) + "..." : scalar.text[...]
    return scalar.style == .plain ? String(text) : "\"\(text)\""
  }

  // Values as YAML.
  private static func show(_ value: Bool) -> String { value ? "true" : "false" }
  private static func show(_ value: Int) -> String { String(value) }
  private static func show(_ value: Double) -> String { String(value) }
  private static func show(_ value: Duration) -> String { JSONText.quoted(DurationText.text(value)) }

  private static func flow(_ items: [String]) -> String { "[" + items.joined(separator: ", ") + "]" }
}
