// Torture: one seed's schedule of faults, with both binaries, real redis-servers and real files, and every total compared
// with the ledger. Coarser than the simulator, and nothing in it is a model. Run by `make torture`; one task.
//
// The faults are a table (Fault). After one that may lose, and after others as the seed has it, everything comes to rest and
// is judged (Judgement): nobody is ever credited more than he moved; what is missing, a fault of those since the last look
// may lose, and one of the counters that it names has grown.

import Foundation
import Glibc
import Linux
import Redis
import Simulation

/// One seed.
final class Torture {
  private static let users = 6
  private static let torrents = 4
  private static let faultsPerSeed = 6
  /// How long something stands still: below and above the timeouts that the configuration has.
  private static let pauses: [UInt64] = [50, 400, 1500, 3000]

  let plan: TorturePlan
  let site: Site
  let swarm: SwarmSimulator
  let trackers: [TortureTracker]
  let pair: RedisPair?
  let disk: SmallDisk?
  /// The way of all trackers and that of the consumer.
  let proxies: [FaultProxy]
  var random: SeededRandom
  var judgement: Judgement
  /// Entries that faults took off the stream unread, since the last look; nil: nobody knows how many.
  var entriesTaken: Int64? = 0
  private let faults: [Fault]
  private var told: [String] = []
  /// After which announce of the swarm each fault began.
  private var moments: [(announces: Int, fault: String)] = []

  /// `only`: parts of the names of faults that may happen, with commas; nil for all.
  init(seed: UInt64, only: String? = nil) throws {
    random = SeededRandom(seed: seed)
    let plan = TorturePlan(using: &random)
    self.plan = plan
    judgement = Judgement(comparesTime: !plan.hasTwoTrackers)
    faults = Fault.table.filter { fault in
      plan.has(fault.needs)
        && (only.map { $0.split(separator: ",").contains { fault.name.contains($0) } } ?? true)
    }
    var settings = SiteSettings()
    settings.workers = 2
    settings.trafficPush = ["redis_read_timeout: 1s", "redis_connect_timeout: 1s"]
    // What users are known by must outlive the outages; a second tracker, or another Redis, does not know all of them.
    settings.passkeyApproval = ["cache_ttl: 1h"]
    settings.approvesPasskeys = !plan.hasTwoTrackers && !plan.hasSentinel
    site = try Site(settings)
    disk = plan.hasSmallDisk ? try SmallDisk(at: "\(site.directory.path)/disk") : nil
    pair = plan.hasSentinel ? try RedisPair(site.redis, in: site.directory) : nil
    let port = site.redis.port
    proxies = plan.hasProxies ? try (0..<2).map { _ in try FaultProxy(target: port) } : []
    trackers = try Self.configure(site, plan, pair, disk, proxies)
    swarm = SwarmSimulator(
      SwarmPlan(users: Self.users, torrents: Self.torrents, seed: seed, usesIPv6: LoopbackEndpoint.hasIPv6),
      wanderingBetween: trackers.map(\.endpoints))
  }

  /// Runs the schedule; returns what happened in one line. Throws when a total is wrong, with counters and logs.
  func run() async throws -> String {
    guard !faults.isEmpty else { return "no such fault on a site of \(plan.description)" }
    do {
      if let pair { try await pair.start() } else { try await site.redis.start() }
      for tracker in trackers { try await tracker.start() }
      try await site.startConsumer()
      if pair == nil { try site.approve(swarm.passkeys) }
      try await wave()
      for _ in 0..<Self.faultsPerSeed { try await inflict(faults.randomElement(using: &random)!) }
      await pause()
      try swarm.stopAll()
      try await settle()
      try await requireCleanCheck()
    } catch {
      throw HarnessError(
        "\(plan.description); \(told.joined(separator: ", ")): \(error)\n\(judgement.report)\n\(evidence)\n\(logs)")
    }
    return
      "\(swarm.announceCount) announces on \(plan.description); \(told.joined(separator: ", ")): \(judgement.verdict)"
  }

  private func inflict(_ fault: Fault) async throws {
    if fault.isToldApart { try await settle() }
    told.append(fault.name)
    moments.append((swarm.history.count, fault.name))
    judgement.since.add(fault)
    try await fault.happens(self)
    try await wave()
    if fault.isToldApart || random.chance(oneIn: 3) { try await settle() }
  }

  /// Waits until nothing is on its way, and compares.
  func settle() async throws {
    if judgement.since.announcesMayBeMissing {
      await pause()
      try swarm.quietWave()
    }
    try await comeToRest()
    try judgement.judge(swarm.ledger, try await shown(), try await counters(), entriesTaken: entriesTaken)
    entriesTaken = 0
    // What was found missing is known now: it is not to hide what comes.
    if judgement.now["lost", default: 0] > 0 {
      _ = try await site.consumer(["lost", "acknowledge", "--all"])
    }
    judgement.begin(with: try await counters())
  }

  private func comeToRest() async throws {
    var since: UInt64?
    let patience: UInt64 = judgement.since.bytesMayBeMissing ? 3 : 8
    try await eventually("everything comes to rest", within: 150) {
      try await Task.sleep(nanoseconds: 50_000_000)
      guard self.trackers.allSatisfy({ $0.waiting == 0 }),
        let status = try? await self.site.json(StatusReport.self, ["status"]), status.ready,
        status.lagEntries == 0, status.pendingEntries == 0, try self.allIsRead(), let shown = try? await self.shown()
      else {
        since = nil
        return false
      }
      if self.judgement.isComplete(self.swarm.ledger, shown) { return true }
      let now = Clock.monotonicNanoseconds()
      since = since ?? now
      return now - since! > patience * 1_000_000_000
    }
  }

