// RedisModel: a Redis server that runs on virtual time: the commands and scripts this repository uses, on a RedisData.
// RedisModelTests compares it with redis-server. One thread.

final class RedisModel {
  var data = RedisData()
  /// Unix milliseconds, by this server's clock.
  var now: UInt64 = 1_700_000_000_000
  /// It has been made a replica: no writes.
  var isReadOnly = false
  /// `maxmemory` is reached.
  var isOutOfMemory = false
  /// Said to every command instead of serving it: LOADING, BUSY, ...
  var refusal: String?
  /// Names of the scripts it knows.
  private var scripts: Set<String> = []
  /// Told of every XADD: the stream, the id, the fields; gives the entry's serial.
  var onAdd: (_ stream: [UInt8], _ id: StreamID, _ fields: [[UInt8]]) -> Int = { _, _, _ in 0 }
  /// A script did not run to its end, which no script of ours may do.
  var onScriptError: (String) -> Void = { _ in }

  private let programs: ScriptPrograms
  private struct Running {
    var isOutOfMemory: Bool
    var hasWritten = false
  }
  private var running: Running?
  /// Of the connection at hand.
  private var allowed: Set<String>?
  /// The ACL has no TIME, as before it was asked for.
  var hasNoTime = false

  /// What belongs to a connection.
  struct Session {
    var queued: [[[UInt8]]]?
    /// Commands it may use, itself and in scripts; nil: all.
    var allowed: Set<String>?
  }

  /// Models that share `programs` compile a script once.
  init(programs: ScriptPrograms = ScriptPrograms()) { self.programs = programs }

  /// After a restart.
  func forgetScripts() { scripts = [] }

  /// One command of a connection.
  func execute(_ arguments: [[UInt8]], _ session: inout Session) -> RESP {
    let name = String(decoding: arguments[0], as: UTF8.self).uppercased()
    if let refusal { return .error(refusal) }
    allowed = session.allowed
    switch name {
    case "MULTI":
      session.queued = []
      return .ok
    case "EXEC":
      guard let queued = session.queued else { return .error("ERR EXEC without MULTI") }
      session.queued = nil
      return .array(queued.map { command($0) })
    default:
      if session.queued != nil {
        session.queued!.append(arguments)
        return .status("QUEUED")
      }
      return command(arguments)
    }
  }

  func execute(_ arguments: [String]) -> RESP {
    var session = Session()
    return execute(arguments.map { Array($0.utf8) }, &session)
  }

  // MARK: commands

  private static let writes: Set<String> = [
    "XADD", "XREADGROUP", "XACK", "XAUTOCLAIM", "XGROUP", "XTRIM", "XDEL", "SET", "DEL", "HSET", "HDEL", "EXPIRE",
    "FLUSHALL",
    "HINCRBY", "SADD", "SREM", "XSETID", "PEXPIRE", "UNLINK",
  ]
  /// Those that need memory.
  private static let growing: Set<String> = ["XADD", "XGROUP", "SET", "HSET", "HINCRBY", "SADD"]

  private func command(_ arguments: [[UInt8]]) -> RESP {
    let name = String(decoding: arguments[0], as: UTF8.self).uppercased()
    if name == "TIME", hasNoTime || !(allowed?.contains(name) ?? true) {
      return .error("NOPERM this user has no permissions to run the 'time' command")
    }
    if let allowed, !allowed.contains(name) {
      return .error("NOPERM this user has no permissions to run the '\(name.lowercased())' command")
    }
    if Self.writes.contains(name) {
      if isReadOnly { return .error("READONLY You can't write against a read only replica.") }
      let isFull = running.map { $0.isOutOfMemory && !$0.hasWritten } ?? isOutOfMemory
      if isFull, Self.growing.contains(name) {
        return .error("OOM command not allowed when used memory > 'maxmemory'.")
      }
      running?.hasWritten = true
    }
    do {
      return try perform(name, Arguments(arguments, now: now, data: data))
    } catch {
      return .error((error as? ModelError)?.text ?? "\(error)")
    }
  }

  private struct ModelError: Error {
    let text: String
    static let wrongType = ModelError(text: "WRONGTYPE Operation against a key holding the wrong kind of value")
    static let syntax = ModelError(text: "ERR syntax error")
  }

