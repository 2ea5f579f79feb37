// LuaScope: the variables of a function while it is parsed: its own, and those of functions around it that it uses.

final class LuaScope {
  let body = LuaFunctionBody()
  let outer: LuaScope?
  var active: [LuaVariable] = []
  var upvalues: [LuaVariable] = []
  init(_ outer: LuaScope?) { self.outer = outer }

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
