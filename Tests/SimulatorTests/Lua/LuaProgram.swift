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

  var parameters: [LuaVariable] = []
  var slots = 0
  var steps: [Step] = []

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