  private struct Arguments {
    let list: [[UInt8]]
    init(_ list: [[UInt8]], now: UInt64, data: RedisData) { self.list = list }
    var count: Int { list.count }
    subscript(index: Int) -> [UInt8] { list[index] }
    func text(_ index: Int) throws -> String {
      guard index < list.count else { throw ModelError(text: "ERR wrong number of arguments") }
      return String(decoding: list[index], as: UTF8.self)
    }
    func integer(_ index: Int) throws -> Int {
      guard let value = Int(try text(index)) else {
        throw ModelError(text: "ERR value is not an integer or out of range")
      }
      return value
    }
    /// The place behind a word, at or after an index.
    func value(of word: String, from index: Int) -> Int? {
      var at = index
      while at < list.count {
        if String(decoding: list[at], as: UTF8.self).uppercased() == word { return at + 1 }
        at += 1
      }
      return nil
    }
  }

  private func perform(_ name: String, _ arguments: Arguments) throws -> RESP {
    switch name {
    case "PING": return .status("PONG")
    case "ASKING", "READONLY", "SELECT": return .ok
    case "ROLE": return .array([.text(isReadOnly ? "slave" : "master")])
    case "TIME": return .array([.text("\(now / 1000)"), .text("\(now % 1000 * 1000)")])
    case "SCRIPT":
      guard try arguments.text(1).uppercased() == "LOAD" else { throw ModelError.syntax }
      let text = try arguments.text(2)
      let name = programs.name(of: text)
      scripts.insert(name)
      return .text(name)
    case "EVALSHA": return try evaluate(arguments, isByName: true)
    case "EVAL": return try evaluate(arguments, isByName: false)
    case "FLUSHALL":
      data.removeAll()
      return .ok
    default:
      if name.hasPrefix("X") { return try performStream(name, arguments) }
      return try performKey(name, arguments)
    }
  }

  private func performKey(_ name: String, _ arguments: Arguments) throws -> RESP {
    guard arguments.count > 1 else { throw ModelError(text: "ERR wrong number of arguments") }
    let key = arguments[1]
    let slot = data.slot(key, now: now)
    if slot == nil { _ = data.remove(key) }
    switch name {
    case "GET":
      guard let slot else { return .null }
      guard case .string(let value) = slot.value else { throw ModelError.wrongType }
      return .bulk(value)
    case "SET":
      let options = try (3..<max(3, arguments.count)).map { try arguments.text($0).uppercased() }
      if options.contains("NX"), slot != nil { return .null }
      data.set(key, .string(arguments[2]), expires: nil)
      return .ok
    case "DEL", "UNLINK":
      var count: Int64 = 0
      for index in 1..<arguments.count where data.remove(arguments[index]) != nil { count += 1 }
      return .integer(count)
    case "EXISTS": return .integer(slot == nil ? 0 : 1)
    case "TYPE":
      switch slot?.value {
      case .string: return .status("string")
      case .hash: return .status("hash")
      case .stream: return .status("stream")
      case nil: return .status("none")
      }
    case "EXPIRE":
      guard let slot else { return .integer(0) }
      let seconds = try arguments.integer(2)
      if seconds <= 0 {
        _ = data.remove(key)
      } else {
        data.set(key, slot.value, expires: now + UInt64(seconds) * 1000)
      }
      return .integer(1)
    case "PTTL":
      guard let slot else { return .integer(-2) }
      return .integer(slot.expires.map { Int64($0 - now) } ?? -1)
    default: return try performHash(name, arguments, slot)
    }
  }

  private func performHash(_ name: String, _ arguments: Arguments, _ slot: RedisData.Slot?) throws -> RESP {
    let key = arguments[1]
    var hash: [[UInt8]: [UInt8]] = [:]
    if let slot {
      guard case .hash(let found) = slot.value else { throw ModelError.wrongType }
      hash = found
    }
    switch name {
    case "HGET": return hash[arguments[2]].map { .bulk($0) } ?? .null
    case "HMGET": return .array((2..<arguments.count).map { hash[arguments[$0]].map { .bulk($0) } ?? .null })
    case "HGETALL":
      return .array(
        hash.sorted { $0.key.lexicographicallyPrecedes($1.key) }.flatMap { [.bulk($0.key), .bulk($0.value)] })
    case "HDEL":
      var count: Int64 = 0
      for index in 2..<arguments.count where hash.removeValue(forKey: arguments[index]) != nil { count += 1 }
      if hash.isEmpty { _ = data.remove(key) } else { data.set(key, .hash(hash), expires: slot?.expires) }
      return .integer(count)
    case "HSET":
      guard arguments.count >= 4, arguments.count.isMultiple(of: 2) else {
        throw ModelError(text: "ERR wrong number of arguments for 'hset' command")
      }
      hash = [:]
      if slot == nil { data.set(key, .hash([:]), expires: nil) }
      let added = data.withHash(key) { hash in
        var added: Int64 = 0
        for index in stride(from: 2, to: arguments.count, by: 2)
        where hash.updateValue(arguments[index + 1], forKey: arguments[index]) == nil { added += 1 }
        return added
      }
      return .integer(added!)
    default: throw ModelError(text: "ERR unknown command '\(name)'")
    }
  }

