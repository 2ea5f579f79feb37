// Both binaries against a real redis-server: what the simulated swarm announced is what every user's report says.

import Foundation
import Linux
import Simulation
import Testing

/// A swarm of moderate size with a seed of its own, which a failure shows.
private func makeSwarm(at site: Site, users: Int = 8, torrents: Int = 4) -> SwarmSimulator {
  SwarmSimulator(
    SwarmPlan(
      users: users, torrents: torrents, seed: .random(in: 1...999_999), usesIPv6: LoopbackEndpoint.hasIPv6),
    endpoints: site.endpoints)
}

@Suite("The whole path")
struct WholePathTests {
  @Test("every user's totals equal the ledger, by HTTP and UDP, IPv4 and IPv6, seed time to the second")
  func totals() async throws {
    let site = try Site()
    let swarm = makeSwarm(at: site)
    try await site.start()
    try site.approve(swarm.passkeys)
    for _ in 0..<4 {
      try await swarm.beat(everySeconds: 1)
      try swarm.wave()
    }
    for _ in 0..<10 { try swarm.wave() }
    try swarm.stopAll()
    try await site.awaitEqual(to: swarm)
    #expect(swarm.httpCount > 0 && swarm.udpCount > 0)
  }

  @Test("a consumer killed again and again loses nothing and doubles nothing")
  func consumerKilled() async throws {
    let site = try Site()
    let swarm = makeSwarm(at: site)
    try await site.start()
    try site.approve(swarm.passkeys)
    for _ in 0..<5 {
      try swarm.wave()
      site.consumer?.kill9()
      try swarm.wave()
      try await site.startConsumer(untilReady: false)
    }
    try swarm.stopAll()
    try await site.awaitEqual(to: swarm)
  }

  @Test("a tracker killed in the middle of announces loses no byte once its clients announce again")
  func trackerKilled() async throws {
    let site = try Site()
    let swarm = makeSwarm(at: site)
    try await site.start()
    try site.approve(swarm.passkeys)
    for _ in 0..<3 { try swarm.wave() }
    // What cannot be said again (a first sight, completed, stopped) is through before the kill.
    try await site.awaitEqual(to: swarm)
    for _ in 0..<3 {
      try swarm.quietWave()
      site.tracker?.kill9()
      try await site.startTracker()
      try swarm.quietWave()
    }
    try swarm.stopAll()
    try await site.awaitEqual(to: swarm, .allButEvents)
  }

  @Test("Redis stops, stays away for some waves and comes back: totals, seed time and announces are all there")
  func redisRestarted() async throws {
    let site = try Site()
    let swarm = makeSwarm(at: site)
    try await site.start()
    try site.approve(swarm.passkeys)
    for _ in 0..<2 { try swarm.wave() }
    try await site.redis.stop()
    for _ in 0..<4 { try swarm.wave() }
    #expect(Site.status(port: site.metricsPort, "/health/live") == 200)
    try await eventually("both daemons say that they are not ready", evidence: site.logs) {
      Site.status(port: site.metricsPort, "/health/ready") == 503
        && Site.status(port: site.adminPort, "/health/ready") == 503
    }
    try await site.redis.start()
    try swarm.wave()
    try swarm.stopAll()
    try await site.awaitEqual(to: swarm)
    try await eventually("both daemons are ready again", evidence: site.logs) {
      Site.status(port: site.metricsPort, "/health/ready") == 200
        && Site.status(port: site.adminPort, "/health/ready") == 200
    }
  }

  @Test("a dual-stack client's counters are credited once, however fast the two families follow each other")
  func dualStack() async throws {
    guard LoopbackEndpoint.hasIPv6 else { return }
    let site = try Site()
    try await site.start()
    var random = SeededRandom(seed: 1)
    let passkey = random.hex(digits: 32)
    try site.approve([passkey])
    var ledger = Ledger()
    var v4 = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    var v6 = HTTPAnnounceClient(.v6(site.endpoints.httpPort))
    var announcement = Announcement(passkey: passkey, infoHash: random.bytes20(), peerID: random.bytes20())
    for round in 0..<200 {
      announcement.uploaded += 1 << 20
      let before = Clock.unixSeconds()
      let outcome =
        round.isMultiple(of: 2) ? try v4.announce(announcement) : try v6.announce(announcement)
      ledger.record(announcement, interval: try outcome.reply().interval, at: before...Clock.unixSeconds())
    }
    try await site.awaitEqual(to: ledger, origin: "199 MiB")
    #expect(ledger.users[passkey]?.uploaded == 199 << 20)
  }
}
