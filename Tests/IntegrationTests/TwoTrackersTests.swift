// Two tracker processes on one Redis: a client that alternates between them, and a Redis user that may do only what
// docs/redis.md lists.

import Foundation
import Redis
import Simulation
import Testing
import Wire

@Suite("Several trackers, one Redis")
struct TwoTrackersTests {
  /// A second tracker beside the site's own.
  private struct Second {
    let process: ChildProcess
    let port: UInt16

    init(beside site: Site) async throws {
      let http = try FreePort.take()
      let metrics = try FreePort.take()
      let text = """
        chihaya:
          announce_interval: 60s
          min_announce_interval: 1s
          metrics_addr: "127.0.0.1:\(metrics)"
          http:
            addr: "127.0.0.1:\(http)"
            enable_keepalive: true
            announce_routes: [ "/announce", "/announce/:passkey" ]
          storage:
            name: memory
          prehooks:
          - name: passkey approval
            options:
              redis_broker: "\(site.redis.url)"
          posthooks:
          - name: traffic push
            options:
              redis_broker: "\(site.redis.url)"

        """
      let path = try site.directory.write(text, as: "second.yaml")
      let child = try ChildProcess(
        [Binaries.tracker, "--config", path], name: "second tracker", logPath: "\(site.directory.path)/second.log")
      process = child
      port = http
      try await eventually("the second tracker is ready", evidence: child.log) {
        if let exit = child.exit { throw HarnessError("second tracker: \(exit)\n\(child.log)") }
        return Site.status(port: metrics, "/health/ready") == 200
      }
    }
  }

  @Test("a client that alternates between two trackers is credited every byte once")
  func alternating() async throws {
    let site = try Site()
    try await site.redis.start()
    try await site.startTracker()
    let second = try await Second(beside: site)
    let passkeys = (0..<20).map { "alternating\($0)" }
    try site.approve(passkeys)
    var random = SeededRandom(seed: .random(in: 1...999_999))
    var first = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    var other = HTTPAnnounceClient(.v4(second.port))
    let infoHash: InfoHash = random.bytes20()
    let peers: [PeerID] = passkeys.map { _ in random.bytes20() }
    var counters = passkeys.map { _ in UInt64(1000) }
    let rounds = 60
    for round in 0..<rounds {
      for user in passkeys.indices {
        if round > 0 { counters[user] += UInt64.random(in: 0...5000, using: &random) }
        let announcement = Announcement(
          passkey: passkeys[user], infoHash: infoHash, peerID: peers[user], uploaded: counters[user],
          downloaded: counters[user] / 2, event: round == 0 ? .started : round == rounds - 1 ? .stopped : .none)
        let outcome = (round + user) % 2 == 0 ? try first.announce(announcement) : try other.announce(announcement)
        _ = try outcome.reply()
      }
    }
    try await site.tracker?.terminate()
    try await second.process.terminate()
    var credited: [String: (up: UInt64, down: UInt64, entries: Int)] = [:]
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
    let reply = try connection.command(["XRANGE", "tracker:traffic", "-", "+"])
    for index in 0..<reply.view.count {
      let fields = reply.view[index][1]
      let event = try TrafficEvent.decode((0..<fields.count).map { fields[$0].string! })
      var total = credited[event.passkey.text] ?? (0, 0, 0)
      total = (total.up + event.uploadedDelta, total.down + event.downloadedDelta, total.entries + 1)
      credited[event.passkey.text] = total
    }
    for user in passkeys.indices {
      let total = credited[passkeys[user]]
      #expect(total?.up == counters[user] - 1000 && total?.down == counters[user] / 2 - 500, "seed \(random.seed)")
      #expect(total?.entries == rounds)
    }
  }

  @Test(
    "a Redis user with the documented permissions is enough for tracker and consumer, also an earlier version's without TIME",
    arguments: [[], ["+time"]] as [[Substring]])
  func restricted(without: [Substring]) async throws {
    let site = try Site()
    try await site.redis.start()
    let text = try String(contentsOfFile: Repository.path("docs/redis.md"), encoding: .utf8)
    let commands = text.split(separator: "\n").filter { $0.hasPrefix("ACL SETUSER ") }
    #expect(commands.count == 2)
    for command in commands {
      try site.redisText(command.split(separator: " ").filter { !without.contains($0) }.map(String.init))
    }
    for (path, user) in [(site.trackerConfig, "tracker"), (site.consumerConfig, "consumer")] {
      let config = try String(contentsOfFile: path, encoding: .utf8)
        .replacingOccurrences(of: "redis+unix://", with: "redis+unix://\(user):change-me@")
        .replacingOccurrences(of: "redis://", with: "redis://\(user):change-me@")
      try config.write(toFile: path, atomically: true, encoding: .utf8)
    }
    try site.approve(["restricted"])
    try await site.startTracker()
    try await site.startConsumer()
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    var random = SeededRandom(seed: 5)
    var announcement = Announcement(passkey: "restricted", infoHash: random.bytes20(), peerID: random.bytes20())
    for uploaded in [1000, 5000, 9000] as [UInt64] {
      announcement.uploaded = uploaded
      _ = try client.announce(announcement).reply()
    }
    struct User: Decodable { var uploaded: UInt64 }
    try await eventually("the user's total", evidence: (site.tracker?.log ?? "") + (site.consumer?.log ?? "")) {
      (try? await site.json(User.self, ["query", "user", "restricted"]))?.uploaded == 8000
    }
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
    try await site.consumer?.terminate()
    try await site.tracker?.terminate()
    let denied = try connection.command(["ACL", "LOG"])
    for index in 0..<denied.view.count {
      let entry = denied.view[index]
      let words = (0..<entry.count).map { entry[$0].string ?? "" }
      if !words.contains("time") || without.isEmpty { Issue.record("refused: \(words)") }
    }
    // Redis' clock was had all the same.
    let top = try connection.command(["HGET", "tracker:traffic:clock", "top"]).string.flatMap { Int64($0) } ?? 0
    #expect(abs(top / 1_000_000 - Int64(Date().timeIntervalSince1970)) < 60)
    #expect(try connection.command(["EXISTS", "tracker:traffic:clock:entry"]).integer == 0)
  }
}
