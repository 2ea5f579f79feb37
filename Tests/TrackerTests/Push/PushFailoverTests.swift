import Foundation
import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

/// Real masters are killed in the middle of a run; every byte is credited once.
@Suite(.serialized) struct PushFailoverTests {
  /// Sessions whose counters grow; remembers what must be credited.
  private struct Crowd {
    let push: TrafficPush
    let metrics: MetricRegistry
    var rounds = 0
    static let sessions = 60

    mutating func announce() {
      let round = rounds
      push.enqueue(
        (0..<Self.sessions).map {
          makeRecord(user: $0, peer: $0, uploaded: UInt64(round * (100 + $0)), at: 1_700_000_000 + Int64(round))
        })
      rounds += 1
    }

    /// Announces until `condition` holds, the publisher keeping up.
    mutating func announce(until what: String, _ condition: () async throws -> Bool) async throws {
      let deadline = Clock.monotonicNanoseconds() + 60_000_000_000
      while try await !condition() {
        if Clock.monotonicNanoseconds() > deadline { throw HarnessError("not within 60 s: \(what)") }
        announce()
        try await Task.sleep(nanoseconds: 5_000_000)
      }
    }

    func expected(_ user: Int) -> UInt64 { UInt64((rounds - 1) * (100 + user)) }
  }

  /// Credits as the consumer does: per session and generation the highest cu.
  private static func credited(_ events: [TrafficEvent]) -> [Passkey: UInt64] {
    struct Generation: Hashable {
      let passkey: Passkey
      let generation: TrafficGeneration
    }
    var seen: [Generation: UInt64] = [:]
    var credited: [Passkey: UInt64] = [:]
    for event in events {
      let key = Generation(passkey: event.passkey, generation: event.counters!.generation)
      let before = seen[key] ?? 0
      credited[event.passkey, default: 0] += max(event.counters!.creditedUpload, before) - before
      seen[key] = max(event.counters!.creditedUpload, before)
    }
    return credited
  }

