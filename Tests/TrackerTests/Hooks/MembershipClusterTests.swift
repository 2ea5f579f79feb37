import Redis
import Simulation
import Testing

@testable import Tracker

@Suite("membership look-ups against a real Cluster", .serialized)
struct MembershipClusterTests {
  private typealias Bench = MembershipResolverTests.Bench

  @Test("the node that has the set is found, and its changes are heard")
  func answers() async throws {
    let cluster = try await RedisCluster.start()
    let bench = try Bench(cluster.nodes[0], cluster.url, owner: cluster)
    try bench.command("SADD", "pt:passkeys", "alice", "bob")
    try await bench.expect("alice", .fresh(.approved))
    try await bench.expect("mallory", .fresh(.refused))
    try bench.command("SREM", "pt:passkeys", "alice")
    try await eventually("the change is noticed without a question") { bench.knowledge("alice") == .stale(.approved) }
    try await bench.expect("alice", .fresh(.refused))
  }

  @Test("a set that moves to another node is followed, by ASK and by MOVED, and a removal is noticed all the while")
  func resharding() async throws {
    let cluster = try await RedisCluster.start()
    let bench = try Bench(cluster.nodes[0], cluster.url, owner: cluster)
    try bench.command("SADD", "pt:passkeys", "alice", "bob", "carol", "dave")
    for user in ["alice", "bob", "carol"] { try await bench.expect(user, .fresh(.approved)) }
    let source = try cluster.master(of: "pt:passkeys")
    let target = cluster.nodes.first { $0.port != source.port }!
    var from = try source.connection()
    var to = try target.connection()
    let ids = (try from.command(["CLUSTER", "MYID"]).string!, try to.command(["CLUSTER", "MYID"]).string!)
    let slot = String(RedisClusterSlot.slot(of: "pt:passkeys"))
    _ = try to.command(["CLUSTER", "SETSLOT", slot, "IMPORTING", ids.0])
    _ = try from.command(["CLUSTER", "SETSLOT", slot, "MIGRATING", ids.1])
    _ = try from.command(["MIGRATE", "127.0.0.1", "\(target.port)", "pt:passkeys", "0", "5000"])
    try await bench.expect("dave", .fresh(.approved))
    // The node that has the set by now was not asked to report changes of it.
    _ = try to.command(["ASKING"])
    _ = try to.command(["SREM", "pt:passkeys", "alice"])
    try await bench.expect("alice", .fresh(.refused))
    for node in cluster.nodes {
      var connection = try node.connection()
      _ = try connection.command(["CLUSTER", "SETSLOT", slot, "NODE", ids.1])
    }
    try await eventually("the resolver is with the new owner") {
      try to.command(["CLIENT", "LIST"]).string!.contains("cmd=eval")
    }
    try await bench.expect("bob", .fresh(.approved))
    try bench.command("SREM", "pt:passkeys", "bob")
    try await eventually("a change at the new owner is heard") { bench.knowledge("carol") == .stale(.approved) }
    try await bench.expect("bob", .fresh(.refused))
    #expect(bench.resolver.metrics.failures.current == 0)
  }

  @Test("the node that has the set dies: its replica is asked as soon as it is elected")
  func failover() async throws {
    let cluster = try await RedisCluster.start(replicas: 1, nodeTimeoutMilliseconds: 1000)
    let bench = try Bench(cluster.nodes[0], cluster.url, owner: cluster)
    try cluster.add(["alice", "bob"], to: "pt:passkeys")
    try await bench.expect("alice", .fresh(.approved))
    let master = try cluster.master(of: "pt:passkeys")
    master.kill9()
    try await bench.expect("bob", .fresh(.approved))
    try await bench.expect("alice", .fresh(.approved))
    try bench.command("SREM", "pt:passkeys", "alice")
    try await eventually("the new master's changes are heard") { bench.knowledge("bob") == .stale(.approved) }
    try await bench.expect("alice", .fresh(.refused))
  }

  @Test("redis:// to a node of a Cluster is not ready, and nobody is refused for it")
  func wrongURL() async throws {
    let cluster = try await RedisCluster.start()
    let master = try cluster.master(of: "pt:passkeys")
    let other = cluster.nodes.first { $0.port != master.port }!
    let bench = try Bench(other, other.tcpURL, owner: cluster)
    #expect(bench.ask("alice"))
    try await eventually("the question failed") { bench.resolver.metrics.failures.current >= 1 }
    #expect(!bench.resolver.isReady && bench.knowledge("alice") == .nothing)
    #expect(bench.resolver.trouble?.contains("redis+cluster://") == true)
  }
}
