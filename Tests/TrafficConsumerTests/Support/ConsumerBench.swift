// ConsumerBench: the real program on a real Redis, with whatever a test does to both.

import Foundation
import Redis
import Simulation
import Testing
import Wire

@testable import TrafficConsumer

final class ConsumerBench {
  let directory: TemporaryDirectory
  let redis: RedisServer
  let configPath: String
  let databasePath: String
  let adminPort: UInt16
  private(set) var process: ChildProcess?
  private var starts = 0
  private var lastTimestamp: Int64 = 1_700_000_000

  /// `redisSettings`: more lines of the configuration's `redis:`.
  init(
    redisArguments: [String] = [], window: String = "1h", redisSettings: [String] = [],
    directory: TemporaryDirectory? = nil
  ) async throws {
    let folder = try directory ?? TemporaryDirectory()
    self.directory = folder
    redis = try await RedisServer.start(in: folder, extra: redisArguments)
    databasePath = "\(folder.path)/traffic.db"
    adminPort = try FreePort.take()
    configPath = try folder.write(
      """
      consumer:
        redis:
          url: "\(redis.url)"
      \(redisSettings.map { "    \($0)\n" }.joined())\
        database:
          path: "\(databasePath)"
        window: "\(window)"
        admin_addr: "127.0.0.1:\(adminPort)"
        control_socket: "\(folder.path)/consumer.sock"

      """, as: "consumer.yaml")
  }

  /// Starts `run`; a second one needs its own admin port.
  @discardableResult
  func start(environment: [String: String] = [:], arguments: [String] = []) throws -> ChildProcess {
    starts += 1
    let child = try ChildProcess(
      [Binaries.consumer, "run", "--config", configPath] + arguments, name: "consumer",
      logPath: "\(directory.path)/consumer-\(starts).log", environment: environment)
    process = child
    return child
  }

  func waitUntilReady() async throws {
    try await eventually("the consumer is ready", evidence: self.log) {
      if let exit = self.process?.exit { throw HarnessError("consumer: \(exit)\n\(self.log)") }
      return Site.status(port: self.adminPort, "/health/ready") == 200
    }
  }

  func stop() async throws { try await process?.terminate() }

  var log: String { process?.log ?? "" }

  // MARK: Redis

  func redisReply<Value>(_ arguments: [String], _ body: (RedisReplyView) -> Value) throws -> Value {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let reply = try connection.command(arguments)
    return body(reply.view)
  }

  @discardableResult
  func add(_ fields: [String], id: String = "*", stream: String = "tracker:traffic") throws -> String {
    try redisReply(["XADD", stream, id] + fields) { $0.string ?? "" }
  }

  /// Many entries at once: `count` announces of 64 bytes more each, of ten users; a producer without counters.
  func addMany(_ count: Int, upload: UInt64 = 64) throws {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    for index in 0..<count {
      lastTimestamp += 1
      var maker = EventMaker()
      maker.passkey = Passkey("user\(index % 10)")!
      connection.append(["XADD", "tracker:traffic", "*"] + maker.event(du: upload, ts: lastTimestamp, dt: 10).encode())
    }
    for _ in 0..<count { if let error = try connection.nextReply().error { throw error } }
  }

  // MARK: answers

  func verb(_ arguments: [String]) async throws -> CommandResult {
    try await CommandResult.run([Binaries.consumer] + arguments + ["--config", configPath])
  }

  func json(_ arguments: [String]) async throws -> Any {
    let result = try await verb(arguments + ["-o", "json"])
    guard result.exit == .code(0) else { throw HarnessError("\(arguments): \(result.exit) \(result.errors)") }
    return try JSONSerialization.jsonObject(with: Data(result.output.utf8))
  }

  /// Everything that was ever credited, and how many announces; zero before there is a database.
  func credited() throws -> (bytes: Int64, events: Int64) {
    guard let database = try? StoreConnection.openForReading(path: databasePath) else { return (0, 0) }
    return (
      try database.integer("SELECT coalesce(sum(uploaded), 0) FROM users") ?? 0,
      try database.integer("SELECT coalesce(sum(events), 0) FROM users") ?? 0
    )
  }

  func awaitCredited(_ bytes: Int64, within seconds: Double = patienceSeconds) async throws {
    try await eventually(
      "\(bytes) bytes are credited", within: seconds, evidence: "\((try? self.credited()) ?? (0, 0))\n\(self.log)"
    ) { try self.credited().bytes >= bytes }
    #expect(try credited().bytes == bytes)
  }

  func pendingCount() throws -> Int64 {
    do {
      return try redisReply(["XPENDING", "tracker:traffic", "group-pt"]) { $0[0].integer ?? -1 }
    } catch let error as RedisError where error.code == .noGroup {
      return -1
    }
  }

  /// Every failed check.
  func faults() throws -> [String] {
    let database = try StoreConnection.openForReading(path: databasePath)
    return try StoreCheck.run(database).filter { !$0.isOK }.map { "\($0.name): \($0.detail)" }
  }
}
