// YAMLParser: reads a strict subset of YAML 1.2 into a YAMLNode. Pure; called at start and on reload.
//
// Accepted: block maps, block lists (also `- key: value`, and lists at their key's own indentation), flow [ ] and { } over
// one or more lines, plain and quoted scalars on one line, comments, one `---`. What is accepted means the same to any
// parser of YAML 1.1 or 1.2; everything else is refused by line. This file is the block structure; characters and lines
// are in YAMLLines, scalars in YAMLParserScalars, brackets in YAMLParserFlow.

/// The parser; one value per document.
public struct YAMLParser {
  /// The largest document. Chihaya keeps torrent white lists in this file: 300,000 infohashes fit, and a wrong path
  /// (a log, a device) is refused before it fills memory.
  public static let maximumBytes = 16 * 1024 * 1024
  /// The deepest nesting. The deepest real configuration has seven levels; the bound keeps the recursion off the stack's end.
  public static let maximumDepth = 32
  /// The longest key with the blanks before its colon; other parsers stop at 1,024 characters.
  public static let maximumKeyBytes = 256

  let bytes: [UInt8]
  /// The lines that are not blank, comment or marker.
  let lines: [YAMLLine]
  /// The current line's place in `lines`.
  var index = 0
  /// The current byte: in the current line, or its end.
  var at = 0

  /// Parses a whole document. A document without content is an empty plain scalar (null).
  public static func parse(_ bytes: [UInt8]) throws(YAMLError) -> YAMLNode {
    var parser = YAMLParser(bytes: bytes, lines: try YAMLLine.split(bytes))
    guard let first = parser.lines.first else { return .empty(line: 1) }
    parser.at = first.content
    let root = try parser.block(parent: -1, depth: 1)
    if parser.index < parser.lines.count { throw parser.error(.indentation) }
    return root
  }

  /// What a line begins with, as far as it tells a map from a value.
  enum Head {
    /// `at` is behind the colon.
    case key(String)
    /// The line is used up.
    case value(YAMLNode)
  }

  // MARK: Position

  var line: YAMLLine { lines[index] }
  var column: Int { at - line.start }
  func error(_ problem: YAMLError.Problem) -> YAMLError {
    YAMLError(line: index < lines.count ? line.number : lines[lines.count - 1].number, problem: problem)
  }

  mutating func nextLine() {
    index += 1
    if index < lines.count { at = line.content }
  }

  func byte(at position: Int) -> UInt8? { position < line.end ? bytes[position] : nil }
  /// Whether a blank or the line's end is at a position: what makes `-`, `:` and `?` indicators.
  func isBlank(at position: Int) -> Bool { position >= line.end || bytes[position] == UInt8(ascii: " ") }
  var isItem: Bool { byte(at: at) == UInt8(ascii: "-") && isBlank(at: at + 1) }

