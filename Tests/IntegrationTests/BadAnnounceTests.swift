// What a client is told that asks for something wrong: over HTTP a bencoded reason in a 200, over UDP action 3.

import Simulation
import Testing
import Wire

@Suite("Bad announces get their reason")
struct BadAnnounceTests {
  private static let passkey = "00112233445566778899aabbccddeeff"
  private static let infoHash = String(repeating: "%aa", count: 20)
  private static let peerID = String(repeating: "%bb", count: 20)

  /// `/announce/...` with one parameter replaced or left out.
  private static func target(_ name: String, _ value: String?, passkey: String? = passkey) -> String {
    var parameters = [
      ("info_hash", infoHash), ("peer_id", peerID), ("port", "6881"), ("uploaded", "0"), ("downloaded", "0"),
      ("left", "0"),
    ]
    parameters.removeAll { $0.0 == name }
    if let value { parameters.append((name, value)) }
    let query = parameters.map { "\($0.0)=\($0.1)" }.joined(separator: "&")
    return passkey.map { "/announce/\($0)?\(query)" } ?? "/announce?\(query)"
  }

  private static let cases: [(target: String, reason: String)] = [
    (target("", nil, passkey: nil), "missing passkey"),
    (target("", nil, passkey: "ffffffffffffffffffffffffffffffff"), "unapproved passkey"),
    (target("", nil, passkey: String(repeating: "f", count: 65)), "invalid passkey"),
    (target("info_hash", nil), "invalid info_hash"),
    (target("info_hash", "%aa%bb"), "invalid info_hash"),
    (target("info_hash", infoHash + "%aa"), "invalid info_hash"),
    (target("info_hash", "%zz"), "invalid info_hash"),
    (target("peer_id", nil), "invalid peer_id"),
    (target("peer_id", "short"), "invalid peer_id"),
    (target("port", nil), "invalid port"),
    (target("port", "0"), "invalid port"),
    (target("port", "65536"), "invalid port"),
    (target("port", "six"), "invalid port"),
    (target("uploaded", "-1"), "invalid uploaded"),
    (target("uploaded", "18446744073709551616"), "invalid uploaded"),
    (target("downloaded", "1x"), "invalid downloaded"),
    (target("left", nil), "invalid left"),
    (target("left", ""), "invalid left"),
  ]

  @Test("over HTTP every wrong or missing field is named, and the connection goes on to serve the next announce")
  func http() async throws {
    let site = try Site()
    try await site.redis.start()
    try site.approve([Self.passkey])
    try await site.startTracker()
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    for (target, reason) in Self.cases {
      let reply = try client.get(target)
      #expect(reply.status == 200, "\(target)")
      #expect(try HTTPAnnounceClient.outcome(reply.body) == .failure(reason), "\(target)")
    }
    let good = try HTTPAnnounceClient.outcome(client.get(Self.target("", nil)).body)
    #expect(throws: Never.self) { try good.reply() }
    #expect(try site.redisInteger(["EXISTS", "tracker:traffic"]) <= 1)
  }

  @Test("over UDP wrong fields and URL data get their reason")
  func udp() async throws {
    let site = try Site()
    try await site.redis.start()
    try site.approve([Self.passkey])
    try await site.startTracker()
    var client = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
    var random = SeededRandom(seed: 3)
    let good = Announcement(passkey: Self.passkey, infoHash: random.bytes20(), peerID: random.bytes20())
    var noPort = good
    noPort.port = 0
    #expect(try client.announce(noPort) == .failure("invalid port"))
    var stranger = good
    stranger.passkey = "ffffffffffffffffffffffffffffffff"
    #expect(try client.announce(stranger) == .failure("unapproved passkey"))
    #expect(try client.announce(good, options: []) == .failure("missing passkey"))
    #expect(throws: Never.self) { try client.announce(good, urlData: .path).reply() }
    #expect(throws: Never.self) { try client.announce(good, urlData: .query).reply() }
  }

  @Test("peers of one torrent find each other over HTTP and UDP, and scrape counts them")
  func peers() async throws {
    let site = try Site()
    try await site.redis.start()
    let users = ["00000000000000000000000000000001", "00000000000000000000000000000002"]
    try site.approve(users)
    try await site.startTracker()
    var random = SeededRandom(seed: 4)
    let torrent: InfoHash = random.bytes20()
    var http = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    var udp = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
    let seeder = Announcement(
      passkey: users[0], infoHash: torrent, peerID: random.bytes20(), port: 1001, left: 0, event: .started)
    let leecher = Announcement(
      passkey: users[1], infoHash: torrent, peerID: random.bytes20(), port: 1002, left: 5, event: .started)
    _ = try http.announce(seeder).reply()
    let reply = try udp.announce(leecher).reply()
    let loopback = try #require(IPAddress("127.0.0.1"))
    #expect(reply.peers == [PeerEndpoint(address: loopback, port: 1001)])
    #expect(reply.complete == 1 && reply.incomplete == 1)
    let scraped = try udp.scrape([torrent])
    #expect(scraped.map(\.complete) == [1] && scraped.map(\.incomplete) == [1])
    let body = try http.get("/scrape?info_hash=\(HTTPAnnounceClient.escaped(torrent.bytes))").body
    let entry = try Bencode.decode(body)["files"]?[torrent.bytes]
    #expect(entry?["complete"] == .integer(1) && entry?["incomplete"] == .integer(1))
  }
}
