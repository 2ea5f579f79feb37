// Strangers who invent passkeys, and a slow site behind the tracker that is asked about each of them.

import Glibc
import HTTP
import Linux
import Simulation
import Synchronization
import Testing
import Wire

@Suite("Floods of unknown passkeys")
struct ApprovalFloodTests {
  /// A site's check that answers nobody until it is told to, and remembers who was asked about, in order.
  private final class SlowOrigin: Sendable {
    /// What the server's thread works with, as long as it runs.
    final class Desk: Sendable {
      let asked = Mutex<[String]>([])
      let isOpen = Atomic(false)
      private let answered = Atomic(0)
      /// Answers come in the order of the questions.
      var lastIsHonest: Bool {
        let number = answered.wrappingAdd(1, ordering: .relaxed).oldValue
        return asked.withLock { $0[number].hasPrefix("honest") }
      }
    }
    private let desk = Desk()
    var asked: [String] { desk.asked.withLock { $0 } }
    let port: UInt16
    private let server = Mutex<AdminServer?>(nil)

    init() throws {
      port = try FreePort.take()
      let desk = desk
      let server = try AdminServer(
        address: .host(.loopbackV4, port: port), registry: MetricRegistry(), metricPrefix: "origin",
        routes: [
          AdminServer.Route(
            path: "/verify",
            begin: { request in
              let query = String(decoding: request.query, as: UTF8.self)
              desk.asked.withLock { $0.append(String(query.dropFirst("passkey=".count))) }
              return 0
            }, refuse: { _, _ in },
            finish: { writer in
              while !desk.isOpen.load(ordering: .acquiring) { usleep(1000) }
              writer.begin(.ok, contentType: "application/json")
              writer.append("{\"valid\": \(desk.lastIsHonest)}")
            })
        ], probe: { Health(isLive: true, isReady: true) })
      self.server.withLock { $0 = server }
    }

    func open() { desk.isOpen.store(true, ordering: .releasing) }

    deinit {
      open()
      server.withLock { $0?.shutdown() }
    }
  }

  private static func announcement(_ user: String, _ number: UInt32) -> Announcement {
    Announcement(
      passkey: user, infoHash: InfoHash(words: (1, 2, 3)), peerID: PeerID(words: (4, 5, number)), left: 1,
      event: .started)
  }

  @Test("an honest user whom nobody knows yet comes next at a slow origin, whatever another address invents")
  func slowOrigin() async throws {
    let budget: UInt32 = 300
    let origin = try SlowOrigin()
    defer { origin.open() }
    var settings = SiteSettings()
    settings.passkeyApproval = [
      "http_url: \"http://127.0.0.1:\(origin.port)/verify\"", "http_timeout: 1m", "max_lookups_per_address: \(budget)",
    ]
    let site = try Site(settings)
    try await site.redis.start()
    try site.approve(["known"])
    try await site.startTracker()
    let flooder = IPAddress("127.0.0.2")!
    var known = try UDPAnnounceClient(.v4(site.endpoints.udpPort), from: flooder)
    _ = try known.announce(Self.announcement("known", 1)).reply()

    func shows(_ line: String) throws -> Bool {
      try Site.get(port: site.metricsPort, "/metrics").text.contains("\n\(line)\n")
    }
    var flood = try UDPAnnounceClient(.v4(site.endpoints.udpPort), from: flooder)
    for number in 1...budget {
      try flood.send(Self.announcement("invented\(number)", number))
      // No more at once than the socket has room for.
      guard number % 50 == 0 else { continue }
      try await eventually("\(number) wait", evidence: site.logs) {
        try shows("tracker_approval_waiting{set=\"passkey\"} \(number)")
      }
    }
    for number in 1...2 as ClosedRange<UInt32> {
      let outcome = try flood.announce(Self.announcement("another\(number)", number))
      guard case .failure("too many approval look-ups for your address, please try again") = outcome else {
        throw HarnessError("\(outcome)")
      }
    }
    #expect(try shows("tracker_approval_over_budget_total{set=\"passkey\"} 2"))
    let lines = site.logs.split(separator: "\n").filter { $0.contains("too many approval look-ups of an address") }
    #expect(lines.count == 1 && lines.first?.contains("address=127.0.0.2") == true, "\(lines)")
    _ = try known.announce(Self.announcement("known", 1)).reply()

    let endpoint = LoopbackEndpoint.v4(site.endpoints.httpPort)
    let honest = try PatientAnnounce(Self.announcement("honest", 1)) { announcement in
      var client = HTTPAnnounceClient(endpoint)
      return try client.announce(announcement)
    }
    try await eventually("the honest one waits, too", evidence: site.logs) {
      try shows("tracker_approval_waiting{set=\"passkey\"} \(budget + 1)")
    }
    origin.open()
    _ = try honest.outcome().reply()
    let place = try #require(origin.asked.firstIndex(of: "honest"))
    // Behind the eight calls under way and one of the flood's; calls that overlap arrive as they like.
    #expect(place < 32, "\(place) of \(budget)")
    try await eventually("the flood is answered, too", evidence: site.logs) {
      try shows("tracker_approval_waiting{set=\"passkey\"} 0")
    }
    #expect(try await site.tracker?.terminate() == .code(0))
  }
}
