// Approval, push and consumer on a Redis Cluster of six nodes that loses its masters, one after the other.

import Redis
import Simulation
import Testing
import Wire

@Suite("The whole path on a Redis Cluster")
struct ClusterTests {
  private static let partitions = 3

  @Test("every master dies in turn, the one with the passkeys, too: nobody known is refused, and the totals are exact")
  func mastersKilledInTurn() async throws {
    let cluster = try await RedisCluster.start(replicas: 1, nodeTimeoutMilliseconds: 1000)
    var settings = SiteSettings()
    settings.redisURL = cluster.url
    settings.trafficPush = ["partitions: \(Self.partitions)"]
    settings.consumerRedis = ["partitions: \(Self.partitions)"]
    // Known users' approvals age while nodes are away.
    settings.passkeyApproval = ["cache_ttl: 1s"]
    let site = try Site(settings)
    let swarm = SwarmSimulator(
      SwarmPlan(users: 12, torrents: 4, seed: .random(in: 1...999_999), usesIPv6: LoopbackEndpoint.hasIPv6),
      endpoints: site.endpoints)
    try cluster.add(swarm.passkeys, to: "pt:passkeys")
    try await site.startTracker()
    try await site.startConsumer()
    // What all of them are known by, before anything happens.
    try swarm.wave()
    let masters = cluster.nodes[..<3].map(\.port)
    var killed: Set<UInt16> = []
    for round in 0..<3 {
      // The set's node first; then one that has not been killed yet.
      let victim =
        round == 0
        ? try cluster.master(of: "pt:passkeys")
        : try #require(cluster.nodes.first { masters.contains($0.port) && !killed.contains($0.port) })
      killed.insert(victim.port)
      victim.kill9()
      // `wave` throws where an announce is refused.
      try await eventually("a replica takes the place of \(victim.port)", evidence: site.logs) {
        try swarm.wave()
        return try cluster.hasReplaced(victim)
      }
      try swarm.wave()
      // A user who is new gets in by what the cluster has now; its replica-to-be gets the whole set.
      let newcomer = "newcomer\(round)"
      var set = try cluster.connection(to: "pt:passkeys")
      _ = try set.command(["SADD", "pt:passkeys", newcomer])
      try await eventually("\(newcomer) is in", evidence: site.logs) { try Self.announces(newcomer, at: site) }
      try await victim.start()
      try await cluster.awaitSteady()
      try swarm.wave()
    }
    #expect(killed == Set(masters))
    try swarm.stopAll()
    // A failover may cost announces, whose bytes and seconds come with the next ones.
    try await site.awaitEqual(to: swarm, .allButEvents)
    let losses = try await site.json(Losses.self, ["status"])
    #expect(losses.deadLetters == 0 && losses.lost == 0)
    #expect(try await site.tracker?.terminate() == .code(0))
    #expect(try await site.consumer?.terminate() == .code(0))
  }

  /// `status`, of which Redis may not be able to tell the lag after a failover.
  private struct Losses: Decodable {
    var deadLetters: Int
    var lost: Int

    enum CodingKeys: String, CodingKey {
      case lost
      case deadLetters = "dead_letters"
    }
  }

  /// Whether an announce of the user is accepted.
  private static func announces(_ passkey: String, at site: Site) throws -> Bool {
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    let outcome = try client.announce(
      Announcement(passkey: passkey, infoHash: InfoHash(words: (1, 2, 3)), peerID: PeerID(words: (4, 5, 6))))
    if case .peers = outcome { return true }
    return false
  }
}
