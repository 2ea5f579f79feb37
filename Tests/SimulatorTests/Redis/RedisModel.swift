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
  private(set) var scripts: Set<String> = []
  /// Told of every XADD: the stream, the id, the fields; gives the entry's serial.
  var onAdd: (_ stream: [UInt8], _ id: StreamID, _ fields: [[UInt8]]) -> Int = { _, _, _ in 0 }
  /// A script did not run to its end, which no script of ours may do.
  var onScriptError: (String) -> Void = { _ in }

  let programs: ScriptPrograms
  /// A script at work.
  struct Running {
    var isOutOfMemory: Bool
    var hasWritten = false
  }
  var running: Running?
  private(set) lazy var library = makeLibrary()
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

  func command(_ arguments: [[UInt8]]) -> RESP {
    let name = String(decoding: arguments[0], as: UTF8.self).uppercased()
    if name == "TIME", hasNoTime {
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
      return try perform(name, Arguments(list: arguments))
    } catch {
      return .error((error as? ModelError)?.text ?? "\(error)")
    }
  }

  struct ModelError: Error {
    let text: String
    static let wrongType = ModelError(text: "WRONGTYPE Operation against a key holding the wrong kind of value")
    static let syntax = ModelError(text: "ERR syntax error")
  }

  /// The words of a command.
  struct Arguments {
    let list: [[UInt8]]
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
}
