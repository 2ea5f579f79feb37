// Who is answered when he asks for the counts of a torrent.

import Simulation
import Testing
import Wire

@Suite("Scrapes and passkeys")
struct ScrapeTests {
  private static let user = "00112233445566778899aabbccddeeff"
  private static let stranger = "ffffffffffffffffffffffffffffffff"
  private static let torrent = InfoHash(words: (1, 2, 3))
  private static let query = "info_hash=\(HTTPAnnounceClient.escaped(torrent.bytes))"

  private func site(scrapeRoutes: [String]) async throws -> Site {
    var settings = SiteSettings()
    settings.scrapeRoutes = scrapeRoutes
    let site = try Site(settings)
    try await site.redis.start()
    try site.approve([Self.user])
    try await site.startTracker()
    return site
  }

  /// The seeders that a scrape names, or the reason for which it is refused.
  private func outcome(_ client: inout HTTPAnnounceClient, _ target: String) throws -> String {
    let reply = try Bencode.decode(client.get(target).body)
    if let reason = reply["failure reason"]?.text { return reason }
    return reply["files"]?[Self.torrent.bytes]?["complete"]?.integer.map { "\($0)" } ?? "no counts"
  }

  @Test("a passkey that comes along must be approved; a route without one is open to all, and so is UDP")
  func openRoute() async throws {
    let site = try await site(scrapeRoutes: ["/scrape", "/scrape/:passkey"])
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    // There was no announce yet: both passkeys are looked up while the scrape is parked.
    #expect(try outcome(&client, "/scrape/\(Self.user)?\(Self.query)") == "0")
    #expect(try outcome(&client, "/scrape/\(Self.stranger)?\(Self.query)") == "unapproved passkey")
    let seeder = Announcement(
      passkey: Self.user, infoHash: Self.torrent, peerID: PeerID(words: (4, 5, 6)), port: 7, left: 0, event: .started)
    _ = try client.announce(seeder).reply()
    #expect(try outcome(&client, "/scrape/\(Self.user)?\(Self.query)") == "1")
    #expect(try outcome(&client, "/scrape?\(Self.query)&passkey=\(Self.user)") == "1")
    #expect(try outcome(&client, "/scrape?\(Self.query)&passkey=\(Self.stranger)") == "unapproved passkey")
    #expect(try outcome(&client, "/scrape/not%20a%20passkey?\(Self.query)") == "invalid passkey")
    #expect(try outcome(&client, "/scrape?\(Self.query)") == "1")
    var udp = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
    #expect(try udp.scrape([Self.torrent]).map(\.complete) == [1])
  }

  @Test("where every scrape route has a passkey, strangers get no counts, by UDP neither")
  func closedRoutes() async throws {
    let site = try await site(scrapeRoutes: ["/scrape/:passkey"])
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    #expect(try client.get("/scrape?\(Self.query)&passkey=\(Self.user)").status == 404)
    #expect(try outcome(&client, "/scrape/\(Self.stranger)?\(Self.query)") == "unapproved passkey")
    #expect(try outcome(&client, "/scrape/\(Self.user)?\(Self.query)") == "0")
    var udp = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
    let error = #expect(throws: HarnessError.self) { try udp.scrape([Self.torrent]) }
    #expect(error?.description.contains("missing passkey") == true)
  }

  @Test("Redis away: a user whom the tracker knows still scrapes, others are told to try again")
  func redisAway() async throws {
    let site = try await site(scrapeRoutes: ["/scrape/:passkey"])
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    #expect(try outcome(&client, "/scrape/\(Self.user)?\(Self.query)") == "0")
    site.redis.kill9()
    try await eventually("the outage is noticed") { Site.status(port: site.metricsPort, "/health/ready") == 503 }
    #expect(try outcome(&client, "/scrape/\(Self.user)?\(Self.query)") == "0")
    let reason = try outcome(&client, "/scrape/\(Self.stranger)?\(Self.query)")
    #expect(reason == "tracker temporarily unavailable, please try again")
  }
}
