// LuaCompiler: makes closures of a Lua program's statements; those of its expressions are in LuaCompilerExpressions. Pure.

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
}
