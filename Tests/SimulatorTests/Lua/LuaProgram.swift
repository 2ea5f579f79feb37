// LuaProgram: a Lua program made of closures, compiled once and run as often as wanted. One thread.

/// A compiled program.
final class LuaProgram {
  private let code: LuaCode
  private let globals: LuaTable

  /// `globals` is what the program finds besides its own; one table may serve many programs.
  init(_ text: String, globals: LuaTable) throws(LuaError) {
    let body = try LuaParser.parse(text)
    self.globals = globals
    code = try LuaCompiler(globals: globals).compile(body)
  }

  /// Runs it with some globals set; returns what it returns.
  func run(_ extra: [(name: String, value: LuaValue)]) throws(LuaError) -> [LuaValue] {
    for (name, value) in extra { globals[name] = value }
    return try code.call([], upvalues: [])
  }
}

/// A variable that outlives its frame.
final class LuaBox {
  var value: LuaValue
  init(_ value: LuaValue) { self.value = value }
}

/// The variables of a running function.
final class LuaFrame {
  let slots: UnsafeMutablePointer<LuaValue>
  let boxes: UnsafeMutablePointer<LuaBox?>
  let count: Int
  let upvalues: [LuaBox]
  var returned: [LuaValue] = []

  init(count: Int, upvalues: [LuaBox]) {
    self.count = count
    self.upvalues = upvalues
    slots = .allocate(capacity: count)
    slots.initialize(repeating: .nil, count: count)
    boxes = .allocate(capacity: count)
    boxes.initialize(repeating: nil, count: count)
  }

  deinit {
    slots.deinitialize(count: count)
    slots.deallocate()
    boxes.deinitialize(count: count)
    boxes.deallocate()
  }
}

/// A compiled function body.
final class LuaCode {
  enum Flow { case onward, left, returned }
  typealias Value = (LuaFrame) throws(LuaError) -> LuaValue
  typealias Values = (LuaFrame) throws(LuaError) -> [LuaValue]
  typealias Step = (LuaFrame) throws(LuaError) -> Flow

  fileprivate var parameters: [LuaVariable] = []
  fileprivate var slots = 0
  fileprivate var steps: [Step] = []

  func call(_ arguments: [LuaValue], upvalues: [LuaBox]) throws(LuaError) -> [LuaValue] {
    let frame = LuaFrame(count: max(1, slots), upvalues: upvalues)
    for (index, parameter) in parameters.enumerated() {
      let value = index < arguments.count ? arguments[index] : .nil
      if parameter.isCaptured {
        frame.boxes[parameter.slot] = LuaBox(value)
      } else {
        frame.slots[parameter.slot] = value
      }
    }
    for step in steps where try step(frame) == .returned { return frame.returned }
    return []
  }
}

struct LuaCompiler {
  typealias Value = LuaCode.Value
  typealias Values = LuaCode.Values
  typealias Step = LuaCode.Step
  let globals: LuaTable

  func compile(_ body: LuaFunctionBody) throws(LuaError) -> LuaCode {
    let code = LuaCode()
    code.parameters = body.parameters
    code.steps = try compile(body.statements)
    code.slots = body.slots
    return code
  }

  // MARK: statements

  private func compile(_ statements: [LuaStatement]) throws(LuaError) -> [Step] {
    var steps: [Step] = []
    for statement in statements { steps.append(try compile(statement)) }
    return steps
  }

  private func block(_ statements: [LuaStatement]) throws(LuaError) -> Step {
    let steps = try compile(statements)
    return { frame throws(LuaError) in
      for step in steps {
        let flow = try step(frame)
        if flow != .onward { return flow }
      }
      return .onward
    }
  }

  private func compile(_ statement: LuaStatement) throws(LuaError) -> Step {
    switch statement {
    case .local(let variables, let expressions): return try compileLocal(variables, expressions)
    case .assign(let targets, let expressions, let line): return try compileAssign(targets, expressions, line)
    case .call(let call):
      let values = try multi(call)
      return { frame throws(LuaError) in
        _ = try values(frame)
        return .onward
      }
    case .branch(let branches, let otherwise): return try compileBranch(branches, otherwise)
    case .whileLoop(let condition, let body):
      let condition = try value(condition)
      let body = try block(body)
      return { frame throws(LuaError) in
        while try condition(frame).isTrue {
          let flow = try body(frame)
          if flow == .left { break }
          if flow == .returned { return .returned }
        }
        return .onward
      }
    case .repeatLoop(let body, let condition):
      let condition = try value(condition)
      let body = try block(body)
      return { frame throws(LuaError) in
        repeat {
          let flow = try body(frame)
          if flow == .left { break }
          if flow == .returned { return .returned }
        } while try !condition(frame).isTrue
        return .onward
      }
    case .forNumber, .forEach: return try compileLoop(statement)
    case .block(let body): return try block(body)
    case .localFunction(let variable, let body):
      let make = try function(body)
      return { frame throws(LuaError) in
        // It may call itself.
        if variable.isCaptured { frame.boxes[variable.slot] = LuaBox(.nil) }
        let value = try make(frame)
        if variable.isCaptured { frame.boxes[variable.slot]!.value = value } else { frame.slots[variable.slot] = value }
        return .onward
      }
    case .returnValues(let expressions):
      let values = try list(expressions)
      return { frame throws(LuaError) in
        frame.returned = try values(frame)
        return .returned
      }
    case .leave: return { _ throws(LuaError) in .left }
    }
  }

