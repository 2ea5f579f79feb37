// Attack: one scenario against a release tracker with a Redis of its own, while honest users announce; afterwards every byte
// that these announced is looked for in the stream. One task; floods and users have threads of their own.

import Foundation
import Glibc
import Linux
import Redis
import Simulation
import Wire

/// One attack, and what it did to the others.
final class Attack {
  /// Approved, and used by the attacker.
  static let hostilePasskey = "h0571e"
  private static let users = 16

  let site: Site
  let seconds: Double
  let honest: HonestUsers
  /// Where the slow origin listens.
  let originPort: UInt16
  /// What others than the honest users announced and must be credited, by passkey.
  var owed: [String: UInt64] = [:]
  /// What the attacker got that nobody may get; each is a failure.
  var wrongs: [String] = []
  private(set) var tracker: ChildProcess?
  private let scenario: AttackScenario

  init(_ scenario: AttackScenario, seconds: Double) throws {
    self.scenario = scenario
    self.seconds = seconds
    var settings = SiteSettings()
    settings.announceInterval = 1800
    originPort = try FreePort.take()
    if scenario.hasSlowOrigin { settings.passkeyApproval = ["http_url: \"http://127.0.0.1:\(originPort)/verify\""] }
    site = try Site(settings)
    honest = HonestUsers(count: Self.users, at: site.endpoints)
  }

  func run() async throws -> AttackOutcome {
    try await site.redis.start()
    try site.approve(honest.passkeys + [Self.hostilePasskey])
    try await startTracker()
    try await scenario.prepare(self)
    try honest.begin()
    try beginHostile()
    try honest.start()
    let gain = try await scenario.act(self)
    try await honest.stop()
    try await stopTracker()
    let credited = try creditedBytes()
    var bytesLost: UInt64 = 0
    for (passkey, bytes) in honest.announcedBytes.merging(owed, uniquingKeysWith: max) {
      let credited = credited[passkey, default: 0]
      bytesLost += bytes - min(bytes, credited)
      if credited > bytes { wrongs.append("\(credited - bytes) bytes that nobody announced") }
    }
    if let bytes = credited[Self.hostilePasskey], bytes > 0 {
      wrongs.append("the attacker was credited \(bytes) bytes")
    }
    return AttackOutcome(honest: honest.report, bytesLost: bytesLost, wrongs: wrongs, gain: gain)
  }

  /// The attacker is a user whom the tracker knows.
  private func beginHostile() throws {
    var client = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    let announcement = Announcement(
      passkey: Self.hostilePasskey, infoHash: InfoHash(words: (6, 6, 6)), peerID: PeerID(words: (6, 6, 6)), left: 0,
      event: .started)
    _ = try client.announce(announcement).reply()
  }

  // MARK: what attacks need

  var deadline: UInt64 { Clock.monotonicNanoseconds() + UInt64(seconds * 1e9) }

  func pause(_ seconds: Double) async throws { try await Task.sleep(nanoseconds: UInt64(seconds * 1e9)) }

  /// Starts the tracker with descriptors for the scenario's connections, and waits until it is ready.
  func startTracker() async throws {
    // 512 descriptors are kept for other things than connections.
    let limit = "ulimit -n \(512 + scenario.connections) && exec \"$@\""
    let child = try ChildProcess(
      ["/bin/sh", "-c", limit, "sh", Binaries.tracker, "--config", site.trackerConfig], name: "tracker",
      logPath: "\(site.directory.path)/tracker.log",
      environment: ["TRACKER__STORAGE__CONFIG__PROMETHEUS_REPORTING_INTERVAL": "500ms"])
    tracker = child
    try await eventually("the tracker is ready", evidence: child.log) {
      if let exit = child.exit { throw HarnessError("tracker: \(exit)\n\(child.log)") }
      return Site.status(port: self.site.metricsPort, "/health/ready") == 200
    }
  }

  /// Waits until Redis has what was announced, for a tracker that ends sooner spools the rest; then SIGTERM.
  func stopTracker() async throws {
    guard let tracker else { return }
    try await eventually("the push queue is empty", evidence: tracker.log) {
      try self.metric("tracker_push_queue_depth") == 0
    }
    guard try await tracker.terminate() == .code(0) else { throw HarnessError("the tracker failed:\n\(tracker.log)") }
  }

  /// Redis stands still while `body` runs.
  func whileRedisHangs(_ body: () async throws -> Void) async throws {
    guard let pid = site.redis.pid else { throw HarnessError("no Redis") }
    kill(pid, SIGSTOP)
    defer { kill(pid, SIGCONT) }
    try await body()
  }

  /// The sum of all series of a metric that contain `part`.
  func metric(_ name: String, _ part: String = "", port: UInt16? = nil) throws -> Double {
    let text = try Site.get(port: port ?? site.metricsPort, "/metrics").text
    return text.split(separator: "\n").filter { $0.hasPrefix(name) && (part.isEmpty || $0.contains(part)) }
      .compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }.reduce(0, +)
  }

  /// Memory of the tracker in MB.
  var trackerMegabytes: Int {
    let status = TemporaryDirectory.read("/proc/\(tracker?.pid ?? 0)/status")
    return (status.firstMatch(of: /VmRSS:\s+(\d+)/).flatMap { Int($0.1) } ?? 0) / 1024
  }

  /// Upload of each passkey in the stream.
  func creditedBytes() throws -> [String: UInt64] {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
    var sums: [String: UInt64] = [:]
    var after = "-"
    while true {
      let reply = try connection.command(["XRANGE", "tracker:traffic", after, "+", "COUNT", "2000"])
      guard reply.count > 0 else { return sums }
      for index in 0..<reply.count {
        let fields = reply.view[index][1]
        // By the contract's order: `passkey` is the first field, `du` the seventh.
        guard let passkey = fields[1].string, let bytes = fields[13].string.flatMap({ UInt64($0) }) else { continue }
        sums[passkey, default: 0] += bytes
      }
      after = "(" + (reply.view[reply.count - 1][0].string ?? "")
    }
  }
}

/// What an attack did.
struct AttackOutcome {
  var honest: HonestReport
  var bytesLost: UInt64
  var wrongs: [String]
  /// What the attacker got, in words.
  var gain: String

  var isHarmless: Bool { honest.refusals.isEmpty && bytesLost == 0 && wrongs.isEmpty }

  func text(_ name: String) -> String {
    let milliseconds = String(format: "%.1f ms, longest %.0f ms", honest.p99Milliseconds, honest.longestMilliseconds)
    var lines = [
      name + (isHarmless ? "" : "  FAILED"),
      "    honest: \(honest.announces) announces, p99 \(milliseconds), refusals \(honest.refusalCount), bytes lost \(bytesLost)",
      "    attacker: \(gain)",
    ]
    lines += honest.refusals.sorted { $0.key < $1.key }.prefix(5).map { "    refused \($0.value) times: \($0.key)" }
    lines += wrongs.map { "    wrong: \($0)" }
    return lines.joined(separator: "\n")
  }
}
