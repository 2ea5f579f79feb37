// LuaParser: Lua 5.1 source (https://www.lua.org/manual/5.1/manual.html, section 2) to a tree with resolved variables. What
// the scripts do not use is refused by name: varargs, goto, metatables. Pure.

indirect enum LuaExpression {
  case constant(LuaValue)
  case local(LuaVariable)
  case upvalue(Int)
  case global(String)
  case index(LuaExpression, LuaExpression)
  case call(LuaExpression, [LuaExpression], line: Int)
  case method(LuaExpression, String, [LuaExpression], line: Int)
  case function(LuaFunctionBody)
  case table([(key: LuaExpression?, value: LuaExpression)])
  case unary(LuaOperator, LuaExpression, line: Int)
  case binary(LuaOperator, LuaExpression, LuaExpression, line: Int)

  var isMulti: Bool {
    switch self {
    case .call, .method: true
    default: false
    }
  }
}

enum LuaOperator {
  case add, subtract, multiply, divide, modulo, power, concatenate
  case equal, notEqual, less, lessOrEqual, greater, greaterOrEqual
  case and, or, not, negate, length
}

indirect enum LuaStatement {
  case local([LuaVariable], [LuaExpression])
  case assign([LuaExpression], [LuaExpression], line: Int)
  case call(LuaExpression)
  case branch([(condition: LuaExpression, body: [LuaStatement])], otherwise: [LuaStatement])
  case whileLoop(LuaExpression, [LuaStatement])
  case repeatLoop([LuaStatement], LuaExpression)
  case forNumber(LuaVariable, LuaExpression, LuaExpression, LuaExpression?, [LuaStatement], line: Int)
  case forEach([LuaVariable], [LuaExpression], [LuaStatement], line: Int)
  case block([LuaStatement])
  case localFunction(LuaVariable, LuaFunctionBody)
  case returnValues([LuaExpression])
  case leave
}

/// A local variable: its place in the frame, and whether a function inside holds on to it.
final class LuaVariable {
  let name: String
  let slot: Int
  var isCaptured = false
  init(name: String, slot: Int) {
    self.name = name
    self.slot = slot
  }
}

final class LuaFunctionBody {
  var parameters: [LuaVariable] = []
  var statements: [LuaStatement] = []
  var slots = 0
  /// Where each upvalue comes from: a local of the function around, or an upvalue of it.
  var captures: [Capture] = []
  enum Capture {
    case local(LuaVariable)
    case upvalue(Int)
  }
}

struct LuaParser {
  private enum Token: Equatable {
    case name(String)
    case keyword(String)
    case symbol(String)
    case string([UInt8])
    case number(Double)
    case end
  }

  private final class Scope {
    let body = LuaFunctionBody()
    let outer: Scope?
    var active: [LuaVariable] = []
    var upvalues: [LuaVariable] = []
    init(_ outer: Scope?) { self.outer = outer }

    func declare(_ name: String) -> LuaVariable {
      let variable = LuaVariable(name: name, slot: body.slots)
      body.slots += 1
      return variable
    }

    func upvalue(_ name: String) -> Int? {
      guard let outer else { return nil }
      if let local = outer.active.last(where: { $0.name == name }) {
        if let known = upvalues.firstIndex(where: { $0 === local }) { return known }
        local.isCaptured = true
        body.captures.append(.local(local))
        upvalues.append(local)
        return upvalues.count - 1
      }
      guard let further = outer.upvalue(name) else { return nil }
      let variable = outer.upvalues[further]
      if let known = upvalues.firstIndex(where: { $0 === variable }) { return known }
      body.captures.append(.upvalue(further))
      upvalues.append(variable)
      return upvalues.count - 1
    }
  }