  /// Whether the group has what the stream has. By Redis itself: the consumer may not know yet that it is cut off.
  private func allIsRead() throws -> Bool {
    guard let stream = try? redis(["XINFO", "STREAM", "tracker:traffic"]) else {
      return try redis(["EXISTS", "tracker:traffic"]).integer == 0
    }
    guard let groups = try? redis(["XINFO", "GROUPS", "tracker:traffic"]), groups.count == 1 else { return false }
    func text(_ view: RedisReplyView, _ name: String) -> String? {
      for index in stride(from: 0, to: view.count - 1, by: 2) where view[index].string == name {
        return view[index + 1].string ?? view[index + 1].integer.map(String.init)
      }
      return nil
    }
    return text(stream.view, "last-generated-id") == text(groups.view[0], "last-delivered-id")
      && text(groups.view[0], "pending") == "0"
  }

  func shown() async throws -> [String: UserReport] {
    var reports: [String: UserReport] = [:]
    for passkey in swarm.passkeys {
      let result = try await site.consumer(["query", "user", passkey, "-o", "json"])
      // Nothing of this user yet: credited nothing.
      if result.exit == .code(2) { continue }
      reports[passkey] = try await site.json(UserReport.self, ["query", "user", passkey])
    }
    return reports
  }

  /// The trackers' and the consumer's own counters of what goes wrong.
  func counters() async throws -> [String: Int64] {
    var all: [String: Int64] = [:]
    for tracker in trackers { all.merge(tracker.counters, uniquingKeysWith: +) }
    let status = try await site.json(ConsumerCounters.self, ["status"])
    return all.merging(status.values) { _, new in new }
  }

  /// Nothing that is there may be reported missing.
  private func requireCleanCheck() async throws {
    var said = ""
    do {
      // The consumer counts once a second, where nothing is in flight.
      try await eventually("check finds nothing", within: 20) {
        let check = try await self.site.consumer(["check", "-o", "json"])
        said = check.errors + check.output.split(separator: "\n").filter { $0.contains("\"ok\":false") }.joined()
        return check.exit == .code(0)
      }
    } catch {
      throw HarnessError("totals are as promised, and yet: \(said)")
    }
  }

  // MARK: what faults use

  /// No client announces, starts over and announces again by way of another run of a tracker within 50 ms, the error of two
  /// clocks that push.lua allows for (CLOCK_ERROR): of one that did it could not tell which counters are the later ones.
  /// Nor within two seconds by way of another tracker, which may be late (CLOCK_TOLERANCE). This swarm would.
  func pause() async { try? await Task.sleep(nanoseconds: plan.hasTwoTrackers ? 2_200_000_000 : 100_000_000) }

  func wave() async throws {
    await pause()
    try swarm.wave()
  }

  /// Stands still for a while that the seed has.
  func wait() async throws {
    try await Task.sleep(nanoseconds: Self.pauses.randomElement(using: &random)! * 1_000_000)
  }

  /// Stops a process for a while, in which the swarm announces (or not), and lets it go on.
  func freeze(_ pid: pid_t?, announcing: Bool) async throws {
    guard let pid else { return }
    kill(pid, SIGSTOP)
    defer { kill(pid, SIGCONT) }
    if announcing { try await wave() }
    try await wait()
  }

  var anyTracker: TortureTracker { trackers.randomElement(using: &random)! }

  /// One command to the Redis that takes the writes.
  @discardableResult
  func redis(_ words: [String]) throws -> RedisReply {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: (pair?.master ?? site.redis).url))
    return try connection.command(words)
  }

  /// Waits until the trackers have nothing that Redis does not.
  func awaitPushed() async throws {
    try await eventually("all is pushed") { self.trackers.allSatisfy { $0.waiting == 0 } }
    // The last call is on its way when the queue is empty.
    try await Task.sleep(nanoseconds: 100_000_000)
  }

  /// What the user whose total is wrong announced, and what the stream has of him.
  private var evidence: String {
    guard let culprit = judgement.culprit else { return "" }
    var lines: [String] = []
    for (index, announce) in swarm.history.enumerated() {
      lines += moments.filter { $0.announces == index }.map { "  -- \($0.fault)" }
      if announce.passkey == culprit { lines.append(announce.words) }
    }
    lines.append("the stream has:")
    guard let reply = try? redis(["XRANGE", "tracker:traffic", "-", "+"]) else { return lines.joined(separator: "\n") }
    for index in 0..<reply.view.count {
      let fields = reply.view[index][1]
      var values: [String: String] = [:]
      for place in stride(from: 0, to: fields.count - 1, by: 2) {
        values[fields[place].string ?? ""] = fields[place + 1].string
      }
      guard values["passkey"] == culprit else { continue }
      let names = ["ts", "event", "du", "dd", "dt", "left", "gen", "cu", "cd", "n"]
      lines.append(
        "\(reply.view[index][0].string ?? "") peer \(values["peer_id"]?.prefix(6) ?? "") "
          + names.map { "\($0) \(values[$0] ?? "-")" }.joined(separator: " "))
    }
    return lines.joined(separator: "\n")
  }

  private var logs: String {
    (trackers.map(\.logs) + [site.logs, pair?.log ?? "", site.redis.log]).joined(separator: "\n")
  }
}
