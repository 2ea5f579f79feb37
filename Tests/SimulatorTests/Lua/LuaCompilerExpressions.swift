// LuaCompilerExpressions: LuaCompiler's closures for expressions. Pure.

extension LuaCompiler {
  /// All values of a list of expressions: of the last one as many as it has.
  func list(_ expressions: [LuaExpression]) throws(LuaError) -> Values {
    guard let last = expressions.last else { return { _ throws(LuaError) in [] } }
    if expressions.count == 1, last.isMulti { return try multi(last) }
    var singles: [Value] = []
    for expression in expressions.dropLast() { singles.append(try value(expression)) }
    if last.isMulti {
      let rest = try multi(last)
      return { [singles] frame throws(LuaError) in
        var values: [LuaValue] = []
        values.reserveCapacity(singles.count + 4)
        for single in singles { values.append(try single(frame)) }
        values += try rest(frame)
        return values
      }
    }
    singles.append(try value(last))
    return { [singles] frame throws(LuaError) in
      var values: [LuaValue] = []
      values.reserveCapacity(singles.count)
      for single in singles { values.append(try single(frame)) }
      return values
    }
  }

  func multi(_ expression: LuaExpression) throws(LuaError) -> Values {
    switch expression {
    case .call(let function, let arguments, let line):
      let (function, arguments) = (try value(function), try list(arguments))
      return { frame throws(LuaError) in
        guard case .function(let function) = try function(frame) else {
          throw LuaError("line \(line): attempt to call a value that is no function")
        }
        return try function.call(try arguments(frame))
      }
    case .method(let object, let name, let arguments, let line):
      // Only strings have methods here.
      let (object, arguments) = (try value(object), try list(arguments))
      let globals = globals
      return { frame throws(LuaError) in
        let object = try object(frame)
        guard case .string = object, case .table(let library) = globals["string"],
          case .function(let function) = library[name]
        else { throw LuaError("line \(line): no method \(name)") }
        return try function.call([object] + (try arguments(frame)))
      }
    default:
      let single = try value(expression)
      return { frame throws(LuaError) in [try single(frame)] }
    }
  }

  func value(_ expression: LuaExpression) throws(LuaError) -> Value {
    switch expression {
    case .constant(let value): return { _ throws(LuaError) in value }
    case .local(let variable):
      let slot = variable.slot
      return { frame throws(LuaError) in variable.isCaptured ? frame.boxes[slot]!.value : frame.slots[slot] }
    case .upvalue(let index): return { frame throws(LuaError) in frame.upvalues[index].value }
    case .global(let name):
      let globals = globals
      return { _ throws(LuaError) in globals[name] }
    case .index(let object, let key):
      let (object, key) = (try value(object), try value(key))
      let globals = globals
      return { frame throws(LuaError) in
        switch try object(frame) {
        case .table(let table): return try table.get(try key(frame))
        // A string's fields are the string library's (manual, section 5.4).
        case .string:
          guard case .table(let library) = globals["string"] else { return .nil }
          return try library.get(try key(frame))
        case let other: throw LuaError("attempt to index a \(other.typeName) value")
        }
      }
    case .call, .method:
      let values = try multi(expression)
      return { frame throws(LuaError) in try values(frame).first ?? .nil }
    case .function(let body): return try function(body)
    case .table(let items): return try table(items)
    case .unary(let operation, let operand, let line): return try unary(operation, operand, line)
    case .binary(let operation, let left, let right, let line): return try binary(operation, left, right, line)
    }
  }

  func function(_ body: LuaFunctionBody) throws(LuaError) -> Value {
    let code = try compile(body)
    let captures = body.captures
    return { frame throws(LuaError) in
      let upvalues = captures.map { capture in
        switch capture {
        case .local(let variable): frame.boxes[variable.slot]!
        case .upvalue(let index): frame.upvalues[index]
        }
      }
      return .function(LuaFunction { arguments throws(LuaError) in try code.call(arguments, upvalues: upvalues) })
    }
  }

