// What one hostile user can take from a running tracker, and what it leaves the others.

import Redis
import Simulation
import Testing
import Wire

@Suite("What one user can take")
struct BudgetTests {
  private static func events(_ site: Site) throws -> [TrafficEvent] {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
    let reply = try connection.command(["XRANGE", "tracker:traffic", "-", "+"])
    return try (0..<reply.view.count).map { index in
      let fields = reply.view[index][1]
      return try TrafficEvent.decode((0..<fields.count).map { fields[$0].string! })
    }
  }

  @Test("`stopped` is credited to sessions that the swarm or, after a restart, their snapshots know, and to no other")
  func stopped() async throws {
    let site = try Site()
    try await site.redis.start()
    try await site.startTracker()
    try site.approve(["liar"])
    var random = SeededRandom(seed: 11)
    let infoHash: InfoHash = random.bytes20()
    let (honest, invented) = (random.bytes20() as PeerID, (0..<37).map { _ in random.bytes20() as PeerID })
    func announce(_ peerID: PeerID, _ uploaded: UInt64, _ event: AnnounceEvent) throws {
      var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
      // An answer, whatever it is worth: a client that stops is not to be told of failures.
      _ = try client.announce(
        Announcement(passkey: "liar", infoHash: infoHash, peerID: peerID, uploaded: uploaded, event: event)
      ).reply()
    }
    try announce(honest, 1000, .started)
    for peerID in invented {
      try announce(peerID, 0, .stopped)
      try announce(peerID, 10_000_000_000, .stopped)
    }
    try await eventually("its baseline is in the stream", evidence: site.logs) { try Self.events(site).count == 1 }
    #expect(try await site.tracker?.terminate() == .code(0))
    try await site.startTracker()
    for peerID in invented { try announce(peerID, 20_000_000_000, .stopped) }
    try announce(honest, 5000, .stopped)
    #expect(try await site.tracker?.terminate() == .code(0))
    let events = try Self.events(site)
    #expect(events.map(\.uploadedDelta) == [0, 4000] && events.map(\.peerID) == [honest, honest])
  }
}
