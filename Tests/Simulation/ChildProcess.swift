// ChildProcess: one program that a test or the demo runs: started, watched, stopped by its pid and always reaped.
// Any thread; a lock guards the state.

import Glibc
import Linux
import Synchronization

/// How a child ended.
public enum ChildExit: Equatable, Sendable, CustomStringConvertible {
  case code(Int32)
  case signal(Int32)

  public var description: String {
    switch self {
    case .code(let code): "exit \(code)"
    case .signal(let signal): "signal \(signal)"
    }
  }
}

/// A running program with its output in a file.
public final class ChildProcess: Sendable {
  public let pid: pid_t
  public let name: String
  /// Standard output and standard error go here, appended.
  public let logPath: String
  private let ended = Mutex<ChildExit?>(nil)
  private let isLeft = Atomic<Bool>(false)

  /// Starts `arguments[0]` (looked up in PATH when without a slash) with the environment of this process plus
  /// `environment`. `descriptors` of this process become 3, 4, ... of the child's, as a service manager hands sockets over;
  /// they must be above those numbers here.
  public init(
    _ arguments: [String], name: String, logPath: String, environment: [String: String] = [:],
    descriptors: [Int32] = []
  ) throws(HarnessError) {
    self.name = name
    self.logPath = logPath
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, logPath, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
    for (index, descriptor) in descriptors.enumerated() {
      precondition(
        descriptor > STDERR_FILENO + Int32(descriptors.count), "would be overwritten before it is handed over")
      posix_spawn_file_actions_adddup2(&actions, descriptor, STDERR_FILENO + 1 + Int32(index))
    }
    pid = try Self.spawn(ProcessGuard.shared.watched(arguments, &actions), environment: environment, actions: &actions)
  }

  /// posix_spawnp(3) with default signal dispositions and no signal blocked: threads of this project block theirs.
  static func spawn(
    _ arguments: [String], environment: [String: String], actions: inout posix_spawn_file_actions_t
  ) throws(HarnessError) -> pid_t {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    var variables: [String: String] = [:]
    var entry = environ
    while let line = entry.pointee {
      let parts = String(cString: line).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count == 2 { variables[String(parts[0])] = String(parts[1]) }
      entry += 1
    }
    variables.merge(environment) { _, new in new }
    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in argv + envp { free(text) } }
    var pid: pid_t = 0
    let code = posix_spawnp(&pid, arguments[0], &actions, &attributes, &argv, &envp)
    guard code == 0 else { throw HarnessError("start \(arguments[0]): \(String(cString: strerror(code)))") }
    return pid
  }

  /// Everything it has written so far.
  public var log: String { TemporaryDirectory.read(logPath) }

  /// How it ended, or nil while it runs. Reaps it.
  public var exit: ChildExit? {
    ended.withLock { ended in
      if ended == nil { ended = reap(WNOHANG) }
      return ended
    }
  }

  /// Sends a signal unless it has ended.
  public func signal(_ number: Int32) {
    ended.withLock { ended in
      if ended == nil { ended = reap(WNOHANG) }
      if ended == nil { kill(pid, number) }
    }
  }

  /// Waits for the end; a child that does not end is a failure that shows its log.
  @discardableResult
  public func waitForExit(within seconds: Double = patienceSeconds) async throws -> ChildExit {
    try await eventually("\(name) ends", within: seconds, evidence: self.log) { self.exit }
  }

  /// SIGTERM and wait: the clean way out.
  @discardableResult
  public func terminate(within seconds: Double = patienceSeconds) async throws -> ChildExit {
    signal(SIGTERM)
    return try await waitForExit(within: seconds)
  }

  /// SIGKILL and reap; SIGKILL cannot be refused, so this does not hang.
  @discardableResult
  public func kill9() -> ChildExit {
    ended.withLock { ended in
      if let ended { return ended }
      kill(pid, SIGKILL)
      let result = reap(0)!
      ended = result
      return result
    }
  }

  /// Gives the program up: it runs on when this value and this process are gone.
  public func leaveRunning() {
    isLeft.store(true, ordering: .relaxed)
    ProcessGuard.shared.release(process: pid)
  }

  private func reap(_ options: Int32) -> ChildExit? {
    var status: Int32 = 0
    guard retryingInterrupts({ Int(waitpid(pid, &status, options)) }) == Int(pid) else { return nil }
    ProcessGuard.shared.release(process: pid)
    // wait(2): the low seven bits are the signal, the next byte the exit code.
    return status & 0x7f == 0 ? .code(status >> 8 & 0xff) : .signal(status & 0x7f)
  }

  deinit { if !isLeft.load(ordering: .relaxed) { kill9() } }
}

/// Runs a program to its end.
public struct CommandResult: Sendable {
  public let exit: ChildExit
  public let output: String
  public let errors: String

  /// Runs `arguments` with `input` as standard input; output and errors apart.
  public static func run(
    _ arguments: [String], input: String = "", environment: [String: String] = [:],
    within seconds: Double = patienceSeconds
  ) async throws -> CommandResult {
    let directory = try TemporaryDirectory()
    let inputPath = try directory.write(input, as: "in")
    let shell = ["/bin/sh", "-c", "exec \"$@\" <\(inputPath) >\(directory.path)/out", "sh"]
    let child = try ChildProcess(
      shell + arguments, name: arguments.joined(separator: " "), logPath: "\(directory.path)/err",
      environment: environment)
    let exit = try await child.waitForExit(within: seconds)
    return CommandResult(exit: exit, output: TemporaryDirectory.read("\(directory.path)/out"), errors: child.log)
  }
}