  private static let keywords: Set<String> = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not", "or",
    "repeat", "return", "then", "true", "until", "while",
  ]

  private let source: [UInt8]
  private var at = 0
  private var line = 1
  private var token = Token.end
  private var tokenLine = 1
  private var scope: Scope

  /// The body of a whole program.
  static func parse(_ text: String) throws(LuaError) -> LuaFunctionBody {
    var parser = LuaParser(text)
    try parser.advance()
    parser.scope.body.statements = try parser.block()
    guard parser.token == .end else { throw parser.unexpected }
    return parser.scope.body
  }

  private init(_ text: String) {
    source = Array(text.utf8)
    scope = Scope(nil)
  }

  private var unexpected: LuaError { LuaError("line \(tokenLine): unexpected \(token)") }

  // MARK: tokens

  private mutating func advance() throws(LuaError) {
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

  private mutating func take(_ expected: Token) throws(LuaError) -> Bool {
    guard token == expected else { return false }
    try advance()
    return true
  }

  private mutating func expect(_ expected: Token) throws(LuaError) {
    guard try take(expected) else { throw LuaError("line \(tokenLine): \(expected) expected, not \(token)") }
  }

  private mutating func name() throws(LuaError) -> String {
    guard case .name(let name) = token else { throw unexpected }
    try advance()
    return name
  }

  // MARK: statements

  private mutating func block() throws(LuaError) -> [LuaStatement] {
    let depth = scope.active.count
    defer { scope.active.removeSubrange(depth...) }
    var statements: [LuaStatement] = []
    while true {
      switch token {
      case .end, .keyword("end"), .keyword("else"), .keyword("elseif"), .keyword("until"): return statements
      case .symbol(";"): try advance()
      case .keyword("return"):
        try advance()
        var values: [LuaExpression] = []
        switch token {
        case .end, .keyword("end"), .keyword("else"), .keyword("elseif"), .keyword("until"), .symbol(";"): break
        default: values = try expressions()
        }
        statements.append(.returnValues(values))
      default: statements.append(try statement())
      }
    }
  }

  private mutating func statement() throws(LuaError) -> LuaStatement {
    guard case .keyword(let word) = token else { return try expressionStatement() }
    let line = tokenLine
    try advance()
    switch word {
    case "break": return .leave
    case "do":
      let body = try block()
      try expect(.keyword("end"))
      return .block(body)
    case "local": return try local()
    case "if": return try branch()
    case "while":
      let condition = try expression()
      try expect(.keyword("do"))
      let body = try block()
      try expect(.keyword("end"))
      return .whileLoop(condition, body)
    case "repeat":
      let body = try block()
      try expect(.keyword("until"))
      return .repeatLoop(body, try expression())
    case "for": return try loop(line)
    case "function":
      let target = try name()
      return .assign([variable(target)], [.function(try functionBody())], line: line)
    default: throw unexpected
    }
  }

  private mutating func local() throws(LuaError) -> LuaStatement {
    if try take(.keyword("function")) {
      let variable = scope.declare(try name())
      scope.active.append(variable)
      return .localFunction(variable, try functionBody())
    }
    var names = [try name()]
    while try take(.symbol(",")) { names.append(try name()) }
    let values = try take(.symbol("=")) ? try expressions() : []
    let variables = names.map { scope.declare($0) }
    scope.active += variables
    return .local(variables, values)
  }

  private mutating func branch() throws(LuaError) -> LuaStatement {
    var branches: [(condition: LuaExpression, body: [LuaStatement])] = []
    let condition = try expression()
    try expect(.keyword("then"))
    branches.append((condition, try block()))
    while try take(.keyword("elseif")) {
      let condition = try expression()
      try expect(.keyword("then"))
      branches.append((condition, try block()))
    }
    let otherwise = try take(.keyword("else")) ? try block() : []
    try expect(.keyword("end"))
    return .branch(branches, otherwise: otherwise)
  }

  private mutating func loop(_ line: Int) throws(LuaError) -> LuaStatement {
    var names = [try name()]
    if try take(.symbol("=")) {
      let first = try expression()
      try expect(.symbol(","))
      let last = try expression()
      let step = try take(.symbol(",")) ? try expression() : nil
      let variable = scope.declare(names[0])
      let body = try loopBody([variable])
      return .forNumber(variable, first, last, step, body, line: line)
    }
    while try take(.symbol(",")) { names.append(try name()) }
    try expect(.keyword("in"))
    let values = try expressions()
    let variables = names.map { scope.declare($0) }
    return .forEach(variables, values, try loopBody(variables), line: line)
  }

  private mutating func loopBody(_ variables: [LuaVariable]) throws(LuaError) -> [LuaStatement] {
    try expect(.keyword("do"))
    scope.active += variables
    let body = try block()
    scope.active.removeLast(variables.count)
    try expect(.keyword("end"))
    return body
  }

  private mutating func expressionStatement() throws(LuaError) -> LuaStatement {
    let line = tokenLine
    let first = try suffixed()
    if first.isMulti { return .call(first) }
    var targets = [first]
    while try take(.symbol(",")) { targets.append(try suffixed()) }
    try expect(.symbol("="))
    return .assign(targets, try expressions(), line: line)
  }

  private mutating func functionBody() throws(LuaError) -> LuaFunctionBody {
    let inner = Scope(scope)
    scope = inner
    defer { scope = inner.outer! }
    try expect(.symbol("("))
    if token != .symbol(")") {
      repeat {
        let parameter = inner.declare(try name())
        inner.body.parameters.append(parameter)
        inner.active.append(parameter)
      } while try take(.symbol(","))
    }
    try expect(.symbol(")"))
    inner.body.statements = try block()
    try expect(.keyword("end"))
    return inner.body
  }

  // MARK: expressions

  private mutating func expressions() throws(LuaError) -> [LuaExpression] {
    var list = [try expression()]
    while try take(.symbol(",")) { list.append(try expression()) }
    return list
  }

  private func binaryOperator() -> (operation: LuaOperator, left: Int, right: Int)? {
    switch token {
    case .keyword("or"): (.or, 1, 1)
    case .keyword("and"): (.and, 2, 2)
    case .symbol("<"): (.less, 3, 3)
    case .symbol(">"): (.greater, 3, 3)
    case .symbol("<="): (.lessOrEqual, 3, 3)
    case .symbol(">="): (.greaterOrEqual, 3, 3)
    case .symbol("~="): (.notEqual, 3, 3)
    case .symbol("=="): (.equal, 3, 3)
    case .symbol(".."): (.concatenate, 5, 4)
    case .symbol("+"): (.add, 6, 6)
    case .symbol("-"): (.subtract, 6, 6)
    case .symbol("*"): (.multiply, 7, 7)
    case .symbol("/"): (.divide, 7, 7)
    case .symbol("%"): (.modulo, 7, 7)
    case .symbol("^"): (.power, 10, 9)
    default: nil
    }
  }

  private mutating func expression(above limit: Int = 0) throws(LuaError) -> LuaExpression {
    var left: LuaExpression
    let line = tokenLine
    if try take(.keyword("not")) {
      left = .unary(.not, try expression(above: 8), line: line)
    } else if try take(.symbol("-")) {
      left = .unary(.negate, try expression(above: 8), line: line)
    } else if try take(.symbol("#")) {
      left = .unary(.length, try expression(above: 8), line: line)
    } else {
      left = try simple()
    }
    while let (operation, precedence, right) = binaryOperator(), precedence > limit {
      let line = tokenLine
      try advance()
      left = .binary(operation, left, try expression(above: right), line: line)
    }
    return left
  }

  private mutating func simple() throws(LuaError) -> LuaExpression {
    switch token {
    case .number(let number):
      try advance()
      return .constant(.number(number))
    case .string(let bytes):
      try advance()
      return .constant(.string(bytes))
    case .keyword("nil"):
      try advance()
      return .constant(.nil)
    case .keyword("true"):
      try advance()
      return .constant(.bool(true))
    case .keyword("false"):
      try advance()
      return .constant(.bool(false))
    case .keyword("function"):
      try advance()
      return .function(try functionBody())
    case .symbol("{"): return try table()
    default: return try suffixed()
    }
  }

  private func variable(_ name: String) -> LuaExpression {
    if let local = scope.active.last(where: { $0.name == name }) { return .local(local) }
    if let upvalue = scope.upvalue(name) { return .upvalue(upvalue) }
    return .global(name)
  }

  private mutating func suffixed() throws(LuaError) -> LuaExpression {
    var result: LuaExpression
    if try take(.symbol("(")) {
      result = try expression()
      try expect(.symbol(")"))
    } else {
      result = variable(try name())
    }
    while true {
      let line = tokenLine
      if try take(.symbol(".")) {
        result = .index(result, .constant(.text(try name())))
      } else if try take(.symbol("[")) {
        result = .index(result, try expression())
        try expect(.symbol("]"))
      } else if try take(.symbol(":")) {
        let method = try name()
        result = .method(result, method, try arguments(), line: line)
      } else if token == .symbol("(") {
        result = .call(result, try arguments(), line: line)
      } else {
        return result
      }
    }
  }

  private mutating func arguments() throws(LuaError) -> [LuaExpression] {
    try expect(.symbol("("))
    if try take(.symbol(")")) { return [] }
    let list = try expressions()
    try expect(.symbol(")"))
    return list
  }

  private mutating func table() throws(LuaError) -> LuaExpression {
    try expect(.symbol("{"))
    var items: [(key: LuaExpression?, value: LuaExpression)] = []
    while token != .symbol("}") {
      if try take(.symbol("[")) {
        let key = try expression()
        try expect(.symbol("]"))
        try expect(.symbol("="))
        items.append((key, try expression()))
      } else {
        let value = try expression()
        if case .global(let name) = value, try take(.symbol("=")) {
          items.append((.constant(.text(name)), try expression()))
        } else if case .local(let local) = value, try take(.symbol("=")) {
          items.append((.constant(.text(local.name)), try expression()))
        } else {
          items.append((nil, value))
        }
      }
      if try !take(.symbol(",")), try !take(.symbol(";")) { break }
    }
    try expect(.symbol("}"))
    return .table(items)
  }
}
