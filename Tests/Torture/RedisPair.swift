// RedisPair: a master, its replica and a Sentinel (the same program, in its other mode). One task.

import Glibc
import Redis
import Simulation

/// Two servers, of which one is the master.
final class RedisPair {
  /// The name that Sentinel knows them by.
  static let name = "site"

  private(set) var master: RedisServer
  private(set) var replica: RedisServer
  private let sentinelPort: UInt16
  private let folder: TemporaryDirectory
  private let replicaFolder: TemporaryDirectory
  private var sentinel: ChildProcess?

  var url: String { "redis+sentinel://127.0.0.1:\(sentinelPort)/\(Self.name)/0" }

  /// `first` begins as the master.
  init(_ first: RedisServer, in folder: TemporaryDirectory) throws(HarnessError) {
    master = first
    self.folder = folder
    replicaFolder = try TemporaryDirectory(parent: folder.path, prefix: "replica")
    replica = try RedisServer(in: replicaFolder)
    sentinelPort = try FreePort.take()
  }

  func start() async throws {
    try await master.start()
    try await startReplica()
    let config = try folder.write(
      """
      port \(sentinelPort)
      bind 127.0.0.1
      dir \(folder.path)
      sentinel monitor \(Self.name) 127.0.0.1 \(master.port) 1
      sentinel down-after-milliseconds \(Self.name) 500
      sentinel failover-timeout \(Self.name) 2000

      """, as: "sentinel.conf")
    sentinel = try ChildProcess(
      ["redis-server", config, "--sentinel"], name: "sentinel", logPath: "\(folder.path)/sentinel.log")
    try await eventually("Sentinel knows the replica", evidence: self.log) {
      try self.knowsAReplica()
    }
  }

  private func startReplica() async throws {
    try await replica.start(["--replicaof", "127.0.0.1 \(master.port)"])
    try await awaitLink()
  }

  private func awaitLink() async throws {
    try await eventually("the replica has caught up", within: 60, evidence: self.log) {
      guard let role = try? Self.command(self.replica.tcpURL, ["ROLE"]), role.view.count >= 4 else { return false }
      return role.view[0].string == "slave" && role.view[2].integer == Int64(self.master.port)
        && role.view[3].string == "connected"
    }
  }

  private static func command(_ url: String, _ words: [String]) throws -> RedisReply {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: url))
    return try connection.command(words)
  }

  private func knowsAReplica() throws -> Bool {
    guard let reply = try? Self.command("redis://127.0.0.1:\(sentinelPort)/0", ["SENTINEL", "REPLICAS", Self.name])
    else { return false }
    return reply.view.count == 1
  }

  private var sentinelsMaster: UInt16? {
    let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self.name]
    guard let reply = try? Self.command("redis://127.0.0.1:\(sentinelPort)/0", words), reply.view.count == 2 else {
      return nil
    }
    return reply.view[1].string.flatMap { UInt16($0) }
  }

  /// The replica gets nothing any more; Sentinel mends that after some seconds.
  func cutReplica() throws { _ = try Self.command(replica.tcpURL, ["REPLICAOF", "127.0.0.1", "1"]) }

  /// Waits until the replica is the master, because the master is dead or frozen.
  func awaitFailover() async throws {
    let promoted = replica.port
    try await eventually("Sentinel promotes the replica", within: 60, evidence: self.log) {
      guard self.sentinelsMaster == promoted, let role = try? Self.command(self.replica.tcpURL, ["ROLE"]) else {
        return false
      }
      return role.view[0].string == "master"
    }
    swap(&master, &replica)
  }

  /// The dead one comes back and follows.
  func restartReplica() async throws { try await startReplica() }

  /// The frozen one goes on, is told, and follows.
  func thawReplica() async throws {
    if let pid = replica.pid { kill(pid, SIGCONT) }
    try await awaitLink()
  }

  var log: String { TemporaryDirectory.read("\(folder.path)/sentinel.log") + replica.log }
}