  // MARK: streams

  private func stream(_ key: [UInt8]) throws -> ModelStream? {
    guard let slot = data.slot(key, now: now) else { return nil }
    guard case .stream(let stream) = slot.value else { throw ModelError.wrongType }
    return stream
  }

  private static func noGroup(_ key: [UInt8], _ group: [UInt8], _ command: String) -> ModelError {
    let (key, group) = (String(decoding: key, as: UTF8.self), String(decoding: group, as: UTF8.self))
    return ModelError(text: "NOGROUP No such key '\(key)' or consumer group '\(group)'\(command)")
  }

  private func performStream(_ name: String, _ arguments: Arguments) throws -> RESP {
    switch name {
    case "XADD":
      let key = arguments[1]
      if try stream(key) == nil { data.set(key, .stream(ModelStream()), expires: nil) }
      let fields = Array(arguments.list[3...])
      let text = try arguments.text(2)
      let moment = now
      let last = try stream(key)!.lastID
      var given: StreamID?
      if text != "*" {
        guard let id = StreamID(arguments[2]) else {
          throw ModelError(text: "ERR Invalid stream ID specified as stream command argument")
        }
        guard id > last else {
          throw ModelError(
            text: "ERR The ID specified in XADD is equal or smaller than the target stream top item")
        }
        given = id
      }
      let id = given ?? (moment > last.milliseconds ? StreamID(milliseconds: moment) : last.next)
      let serial = onAdd(key, id, fields)
      _ = data.withStream(key) { $0.append(id, fields, serial: serial) }
      return .text(id.description)
    case "XLEN": return .integer(Int64(try stream(arguments[1])?.entries.count ?? 0))
    case "XRANGE", "XREVRANGE": return try range(arguments, isReverse: name == "XREVRANGE")
    case "XDEL":
      guard try stream(arguments[1]) != nil else { return .integer(0) }
      let ids = arguments.list[2...].compactMap { StreamID($0) }
      return .integer(data.withStream(arguments[1]) { $0.delete(ids) }!)
    case "XTRIM":
      guard try stream(arguments[1]) != nil else { return .integer(0) }
      guard try arguments.text(2).uppercased() == "MINID" else { throw ModelError.syntax }
      let isTilde = try ["~", "="].contains(arguments.text(3))
      guard let id = StreamID(arguments[isTilde ? 4 : 3]) else { throw ModelError.syntax }
      return .integer(data.withStream(arguments[1]) { $0.trim(below: id) }!)
    case "XINFO": return try info(arguments)
    default: return try performGroup(name, arguments)
    }
  }

  private static func reply(_ entry: ModelStream.Entry) -> RESP {
    .array([.text(entry.id.description), .array(entry.fields.map { .bulk($0) })])
  }

  private func range(_ arguments: Arguments, isReverse: Bool) throws -> RESP {
    func bound(_ bytes: [UInt8], isStart: Bool) throws -> StreamID? {
      if bytes == Array("-".utf8) { return .zero }
      if bytes == Array("+".utf8) { return .maximum }
      let isOpen = bytes.first == UInt8(ascii: "(")
      guard let id = StreamID(isOpen ? Array(bytes.dropFirst()) : bytes, missing: isStart ? 0 : .max) else {
        throw ModelError(text: "ERR Invalid stream ID specified as stream command argument")
      }
      guard isOpen else { return id }
      return isStart ? (id == .maximum ? nil : id.next) : id.previous
    }
    guard let first = try bound(arguments[isReverse ? 3 : 2], isStart: true),
      let last = try bound(arguments[isReverse ? 2 : 3], isStart: false)
    else { throw ModelError(text: "ERR invalid start ID for the interval") }
    guard let stream = try stream(arguments[1]) else { return .array([]) }
    let count = try arguments.value(of: "COUNT", from: 4).map { try arguments.integer($0) } ?? .max
    let start = stream.place(of: first)
    var found = stream.entries[start...].prefix { $0.id <= last }
    if first > last { found = [] }
    if isReverse { return .array(found.suffix(count).reversed().map(Self.reply)) }
    return .array(found.prefix(count).map(Self.reply))
  }

