// SIGHUP on a running tracker: what changes at once, what waits for a restart, and a file that changes nothing.

import Foundation
import Simulation
import Testing
import Wire

@Suite("Reloading the configuration")
struct ReloadTests {
  private static let user = "00112233445566778899aabbccddeeff"

  private func announcement(_ peer: String) -> Announcement {
    Announcement(
      passkey: Self.user, infoHash: InfoHash(words: (UInt64(peer.utf8.first!), 2, 3)),
      peerID: Array((peer + "--------------------").utf8).withUnsafeBytes { PeerID($0.baseAddress!) }, left: 1)
  }

  /// Replaces the configuration by what `change` makes of it, sends SIGHUP and waits for the answer in the log.
  private func reload(_ site: Site, until line: String, _ change: (String) -> String) async throws -> String {
    let tracker = try #require(site.tracker)
    let before = tracker.log.count
    try site.directory.write(change(TemporaryDirectory.read(site.trackerConfig)), as: "tracker.yaml")
    tracker.signal(SIGHUP)
    return try await eventually("the log says: \(line)", evidence: tracker.log) {
      let new = String(tracker.log.dropFirst(before))
      return new.contains(line) ? new : nil
    }
  }

  @Test("intervals and lists change at once, what needs a restart is named, and a broken file changes nothing")
  func reload() async throws {
    let site = try Site(
      {
        var settings = SiteSettings()
        settings.moreHooks = "  - name: client approval\n    options: { blacklist: [ \"BAD\" ] }\n"
        return settings
      }())
    try await site.redis.start()
    try site.approve([Self.user])
    try await site.startTracker()
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    var udp = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
    #expect(try client.announce(announcement("GOOD")).reply().interval == 60)
    #expect(try client.announce(announcement("BAD")) == .failure("unapproved client"))

    let changed = try await reload(site, until: "configuration reloaded") {
      $0.replacing("announce_interval: 60s", with: "announce_interval: 90s").replacing("BAD", with: "GOOD")
    }
    #expect(changed.contains("announce_interval") && changed.contains("blacklist"), "\(changed)")
    #expect(!changed.contains("need a restart"), "\(changed)")
    // The workers take it over with their next events.
    try await eventually("HTTP and UDP follow") {
      try client.announce(announcement("BAD")) != .failure("unapproved client")
        && udp.announce(announcement("GOOD")) == .failure("unapproved client")
    }
    #expect(try client.announce(announcement("BAD")).reply().interval == 90)

    let restart = try await reload(site, until: "need a restart") {
      $0.replacing("addr: \":\(site.endpoints.udpPort)\"", with: "addr: \"127.0.0.1:1\"")
    }
    #expect(restart.contains("udp.addr"), "\(restart)")
    #expect(try udp.announce(announcement("BAD")).reply().interval == 90)

    let broken = try await reload(site, until: "was not reloaded") {
      $0.replacing("announce_interval: 90s", with: "announce_interval: 30s\n  anounce_interval: 10s")
    }
    #expect(broken.contains("anounce_interval") && broken.contains("tracker.yaml:3"), "\(broken)")
    for _ in 0..<20 {
      #expect(try client.announce(announcement("BAD")).reply().interval == 90)
      #expect(try client.announce(announcement("GOOD")) == .failure("unapproved client"))
    }
    #expect(try await site.tracker?.terminate() == .code(0))
  }

  @Test(
    "an interval that snapshots do not outlive until the restart is refused, though the new file has a long last_ttl")
  func shortSnapshots() async throws {
    var settings = SiteSettings()
    settings.trafficPush = ["last_ttl: 90s"]
    let site = try Site(settings)
    try await site.redis.start()
    try await site.startTracker()
    let refused = try await reload(site, until: "was not reloaded") {
      $0.replacing("announce_interval: 60s", with: "announce_interval: 80s")
        .replacing("last_ttl: 90s", with: "last_ttl: 1h")
    }
    #expect(
      refused.contains("last_ttl changes with a restart only, and until then snapshots may be gone"), "\(refused)")
    let taken = try await reload(site, until: "configuration reloaded") {
      $0.replacing("announce_interval: 80s", with: "announce_interval: 70s")
    }
    #expect(taken.contains("announce_interval") && taken.contains("last_ttl"), "\(taken)")
  }

  @Test("a storm of SIGHUPs, good files and broken ones in turn, loses no announce")
  func storm() async throws {
    let site = try Site()
    try await site.redis.start()
    try site.approve([Self.user])
    try await site.startTracker()
    let tracker = try #require(site.tracker)
    let text = TemporaryDirectory.read(site.trackerConfig)
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    var udp = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
    for round in 0..<100 {
      let file =
        switch round % 3 {
        case 0: text
        case 1: text.replacing("announce_interval: 60s", with: "announce_interval: 61s")
        default: "chihaya:\n  nonsense: [\n"
        }
      try site.directory.write(file, as: "tracker.yaml")
      tracker.signal(SIGHUP)
      #expect((60...61).contains(try client.announce(announcement("GOOD")).reply().interval))
      #expect((60...61).contains(try udp.announce(announcement("BAD")).reply().interval))
    }
    #expect(try await tracker.terminate() == .code(0))
  }
}
