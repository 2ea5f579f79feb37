// Real clients transfer real torrents through the tracker, and three accounts of the same bytes are compared: what the
// client shows its user, what it announced, and what the consumer credited. docs/clients.md says what was learnt.

import Foundation
import Simulation
import Testing
import Wire

@Suite("Real clients", .enabled(if: TestNetwork.isThere, "\(TestNetwork.reason)"))
struct TransferTests {
  /// The bytes of a block, the unit of requests among peers (BEP 3: all current implementations use 2^14).
  private static let blockBytes: UInt64 = 1 << 14
  private static let blockCount = (UInt64(SharedFile.byteCount) + blockBytes - 1) / blockBytes
  /// A `piece` message before its data: length 4, id 1, index 4, begin 4 (BEP 3).
  private static let pieceHeadBytes: UInt64 = 13

  @Test(
    "one to one: reported, announced and credited are equal to the byte, and to the size of the file",
    arguments: Transport.allCases)
  func oneToOne(transport: Transport) async throws {
    let swarm = try await ring(transport)
    try await swarm.transfer { announceURLs($0, transport, swarm.site.endpoints) }
    if transport.isUDP { try expectUDP(swarm, transport) }
    try await swarm.settle()
    try await swarm.stop()
    let size = UInt64(SharedFile.byteCount)
    for account in try await swarm.accounts() {
      let isSeeder = account.session.isSeeder
      // Transmission counts the heads of the messages it sends, and only sends, as data.
      let heads = account.session.client is TransmissionClient ? Self.blockCount * Self.pieceHeadBytes : 0
      let expected = LastAnnounce(uploaded: isSeeder ? size + heads : 0, downloaded: isSeeder ? 0 : size)
      let text = account.text
      #expect(account.announced == expected, "\(text)")
      #expect(
        LastAnnounce(uploaded: account.credited.uploaded, downloaded: account.credited.downloaded) == expected,
        "\(text)")
      #expect(
        LastAnnounce(uploaded: account.reported.uploaded, downloaded: account.reported.downloaded) == expected,
        "\(text)")
      #expect([nil, expected.downloaded].contains(account.reported.received), "\(text)")
      #expect(account.credited.completed == (isSeeder ? 0 : 1), "\(text)")
      #expect(account.entries.allSatisfy { $0.addressFamily == transport.family }, "\(text)")
    }
  }

  @Test("a crowd: credited is what was announced, and what was announced beside what is reported is explained")
  func crowd() async throws {
    let swarm = try await ring(.httpV4, leechersPerFile: 2)
    try await swarm.transfer { announceURLs($0, .httpV4, swarm.site.endpoints) }
    try await swarm.settle()
    try await swarm.stop()
    for account in try await swarm.accounts() {
      let (announced, reported, text) = (account.announced, account.reported, account.text)
      #expect(account.credited.uploaded == announced.uploaded, "\(text)")
      #expect(account.credited.downloaded == announced.downloaded, "\(text)")
      #expect(reported.uploaded == announced.uploaded, "\(text)")
      #expect(account.credited.completed == (account.session.isSeeder ? 0 : 1), "\(text)")
      // Two peers may send the same block near the end. aria2 announces both and reports the file; the others announce
      // the file and report both.
      if account.session.client is Aria2Client {
        #expect(announced.downloaded >= reported.downloaded, "\(text)")
        #expect((announced.downloaded - reported.downloaded) % Self.blockBytes == 0, "\(text)")
      } else {
        #expect(announced.downloaded == reported.downloaded, "\(text)")
        #expect(try #require(reported.received) >= announced.downloaded, "\(text)")
      }
    }
  }

  @Test("a client that announces over both families is one peer and is credited once", arguments: [false, true])
  func dualStack(udp: Bool) async throws {
    let site = try await started()
    var random = SeededRandom(seed: UInt64.random(in: .min ... .max))
    let users = (0..<2).map { _ in random.hex(digits: 32) }
    try site.approve(users)
    let folder = site.directory.path
    let dual = try QBittorrentClient(passkey: users[0], family: nil, in: folder)
    let single = try Aria2Client(passkey: users[1], family: .v4, in: folder)
    let swarm = try await Swarm(site: site, clients: [dual, single], leechersPerFile: 1, random: &random)
    let scheme = udp ? "udp" : "http"
    let port = udp ? site.endpoints.udpPort : site.endpoints.httpPort
    try await swarm.transfer { client in
      client === dual
        ? ["\(scheme)://\(TestNetwork.trackerName):\(port)/announce/\(client.passkey)"]
        : announceURLs(client, .httpV4, site.endpoints)
    }
    try await swarm.settle()
    try await swarm.stop()
    let size = UInt64(SharedFile.byteCount)
    for account in try await swarm.accounts(stops: { $0 === dual ? 2 : 1 }) {
      let isSeeder = account.session.isSeeder
      let text = account.text
      #expect(account.credited.uploaded == (isSeeder ? size : 0), "\(text)")
      #expect(account.credited.downloaded == (isSeeder ? 0 : size), "\(text)")
      #expect(account.credited.completed == (isSeeder ? 0 : 1), "\(text)")
      #expect(account.reported.uploaded == account.credited.uploaded, "\(text)")
      #expect(account.reported.downloaded == account.credited.downloaded, "\(text)")
      #expect(Set(account.entries.map(\.peerID)).count == 1, "\(text)")
      let families: Set<IPAddress.Family> = account.session.client === dual ? [.v4, .v6] : [.v4]
      #expect(Set(account.entries.map(\.addressFamily)) == families, "\(text)")
    }
  }

  @Test("clients without BEP 41 transfer over UDP on a tracker without passkeys, and no user is credited")
  func openTracker() async throws {
    var settings = SiteSettings()
    settings.approvesPasskeys = false
    let site = try await started(settings)
    var random = SeededRandom(seed: UInt64.random(in: .min ... .max))
    let passkey = random.hex(digits: 32)
    let folder = site.directory.path
    let clients: [any RealClient] = [
      try TransmissionClient(passkey: passkey, family: .v4, in: folder),
      try Aria2Client(passkey: passkey, family: .v4, in: folder),
    ]
    let swarm = try await Swarm(site: site, clients: clients, leechersPerFile: 1, random: &random)
    try await swarm.transfer { [Transport.udpV4.announceURL(passkey: $0.passkey, site.endpoints)] }
    try await swarm.stop()
    let tracker = try #require(site.tracker)
    #expect(try await tracker.terminate() == .code(0))
    #expect(try site.redisInteger(["XLEN", "tracker:traffic"]) == 0)
  }

  // MARK: parts

  private func started(_ settings: SiteSettings = SiteSettings()) async throws -> Site {
    let site = try Site(settings)
    try await site.redis.start()
    try await site.startTracker()
    return site
  }

  /// All clients. Over IPv6 the other way round, so that each client uploads to each other one.
  private func ring(_ transport: Transport, leechersPerFile: Int = 1) async throws -> Swarm {
    let site = try await started()
    var random = SeededRandom(seed: UInt64.random(in: .min ... .max))
    let users = (0..<6).map { _ in random.hex(digits: 32) }
    try site.approve(users)
    let folder = site.directory.path
    let clients: [any RealClient] = [
      try TransmissionClient(passkey: users[0], family: transport.family, in: folder),
      try Aria2Client(passkey: users[1], family: transport.family, in: folder),
      try QBittorrentClient(passkey: users[2], family: transport.family, in: folder),
      try RTorrentClient(passkey: users[3], family: transport.family, in: folder),
      try LibtorrentClient(.deluge, passkey: users[4], family: transport.family, in: folder),
      try LibtorrentClient(.libtorrent, passkey: users[5], family: transport.family, in: folder),
    ]
    return try await Swarm(
      site: site, clients: transport.family == .v4 ? clients : clients.reversed(), leechersPerFile: leechersPerFile,
      random: &random)
  }

  /// Only libtorrent sends a passkey over UDP (BEP 41): the others' torrents list HTTP behind it.
  private func announceURLs(
    _ client: any RealClient, _ transport: Transport, _ endpoints: TrackerEndpoints
  ) -> [String] {
    let url = transport.announceURL(passkey: client.passkey, endpoints)
    guard transport.isUDP && !(client is QBittorrentClient || client is LibtorrentClient) else { return [url] }
    return [url, transport.overHTTP.announceURL(passkey: client.passkey, endpoints)]
  }

  /// Who announced over UDP, and what became of it.
  private func expectUDP(_ swarm: Swarm, _ transport: Transport) throws {
    let metrics = try Site.get(port: swarm.site.metricsPort, "/metrics").text
    let isRefused = metrics.contains(
      #"_udp_response_duration_milliseconds_count{action="announce",address_family="IPv4",error="missing passkey"}"#)
    // Over IPv6 neither Transmission nor aria2 sends a UDP announce at all.
    #expect(isRefused == (transport == .udpV4), "\(metrics)")
    for session in swarm.sessions {
      let url = transport.announceURL(passkey: session.client.passkey, swarm.site.endpoints)
      let tracker = try session.client.trackers(session.file.infoHash)[url]
      switch session.client {
      case is QBittorrentClient, is LibtorrentClient: #expect(tracker == TrackerReport(isWorking: true, message: ""))
      case is TransmissionClient where transport == .udpV4:
        #expect(tracker == TrackerReport(isWorking: false, message: "missing passkey"))
      case is TransmissionClient: #expect(tracker?.isWorking == false)
      default: #expect(tracker == nil)
      }
    }
  }
}