  @Test("Sentinel promotes a replica that missed the last calls: they are sent again, exact to the byte")
  func sentinel() async throws {
    let masterFolder = try TemporaryDirectory()
    let replicaFolder = try TemporaryDirectory()
    let master = try await RedisServer.start(in: masterFolder)
    // The replica hears its master through a proxy that can fall silent.
    let proxy = try FaultProxy(target: master.port)
    let replica = try await RedisServer.start(
      in: replicaFolder, extra: ["--replicaof", "127.0.0.1 \(proxy.port)", "--repl-diskless-sync-delay", "0"])
    var replicaConnection = try RedisConnection(endpoint: RedisEndpoint(url: replica.tcpURL))
    try await eventually("the replica is in step") {
      try replicaConnection.command(["INFO", "replication"]).string!.contains("master_link_status:up")
    }
    let guardFolder = try TemporaryDirectory()
    let port = try FreePort.take()
    // A Sentinel that sees the replica at the proxy and not at the master for the failover timeout points it at the master
    // and ends its connections: that must not happen before the test is done.
    let configuration = try guardFolder.write(
      """
      port \(port)
      bind 127.0.0.1
      dir \(guardFolder.path)
      sentinel monitor pt 127.0.0.1 \(master.port) 1
      sentinel down-after-milliseconds pt 4000
      sentinel failover-timeout pt 60000

      """, as: "sentinel.conf")
    let sentinel = try ChildProcess(
      ["redis-server", configuration, "--sentinel"], name: "sentinel", logPath: "\(guardFolder.path)/log")
    var options = TrafficPushOptions(
      redisBroker: "redis+sentinel://127.0.0.1:1,127.0.0.1:\(port)/pt/0")
    options.retryInterval = .milliseconds(20)
    options.timeouts.read = .seconds(2)
    let metrics = MetricRegistry()
    let push = try TrafficPush(options: options, metrics: metrics)
    try push.start()
    try await eventually("the push is ready", evidence: sentinel.log) { push.isReady }
    var ask = try RedisConnection(endpoint: RedisEndpoint(url: "redis://127.0.0.1:\(port)"))
    try await eventually("the Sentinel knows the replica", evidence: sentinel.log) {
      try ask.command(["SENTINEL", "REPLICAS", "pt"]).count == 1
    }
    var crowd = Crowd(push: push, metrics: metrics)
    try await crowd.announce(until: "some are published") { metrics.value(of: "tracker_push_published_total") > 1000 }
    try await eventually("the replica has them") { try replicaConnection.integer(["XLEN", "tracker:traffic"]) > 500 }
    proxy.arm(FaultProxy.Plan(.blackHole, .reply, after: 1))
    let before = metrics.value(of: "tracker_push_published_total")
    try await crowd.announce(until: "the master has what the replica has not") {
      metrics.value(of: "tracker_push_published_total") > before + 500
    }
    var masterConnection = try RedisConnection(endpoint: RedisEndpoint(url: master.url))
    let read = try masterConnection.events(of: "tracker:traffic")
    master.kill9()
    try await crowd.announce(until: "the replica is master") {
      // Sentinel ends the connections of what it promotes.
      guard var probe = try? RedisConnection(endpoint: RedisEndpoint(url: replica.url)) else { return false }
      return (try? probe.isMaster()) ?? false
    }
    crowd.announce()
    try await eventually("the push is ready again", evidence: sentinel.log) {
      push.isReady && metrics.value(of: "tracker_push_queue_depth") == 0
    }
    push.shutdown()
    replicaConnection = try RedisConnection(endpoint: RedisEndpoint(url: replica.url))
    let events = try replicaConnection.events(of: "tracker:traffic")
    #expect(metrics.value(of: "tracker_push_gaps_total") >= 1)
    #expect(metrics.value(of: "tracker_push_lost_to_failover_total") == 0)
    // A consumer that read the old master first and one that did not credit the same.
    for seen in [events, read + events] {
      let credited = Self.credited(seen)
      for user in 0..<Crowd.sessions { #expect(credited[Passkey("passkey\(user)")!] == crowd.expected(user)) }
    }
  }

  @Test("a Cluster loses the masters of the partitions in the middle of a run: exact to the byte")
  func cluster() async throws {
    var servers: [(folder: TemporaryDirectory, server: RedisServer)] = []
    for _ in 0..<6 {
      let folder = try TemporaryDirectory()
      // The cluster bus takes port + 10000 by default, which may not exist or not be free.
      let server = try await RedisServer.start(
        in: folder,
        extra: [
          "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", "\(try FreePort.take())",
          "--repl-diskless-sync-delay", "0",
        ])
      servers.append((folder, server))
    }
    let nodes = servers.map { "127.0.0.1:\($0.server.port)" }
    let created = try await CommandResult.run(
      ["redis-cli", "--cluster", "create"] + nodes + ["--cluster-replicas", "1", "--cluster-yes"])
    #expect(created.exit == .code(0), "\(created.output)\(created.errors)")
    let url = "redis+cluster://\(nodes.joined(separator: ","))"
    var options = TrafficPushOptions(redisBroker: url)
    options.partitions = 3
    options.retryInterval = .milliseconds(20)
    options.timeouts.read = .seconds(2)
    let metrics = MetricRegistry()
    let push = try TrafficPush(options: options, metrics: metrics)
    try push.start()
    try await eventually("all partitions are ready") { push.isReady }
    for entry in servers {
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: entry.server.url))
      try await eventually("replicas are in step") {
        let info = try connection.command(["INFO", "replication"]).string!
        return info.contains("master_link_status:up") || info.contains("connected_slaves:1")
      }
    }
    var crowd = Crowd(push: push, metrics: metrics)
    try await crowd.announce(until: "some are published") { metrics.value(of: "tracker_push_published_total") > 1000 }
    // The first three are the masters (redis-cli --cluster create); one goes.
    let victim = try await eventually("the partition has entries") {
      try? victimServing("tracker:traffic:{p0}", servers.map(\.server))
    }
    let victimPort = victim.port
    victim.kill9()
    let endpoint = try RedisEndpoint(url: url)
    try await crowd.announce(until: "another node serves the partition") {
      guard var probe = try? RedisConnection(endpoint: endpoint, key: "tracker:traffic:{p0}") else { return false }
      guard (try? probe.command(["XLEN", "tracker:traffic:{p0}"])) != nil else { return false }
      return victimPort != 0
    }
    crowd.announce()
    try await eventually("the push is ready again", evidence: push.troubles.joined(separator: "; ")) {
      push.isReady && metrics.value(of: "tracker_push_queue_depth") == 0
    }
    push.shutdown()
    var events: [TrafficEvent] = []
    for partition in 0..<3 {
      let stream = "tracker:traffic:{p\(partition)}"
      var connection = try RedisConnection(endpoint: endpoint, key: stream)
      events += try connection.events(of: stream)
    }
    let credited = Self.credited(events)
    #expect(metrics.value(of: "tracker_push_lost_to_failover_total") == 0)
    for user in 0..<Crowd.sessions { #expect(credited[Passkey("passkey\(user)")!] == crowd.expected(user)) }
  }

