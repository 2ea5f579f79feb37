// RedisServer: a redis-server of a test's own, on a unix socket and a free loopback port. Any thread.

import Glibc
import Synchronization

/// A private redis-server. Persistence is as a production Redis for streams has it (append-only file, fsync every
/// second) unless told otherwise, so that a restart keeps its data.
public final class RedisServer: Sendable {
  public let socketPath: String
  public let port: UInt16
  private let folder: String
  private let extra: [String]
  private let process: Mutex<ChildProcess?>

  /// `redis+unix:///path?db=0`.
  public var url: String { "redis+unix://\(socketPath)?db=0" }
  /// `redis://127.0.0.1:port/0`.
  public var tcpURL: String { "redis://127.0.0.1:\(port)/0" }

  /// Starts one with its files in `directory` and waits until it answers. `extra`: more redis.conf settings as
  /// arguments (`["--requirepass", "x"]`).
  public static func start(in directory: TemporaryDirectory, extra: [String] = []) async throws -> RedisServer {
    let server = try RedisServer(in: directory, extra: extra)
    try await server.start()
    return server
  }

  /// Chooses its address without starting it: for "Redis is not there yet".
  public init(in directory: TemporaryDirectory, extra: [String] = []) throws(HarnessError) {
    folder = directory.path
    socketPath = "\(directory.path)/redis.sock"
    port = try FreePort.take()
    self.extra = extra
    process = Mutex(nil)
  }

  /// Starts it, or starts it again with the data it had. `more`: settings for this time.
  public func start(_ more: [String] = []) async throws {
    let child = try ChildProcess(
      [
        "redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--unixsocket", socketPath, "--dir", folder,
        "--daemonize", "no", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--loglevel", "notice",
      ] + extra + more, name: "redis-server", logPath: logPath)
    process.withLock { $0 = child }
    try await eventually("redis-server answers", evidence: self.log) {
      if let exit = child.exit { throw HarnessError("redis-server: \(exit)\n\(self.log)") }
      // Any reply will do: with a password it is an error, while it loads its data it is LOADING.
      guard let reply = try? self.ping() else { return false }
      return !reply.isEmpty && !reply.starts(with: Array("-LOADING".utf8))
    }
  }

  private func ping() throws(HarnessError) -> [UInt8] {
    let socket = try ClientSocket(.v4(port), udp: false, timeoutMilliseconds: 1000)
    try socket.send(Array("PING\r\n".utf8))
    return try socket.receive() ?? []
  }

  /// SIGTERM: it writes what it has and goes.
  public func stop() async throws {
    guard let child = process.withLock({ $0 }) else { return }
    try await child.terminate()
  }

  /// SIGKILL: what the append-only file does not hold is lost.
  public func kill9() { process.withLock { _ = $0?.kill9() } }

  /// The pid, nil before the first start.
  public var pid: pid_t? { process.withLock { $0?.pid } }
  /// See ChildProcess.
  public func leaveRunning() { process.withLock { $0?.leaveRunning() } }
  private var logPath: String { "\(folder)/redis.log" }
  public var log: String { TemporaryDirectory.read(logPath) }
}
