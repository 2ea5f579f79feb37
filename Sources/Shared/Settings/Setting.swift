// Setting: one key of a configuration, declared once: its default (the property's own), how it is read, within which limits,
// whether a reload changes it, and its line in docs/configuration.md. Each section lists its settings; reading it, taking over
// what a reload may change, and the reference follow from the list. Main thread.
//
//   static var settings: [Setting<Self>] {
//     [
//       .duration("idle_timeout", \.idleTimeout, in: timeouts, .live, "how long a kept connection may wait"),
//       .check { config, section in ... section.refuse("idle_timeout", "...") },
//     ]
//   }

/// What SIGHUP does with a setting: takes it over, or leaves it to the next start and says so.
public enum SettingChange: Sendable {
  case live
  case restart
}

/// The values of a section, with their defaults, and the keys they are read from.
public protocol SettingsSection {
  init()
  /// In the order in which they are read and shown.
  static var settings: [Setting<Self>] { get }
}

extension SettingsSection {
  /// Reads a section of a configuration; what is not written keeps its default. The section's owner ends it.
  public init(read section: ConfigSection) {
    self.init()
    for setting in Self.settings { setting.read(section, &self) }
  }

  /// Takes over from a newer configuration what may change at any time.
  public mutating func takeLive(_ new: Self) {
    for setting in Self.settings { setting.takeLive(&self, new) }
  }

  /// The section's lines in the reference.
  public static var reference: [SettingReference] { settings.flatMap { $0.reference(Self()) } }
}

/// A line of docs/configuration.md.
public struct SettingReference: Sendable {
  /// Below the section: one key, or several with the sections between.
  public var path: [String]
  /// As `--check-config` shows it; nil: the setting is needed.
  public var standard: String?
  public var change: SettingChange
  public var meaning: String
}

/// One entry of a section's list, for values in a `Root`.
public struct Setting<Root> {
  let read: (ConfigSection, inout Root) -> Void
  let takeLive: (inout Root, Root) -> Void
  let reference: (Root) -> [SettingReference]

  /// Any key.
  ///
  /// - Parameters:
  ///   - standard: the default in the words of the reference, where the value says little.
  ///   - read: gets the default and returns the value, by an accessor of ConfigSection.
  public init<Value>(
    _ key: String, _ path: WritableKeyPath<Root, Value>, _ change: SettingChange, _ meaning: String,
    standard: String? = nil, read: @escaping (ConfigSection, Value) -> Value
  ) {
    self.read = { section, root in
      section.isReadingLive = change == .live
      root[keyPath: path] = read(section, root[keyPath: path])
      section.isReadingLive = false
    }
    takeLive = { running, new in if change == .live { running[keyPath: path] = new[keyPath: path] } }
    reference = { root in
      let reader = ConfigReader()
      _ = read(reader.section, root[keyPath: path])
      let shown = standard ?? reader.settings.first?.shown
      return [SettingReference(path: [key], standard: shown, change: change, meaning: meaning)]
    }
  }

  private init(
    read: @escaping (ConfigSection, inout Root) -> Void, takeLive: @escaping (inout Root, Root) -> Void = { _, _ in },
    reference: @escaping (Root) -> [SettingReference] = { _ in [] }
  ) {
    self.read = read
    self.takeLive = takeLive
    self.reference = reference
  }

  // MARK: What is no key

  /// A look at what has been read so far: refuses or warns at a key of the section.
  public static func check(_ check: @escaping (Root, ConfigSection) -> Void) -> Setting {
    Setting(read: { section, root in check(root, section) })
  }

  /// Gives what is read later a default that depends on what has been read.
  public static func derive(_ derive: @escaping (inout Root) -> Void) -> Setting {
    Setting(read: { _, root in derive(&root) })
  }

  /// Keys that are known from elsewhere and not supported: see ConfigSection.unsupported.
  public static func unsupported(_ keys: String..., advice: String) -> Setting {
    Setting(read: { section, _ in for key in keys { section.unsupported(key, advice) } })
  }

  /// Keys that other programs need and this one does not: whatever they say.
  public static func ignored(_ keys: String...) -> Setting {
    Setting(read: { section, _ in for key in keys { section.ignore(key) } })
  }

  // MARK: Settings of a part of the root

  /// Settings whose values are kept together and whose keys are not.
  public static func group<Part>(_ path: WritableKeyPath<Root, Part>, _ settings: [Setting<Part>]) -> Setting {
    Setting(
      read: { section, root in for setting in settings { setting.read(section, &root[keyPath: path]) } },
      takeLive: { running, new in
        for setting in settings { setting.takeLive(&running[keyPath: path], new[keyPath: path]) }
      },
      reference: { root in settings.flatMap { $0.reference(root[keyPath: path]) } })
  }

  /// The same for settings that count only together with one of them, `key`.
  public static func group<Part: SettingsSection>(_ path: WritableKeyPath<Root, Part?>, ifSet key: String) -> Setting {
    optional(path) { section in section.has(key) ? Part(read: section) : nil }
  }

  /// A section with values of its own.
  public static func section<Part: SettingsSection>(_ key: String, _ path: WritableKeyPath<Root, Part>) -> Setting {
    section(key, [.group(path, Part.settings)])
  }

  /// The same, nil unless it is there and `isUsed` finds it usable.
  public static func section<Part: SettingsSection>(
    _ key: String, _ path: WritableKeyPath<Root, Part?>, isUsed: @escaping (Part) -> Bool
  ) -> Setting {
    let setting = optional(path) { section -> Part? in
      guard section.has(key) else { return nil }
      let below = section.section(key)
      defer { below.end() }
      let part = Part(read: below)
      return isUsed(part) ? part : nil
    }
    return setting.below(key)
  }

  /// A section in the file that is none in the values; read only if `isRead`.
  public static func section(
    _ key: String, if isRead: @escaping (Root) -> Bool = { _ in true }, _ settings: [Setting]
  ) -> Setting {
    let setting = Setting(
      read: { section, root in
        let below = section.section(key)
        guard isRead(root) else { return }
        for setting in settings { setting.read(below, &root) }
        below.end()
      },
      takeLive: { running, new in for setting in settings { setting.takeLive(&running, new) } },
      reference: { root in settings.flatMap { $0.reference(root) } })
    return setting.below(key)
  }

  private static func optional<Part: SettingsSection>(
    _ path: WritableKeyPath<Root, Part?>, read: @escaping (ConfigSection) -> Part?
  ) -> Setting {
    Setting(
      read: { section, root in root[keyPath: path] = read(section) },
      takeLive: { running, new in if let new = new[keyPath: path] { running[keyPath: path]?.takeLive(new) } },
      reference: { _ in Part.reference })
  }

  /// The same setting, its lines in the reference below a key.
  private func below(_ key: String) -> Setting {
    Setting(
      read: read, takeLive: takeLive,
      reference: { root in
        reference(root).map {
          SettingReference(path: [key] + $0.path, standard: $0.standard, change: $0.change, meaning: $0.meaning)
        }
      })
  }
}