  private static func declare(_ variable: LuaVariable, _ value: LuaValue, _ frame: LuaFrame) {
    if variable.isCaptured { frame.boxes[variable.slot] = LuaBox(value) } else { frame.slots[variable.slot] = value }
  }

  private func compileLocal(_ variables: [LuaVariable], _ expressions: [LuaExpression]) throws(LuaError) -> Step {
    if variables.count == 1, expressions.count == 1 {
      let (variable, value) = (variables[0], try value(expressions[0]))
      return { frame throws(LuaError) in
        Self.declare(variable, try value(frame), frame)
        return .onward
      }
    }
    let values = try list(expressions)
    return { frame throws(LuaError) in
      let values = try values(frame)
      for (index, variable) in variables.enumerated() {
        Self.declare(variable, index < values.count ? values[index] : .nil, frame)
      }
      return .onward
    }
  }

  private func compileAssign(_ targets: [LuaExpression], _ expressions: [LuaExpression], _ line: Int) throws(LuaError)
    -> Step
  {
    var stores: [(LuaFrame, LuaValue) throws(LuaError) -> Void] = []
    for target in targets { stores.append(try store(target, line)) }
    if stores.count == 1, expressions.count == 1 {
      let (store, value) = (stores[0], try value(expressions[0]))
      return { frame throws(LuaError) in
        try store(frame, try value(frame))
        return .onward
      }
    }
    let values = try list(expressions)
    return { [stores] frame throws(LuaError) in
      let values = try values(frame)
      for (index, store) in stores.enumerated() { try store(frame, index < values.count ? values[index] : .nil) }
      return .onward
    }
  }

  private func store(_ target: LuaExpression, _ line: Int) throws(LuaError)
    -> (LuaFrame, LuaValue) throws(LuaError) -> Void
  {
    switch target {
    case .local(let variable):
      let slot = variable.slot
      return { frame, value throws(LuaError) in
        if variable.isCaptured { frame.boxes[slot]!.value = value } else { frame.slots[slot] = value }
      }
    case .upvalue(let index): return { frame, value throws(LuaError) in frame.upvalues[index].value = value }
    case .global(let name):
      let globals = globals
      return { _, value throws(LuaError) in globals[name] = value }
    case .index(let table, let key):
      let (table, key) = (try value(table), try value(key))
      return { frame, new throws(LuaError) in
        guard case .table(let table) = try table(frame) else {
          throw LuaError("line \(line): attempt to index a value that is no table")
        }
        try table.set(try key(frame), new)
      }
    default: throw LuaError("line \(line): cannot assign to this")
    }
  }

  private func compileBranch(
    _ branches: [(condition: LuaExpression, body: [LuaStatement])], _ otherwise: [LuaStatement]
  ) throws(LuaError) -> Step {
    var compiled: [(Value, Step)] = []
    for branch in branches { compiled.append((try value(branch.condition), try block(branch.body))) }
    let otherwise = try block(otherwise)
    return { [compiled] frame throws(LuaError) in
      for (condition, body) in compiled where try condition(frame).isTrue { return try body(frame) }
      return try otherwise(frame)
    }
  }

  private func compileLoop(_ statement: LuaStatement) throws(LuaError) -> Step {
    switch statement {
    case .forNumber(let variable, let first, let last, let step, let body, let line):
      let (first, last, body) = (try value(first), try value(last), try block(body))
      let step = try step.map { step throws(LuaError) in try value(step) }
      return { frame throws(LuaError) in
        let by = try step?(frame).asNumber ?? 1
        guard var at = try first(frame).asNumber, let end = try last(frame).asNumber else {
          throw LuaError("line \(line): 'for' limits must be numbers")
        }
        while by > 0 ? at <= end : at >= end {
          Self.declare(variable, .number(at), frame)
          let flow = try body(frame)
          if flow == .left { break }
          if flow == .returned { return .returned }
          at += by
        }
        return .onward
      }
    case .forEach(let variables, let expressions, let body, let line):
      let (values, body) = (try list(expressions), try block(body))
      return { frame throws(LuaError) in
        let values = try values(frame)
        guard values.count >= 3, case .function(let iterator) = values[0] else {
          throw LuaError("line \(line): 'for' needs an iterator")
        }
        var control = values[2]
        while true {
          let next = try iterator.call([values[1], control])
          guard let first = next.first, case let isNil = first == .nil, !isNil else { break }
          control = first
          for (index, variable) in variables.enumerated() {
            Self.declare(variable, index < next.count ? next[index] : .nil, frame)
          }
          let flow = try body(frame)
          if flow == .left { break }
          if flow == .returned { return .returned }
        }
        return .onward
      }
    default: throw LuaError("not a loop")
    }
  }

  // MARK: expressions

  /// All values of a list of expressions: of the last one as many as it has.
  private func list(_ expressions: [LuaExpression]) throws(LuaError) -> Values {
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

  private func multi(_ expression: LuaExpression) throws(LuaError) -> Values {
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

  private func value(_ expression: LuaExpression) throws(LuaError) -> Value {
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

  private func function(_ body: LuaFunctionBody) throws(LuaError) -> Value {
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
