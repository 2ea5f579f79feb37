// ScriptPrograms: the scripts that models of Redis were given, compiled once for all models that share them. One thread.

final class ScriptPrograms {
  private let globals = LuaLibrary.globals()
  private var programs: [String: LuaProgram] = [:]
  private var texts: [String: String] = [:]
  private var names: [String: String] = [:]

  /// What stands for the SHA1 of a script.
  func name(of text: String) -> String {
    if let name = names[text] { return name }
    let name = String(repeating: "0", count: 32) + String(format: names.count + 1)
    names[text] = name
    texts[name] = text
    return name
  }

  func text(named name: String) -> String? { texts[name] }

  func program(of text: String) throws(LuaError) -> LuaProgram {
    if let known = programs[text] { return known }
    let program = try LuaProgram(text, globals: globals)
    programs[text] = program
    return program
  }
}

extension String {
  /// Eight digits.
  fileprivate init(format number: Int) {
    let digits = String(number, radix: 16)
    self = String(repeating: "0", count: 8 - digits.count) + digits
  }
}