  private func info(_ arguments: Arguments) throws -> RESP {
    guard let stream = try stream(arguments[2]) else { throw ModelError(text: "ERR no such key") }
    func pair(_ name: String, _ value: RESP) -> [RESP] { [.text(name), value] }
    switch try arguments.text(1).uppercased() {
    case "STREAM":
      let first = stream.entries.first.map(Self.reply) ?? .null
      let last = stream.entries.last.map(Self.reply) ?? .null
      return .array(
        pair("length", .integer(Int64(stream.entries.count)))
          + pair("radix-tree-keys", .integer(1)) + pair("radix-tree-nodes", .integer(2))
          + pair("last-generated-id", .text(stream.lastID.description))
          + pair("max-deleted-entry-id", .text(stream.maximumDeleted.description))
          + pair("entries-added", .integer(stream.added))
          + pair("recorded-first-entry-id", .text(stream.firstID.description))
          + pair("groups", .integer(Int64(stream.groups.count))) + pair("first-entry", first)
          + pair("last-entry", last))
    case "GROUPS":
      let groups = stream.groups.sorted { $0.key.lexicographicallyPrecedes($1.key) }
      return .array(
        groups.map { name, group in
          .array(
            pair("name", .bulk(name)) + pair("consumers", .integer(Int64(group.consumers.count)))
              + pair("pending", .integer(Int64(group.pending.count)))
              + pair("last-delivered-id", .text(group.last.description))
              + pair("entries-read", group.read.map { .integer($0) } ?? .null)
              + pair("lag", stream.lag(of: group).map { .integer($0) } ?? .null))
        })
    default: throw ModelError.syntax
    }
  }

  private func performGroup(_ name: String, _ arguments: Arguments) throws -> RESP {
    switch name {
    case "XGROUP": return try manageGroup(arguments)
    case "XREADGROUP": return try readGroup(arguments)
    case "XACK":
      guard try stream(arguments[1]) != nil else { return .integer(0) }
      let ids = arguments.list[3...].compactMap { StreamID($0) }
      return .integer(data.withStream(arguments[1]) { $0.acknowledge(arguments[2], ids) }!)
    case "XPENDING":
      guard let group = try stream(arguments[1])?.groups[arguments[2]] else {
        throw Self.noGroup(arguments[1], arguments[2], "")
      }
      if arguments.count > 3 { return try pendingList(group, arguments) }
      guard let first = group.pending.first, let last = group.pending.last else {
        return .array([.integer(0), .null, .null, .nullArray])
      }
      let names = Set(group.pending.map(\.consumer)).sorted { $0.lexicographicallyPrecedes($1) }
      return .array([
        .integer(Int64(group.pending.count)), .text(first.id.description), .text(last.id.description),
        .array(names.map { name in .array([.bulk(name), .text("\(group.pending.count { $0.consumer == name })")]) }),
      ])
    case "XAUTOCLAIM":
      guard let stream = try stream(arguments[1]), stream.groups[arguments[2]] != nil else {
        throw Self.noGroup(arguments[1], arguments[2], "")
      }
      let count = try arguments.value(of: "COUNT", from: 6).map { try arguments.integer($0) } ?? 100
      guard let start = StreamID(arguments[5]) else { throw ModelError.syntax }
      let idle = UInt64(max(0, try arguments.integer(4)))
      let moment = now
      let result = data.withStream(arguments[1]) {
        $0.claim(arguments[2], arguments[3], idle: idle, from: start, count: count, now: moment)
      }!
      return .array([
        .text(result.next.description), .array(result.entries.map(Self.reply)),
        .array(result.deleted.map { .text($0.description) }),
      ])
    default: throw ModelError(text: "ERR unknown command '\(name)'")
    }
  }

  private func pendingList(_ group: ModelStream.Group, _ arguments: Arguments) throws -> RESP {
    let first = arguments[3] == Array("-".utf8) ? StreamID.zero : StreamID(arguments[3]) ?? .zero
    let last = arguments[4] == Array("+".utf8) ? StreamID.maximum : StreamID(arguments[4], missing: .max) ?? .maximum
    let count = try arguments.integer(5)
    let moment = now
    return .array(
      group.pending.filter { $0.id >= first && $0.id <= last }.prefix(count).map { pending in
        .array([
          .text(pending.id.description), .bulk(pending.consumer),
          .integer(Int64(moment) - Int64(pending.deliveredAt)), .integer(pending.count),
        ])
      })
  }

