// LuaSyntax: a Lua program as a tree with resolved variables: what LuaParser makes and LuaCompiler reads. Pure.

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