  /// The server that has the stream and is a master.
  private func victimServing(_ stream: String, _ servers: [RedisServer]) throws -> RedisServer {
    for server in servers {
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: server.url))
      guard try connection.isMaster() else { continue }
      if let length = try? connection.integer(["XLEN", stream]), length > 0 { return server }
    }
    throw HarnessError("no server has \(stream)")
  }

  @Test("a slot that moves to another node takes its partition along: MOVED and ASK are followed")
  func resharding() async throws {
    var servers: [(folder: TemporaryDirectory, server: RedisServer)] = []
    for _ in 0..<3 {
      let folder = try TemporaryDirectory()
      let server = try await RedisServer.start(
        in: folder,
        // No node is taken for dead because the machine is slow.
        extra: [
          "--cluster-enabled", "yes", "--cluster-port", "\(try FreePort.take())", "--cluster-node-timeout", "120000",
        ])
      servers.append((folder, server))
    }
    let nodes = servers.map { "127.0.0.1:\($0.server.port)" }
    let created = try await CommandResult.run(["redis-cli", "--cluster", "create"] + nodes + ["--cluster-yes"])
    #expect(created.exit == .code(0), "\(created.output)\(created.errors)")
    for entry in servers {
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: entry.server.url))
      // Each node finds out by itself that all slots are served.
      try await eventually("the node takes part") {
        try connection.command(["CLUSTER", "INFO"]).string!.contains("cluster_state:ok")
      }
    }
    let url = "redis+cluster://\(nodes.joined(separator: ","))"
    var options = TrafficPushOptions(redisBroker: url)
    options.partitions = 2
    options.retryInterval = .milliseconds(20)
    let metrics = MetricRegistry()
    let push = try TrafficPush(options: options, metrics: metrics)
    try push.start()
    try await eventually("all partitions are ready") { push.isReady }
    var crowd = Crowd(push: push, metrics: metrics)
    try await crowd.announce(until: "some are published") { metrics.value(of: "tracker_push_published_total") > 500 }
    let stream = "tracker:traffic:{p0}"
    let source = try await eventually("the partition has entries") { try? victimServing(stream, servers.map(\.server)) }
    let target = servers.map(\.server).first { $0.port != source.port }!
    var from = try RedisConnection(endpoint: RedisEndpoint(url: source.url))
    var to = try RedisConnection(endpoint: RedisEndpoint(url: target.url))
    let sourceID = try from.command(["CLUSTER", "MYID"]).string!
    let targetID = try to.command(["CLUSTER", "MYID"]).string!
    let slot = String(RedisClusterSlot.slot(of: stream))
    _ = try to.command(["CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID])
    _ = try from.command(["CLUSTER", "SETSLOT", slot, "MIGRATING", targetID])
    // A call that names a key which is not there is told TRYAGAIN, so long as the move takes.
    func clock() throws -> Int { Int(try from.command(["HGET", "\(stream):clock", "top"]).string ?? "")! }
    let read = try clock()
    try await crowd.announce(until: "the clock was read while the slot moves") { try clock() > read + 1_500_000 }
    while true {
      let keys = try from.command(["CLUSTER", "GETKEYSINSLOT", slot, "100"])
      if keys.count == 0 { break }
      let names = (0..<keys.count).map { keys.view[$0].string! }
      _ = try from.command(["MIGRATE", "127.0.0.1", "\(target.port)", "", "0", "5000", "KEYS"] + names)
      crowd.announce()
    }
    // All keys are there and the slot is not yet: a client is told ASK, and is served by the target.
    let published = metrics.value(of: "tracker_push_published_total")
    let asked = metrics.errors("ASK")
    try await crowd.announce(until: "ASK was answered and followed") {
      metrics.errors("ASK") > asked && metrics.value(of: "tracker_push_published_total") > published + 500
    }
    for entry in servers {
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: entry.server.url))
      _ = try connection.command(["CLUSTER", "SETSLOT", slot, "NODE", targetID])
    }
    crowd.announce()
    try await eventually("the push is ready again") {
      push.isReady && metrics.value(of: "tracker_push_queue_depth") == 0
    }
    push.shutdown()
    var events = try to.events(of: stream)
    let endpoint = try RedisEndpoint(url: url)
    var other = try RedisConnection(endpoint: endpoint, key: "tracker:traffic:{p1}")
    events += try other.events(of: "tracker:traffic:{p1}")
    let credited = Self.credited(events)
    for user in 0..<Crowd.sessions { #expect(credited[Passkey("passkey\(user)")!] == crowd.expected(user)) }
  }
}

extension RedisConnection {
  /// What the process says of itself.
  fileprivate mutating func isMaster() throws -> Bool {
    let reply = try command(["ROLE"])
    return reply.view[0].string == "master"
  }
}
