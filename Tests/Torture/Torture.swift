// Torture: one seed's schedule of faults, with both binaries, a real redis-server and real files, and every total compared
// with the ledger afterwards. Coarser than the simulator, and nothing in it is a model. Run by `make torture`; one task.
//
// All faults here are ones that the documents promise to survive without losing or doubling a byte. A tracker that is
// killed takes along what it had not pushed: so it is killed when all that cannot be said again is through, and every client
// announces once more afterwards (docs/accounting.md); the number of announces is not compared then.

import Foundation
import Glibc
import Simulation

/// The faults of one seed and the site they happen to.
struct Torture {
  private enum Fault: String, CaseIterable {
    case consumerKilled = "kill -9 of the consumer"
    case consumerStopped = "SIGTERM of the consumer"
    case consumerFrozen = "SIGSTOP of the consumer"
    case standbyTakesOver = "kill -9 of the consumer beside a standby"
    case trackerStopped = "SIGTERM of the tracker"
    case trackerStoppedInOutage = "SIGTERM of the tracker while Redis is away"
    case trackerKilled = "kill -9 of the tracker"
    case trackerFrozen = "SIGSTOP of the tracker"
    case redisRestarted = "SIGTERM of redis-server"
    case redisFrozen = "SIGSTOP of redis-server"
    case connectionsCut = "CLIENT KILL of every connection"
    case scriptsFlushed = "SCRIPT FLUSH"
  }

  private static let users = 6
  private static let torrents = 4
  private static let faultsPerSeed = 8
  /// How long something stands still: below and above the timeouts that the configuration has.
  private static let pauses: [UInt64] = [50, 400, 1500, 3000]

  private let site: Site
  private let swarm: SwarmSimulator
  private var random: SeededRandom
  private var comparison = Site.Comparison.everything
  private var told: [String] = []

  init(seed: UInt64) throws {
    random = SeededRandom(seed: seed)
    var settings = SiteSettings()
    settings.workers = 2
    settings.trafficPush = ["redis_read_timeout: 1s", "redis_connect_timeout: 1s"]
    // What users are known by must outlive the outages.
    settings.passkeyApproval = ["cache_ttl: 1h"]
    site = try Site(settings)
    swarm = SwarmSimulator(
      SwarmPlan(
        users: Self.users, torrents: Self.torrents, seed: seed, usesIPv6: LoopbackEndpoint.hasIPv6),
      endpoints: site.endpoints)
  }

  /// Runs the schedule; returns what happened in one line. Throws when a total differs, with the logs.
  mutating func run() async throws -> String {
    try await site.start()
    try site.approve(swarm.passkeys)
    try swarm.wave()
    for _ in 0..<Self.faultsPerSeed {
      let fault = Fault.allCases.randomElement(using: &random)!
      told.append(fault.rawValue)
      do {
        try await inflict(fault)
      } catch {
        throw HarnessError("\(told.joined(separator: ", ")): \(error)\n\(site.logs)")
      }
      try swarm.wave()
    }
    try swarm.stopAll()
    do {
      try await site.awaitEqual(to: swarm, comparison, within: 90)
    } catch {
      throw HarnessError("\(told.joined(separator: ", ")):\n\(error)")
    }
    try await requireNothingLost()
    return "\(swarm.announceCount) announces, equal to the byte after \(told.joined(separator: ", "))"
  }

  /// Nothing that is there may be reported missing.
  private func requireNothingLost() async throws {
    let check = try await site.consumer(["check", "-o", "json"])
    let status = try await site.consumer(["status", "-o", "json"])
    guard check.exit == .code(0), status.output.contains("\"lost\":0,") else {
      throw HarnessError(
        "\(told.joined(separator: ", ")): totals are right, and yet: \(check.output)\(check.errors)\(status.output)")
    }
  }

  private mutating func inflict(_ fault: Fault) async throws {
    switch fault {
    case .consumerKilled:
      site.consumer?.kill9()
      try swarm.wave()
      try await site.startConsumer(untilReady: false)
    case .consumerStopped:
      try await site.consumer?.terminate()
      try swarm.wave()
      try await site.startConsumer(untilReady: false)
    case .standbyTakesOver: try await takeOver()
    case .trackerStopped:
      try await site.tracker?.terminate()
      try await site.startTracker()
    case .trackerStoppedInOutage:
      try await site.redis.stop()
      try swarm.wave()
      try await site.tracker?.terminate()
      try await site.redis.start()
      try await site.startTracker()
    case .trackerKilled:
      try await site.awaitEqual(to: swarm, comparison, within: 90)
      comparison = .allButEvents
      try swarm.quietWave()
      site.tracker?.kill9()
      try await site.startTracker()
      try swarm.quietWave()
    case .redisRestarted:
      try await site.redis.stop()
      try swarm.wave()
      try await site.redis.start()
    case .consumerFrozen: try await freeze(site.consumer?.pid, with: swarm)
    case .redisFrozen: try await freeze(site.redis.pid, with: swarm)
    case .trackerFrozen: try await freeze(site.tracker?.pid, with: nil)
    case .connectionsCut:
      try swarm.wave()
      try site.redisInteger(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
    case .scriptsFlushed: try site.redisText(["SCRIPT", "FLUSH"])
    }
  }

  /// A second consumer of another name stands by when the first is killed; the first comes back when it is gone.
  private mutating func takeOver() async throws {
    let config = TemporaryDirectory.read(site.consumerConfig)
      .replacing("  redis:\n", with: "  redis:\n    consumer: standby\n")
      .replacing("consumer.sock", with: "standby.sock")
      .replacing("\"127.0.0.1:\(site.adminPort)\"", with: "\"\"")
    let path = try site.directory.write(config, as: "standby.yaml")
    let standby = try ChildProcess(
      [Binaries.consumer, "run", "--config", path], name: "standby", logPath: "\(site.directory.path)/standby.log")
    try swarm.wave()
    site.consumer?.kill9()
    try swarm.wave()
    let pause = Self.pauses.randomElement(using: &random)!
    try await Task.sleep(nanoseconds: pause * 1_000_000)
    _ = Bool.random(using: &random) ? standby.kill9() : try await standby.terminate()
    try await site.startConsumer(untilReady: false)
  }

  /// Stops a process for a while, in which the swarm announces, and lets it go on.
  private mutating func freeze(_ pid: pid_t?, with swarm: SwarmSimulator?) async throws {
    guard let pid else { return }
    let pause = Self.pauses.randomElement(using: &random)!
    kill(pid, SIGSTOP)
    defer { kill(pid, SIGCONT) }
    try swarm?.wave()
    try await Task.sleep(nanoseconds: pause * 1_000_000)
  }
}
