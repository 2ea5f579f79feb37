// LuaParser: Lua 5.1 source (https://www.lua.org/manual/5.1/manual.html, section 2) to a tree with resolved variables. What
// the scripts do not use is refused by name: varargs, goto, metatables. Pure.

struct LuaParser {
  private typealias Token = LuaLexer.Token

  private var lexer: LuaLexer
  private var scope: LuaScope
  private var token: Token { lexer.token }
  private var tokenLine: Int { lexer.tokenLine }

  /// The body of a whole program.
  static func parse(_ text: String) throws(LuaError) -> LuaFunctionBody {
    var parser = LuaParser(text)
    try parser.advance()
    parser.scope.body.statements = try parser.block()
    guard parser.token == .end else { throw parser.unexpected }
    return parser.scope.body
  }

  private init(_ text: String) {
    lexer = LuaLexer(text)
    scope = LuaScope(nil)
  }

  private var unexpected: LuaError { LuaError("line \(tokenLine): unexpected \(token)") }

  // MARK: tokens

  private mutating func advance() throws(LuaError) { try lexer.advance() }

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
    let inner = LuaScope(scope)
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
