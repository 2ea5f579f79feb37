// Strangers who want the tracker to fall over: more connections than there is room for.

import Foundation
import Shared
import Simulation
import Testing

@Suite("Floods")
struct FloodTests {
  @Test("the connection limit is said in one line and counted in full, and who leaves makes room")
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
    let refused = "tracker_http_connections_refused_total 50\n"
    try await eventually("fifty are turned away", evidence: tracker.log) {
      try Site.get(port: site.metricsPort, "/metrics").text.contains(refused)
    }
    let lines = tracker.log.split(separator: "\n").filter { $0.contains("HTTP connection limit reached") }
    #expect(lines.count == 1 && lines.first?.contains("limit=\(limit)") == true, "\(tracker.log)")
    crowd.leave()
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    let announcement = Announcement(
      passkey: "anybody", infoHash: InfoHash(words: (1, 2, 3)), peerID: PeerID(words: (4, 5, 6)))
    try await eventually("there is room again", evidence: tracker.log) { (try? client.announce(announcement)) != nil }
    #expect(try await tracker.terminate() == .code(0))
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
