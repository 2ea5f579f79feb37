// LuaLexer: Lua 5.1 source to tokens (https://www.lua.org/manual/5.1/manual.html, section 2.1). Pure.

struct LuaLexer {
  enum Token: Equatable {
    case name(String)
    case keyword(String)
    case symbol(String)
    case string([UInt8])
    case number(Double)
    case end
  }

  private static let keywords: Set<String> = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not", "or",
    "repeat", "return", "then", "true", "until", "while",
  ]

  private let source: [UInt8]
  private var at = 0
  private var line = 1
  /// The one that was read last, and where it begins.
  private(set) var token = Token.end
  private(set) var tokenLine = 1

  init(_ text: String) { source = Array(text.utf8) }

  /// Reads the next one.
  mutating func advance() throws(LuaError) {
    try skipSpace()
    tokenLine = line
    guard at < source.count else {
      token = .end
      return
    }
    let byte = source[at]
    if Self.isLetter(byte) {
      let start = at
      while at < source.count, Self.isLetter(source[at]) || Self.isDigit(source[at]) { at += 1 }
      let word = String(decoding: source[start..<at], as: UTF8.self)
      token = Self.keywords.contains(word) ? .keyword(word) : .name(word)
    } else if Self.isDigit(byte) {
      let start = at
      while at < source.count, Self.isLetter(source[at]) || Self.isDigit(source[at]) || source[at] == UInt8(ascii: ".")
      { at += 1 }
      guard let number = LuaValue.number(of: Array(source[start..<at])) else { throw LuaError("line \(line): number") }
      token = .number(number)
    } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
      try quoted(byte)
    } else if byte == UInt8(ascii: "["), peek(1) == UInt8(ascii: "[") {
      at += 2
      let start = at
      while at + 1 < source.count, !(source[at] == UInt8(ascii: "]") && source[at + 1] == UInt8(ascii: "]")) { at += 1 }
      token = .string(Array(source[start..<at]))
      at += 2
    } else {
      symbol()
    }
  }

  private func peek(_ offset: Int) -> UInt8? { at + offset < source.count ? source[at + offset] : nil }
  private static func isLetter(_ byte: UInt8) -> Bool {
    (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == UInt8(ascii: "_")
  }
  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  private mutating func skipSpace() throws(LuaError) {
    while at < source.count {
      let byte = source[at]
      if byte == 0x0a { line += 1 }
      if byte == 0x20 || (0x09...0x0d).contains(byte) {
        at += 1
      } else if byte == UInt8(ascii: "-"), peek(1) == byte {
        if peek(2) == UInt8(ascii: "["), peek(3) == UInt8(ascii: "[") { throw LuaError("line \(line): long comment") }
        while at < source.count, source[at] != 0x0a { at += 1 }
      } else {
        return
      }
    }
  }

  private mutating func quoted(_ quote: UInt8) throws(LuaError) {
    at += 1
    var bytes: [UInt8] = []
    while at < source.count, source[at] != quote {
      guard source[at] == UInt8(ascii: "\\") else {
        bytes.append(source[at])
        at += 1
        continue
      }
      at += 1
      guard let escape = peek(0) else { break }
      if Self.isDigit(escape) {
        var value = 0
        var digits = 0
        while digits < 3, let digit = peek(0), Self.isDigit(digit) {
          value = value * 10 + Int(digit - 0x30)
          at += 1
          digits += 1
        }
        bytes.append(UInt8(truncatingIfNeeded: value))
        continue
      }
      at += 1
      switch escape {
      case UInt8(ascii: "n"): bytes.append(0x0a)
      case UInt8(ascii: "r"): bytes.append(0x0d)
      case UInt8(ascii: "t"): bytes.append(0x09)
      default: bytes.append(escape)
      }
    }
    guard at < source.count else { throw LuaError("line \(line): unfinished string") }
    at += 1
    token = .string(bytes)
  }

  private mutating func symbol() {
    for text in ["...", "..", "==", "~=", "<=", ">="] where source[at...].starts(with: text.utf8) {
      at += text.utf8.count
      token = .symbol(text)
      return
    }
    token = .symbol(String(decoding: [source[at]], as: UTF8.self))
    at += 1
  }
}
