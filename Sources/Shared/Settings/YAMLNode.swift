// YAMLNode: the tree a YAML document stands for, each node with its line. Made by YAMLParser, read by ConfigReader. Pure.

/// A scalar as it stands in the file: the text after unquoting, and whether it was quoted. What an unquoted text means
/// (number, truth value, text) is decided by the reader of the setting, which knows.
public struct YAMLScalar: Sendable, Hashable {
  public enum Style: Sendable, Hashable {
    case plain, singleQuoted, doubleQuoted
  }
  public let text: String
  public let style: Style

  public init(_ text: String, _ style: Style = .plain) {
    self.text = text
    self.style = style
  }
}

/// A value with the line it begins on, counted from 1.
public struct YAMLNode: Sendable, Equatable {
  public enum Content: Sendable, Equatable {
    case scalar(YAMLScalar)
    case sequence([YAMLNode])
    /// In file order; no key twice.
    case mapping([Entry])
  }
  public struct Entry: Sendable, Equatable {
    public let key: String
    public let keyLine: Int
    public let value: YAMLNode
  }
  public let content: Content
  public let line: Int

  public init(_ content: Content, line: Int) {
    self.content = content
    self.line = line
  }

  /// What `key:` without a value has: YAML's null.
  static func empty(line: Int) -> YAMLNode { YAMLNode(.scalar(YAMLScalar("")), line: line) }
}

extension YAMLScalar {
  /// Null in YAML 1.1 and 1.2: nothing, `~` or `null`, unquoted.
  public var isNull: Bool { style == .plain && ["", "~", "null", "Null", "NULL"].contains(text) }

  /// The truth value both YAML versions see: `true` or `false`, unquoted. The other words of YAML 1.1 (`yes`, `on`) are
  /// texts in 1.2, so they are none.
  public var bool: Bool? {
    guard style == .plain else { return nil }
    switch text {
    case "true", "True", "TRUE": return true
    case "false", "False", "FALSE": return false
    default: return nil
    }
  }

  /// The number both YAML versions see: decimal, unquoted, without leading zero (octal in 1.1), `_` or `:`.
  public var integer: Int? {
    guard style == .plain, isCanonicalDecimal else { return nil }
    return Int(text)
  }

  /// Whether some YAML parser takes this unquoted text for something that is not a text, so that a text setting must have
  /// it quoted. A decimal number is let through: its text is the same in every parser.
  public var isAmbiguousText: Bool {
    guard style == .plain, !isCanonicalDecimal else { return false }
    return isNull || Self.words.contains(text.lowercased()) || text == "<<" || text == "=" || looksLikeNumber
      || looksLikeDate
  }

  /// YAML 1.1's truth values and the special floats of both.
  private static let words: Set<String> = [
    "y", "n", "yes", "no", "on", "off", "true", "false", ".inf", "+.inf", "-.inf", ".nan",
  ]

  private var isCanonicalDecimal: Bool {
    let digits = text.utf8.first == UInt8(ascii: "-") ? text.utf8.dropFirst() : text.utf8[...]
    guard let first = digits.first, digits.allSatisfy({ $0.isDecimalDigit }) else { return false }
    return first != UInt8(ascii: "0") || text == "0"
  }

  /// A superset of the int and float patterns of YAML 1.1 and the 1.2 core schema: binary, octal and hexadecimal with
  /// their prefixes, or digits with underscores, colons (base 60), one point and one exponent.
  private var looksLikeNumber: Bool {
    var bytes = Array(text.utf8)[...]
    if bytes.first == UInt8(ascii: "-") || bytes.first == UInt8(ascii: "+") { bytes = bytes.dropFirst() }
    if bytes.starts(with: "0x".utf8) || bytes.starts(with: "0b".utf8) || bytes.starts(with: "0o".utf8) {
      return bytes.dropFirst(2).allSatisfy { $0.isHexDigit || $0 == UInt8(ascii: "_") }
    }
    guard let first = bytes.first, first.isDecimalDigit || first == UInt8(ascii: ".") else { return false }
    var points = 0
    var digits = 0
    while let byte = bytes.first {
      switch byte {
      case UInt8(ascii: "_"), UInt8(ascii: ":"): break
      case UInt8(ascii: "."): points += 1
      case _ where byte.isDecimalDigit: digits += 1
      case UInt8(ascii: "e"), UInt8(ascii: "E"):
        var exponent = bytes.dropFirst()
        if exponent.first == UInt8(ascii: "-") || exponent.first == UInt8(ascii: "+") {
          exponent = exponent.dropFirst()
        }
        return digits > 0 && points <= 1 && !exponent.isEmpty && exponent.allSatisfy { $0.isDecimalDigit }
      default: return false
      }
      bytes = bytes.dropFirst()
    }
    return digits > 0 && points <= 1
  }

  /// YAML 1.1's timestamp: begins with `2001-12-14`, then nothing or a time.
  private var looksLikeDate: Bool {
    let parts = text.split(separator: "-", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0].utf8.count == 4, (1...2).contains(parts[1].utf8.count) else { return false }
    let day = parts[2].utf8.prefix { $0.isDecimalDigit }
    let next = parts[2].utf8.dropFirst(day.count).first
    return parts[0].utf8.allSatisfy { $0.isDecimalDigit } && parts[1].utf8.allSatisfy { $0.isDecimalDigit }
      && (1...2).contains(day.count) && (next.map { " Tt\t".utf8.contains($0) } ?? true)
  }
}

extension UInt8 {
  var isDecimalDigit: Bool { self >= UInt8(ascii: "0") && self <= UInt8(ascii: "9") }
  var isHexDigit: Bool {
    isDecimalDigit || (self | 0x20 >= UInt8(ascii: "a") && self | 0x20 <= UInt8(ascii: "f"))
  }
}
