// Plain and quoted scalars of YAMLParser, each on one line (YAML 1.2 section 7.3). Pure.

extension YAMLParser {
  /// Refuses what cannot begin an unquoted text here, each with its own sentence.
  func checkPlainStart(inFlow: Bool) throws(YAMLError) {
    let first = bytes[at]
    switch first {
    case UInt8(ascii: "&"): throw error(.anchor)
    case UInt8(ascii: "*"): throw error(.alias)
    case UInt8(ascii: "!"): throw error(.tag)
    case UInt8(ascii: "|"), UInt8(ascii: ">"): throw error(.blockScalar)
    case UInt8(ascii: "@"), UInt8(ascii: "`"), UInt8(ascii: "%"):
      throw error(.reserved(Character(Unicode.Scalar(first))))
    case UInt8(ascii: ","), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "{"), UInt8(ascii: "}"),
      UInt8(ascii: "#"):
      throw error(.unexpected(Character(Unicode.Scalar(first))))
    case UInt8(ascii: "?") where isBlank(at: at + 1): throw error(.complexKey)
    case UInt8(ascii: "?") where inFlow: throw error(.flowQuestionMark)
    case UInt8(ascii: ":") where isBlank(at: at + 1): throw error(.emptyKey)
    case UInt8(ascii: ":") where inFlow: throw error(.flowColon)
    case UInt8(ascii: "-") where isBlank(at: at + 1) || (inFlow && isFlowIndicator(at: at + 1)):
      throw error(.unexpected("-"))
    default: break
    }
  }

  func isFlowIndicator(at position: Int) -> Bool {
    byte(at: position).map { ",[]{}".utf8.contains($0) } ?? false
  }

  /// An unquoted text, without the blanks after it; `at` is then at a colon that ends a key, a comment, the line's end, or
  /// (in flow) at an indicator.
  mutating func plain(inFlow: Bool) throws(YAMLError) -> YAMLScalar {
    let start = at
    scanning: while let byte = byte(at: at) {
      switch byte {
      case UInt8(ascii: "\t"): throw error(.tab)
      case UInt8(ascii: ":"):
        if isBlank(at: at + 1) { break scanning }
        if self.byte(at: at + 1) == UInt8(ascii: "\t") { throw error(.tab) }
        if inFlow && isFlowIndicator(at: at + 1) { throw error(.flowColon) }
      case UInt8(ascii: "#") where bytes[at - 1] == UInt8(ascii: " "): break scanning
      case UInt8(ascii: "?") where inFlow: throw error(.flowQuestionMark)
      case _ where inFlow && isFlowIndicator(at: at): break scanning
      default: break
      }
      at += 1
    }
    var end = at
    while end > start && bytes[end - 1] == UInt8(ascii: " ") { end -= 1 }
    return YAMLScalar(String(decoding: bytes[start..<end], as: UTF8.self))
  }

  /// A text in quotes; `at` is then behind the closing quote.
  mutating func quoted() throws(YAMLError) -> YAMLScalar {
    bytes[at] == UInt8(ascii: "'") ? try singleQuoted() : try doubleQuoted()
  }

  private mutating func singleQuoted() throws(YAMLError) -> YAMLScalar {
    var text: [UInt8] = []
    at += 1
    while let byte = byte(at: at) {
      at += 1
      if byte == UInt8(ascii: "'") {
        guard self.byte(at: at) == UInt8(ascii: "'") else {
          return YAMLScalar(String(decoding: text, as: UTF8.self), .singleQuoted)
        }
        at += 1
      }
      text.append(byte)
    }
    throw error(.unclosedQuote)
  }

  private mutating func doubleQuoted() throws(YAMLError) -> YAMLScalar {
    var text: [UInt8] = []
    at += 1
    while let byte = byte(at: at) {
      at += 1
      switch byte {
      case UInt8(ascii: "\""): return YAMLScalar(String(decoding: text, as: UTF8.self), .doubleQuoted)
      case UInt8(ascii: "\\"): text.append(contentsOf: try escape())
      default: text.append(byte)
      }
    }
    throw error(.unclosedQuote)
  }

  /// What follows a backslash (YAML 1.2 section 5.7), as UTF-8.
  private mutating func escape() throws(YAMLError) -> [UInt8] {
    guard let letter = byte(at: at) else { throw error(.unclosedQuote) }
    at += 1
    switch letter {
    case UInt8(ascii: "0"): return [0x00]
    case UInt8(ascii: "a"): return [0x07]
    case UInt8(ascii: "b"): return [0x08]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "n"): return [0x0a]
    case UInt8(ascii: "v"): return [0x0b]
    case UInt8(ascii: "f"): return [0x0c]
    case UInt8(ascii: "r"): return [0x0d]
    case UInt8(ascii: "e"): return [0x1b]
    case UInt8(ascii: " "), UInt8(ascii: "\""), UInt8(ascii: "/"), UInt8(ascii: "\\"): return [letter]
    case UInt8(ascii: "N"): return Array("\u{85}".utf8)
    case UInt8(ascii: "_"): return Array("\u{a0}".utf8)
    case UInt8(ascii: "L"): return Array("\u{2028}".utf8)
    case UInt8(ascii: "P"): return Array("\u{2029}".utf8)
    case UInt8(ascii: "x"): return try hexEscape(digits: 2)
    case UInt8(ascii: "u"): return try hexEscape(digits: 4)
    case UInt8(ascii: "U"): return try hexEscape(digits: 8)
    default: throw error(.badEscape)
    }
  }

  private mutating func hexEscape(digits: Int) throws(YAMLError) -> [UInt8] {
    guard at + digits <= line.end, bytes[at..<(at + digits)].allSatisfy({ $0.isHexDigit }),
      let value = UInt32(String(decoding: bytes[at..<(at + digits)], as: UTF8.self), radix: 16)
    else { throw error(.badEscape) }
    at += digits
    guard let scalar = Unicode.Scalar(value) else { throw error(.surrogateEscape) }
    return Array(String(Character(scalar)).utf8)
  }
}
