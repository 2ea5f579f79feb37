// Strangers who want the tracker to fall over: more connections than there is room for, and bytes of all kinds.

import Foundation
import Simulation
import Testing
import Wire

@Suite("Floods")
struct FloodTests {
  @Test("the connection limit is said in one line and counted in full, and who says nothing makes room")
  func connectionLimit() async throws {
    var settings = SiteSettings()
    settings.approvesPasskeys = false
    settings.workers = 1
    settings.http = ["read_timeout: 1h"]
    let site = try Site(settings)
    // 512 descriptors are kept for other things than connections.
    let limit = 100
    let tracker = try ChildProcess(
      [
        "/bin/sh", "-c", "ulimit -n \(512 + limit) && exec \"$@\"", "sh", Binaries.tracker, "--config",
        site.trackerConfig,
      ],
      name: "tracker", logPath: "\(site.directory.path)/limited.log")
    try await eventually("it serves", evidence: tracker.log) {
      Site.status(port: site.metricsPort, "/health/live") == 200
    }
    let crowd = try Crowd(limit + 50, at: .v4(site.endpoints.httpPort))
    // A sixteenth of the limit goes at once.
    let evicted = "tracker_http_connections_evicted_total{limit=\"all\"} 54\n"
    try await eventually("fifty-four made room", evidence: tracker.log) {
      try Site.get(port: site.metricsPort, "/metrics").text.contains(evicted)
    }
    let lines = tracker.log.split(separator: "\n").filter { $0.contains("HTTP connection limit reached") }
    #expect(lines.count == 1 && lines.first?.contains("limit=\(limit)") == true, "\(tracker.log)")
    // The crowd stays, and whoever wants something is served.
    for user in 1...200 as ClosedRange<UInt32> {
      var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
      let announcement = Announcement(
        passkey: "anybody\(user)", infoHash: InfoHash(words: (1, 2, 3)), peerID: PeerID(words: (4, 5, user)))
      #expect(try client.announce(announcement).reply().interval > 0, "user \(user)")
    }
    crowd.leave()
    #expect(try await tracker.terminate() == .code(0))
  }

  @Test("whatever strangers send over HTTP and UDP, the next announce is served", arguments: [1, 2] as [UInt64])
  func garbage(seed: UInt64) async throws {
    let site = try Site()
    try await site.redis.start()
    let user = "00112233445566778899aabbccddeeff"
    try site.approve([user])
    try await site.startTracker()
    var random = SeededRandom(seed: seed)
    let announcement = Announcement(
      passkey: user, infoHash: random.bytes20(), peerID: random.bytes20(), left: 1, event: .started)
    let target = HTTPAnnounceClient.target(announcement, route: .path)
    let request = Array("GET \(target) HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab".utf8)
    let datagram = [0, 0, 4, 23, 39, 16, 25, 128] + [UInt8](repeating: 0, count: 150)
    for _ in 0..<300 {
      let http = try ClientSocket(.v4(site.endpoints.httpPort), udp: false)
      // A refused connection may be gone before the last byte.
      for _ in 0..<3 { try? http.send(Self.mutated(request, &random)) }
      let udp = try ClientSocket(.v4(site.endpoints.udpPort), udp: true)
      for _ in 0..<3 { try udp.send(Self.mutated(datagram, &random)) }
    }
    var http = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    #expect(try http.announce(announcement).reply().interval >= 60, "seed \(seed)")
    var udp = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
    #expect(try udp.announce(announcement).reply().interval >= 60, "seed \(seed)")
    #expect(site.tracker?.exit == nil)
    #expect(try await site.tracker?.terminate() == .code(0))
  }

  /// The bytes with some changed, inserted, doubled or cut off.
  private static func mutated(_ bytes: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<Int.random(in: 0...6, using: &random) where !bytes.isEmpty {
      let index = Int.random(in: bytes.indices, using: &random)
      switch Int.random(in: 0...4, using: &random) {
      case 0: bytes[index] = UInt8.random(in: .min ... .max, using: &random)
      case 1: bytes.insert(contentsOf: Array("\r\n%%&==\u{0} ".utf8), at: index)
      case 2: bytes.removeSubrange(index...)
      case 3: bytes += bytes
      default: bytes.insert(contentsOf: [UInt8](repeating: 0x41, count: 9000), at: index)
      }
    }
    return Array(bytes.prefix(60_000))
  }

  /// Connections that say nothing.
  private final class Crowd {
    private final class Member {
      let socket: ClientSocket
      init(_ endpoint: LoopbackEndpoint) throws { socket = try ClientSocket(endpoint, udp: false) }
    }
    private var members: [Member]
    init(_ count: Int, at endpoint: LoopbackEndpoint) throws {
      members = try (0..<count).map { _ in try Member(endpoint) }
    }
    func leave() { members = [] }
  }
}