  /// Skips spaces; whether only a comment or nothing is left of the line.
  mutating func isRestBlank() throws(YAMLError) -> Bool {
    while let byte = byte(at: at), byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") {
      if byte == UInt8(ascii: "\t") { throw error(.tab) }
      at += 1
    }
    guard let byte = byte(at: at) else { return true }
    return byte == UInt8(ascii: "#") && (at == line.content || bytes[at - 1] == UInt8(ascii: " "))
  }

  /// After a value: nothing else on the line, and the next line is no deeper than the value's map or list.
  mutating func endValueLine(parent: Int) throws(YAMLError) {
    guard try isRestBlank() else { throw error(.trailing) }
    nextLine()
    if index < lines.count && column > parent { throw error(.continuedValue) }
  }

  // MARK: Blocks

  /// The node that begins at `at`; `parent` is the column of the map or list it belongs to.
  mutating func block(parent: Int, depth: Int) throws(YAMLError) -> YAMLNode {
    if depth > Self.maximumDepth { throw error(.tooDeep) }
    if isItem { return try sequence(depth: depth) }
    let column = column
    let number = line.number
    switch try head(parent: parent, depth: depth) {
    case .value(let node): return node
    case .key(let key): return try mapping(column: column, firstKey: key, line: number, depth: depth)
    }
  }

  private mutating func sequence(depth: Int) throws(YAMLError) -> YAMLNode {
    if depth > Self.maximumDepth { throw error(.tooDeep) }
    let listColumn = column
    let listLine = line.number
    var items: [YAMLNode] = []
    while true {
      let itemLine = line.number
      at += 1
      if try !isRestBlank() {
        items.append(try block(parent: listColumn, depth: depth + 1))
      } else {
        nextLine()
        let isDeeper = index < lines.count && column > listColumn
        items.append(isDeeper ? try block(parent: listColumn, depth: depth + 1) : .empty(line: itemLine))
      }
      guard index < lines.count else { break }
      if column > listColumn { throw error(.indentation) }
      if column < listColumn || !isItem { break }
    }
    return YAMLNode(.sequence(items), line: listLine)
  }

  private mutating func mapping(
    column mapColumn: Int, firstKey: String, line mapLine: Int, depth: Int
  ) throws(YAMLError) -> YAMLNode {
    var entries: [YAMLNode.Entry] = []
    var keyLines: [String: Int] = [:]
    var key = firstKey
    while true {
      let keyLine = line.number
      if let first = keyLines.updateValue(keyLine, forKey: key) {
        throw error(.duplicateKey(key, firstLine: first))
      }
      let value = try mappingValue(mapColumn: mapColumn, keyLine: keyLine, depth: depth)
      entries.append(YAMLNode.Entry(key: key, keyLine: keyLine, value: value))
      guard index < lines.count, column >= mapColumn else { break }
      if column > mapColumn { throw error(.indentation) }
      if isItem { throw error(.itemAmongKeys) }
      let start = at
      guard case .key(let next) = try head(parent: mapColumn, depth: depth) else {
        throw notAKey(from: start, line: line(containing: start))
      }
      key = next
    }
    return YAMLNode(.mapping(entries), line: mapLine)
  }

  /// What follows a key's colon.
  private mutating func mappingValue(mapColumn: Int, keyLine: Int, depth: Int) throws(YAMLError) -> YAMLNode {
    if try !isRestBlank() {
      if isItem { throw error(.listOnKeyLine) }
      guard case .value(let value) = try head(parent: mapColumn, depth: depth + 1) else {
        throw error(.secondKeyOnLine)
      }
      return value
    }
    nextLine()
    guard index < lines.count else { return .empty(line: keyLine) }
    if column > mapColumn { return try block(parent: mapColumn, depth: depth + 1) }
    // A list may stand at its key's own column: the dash counts as indentation.
    if column == mapColumn && isItem { return try sequence(depth: depth + 1) }
    return .empty(line: keyLine)
  }

  private func line(containing position: Int) -> YAMLLine {
    // The value's line was used up; it is one of the last.
    lines[lines[..<min(index + 1, lines.count)].lastIndex { $0.start <= position } ?? 0]
  }

  private func notAKey(from start: Int, line: YAMLLine) -> YAMLError {
    let missesSpace = bytes[start..<line.end].contains(UInt8(ascii: ":"))
    return YAMLError(line: line.number, problem: missesSpace ? .noSpaceAfterColon : .notAKey)
  }

  /// A key, or a scalar or flow value that ends its line.
  private mutating func head(parent: Int, depth: Int) throws(YAMLError) -> Head {
    let start = at
    let startLine = line.number
    switch bytes[at] {
    case UInt8(ascii: "["), UInt8(ascii: "{"):
      let node = try flowCollection(parent: parent, depth: depth)
      if try !isRestBlank(), byte(at: at) == UInt8(ascii: ":") { throw error(.complexKey) }
      try endValueLine(parent: parent)
      return .value(node)
    case UInt8(ascii: "\""), UInt8(ascii: "'"):
      let scalar = try quoted()
      if try !isRestBlank(), byte(at: at) == UInt8(ascii: ":"), isBlank(at: at + 1) {
        return .key(try key(scalar, from: start))
      }
      try endValueLine(parent: parent)
      return .value(YAMLNode(.scalar(scalar), line: startLine))
    default:
      try checkPlainStart(inFlow: false)
      let scalar = try plain(inFlow: false)
      if byte(at: at) == UInt8(ascii: ":") { return .key(try key(scalar, from: start)) }
      try endValueLine(parent: parent)
      return .value(YAMLNode(.scalar(scalar), line: startLine))
    }
  }

  /// Accepts a key whose colon is at `at`, and steps over the colon.
  mutating func key(_ scalar: YAMLScalar, from start: Int) throws(YAMLError) -> String {
    if at - start > Self.maximumKeyBytes { throw error(.longKey) }
    if scalar == YAMLScalar("<<") { throw error(.mergeKey) }
    at += 1
    return scalar.text
  }
}
