// StoreAccess: how a verb that writes reaches the database: through the daemon that has it, or with the lock when there is
// none. Main thread of a verb.

import Glibc
import Linux
import Settings

enum StoreAccess {
  /// A request may wait for the writer's batch and, as a backup does, for the disk.
  private static let answerSeconds = 3600
  private static let greetingSeconds = 5

  /// Asks the daemon that writes this database; nil when none answers for it.
  static func ask(_ words: [String], _ input: VerbInput) throws(VerbError) -> [String]? {
    guard case .some(.success(let answer)) = try request(words, input) else { return nil }
    return answer
  }

  /// The same, with the daemon's refusal as an error.
  static func asked(_ words: [String], _ input: VerbInput) throws(VerbError) -> [String]? {
    try input.oneDatabase()
    guard let result = try request(words, input) else { return nil }
    return try result.get()
  }

  /// Has the verb's request done: by the daemon, or by this process under the lock.
  static func perform(_ words: [String], _ input: VerbInput) throws(VerbError) -> [String] {
    guard let own = input.verb.request else { preconditionFailure("\(input.verb.name) has no request") }
    try input.oneDatabase()
    if let result = try request([own.name] + words, input) { return try result.get() }
    return try withWriter(input) { writer throws(VerbError) in try read(own.perform(words, writer)).get() }
  }

  /// The same of a list that may be long, in requests that are short; each answers how many it changed. Returns all of them.
  static func performInPortions(_ first: [String], _ list: [String], _ input: VerbInput) throws(VerbError) -> Int {
    var count = 0
    for start in stride(from: 0, to: max(1, list.count), by: portion) {
      let words = first + list[start..<min(start + portion, list.count)]
      count += try perform(words, input).first.flatMap { Int($0) } ?? 0
    }
    return count
  }

  /// Of ids: with the longest note together below what a request may have.
  private static let portion = 2000

  /// Stops the daemon that has the database, and takes its lock. `hasStopped`: there was one.
  static func lockStoppingDaemon(_ input: VerbInput, hasStopped: inout Bool) throws(VerbError) -> StoreLock {
    for _ in 0..<stopAttempts {
      // It may be a standby's turn, or a service manager has started it again: that one is stopped, too.
      if try request(["stop"], input) != nil { hasStopped = true }
      do throws(SystemError) {
        if let lock = try StoreLock.tryTake(databasePath: input.config.databasePath, replacesSilent: false) {
          return lock
        }
      } catch {
        throw VerbError(.inputOutput, error.description)
      }
      usleep(startPauseMicroseconds)
    }
    throw VerbError(.locked, "\(input.config.databasePath): another process has it, and does not stop")
  }

  /// Together at least half a minute; a daemon takes at most a few seconds to stop.
  private static let stopAttempts = 600

  /// Runs `body` with the database's writer, in this process.
  static func withWriter<Value>(_ input: VerbInput, _ body: (StoreWriter) throws(VerbError) -> Value) throws(VerbError)
    -> Value
  {
    let path = input.config.databasePath
    let lock = try takeLock(path, input)
    defer { withExtendedLifetime(lock) {} }
    let writer: StoreWriter
    do throws(StoreError) {
      // A verb repairs what is there; it makes no database.
      _ = try StoreConnection.openForReading(path: path)
      writer = try StoreWriter(settings: input.config.storeSettings)
    } catch {
      throw VerbError(error, path: path)
    }
    return try body(writer)
  }

  private static func takeLock(_ path: String, _ input: VerbInput) throws(VerbError) -> StoreLock {
    do throws(SystemError) {
      if let lock = try StoreLock.tryTake(databasePath: path, replacesSilent: false) { return lock }
    } catch {
      throw VerbError(.inputOutput, error.description)
    }
    throw VerbError(
      .locked, "\(path): another process has it, and does not answer at \(input.config.controlSocketPath)")
  }

  /// nil: no daemon has this database. Throws when it has no time, or the request is none for it.
  private static func request(_ words: [String], _ input: VerbInput) throws(VerbError) -> Result<[String], VerbError>? {
    let request = ControlMessage(words: words)
    guard request.byteCount <= ControlMessage.maximumRequestBytes else {
      throw VerbError(.usage, "\(input.verb.name): more than \(ControlMessage.maximumRequestBytes) bytes at once")
    }
    let path = input.config.controlSocketPath
    guard let socket = connect(path, input.config.databasePath) else { return nil }
    guard ControlMessage(words: ["hello"]).send(to: socket.number),
      let hello = ControlMessage.receive(from: socket.number)
    else { return nil }
    if hello.words.first == "error" { _ = try read(hello).get() }
    guard hello.words.first == "ok", hello.words.count > 1, hello.words[1] == input.config.databasePath else {
      return nil
    }
    ControlSocket.setTimeout(socket.number, seconds: answerSeconds)
    guard request.send(to: socket.number),
      let answer = ControlMessage.receive(from: socket.number)
    else {
      return .failure(VerbError(.locked, "the daemon ended before it answered; what it did not confirm is not done"))
    }
    return read(answer)
  }

  /// A daemon that has just taken the lock opens its socket a moment later: that moment is waited for.
  private static func connect(_ path: String, _ databasePath: String) -> FileDescriptor? {
    for _ in 0..<startAttempts {
      if let socket = ControlSocket.connect(path, timeoutSeconds: greetingSeconds) { return socket }
      guard StoreLock.isHeld(databasePath: databasePath) else { return nil }
      usleep(startPauseMicroseconds)
    }
    return nil
  }

  /// Together one second.
  private static let startAttempts = 20
  private static let startPauseMicroseconds: UInt32 = 50_000

  private static func read(_ answer: ControlMessage) -> Result<[String], VerbError> {
    if answer.words.first == "ok" { return .success(Array(answer.words.dropFirst())) }
    let code = answer.words.count > 2 ? Int32(answer.words[1]).flatMap { ExitCode(rawValue: $0) } : nil
    return .failure(VerbError(code ?? .inputOutput, answer.words.last ?? "no answer"))
  }
}