  private func manageGroup(_ arguments: Arguments) throws -> RESP {
    let (key, group) = (arguments[2], arguments[3])
    let verb = try arguments.text(1).uppercased()
    var found = try stream(key)
    if verb == "CREATE" {
      if found == nil {
        guard arguments.value(of: "MKSTREAM", from: 5) != nil else {
          throw ModelError(
            text: "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the "
              + "MKSTREAM option to create an empty stream automatically.")
        }
        data.set(key, .stream(ModelStream()), expires: nil)
        found = ModelStream()
      }
      if found!.groups[group] != nil { throw ModelError(text: "BUSYGROUP Consumer Group name already exists") }
    }
    guard let found else {
      throw ModelError(
        text: "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the "
          + "MKSTREAM option to create an empty stream automatically.")
    }
    switch verb {
    case "CREATE", "SETID":
      let id = arguments[4] == Array("$".utf8) ? found.lastID : StreamID(arguments[4])
      guard let id else { throw ModelError.syntax }
      if verb == "SETID", found.groups[group] == nil {
        throw ModelError(
          text: "NOGROUP No such consumer group '\(String(decoding: group, as: UTF8.self))' for key name "
            + "'\(String(decoding: key, as: UTF8.self))'")
      }
      let read = try arguments.value(of: "ENTRIESREAD", from: 5).map { Int64(try arguments.integer($0)) }
      _ = data.withStream(key) { stream in
        if verb == "CREATE" {
          stream.groups[group] = ModelStream.Group(last: id, read: read)
        } else {
          stream.groups[group]!.last = id
          stream.groups[group]!.read = read
        }
      }
      return .ok
    case "DESTROY":
      return .integer(data.withStream(key) { $0.groups.removeValue(forKey: group) != nil ? 1 : 0 }!)
    case "DELCONSUMER":
      let consumer = arguments[4]
      let count = data.withStream(key) { stream -> Int64 in
        guard var found = stream.groups[group] else { return 0 }
        let before = found.pending.count
        found.pending.removeAll { $0.consumer == consumer }
        found.consumers.remove(consumer)
        stream.groups[group] = found
        return Int64(before - found.pending.count)
      }
      return .integer(count!)
    default: throw ModelError.syntax
    }
  }

  private func readGroup(_ arguments: Arguments) throws -> RESP {
    let (group, consumer) = (arguments[2], arguments[3])
    guard let at = arguments.value(of: "STREAMS", from: 4) else { throw ModelError.syntax }
    let key = arguments[at]
    guard let found = try stream(key), found.groups[group] != nil else {
      throw Self.noGroup(key, group, " in XREADGROUP with GROUP option")
    }
    let count = try arguments.value(of: "COUNT", from: 4).map { try arguments.integer($0) } ?? .max
    let moment = now
    if arguments[at + 1] == Array(">".utf8) {
      let entries = data.withStream(key) { $0.readNew(group, consumer, count: count, now: moment) }!
      guard let entries else { return .nullArray }
      return .array([.array([.bulk(key), .array(entries.map(Self.reply))])])
    }
    guard let id = StreamID(arguments[at + 1]) else { throw ModelError.syntax }
    let entries = data.withStream(key) { $0.readPending(group, consumer, after: id, count: count, now: moment) }!
    return .array([
      .array([
        .bulk(key),
        .array(
          entries.map { id, entry in entry.map(Self.reply) ?? .array([.text(id.description), .nullArray]) }),
      ])
    ])
  }

  // MARK: scripts

  private func evaluate(_ arguments: Arguments, isByName: Bool) throws -> RESP {
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

  private lazy var library: LuaTable = {
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
  }()

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

/// Scripts, compiled. One thread.
final class ScriptPrograms {
  private let globals = LuaLibrary.globals()
  private var programs: [String: LuaProgram] = [:]
  private var texts: [String: String] = [:]
  private var names: [String: String] = [:]
  /// Changes a script before it is compiled: what a safeguard is worth is seen by taking it out.
  var mutate: (String) -> String = { $0 }

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
    let program = try LuaProgram(mutate(text), globals: globals)
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
