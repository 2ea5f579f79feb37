// YAMLLine: the lines of a YAML document that have content, after every character was checked. Used by YAMLParser. Pure.

/// One line with content. Because no scalar spans lines, blank lines, comments and markers can be left out beforehand.
struct YAMLLine {
  /// Counted from 1.
  let number: Int
  /// The first byte, the first byte that is no space, and one past the last byte without the line break.
  let start: Int
  let content: Int
  let end: Int

  /// All lines with content; `---` is checked and left out.
  static func split(_ bytes: [UInt8]) throws(YAMLError) -> [YAMLLine] {
    if bytes.count > YAMLParser.maximumBytes { throw YAMLError(line: 1, problem: .tooLarge) }
    try checkCharacters(bytes)
    var lines: [YAMLLine] = []
    var hasDocumentStart = false
    var number = 0
    // UTF-8's byte order mark (YAML 1.2 section 5.2).
    var start = bytes.starts(with: [0xef, 0xbb, 0xbf]) ? 3 : 0
    while start < bytes.count {
      number += 1
      let lineBreak = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
      let end = lineBreak > start && bytes[lineBreak - 1] == UInt8(ascii: "\r") ? lineBreak - 1 : lineBreak
      let content = bytes[start..<end].firstIndex { $0 != UInt8(ascii: " ") } ?? end
      let line = YAMLLine(number: number, start: start, content: content, end: end)
      start = lineBreak + 1
      if content == end || bytes[content] == UInt8(ascii: "#") { continue }
      if bytes[content] == UInt8(ascii: "\t") { throw YAMLError(line: number, problem: .tab) }
      if line.isMarker("---", bytes) {
        if hasDocumentStart || !lines.isEmpty { throw YAMLError(line: number, problem: .secondDocument) }
        hasDocumentStart = true
        try line.checkDocumentStart(bytes)
        continue
      }
      if line.isMarker("...", bytes) { throw YAMLError(line: number, problem: .documentEnd) }
      if bytes[line.start] == UInt8(ascii: "%") { throw YAMLError(line: number, problem: .directive) }
      lines.append(line)
    }
    return lines
  }

  /// Three characters at the line's beginning, then a blank or nothing.
  private func isMarker(_ text: StaticString, _ bytes: [UInt8]) -> Bool {
    guard end - start >= 3, content == start else { return false }
    for offset in 0..<3 where bytes[start + offset] != text.utf8Start[offset] { return false }
    return end - start == 3 || bytes[start + 3] == UInt8(ascii: " ") || bytes[start + 3] == UInt8(ascii: "\t")
  }

  private func checkDocumentStart(_ bytes: [UInt8]) throws(YAMLError) {
    let rest = bytes[(start + 3)..<end]
    if rest.contains(UInt8(ascii: "\t")) && rest.first(where: { $0 != UInt8(ascii: " ") }) != UInt8(ascii: "#") {
      throw YAMLError(line: number, problem: .tab)
    }
    guard let first = rest.first(where: { $0 != UInt8(ascii: " ") }), first != UInt8(ascii: "#") else { return }
    throw YAMLError(line: number, problem: .contentAfterDocumentStart)
  }

  /// UTF-8, and only characters of YAML 1.2's c-printable (section 5.1) without the line separators that YAML 1.1 has and
  /// 1.2 has not (NEL, LS, PS).
  private static func checkCharacters(_ bytes: [UInt8]) throws(YAMLError) {
    var line = 1
    var isFirst = true
    var afterReturn = false
    var iterator = bytes.makeIterator()
    var decoder = UTF8()
    while true {
      let scalar: UInt32
      switch decoder.decode(&iterator) {
      case .scalarValue(let value): scalar = value.value
      case .emptyInput:
        if afterReturn { throw YAMLError(line: line, problem: .unusualLineBreak) }
        return
      case .error: throw YAMLError(line: line, problem: .invalidUTF8)
      }
      if afterReturn && scalar != 0x0a { throw YAMLError(line: line, problem: .unusualLineBreak) }
      afterReturn = scalar == 0x0d
      switch scalar {
      case 0x0a: line += 1
      case 0x09, 0x0d, 0x20...0x7e: break
      case 0x85, 0x2028, 0x2029: throw YAMLError(line: line, problem: .unusualLineBreak)
      case 0xfeff: if !isFirst { throw YAMLError(line: line, problem: .byteOrderMark) }
      case 0xa0...0xfffd, 0x10000...: break
      default: throw YAMLError(line: line, problem: .controlCharacter(scalar))
      }
      isFirst = false
    }
  }
}
