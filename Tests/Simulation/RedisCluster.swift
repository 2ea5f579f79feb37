// RedisCluster: a Redis Cluster of a test's own on free loopback ports, made by redis-cli. Any thread.

import Redis

/// Some masters, each with as many replicas; their data is append-only, so that a node that was killed can come back.
public final class RedisCluster: Sendable {
  /// The masters first, as `redis-cli --cluster create` takes them.
  public let nodes: [RedisServer]
  private let folders: [TemporaryDirectory]

  /// `redis+cluster://` with all nodes.
  public var url: String { "redis+cluster://" + nodes.map { "127.0.0.1:\($0.port)" }.joined(separator: ",") }

  /// Makes one and waits until every node takes part and every replica is in step. `nodeTimeoutMilliseconds`: after this long
  /// without an answer a master is taken for dead and a replica elected.
  public static func start(masters: Int = 3, replicas: Int = 0, nodeTimeoutMilliseconds: Int = 120_000) async throws
    -> RedisCluster
  {
    var folders: [TemporaryDirectory] = []
    var nodes: [RedisServer] = []
    for _ in 0..<masters * (1 + replicas) {
      let folder = try TemporaryDirectory()
      folders.append(folder)
      nodes.append(
        try await RedisServer.start(
          in: folder,
          extra: [
            // The cluster bus takes port + 10000 by default, which may not exist or not be free.
            "--cluster-enabled", "yes", "--cluster-port", "\(try FreePort.take())", "--cluster-node-timeout",
            "\(nodeTimeoutMilliseconds)", "--repl-diskless-sync-delay", "0",
            // However late a loaded machine notices that a master is gone, its replica may be elected.
            "--cluster-replica-validity-factor", "0",
          ]))
    }
    let cluster = RedisCluster(nodes, folders)
    let created = try await CommandResult.run(
      ["redis-cli", "--cluster", "create"] + nodes.map { "127.0.0.1:\($0.port)" }
        + ["--cluster-replicas", "\(replicas)", "--cluster-yes"])
    guard created.exit == .code(0) else { throw HarnessError("redis-cli: \(created.output)\(created.errors)") }
    try await cluster.awaitSteady()
    return cluster
  }

  private init(_ nodes: [RedisServer], _ folders: [TemporaryDirectory]) {
    self.nodes = nodes
    self.folders = folders
  }

  /// Waits until every node finds all slots served by masters that are alive, and every replica is in step with its master.
  public func awaitSteady() async throws {
    for node in nodes {
      // Each node finds out by itself.
      try await eventually("the node at \(node.port) takes part and is in step", evidence: node.log) {
        guard var connection = try? node.connection() else { return false }
        let (cluster, replication) = (
          try? connection.command(["CLUSTER", "INFO"]).string, try? connection.command(["INFO", "replication"]).string
        )
        guard let cluster, let replication, cluster.contains("cluster_state:ok") else { return false }
        return replication.contains("role:master") || replication.contains("master_link_status:up")
      }
    }
  }

  /// A connection to the node that serves a key.
  public func connection(to key: String) throws -> RedisConnection {
    try RedisConnection(endpoint: RedisEndpoint(url: url), key: key)
  }

  /// Adds members to a set and waits until a replica has them, or a failover may forget them. By one connection: WAIT waits for
  /// what its own has written.
  public func add(_ members: [String], to set: String) throws {
    var connection = try connection(to: set)
    _ = try connection.command(["SADD", set] + members)
    guard try connection.command(["WAIT", "1", "10000"]).integer ?? 0 > 0 else {
      throw HarnessError("no replica has the members of \(set)")
    }
  }

  /// Whether the nodes that are alive agree that another one serves what a node that was killed did, and serve all slots.
  public func hasReplaced(_ dead: RedisServer) throws -> Bool {
    try nodes.allSatisfy { node in
      if node.port == dead.port { return true }
      guard var connection = try? node.connection() else { return false }
      let state = try connection.command(["CLUSTER", "INFO"]).string ?? ""
      let lines = (try connection.command(["CLUSTER", "NODES"]).string ?? "").split(separator: "\n")
      let isMaster = lines.contains { line in
        let fields = line.split(separator: " ")
        // `id host:port@bus flags master ping pong epoch link slots...`
        return fields.count > 8 && fields[1].hasPrefix("127.0.0.1:\(dead.port)@") && fields[2].contains("master")
      }
      return state.contains("cluster_state:ok") && !isMaster
    }
  }

  /// The master that serves a key.
  public func master(of key: String) throws -> RedisServer {
    let connection = try connection(to: key)
    let address = connection.address
    guard let node = nodes.first(where: { address == .tcp(host: "127.0.0.1", port: $0.port) }) else {
      throw HarnessError("\(address) is none of the nodes")
    }
    return node
  }
}

extension RedisServer {
  /// A connection to this process.
  public func connection() throws -> RedisConnection { try RedisConnection(endpoint: RedisEndpoint(url: url)) }
}
