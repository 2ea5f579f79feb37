// The spool of a real tracker: killed in an outage of Redis, and on a disk that is full.

import Foundation
import Redis
import Simulation
import Testing
import Wire

@Suite("The spool")
struct SpoolTests {
  private static let sessions = 400

  /// So many sessions announce once.
  private static func announce(_ site: Site, uploaded: UInt64, event: AnnounceEvent, count: Int = sessions) throws {
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    var random = SeededRandom(seed: 7)
    let infoHash: InfoHash = random.bytes20()
    for _ in 0..<count {
      let announcement = Announcement(
        passkey: "spooled", infoHash: infoHash, peerID: random.bytes20(), uploaded: uploaded, downloaded: 0,
        event: event)
      _ = try client.announce(announcement).reply()
    }
  }

  private static func events(_ site: Site) throws -> [TrafficEvent] {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
    let reply = try connection.command(["XRANGE", "tracker:traffic", "-", "+"])
    return try (0..<reply.view.count).map { index in
      let fields = reply.view[index][1]
      return try TrafficEvent.decode((0..<fields.count).map { fields[$0].string! })
    }
  }

  private static func length(_ site: Site) -> Int64 { (try? site.redisInteger(["XLEN", "tracker:traffic"])) ?? 0 }

  private static func check(_ site: Site) throws {
    let events = try events(site)
    #expect(events.count == 2 * sessions)
    #expect(events.map(\.uploadedDelta).reduce(0, +) == UInt64(sessions) * 5000)
    #expect(events.count { $0.event == .stopped && $0.uploadedDelta == 5000 } == sessions)
  }

  @Test("a tracker killed in an outage of Redis: every `stopped` that is on disk is credited once by the next one")
  func killed() async throws {
    let site = try Site()
    try await site.redis.start()
    try await site.startTracker()
    try site.approve(["spooled"])
    try Self.announce(site, uploaded: 0, event: .started)
    try await eventually("the baselines are in the stream", evidence: site.logs) {
      Self.length(site) == Self.sessions
    }
    try await site.redis.stop()
    try Self.announce(site, uploaded: 5000, event: .stopped)
    let spool = "\(site.directory.path)/tracker.spool"
    try await eventually("they are on disk", evidence: site.logs) {
      let bytes = (try? FileManager.default.attributesOfItem(atPath: spool)[.size] as? Int) ?? 0
      // 192 bytes for each record and a header (docs of PushSpoolFormat).
      return bytes >= 192 * Self.sessions
    }
    _ = site.tracker?.kill9()
    try await site.redis.start()
    try await site.startTracker()
    try await eventually("they are in the stream", evidence: site.logs) { Self.length(site) == 2 * Self.sessions }
    try Self.check(site)
    try await eventually("the spool is gone") { !FileManager.default.fileExists(atPath: spool) }
  }

  /// A tracker whose files may not grow beyond 64 blocks: write(2) fails with EFBIG as with a full disk.
  private static func limitedTracker(_ site: Site) throws -> ChildProcess {
    try ChildProcess(
      [
        "/bin/sh", "-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh", Binaries.tracker, "--config",
        site.trackerConfig,
      ], name: "tracker", logPath: "\(site.directory.path)/limited.log")
  }

  @Test("told to stop in an outage, on a disk with no room for what Redis has anyway, it spools what Redis has not")
  func noRoomForApplied() async throws {
    let site = try Site()
    try await site.redis.start()
    let tracker = try Self.limitedTracker(site)
    defer { _ = tracker.kill9() }
    try await eventually("the tracker is ready", evidence: tracker.log) {
      Site.status(port: site.metricsPort, "/health/ready") == 200
    }
    try site.approve(["spooled"])
    try Self.announce(site, uploaded: 0, event: .started)
    try await eventually("the baselines are in the stream", evidence: tracker.log) {
      Self.length(site) == Self.sessions
    }
    try await site.redis.stop()
    try Self.announce(site, uploaded: 5000, event: .stopped, count: 10)
    try await tracker.terminate()
    #expect(tracker.log.contains("the spool cannot be written") && !tracker.log.contains("were not published"))
    try await site.redis.start()
    try await site.startTracker()
    try await eventually("they are in the stream", evidence: site.logs) { Self.length(site) == Self.sessions + 10 }
    #expect(try Self.events(site).map(\.uploadedDelta).reduce(0, +) == 50_000)
    #expect(!site.logs.contains("was not written whole"), "\(site.logs)")
  }

  @Test("a full disk is counted, logged once a minute and in readiness; the queue in memory loses nothing")
  func diskFull() async throws {
    let site = try Site()
    try await site.redis.start()
    let tracker = try Self.limitedTracker(site)
    defer { _ = tracker.kill9() }
    try await eventually("the tracker is ready", evidence: tracker.log) {
      Site.status(port: site.metricsPort, "/health/ready") == 200
    }
    try site.approve(["spooled"])
    try Self.announce(site, uploaded: 0, event: .started)
    try await eventually("the baselines are in the stream", evidence: tracker.log) {
      Self.length(site) == Self.sessions
    }
    try await site.redis.stop()
    try Self.announce(site, uploaded: 5000, event: .stopped)
    func errors() throws -> Int {
      let metrics = try Site.get(port: site.metricsPort, "/metrics").text
      let line = metrics.split(separator: "\n").first { $0.hasPrefix("tracker_push_spool_errors_total ") }
      return line?.split(separator: " ").last.flatMap { Int($0) } ?? 0
    }
    try await eventually("it is counted again and again", evidence: tracker.log) { try errors() >= 3 }
    let ready = try Site.get(port: site.metricsPort, "/health/ready")
    #expect(ready.status == 503 && ready.text.contains("spool"), "\(ready.text)")
    // Three tries took three seconds and a line is for a minute.
    #expect(tracker.log.split(separator: "\n").count { $0.contains("the spool cannot be written") } == 1)
    try await site.redis.start()
    try await eventually("they are in the stream", evidence: tracker.log) { Self.length(site) == 2 * Self.sessions }
    try Self.check(site)
    try await eventually("the tracker is ready again", evidence: tracker.log) {
      Site.status(port: site.metricsPort, "/health/ready") == 200
    }
  }
}
