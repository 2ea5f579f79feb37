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
  static func ask(_ words: [String], _ input: VerbInput) -> [String]? {
    guard case .some(.success(let answer)) = request(words, input) else { return nil }
    return answer
  }

  /// The same, with the daemon's refusal as an error.
  static func asked(_ words: [String], _ input: VerbInput) throws(VerbError) -> [String]? {
    guard let result = request(words, input) else { return nil }
    return try result.get()
  }

  /// Has the verb's request done: by the daemon, or by this process under the lock.
  static func perform(_ words: [String], _ input: VerbInput) throws(VerbError) -> [String] {
    guard let own = input.verb.request else { preconditionFailure("\(input.verb.name) has no request") }
    guard input.databases.count == 1 else { throw VerbError(.usage, "\(input.verb.name) takes one --database") }
    if let result = request([own.name] + words, input) { return try result.get() }
    return try withWriter(input) { writer throws(VerbError) in try read(own.perform(words, writer)).get() }
  }

  /// Stops the daemon that has the database, and takes its lock. `hasStopped`: there was one.
  static func lockStoppingDaemon(_ input: VerbInput, hasStopped: inout Bool) throws(VerbError) -> StoreLock {
    for _ in 0..<stopAttempts {
      // It may be a standby's turn, or a service manager has started it again: that one is stopped, too.
      if request(["stop"], input) != nil { hasStopped = true }
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

  /// nil: no daemon has this database.
  private static func request(_ words: [String], _ input: VerbInput) -> Result<[String], VerbError>? {
    let path = input.config.controlSocketPath
    guard let socket = connect(path, input.config.databasePath) else { return nil }
    guard ControlMessage(words: ["hello"]).send(to: socket.number),
      let hello = ControlMessage.receive(from: socket.number), hello.words.first == "ok", hello.words.count > 1,
      hello.words[1] == input.config.databasePath
    else { return nil }
    ControlSocket.setTimeout(socket.number, seconds: answerSeconds)
    guard ControlMessage(words: words).send(to: socket.number),
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
