// SettingsReference: the tables of docs/configuration.md, made from the settings that the programs declare. The document has
// a table between `<!-- settings NAME -->` and `<!-- end -->`; WRITE_REFERENCE=1 has the tests write what they would compare.

import Foundation
import Settings

public enum SettingsReference {
  /// The tables of a section and of those below it, by name: `tracker`, `tracker http`. `showsReload`: whether a column says
  /// what a reload changes.
  public static func tables(_ name: String, _ lines: [SettingReference], showsReload: Bool) -> [String: String] {
    let bySection = Dictionary(grouping: lines) { line in ([name] + line.path.dropLast()).joined(separator: " ") }
    return bySection.mapValues { lines in
      let head = showsReload ? "| setting | default | reload | meaning |" : "| setting | default | meaning |"
      let rule = head.replacing(/[^|]+/, with: "---")
      return ([head, rule] + lines.map { row($0, showsReload) }).joined(separator: "\n")
    }
  }

  private static func row(_ line: SettingReference, _ showsReload: Bool) -> String {
    let reload = showsReload ? "| \(line.change == .live ? "live" : "restart") " : ""
    return "| `\(line.path.last ?? "")` | \(standard(line)) \(reload)| \(line.meaning) |"
  }

  private static func standard(_ line: SettingReference) -> String {
    guard let shown = line.standard else { return "needed" }
    let bare = shown.trimming("[").trimming("]")
    if bare.isEmpty || bare == "\"\"" { return "none" }
    let isValue = bare.hasPrefix("\"") || !bare.contains(" ")
    return bare.split(separator: ", ").map { item in
      let text = item.trimming("\"")
      return isValue && text != "needed" ? "`\(text)`" : String(text)
    }.joined(separator: ", ")
  }

  /// Which of the tables the document does not have as they are, and which of its own under `prefix` there are no settings
  /// for.
  public static func differences(in document: String, prefix: String, _ tables: [String: String]) throws -> [String] {
    let text = TemporaryDirectory.read(document)
    var found: Set<String> = []
    var wrong: [String] = []
    let table = /<!-- settings ([a-z._ ]+) -->\n\n((?:\|.*\n)*)\n<!-- end -->/
    let written = text.replacing(table) { match -> String in
      let name = String(match.1)
      guard name.hasPrefix(prefix) else { return String(match.0) }
      found.insert(name)
      if tables[name].map({ $0 + "\n" }) != String(match.2) { wrong.append(name) }
      return "<!-- settings \(name) -->\n\n\(tables[name] ?? "")\n\n<!-- end -->"
    }
    if ProcessInfo.processInfo.environment["WRITE_REFERENCE"] != nil {
      try written.write(toFile: document, atomically: true, encoding: .utf8)
      return []
    }
    return wrong + tables.keys.filter { !found.contains($0) }
  }
}

extension StringProtocol {
  fileprivate func trimming(_ mark: String) -> String {
    trimmingCharacters(in: CharacterSet(charactersIn: mark))
  }
}
