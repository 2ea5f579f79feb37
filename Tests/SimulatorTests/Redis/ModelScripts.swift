// Scripts of the model of Redis: EVAL and EVALSHA, what `redis` is to a script, values from one to the other.

extension RedisModel {
  func evaluate(_ arguments: Arguments, isByName: Bool) throws -> RESP {
    var text = try arguments.text(1)
    if isByName {
      guard scripts.contains(text), let known = programs.text(named: text) else {
        return .error("NOSCRIPT No matching script. Please use EVAL.")
      }
      text = known
    }
    let program: LuaProgram
    do throws(LuaError) {
      program = try programs.program(of: text)
    } catch {
      onScriptError("does not compile: \(error)")
      return .error("ERR Error compiling script: \(error)")
    }
    let count = try arguments.integer(2)
    let keys = arguments.list[3..<3 + count].map { LuaValue.string($0) }
    let values = arguments.list[(3 + count)...].map { LuaValue.string($0) }
    running = Running(isOutOfMemory: isOutOfMemory)
    defer { running = nil }
    do throws(LuaError) {
      let result = try program.run([
        ("redis", .table(library)), ("KEYS", .table(LuaTable(list: keys))),
        ("ARGV", .table(LuaTable(list: Array(values)))),
      ])
      return Self.reply(result.first ?? .nil)
    } catch {
      if let line = error.redisError { return .error(line) }
      onScriptError("\(error)")
      return .error("ERR \(error)")
    }
  }

  /// The table `redis` of a script.
  func makeLibrary() -> LuaTable {
    let table = LuaTable()
    func function(raises: Bool) -> LuaValue {
      .function(
        LuaFunction { [unowned self] values throws(LuaError) in
          var arguments: [[UInt8]] = []
          arguments.reserveCapacity(values.count)
          for value in values {
            guard let bytes = value.asBytes else {
              throw LuaError("Lua redis lib command arguments must be strings or integers")
            }
            arguments.append(bytes)
          }
          let reply = command(arguments)
          if raises, let error = reply.error { throw LuaError(redisError: error) }
          return [Self.value(of: reply)]
        })
    }
    table["pcall"] = function(raises: false)
    table["call"] = function(raises: true)
    return table
  }

  /// Redis to Lua (https://redis.io/docs/latest/develop/interact/programmability/lua-api/, "Data type conversion").
  private static func value(of reply: RESP) -> LuaValue {
    switch reply {
    case .null, .nullArray: return .bool(false)
    case .integer(let value): return .number(Double(value))
    case .bulk(let bytes): return .string(bytes)
    case .status(let text):
      let table = LuaTable()
      table["ok"] = .text(text)
      return .table(table)
    case .error(let text):
      let table = LuaTable()
      table["err"] = .text(text)
      return .table(table)
    case .array(let items): return .table(LuaTable(list: items.map(value)))
    }
  }

  /// Lua to Redis.
  private static func reply(_ value: LuaValue) -> RESP {
    switch value {
    case .nil, .bool(false), .function: return .null
    case .bool(true): return .integer(1)
    case .number(let number): return .integer(Int64(number.rounded(.towardZero)))
    case .string(let bytes): return .bulk(bytes)
    case .table(let table):
      if case .string(let bytes) = table["err"] { return .error(String(decoding: bytes, as: UTF8.self)) }
      if case .string(let bytes) = table["ok"] { return .status(String(decoding: bytes, as: UTF8.self)) }
      var items: [RESP] = []
      for item in table.list {
        if case .nil = item { break }
        items.append(reply(item))
      }
      return .array(items)
    }
  }
}

extension LuaError {
  private static let mark = "redis: "
  /// A command that failed under redis.call.
  init(redisError text: String) { self.init(Self.mark + text) }
  /// The error reply it was.
  var redisError: String? { description.hasPrefix(Self.mark) ? String(description.dropFirst(Self.mark.count)) : nil }
}