  private func table(_ items: [(key: LuaExpression?, value: LuaExpression)]) throws(LuaError) -> Value {
    let named = items.filter { $0.key != nil }
    let listed = try list(items.filter { $0.key == nil }.map(\.value))
    var pairs: [(Value, Value)] = []
    for item in named { pairs.append((try value(item.key!), try value(item.value))) }
    return { [pairs] frame throws(LuaError) in
      let table = LuaTable()
      var values = try listed(frame)
      while let last = values.last, last == .nil { values.removeLast() }
      table.list = values
      for (key, value) in pairs { try table.set(try key(frame), try value(frame)) }
      return .table(table)
    }
  }

  private func unary(_ operation: LuaOperator, _ operand: LuaExpression, _ line: Int) throws(LuaError) -> Value {
    let operand = try value(operand)
    switch operation {
    case .not: return { frame throws(LuaError) in .bool(try !operand(frame).isTrue) }
    case .negate:
      return { frame throws(LuaError) in
        guard let number = try operand(frame).asNumber else { throw LuaError("line \(line): arithmetic on no number") }
        return .number(-number)
      }
    default:
      return { frame throws(LuaError) in
        switch try operand(frame) {
        case .string(let bytes): return .number(Double(bytes.count))
        case .table(let table): return .number(Double(table.list.count))
        default: throw LuaError("line \(line): length of a value that has none")
        }
      }
    }
  }

  private func binary(_ operation: LuaOperator, _ left: LuaExpression, _ right: LuaExpression, _ line: Int)
    throws(LuaError) -> Value
  {
    let (left, right) = (try value(left), try value(right))
    func arithmetic(_ body: @escaping (Double, Double) -> Double) -> Value {
      { frame throws(LuaError) in
        guard let a = try left(frame).asNumber, let b = try right(frame).asNumber else {
          throw LuaError("line \(line): attempt to perform arithmetic on a value that is no number")
        }
        return .number(body(a, b))
      }
    }
    func comparison(_ body: @escaping (Int) -> Bool) -> Value {
      { frame throws(LuaError) in .bool(body(try Self.order(try left(frame), try right(frame), line))) }
    }
    switch operation {
    case .and:
      return { frame throws(LuaError) in
        let value = try left(frame)
        return value.isTrue ? try right(frame) : value
      }
    case .or:
      return { frame throws(LuaError) in
        let value = try left(frame)
        return value.isTrue ? value : try right(frame)
      }
    case .equal: return { frame throws(LuaError) in .bool(try left(frame) == right(frame)) }
    case .notEqual: return { frame throws(LuaError) in .bool(try !(left(frame) == right(frame))) }
    case .less: return comparison { $0 < 0 }
    case .lessOrEqual: return comparison { $0 <= 0 }
    case .greater: return comparison { $0 > 0 }
    case .greaterOrEqual: return comparison { $0 >= 0 }
    case .concatenate:
      return { frame throws(LuaError) in
        guard let a = try left(frame).asBytes, let b = try right(frame).asBytes else {
          throw LuaError("line \(line): attempt to concatenate a value that is no text")
        }
        return .string(a + b)
      }
    case .add: return arithmetic { $0 + $1 }
    case .subtract: return arithmetic { $0 - $1 }
    case .multiply: return arithmetic { $0 * $1 }
    case .divide: return arithmetic { $0 / $1 }
    case .modulo: return arithmetic { $0 - ($0 / $1).rounded(.down) * $1 }
    case .power: throw LuaError("line \(line): ^ is not needed here")
    default: throw LuaError("line \(line): no binary operator")
    }
  }

  private static func order(_ left: LuaValue, _ right: LuaValue, _ line: Int) throws(LuaError) -> Int {
    switch (left, right) {
    case (.number(let a), .number(let b)): return a < b ? -1 : a > b ? 1 : 0
    case (.string(let a), .string(let b)):
      if a == b { return 0 }
      return a.lexicographicallyPrecedes(b) ? -1 : 1
    default: throw LuaError("line \(line): attempt to compare \(left.typeName) with \(right.typeName)")
    }
  }
}
