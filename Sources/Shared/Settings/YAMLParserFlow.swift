// Flow lists and maps of YAMLParser: `[a, b]`, `{a: b}`, nested, over several lines (YAML 1.2 section 7.4). Pure.

extension YAMLParser {
  /// The list or map whose bracket is at `at`; `at` is then behind the closing one.
  mutating func flowCollection(parent: Int, depth: Int) throws(YAMLError) -> YAMLNode {
    if depth > Self.maximumDepth { throw error(.tooDeep) }
    let opening = line.number
    let isList = bytes[at] == UInt8(ascii: "[")
    at += 1
    let content: YAMLNode.Content =
      isList
      ? .sequence(try flowItems(parent: parent, depth: depth, opening: opening))
      : .mapping(try flowEntries(parent: parent, depth: depth, opening: opening))
    return YAMLNode(content, line: opening)
  }

  /// Steps over blanks, comments and line breaks inside brackets.
  private mutating func skipFlowBlanks(parent: Int, opening: Int) throws(YAMLError) {
    while try isRestBlank() {
      nextLine()
      guard index < lines.count else { throw YAMLError(line: opening, problem: .unclosedFlow) }
      if column <= parent { throw error(.flowIndentation) }
    }
  }

  /// After an item: steps over a comma, or over the closing bracket and returns true.
  private mutating func endsFlow(_ closing: UInt8, parent: Int, opening: Int) throws(YAMLError) -> Bool {
    try skipFlowBlanks(parent: parent, opening: opening)
    if bytes[at] == closing {
      at += 1
      return true
    }
    guard bytes[at] == UInt8(ascii: ",") else {
      throw error(bytes[at] == UInt8(ascii: ":") && closing == UInt8(ascii: "]") ? .pairInList : .missingComma)
    }
    at += 1
    return false
  }

  private mutating func flowItems(parent: Int, depth: Int, opening: Int) throws(YAMLError) -> [YAMLNode] {
    var items: [YAMLNode] = []
    while true {
      try skipFlowBlanks(parent: parent, opening: opening)
      if bytes[at] == UInt8(ascii: "]") {
        at += 1
        return items
      }
      items.append(try flowValue(parent: parent, depth: depth + 1))
      if try endsFlow(UInt8(ascii: "]"), parent: parent, opening: opening) { return items }
    }
  }

  private mutating func flowEntries(parent: Int, depth: Int, opening: Int) throws(YAMLError) -> [YAMLNode.Entry] {
    var entries: [YAMLNode.Entry] = []
    var keyLines: [String: Int] = [:]
    while true {
      try skipFlowBlanks(parent: parent, opening: opening)
      if bytes[at] == UInt8(ascii: "}") {
        at += 1
        return entries
      }
      let keyLine = line.number
      let key = try flowKey()
      if let first = keyLines.updateValue(keyLine, forKey: key) {
        throw error(.duplicateKey(key, firstLine: first))
      }
      try skipFlowBlanks(parent: parent, opening: opening)
      let isEmpty = bytes[at] == UInt8(ascii: ",") || bytes[at] == UInt8(ascii: "}")
      let value = isEmpty ? .empty(line: keyLine) : try flowValue(parent: parent, depth: depth + 1)
      entries.append(YAMLNode.Entry(key: key, keyLine: keyLine, value: value))
      if try endsFlow(UInt8(ascii: "}"), parent: parent, opening: opening) { return entries }
    }
  }

  /// A key with its colon on the same line; after a quoted key the colon needs no blank, as in JSON.
  private mutating func flowKey() throws(YAMLError) -> String {
    let start = at
    let scalar: YAMLScalar
    switch bytes[at] {
    case UInt8(ascii: "["), UInt8(ascii: "{"): throw error(.complexKey)
    case UInt8(ascii: "\""), UInt8(ascii: "'"): scalar = try quoted()
    default:
      try checkPlainStart(inFlow: true)
      scalar = try plain(inFlow: true)
    }
    guard try !isRestBlank(), bytes[at] == UInt8(ascii: ":") else { throw error(.missingColon) }
    return try key(scalar, from: start)
  }

  private mutating func flowValue(parent: Int, depth: Int) throws(YAMLError) -> YAMLNode {
    let number = line.number
    switch bytes[at] {
    case UInt8(ascii: "["), UInt8(ascii: "{"): return try flowCollection(parent: parent, depth: depth)
    case UInt8(ascii: "\""), UInt8(ascii: "'"): return YAMLNode(.scalar(try quoted()), line: number)
    default:
      try checkPlainStart(inFlow: true)
      return YAMLNode(.scalar(try plain(inFlow: true)), line: number)
    }
  }
}
