// The kinds of setting, one for each accessor of ConfigSection; what they refuse and how they say it is there.

import Linux

extension Setting {
  /// `true` or `false`.
  public static func bool(
    _ key: String, _ path: WritableKeyPath<Root, Bool>, _ change: SettingChange, _ meaning: String
  ) -> Setting {
    Setting(key, path, change, meaning) { $0.bool(key, default: $1) }
  }

  /// A decimal number in a range.
  public static func integer(
    _ key: String, _ path: WritableKeyPath<Root, Int>, in range: ClosedRange<Int>, _ change: SettingChange,
    _ meaning: String, standard: String? = nil
  ) -> Setting {
    Setting(key, path, change, meaning, standard: standard) { $0.integer(key, default: $1, in: range) }
  }

  /// A duration in a range, a multiple of `unit`.
  public static func duration(
    _ key: String, _ path: WritableKeyPath<Root, Duration>, in range: ClosedRange<Duration>,
    unit: Duration = .nanoseconds(1), _ change: SettingChange, _ meaning: String,
    standard: String? = nil
  ) -> Setting {
    Setting(key, path, change, meaning, standard: standard) {
      $0.duration(key, default: $1, in: range, unit: unit)
    }
  }

  /// A number between 0 and 1.
  public static func fraction(
    _ key: String, _ path: WritableKeyPath<Root, Double>, _ change: SettingChange, _ meaning: String,
    standard: String? = nil
  ) -> Setting {
    Setting(key, path, change, meaning, standard: standard) { $0.fraction(key, default: $1) }
  }

  /// A text. `check` throws what was expected; `shown` redacts secrets.
  public static func text(
    _ key: String, _ path: WritableKeyPath<Root, String>, _ change: SettingChange, _ meaning: String,
    shown: @escaping (String) -> String = { $0 },
    check: @escaping (String) throws(ConfigComplaint) -> Void = { _ in }
  ) -> Setting {
    Setting(key, path, change, meaning) { $0.string(key, default: $1, shown: shown, check: check) }
  }

  /// A text that may be absent: nil, or empty in the file.
  public static func text(
    _ key: String, optional path: WritableKeyPath<Root, String?>, _ change: SettingChange, _ meaning: String,
    standard: String? = nil, shown: @escaping (String) -> String = { $0 },
    check: @escaping (String) throws(ConfigComplaint) -> Void = { _ in }
  ) -> Setting {
    Setting(key, path, change, meaning, standard: standard) {
      $0.optionalString(key, default: $1, shown: shown, check: check)
    }
  }

  /// A text without default.
  public static func text(
    _ key: String, needed path: WritableKeyPath<Root, String>, expected: String, _ change: SettingChange,
    _ meaning: String, shown: @escaping (String) -> String = { $0 },
    check: @escaping (String) throws(ConfigComplaint) -> Void
  ) -> Setting {
    Setting(key, path, change, meaning) { section, _ in
      section.requiredString(key, expected: expected, shown: shown, check: check)
    }
  }

  /// One of a few words.
  public static func word<Value: CaseIterable>(
    _ key: String, _ path: WritableKeyPath<Root, Value>, _ change: SettingChange, _ meaning: String
  ) -> Setting {
    Setting(key, path, change, meaning) { section, fallback in
      section.value(key, default: fallback, shown: { JSONText.quoted("\($0)") }) { scalar throws(ConfigComplaint) in
        let text = try ConfigSection.text(scalar)
        if let value = Value.allCases.first(where: { "\($0)" == text }) { return value }
        let words = Value.allCases.map { "\($0)" }.joined(separator: ", ")
        throw ConfigComplaint("expected one of \(words), found \(text)")
      }
    }
  }

  /// A list, each item by `convert`, which throws what was expected.
  public static func list<Value>(
    _ key: String, _ path: WritableKeyPath<Root, [Value]>, _ change: SettingChange, _ meaning: String,
    shown: @escaping (Value) -> String, convert: @escaping (String) throws(ConfigComplaint) -> Value
  ) -> Setting {
    Setting(key, path, change, meaning) { section, fallback in
      section.list(key, default: fallback, shown: { JSONText.quoted(shown($0)) }, convert: convert)
    }
  }

  /// A list of texts.
  public static func texts(
    _ key: String, _ path: WritableKeyPath<Root, [String]>, _ change: SettingChange, _ meaning: String,
    check: @escaping (String) throws(ConfigComplaint) -> Void = { _ in }
  ) -> Setting {
    Setting(key, path, change, meaning) { $0.strings(key, default: $1, check: check) }
  }
}
