// Generator: a seed becomes a site and a list of steps. Each seed has its own favourites among the faults, so that rare ones
// meet in some seeds ("swarm testing", Groce et al. 2012). Pure.

@testable import Tracker

/// Which faults a simulation may use.
enum FaultKind: String, CaseIterable {
  case kill, terminate, link, silence, fuse, outage, hang, restart, failover, flush, readOnly, outOfMemory, loading
  case scripts, smallClocks, wrongClocks, redisClock, spoolFiles, diskFull, sharedSpool, fullStream, twoTrackers
  case manyTrackers, smallQueues, forgetfulPublisher
  /// A tracker sends a few announces in each call.
  case smallCalls
  /// Redis goes back while connections live.
  case resync
  /// Redis loses its latest entries, however much was written behind them: a consumer writes all the time.
  case rollback
  /// Clients do not keep the distance by which clocks may differ.
  case haste
  case longIdle, wanderingRestarts
  /// A tracker's machine is paused, or sleeps.
  case standstill
  /// The real consumer, and with a standby.
  case consumer, standby
  /// Trackers may not ask Redis for the time.
  case noTime
  /// The number of announces is checked as bytes are.
  case announceCounts
  /// So are the seconds.
  case timeCounts
  /// What the consumer reports as lost is compared with what is.
  case lossCounts
  case consumerDies, consumerLink, consumerFuse, consumerFreezes, consumerDisk
  case groupDeleted, groupSetBack, entriesDeleted, trimmed, streamDeleted, backups, heal, documentedACL
  /// Entries are deleted, and Redis' file of before is restored.
  case fileRestored
  /// Entries of fourteen fields; and some that are dead letters until they are repaired.
  case foreign, deadLetters
  /// Old rows are folded.
  case retention
  case longRuns
  /// Redis goes back by hundreds of writes.
  case olderDump

  /// What is no fault, but how long a site runs, what it has, what is looked at.
  static let settings: Set<FaultKind> = [
    .consumer, .announceCounts, .timeCounts, .lossCounts, .heal, .longRuns, .smallCalls, .retention,
  ]
}

struct Generator {
  private var random: SeededBytes
  private var hasLongWaits = false
  private var hasOlderDumps = false
  private let allowed: Set<FaultKind>

  init(seed: UInt64, allowed: Set<FaultKind>) {
    random = SeededBytes(seed &* 0x2545_f491_4f6c_dd1d &+ 77)
    self.allowed = allowed
  }

  /// The scenario of a seed.
  static func scenario(seed: UInt64, allowed: Set<FaultKind>) -> Scenario {
    var generator = Generator(seed: seed, allowed: allowed)
    return generator.scenario(seed)
  }

  private mutating func scenario(_ seed: UInt64) -> Scenario {
    // About a third of the faults, each with a weight of its own, which no other kind has to do with: a seed stays what it
    // is when kinds are added.
    var weights: [(FaultKind, Int)] = []
    for kind in FaultKind.allCases {
      var random = SeededBytes(kind.rawValue.utf8.reduce(seed) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 })
      // A short list is meant.
      let weight = random.chance(oneIn: 3) || allowed.count < 10 ? 1 + random.below(4) : 0
      if weight > 0, allowed.contains(kind) { weights.append((kind, weight)) }
    }
    let kinds = Set(weights.map(\.0))
    hasLongWaits = kinds.contains(.longIdle)
    var site = SitePlan()
    site.trackers = kinds.contains(.manyTrackers) ? 3 : kinds.contains(.twoTrackers) ? 2 : 1
    site.users = 1 + random.below(3)
    site.torrents = 1 + random.below(3)
    site.clients = 1 + random.below(6)
    site.hasSpool = !random.chance(oneIn: 4)
    site.sharesSpool = kinds.contains(.sharedSpool)
    site.consumers = kinds.contains(.standby) ? 2 : kinds.contains(.consumer) ? 1 : 0
    hasOlderDumps = kinds.contains(.olderDump)
    site.countsLosses = kinds.contains(.lossCounts)
    site.countsAnnounces = kinds.contains(.announceCounts)
    site.hasNoTime = kinds.contains(.noTime)
    site.countsTime = kinds.contains(.timeCounts)
    if kinds.contains(.documentedACL) { site.permissions = DocumentedPermissions.all }
    site.isHasty = kinds.contains(.haste)
    site.restartsWander = kinds.contains(.wanderingRestarts)
    if kinds.contains(.forgetfulPublisher) { site.retainedBytes = 2000 + random.below(10_000) }
    if kinds.contains(.smallQueues) {
      site.coalesceAbove = 2 + random.below(12)
      if random.chance(oneIn: 2) { site.queueCapacity = 6 + random.below(30) }
    }
    if kinds.contains(.smallCalls) {
      var own = SeededBytes(seed ^ 0xca11)
      site.recordsPerCall = 1 + own.below(4)
    }
    if kinds.contains(.fullStream) {
      site.maximumStreamLength = 6 + random.below(30)
    }
    var steps: [Step] = []
    let length = kinds.contains(.longRuns) ? 100 + random.below(200) : 10 + random.below(70)
    while steps.count < length { steps += next(weights, site) }
    return Scenario(seed: seed, site: site, steps: steps)
  }

  private mutating func step(_ kind: Step.Kind) -> Step { Step(kind: kind, salt: random.next()) }

  private mutating func next(_ weights: [(FaultKind, Int)], _ site: SitePlan) -> [Step] {
    switch random.below(20) {
    case 0..<8: return [announcement(site)]
    case 8..<12: return [step(.run(actions: 1 + random.below(8)))]
    case 12..<15: return [step(.wait(milliseconds: wait()))]
    case 15: return [step(.settle)]
    default:
      let total = weights.reduce(0) { $0 + $1.1 }
      guard total > 0 else { return [announcement(site)] }
      var at = random.below(total)
      for (kind, weight) in weights {
        at -= weight
        guard at < 0 else { continue }
        if kind == .foreign || kind == .deadLetters {
          if kind == .deadLetters, random.chance(oneIn: 4) { return [step(.fault(.replay))] }
          let isBad = kind == .deadLetters && random.chance(oneIn: 2)
          return site.consumers == 0 ? [] : [step(.foreign(client: random.below(6), isBad: isBad))]
        }
        // What is deleted is read already, unless it is new.
        if kind == .entriesDeleted, site.consumers > 0, random.chance(oneIn: 2) {
          return [
            step(.foreign(client: random.below(6), isBad: false)),
            step(.foreign(client: random.below(6), isBad: false)),
            step(.fault(.entryDeleted(1))), step(.wait(milliseconds: 2500)),
          ]
        }
        if kind == .fileRestored, site.consumers > 0 {
          let isOld = weights.contains { $0.0 == .foreign } && random.chance(oneIn: 3)
          return isOld ? oldFileRestored() : deletionAndRestoration(site)
        }
        return fault(kind, site).map { step(.fault($0)) }
      }
      return []
    }
  }

  /// The consumer notices what is missing, or does not, before the file comes.
  private mutating func deletionAndRestoration(_ site: SitePlan) -> [Step] {
    var steps = [step(.fault(.consumerLink(0, .refused)))]
    for _ in 0..<1 + random.below(3) {
      steps.append(
        random.chance(oneIn: 2) ? step(.foreign(client: random.below(6), isBad: false)) : announcement(site))
    }
    steps += [step(.run(actions: 8)), step(.fault(.redisFileSaved))]
    for _ in 0..<1 + random.below(2) { steps.append(step(.fault(.entryDeleted(random.below(4))))) }
    steps.append(step(.fault(.consumerLink(0, .up))))
    if random.chance(oneIn: 2) { steps.append(announcement(site)) }
    steps += [step(.wait(milliseconds: 1000 + random.below(6000))), step(.fault(.redisFileRestored))]
    return steps
  }

  /// A file of more than an hour ago comes back, with many entries of one session without counters.
  private mutating func oldFileRestored() -> [Step] {
    let client = random.below(6)
    var steps: [Step] = []
    for _ in 0..<17 + random.below(4) { steps.append(step(.foreign(client: client, isBad: false))) }
    steps += [step(.wait(milliseconds: 3000)), step(.fault(.redisFileSaved)), step(.wait(milliseconds: 4_000_000))]
    for _ in 0..<1 + random.below(3) { steps.append(step(.foreign(client: client, isBad: false))) }
    return steps + [step(.wait(milliseconds: 3000)), step(.fault(.redisFileRestored))]
  }

  private mutating func announcement(_ site: SitePlan) -> Step {
    let client = random.below(site.clients)
    let how: Step.Announcing =
      switch random.below(20) {
      case 0..<12: .move
      case 12: .idle
      case 13: .again
      case 14: .complete
      case 15, 16: .stop
      case 17, 18: .restart
      default: .restartAnew
      }
    return step(.announce(client: client, how))
  }

  private mutating func wait() -> Int {
    switch random.below(10) {
    case 0..<3: 1 + random.below(50)
    case 3..<6: 1000 + random.below(6000)
    case 6..<8: 30_000 + random.below(120_000)
    case 8: 1_800_000
    default: random.chance(oneIn: 3) && hasLongWaits ? [50_000_000, 100_000_000][random.below(2)] : 4_000_000
    }
  }

  private mutating func fault(_ kind: FaultKind, _ site: SitePlan) -> [Fault] {
    let tracker = random.below(site.trackers)
    switch kind {
    case .kill: return random.chance(oneIn: 2) ? [.kill(tracker: tracker)] : [.start(tracker: tracker)]
    case .terminate: return random.chance(oneIn: 2) ? [.terminate(tracker: tracker)] : [.start(tracker: tracker)]
    case .link: return [.link(tracker: tracker, random.chance(oneIn: 2) ? .up : .refused)]
    case .silence: return [.link(tracker: tracker, random.chance(oneIn: 2) ? .up : .silent)]
    case .fuse:
      return [
        .fuse(
          tracker: tracker, commands: random.below(4), WireFault.allCases[random.below(WireFault.allCases.count)])
      ]
    case .outage: return [random.chance(oneIn: 2) ? .redisDown : .redisUp]
    case .hang: return [.redisHangs(random.chance(oneIn: 2))]
    case .restart: return [.redisRestart]
    case .failover where hasOlderDumps && random.chance(oneIn: 3):
      return [.failover(writes: 100 + random.below(500))]
    case .failover: return [.failover(writes: 1 + random.below(random.chance(oneIn: 3) ? 60 : 6))]
    case .rollback: return [.entriesForgotten(1 + random.below(random.chance(oneIn: 3) ? 20 : 4))]
    case .resync: return [.resync(writes: 1 + random.below(random.chance(oneIn: 3) ? 60 : 6))]
    case .flush: return [.flushAll]
    case .readOnly: return [.readOnly(random.chance(oneIn: 2))]
    case .outOfMemory: return [.outOfMemory(random.chance(oneIn: 2))]
    case .loading:
      let texts: [String?] = [
        nil, nil, "LOADING Redis is loading the dataset in memory", "BUSY Redis is busy running a script.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
      ]
      return [.refusal(texts[random.below(texts.count)])]
    case .scripts: return [.forgetScripts]
    case .smallClocks: return [.trackerClock(tracker: tracker, milliseconds: random.below(100) - 50)]
    case .wrongClocks:
      let offsets = [0, 0, 172_800_000, -172_800_000, 3_600_000, -60_000]
      return [.trackerClock(tracker: tracker, milliseconds: offsets[random.below(offsets.count)])]
    case .standstill:
      return [
        .standstill(tracker: tracker, milliseconds: [1500, 15_000, 15_000, 120_000, 3_600_000][random.below(5)])
      ]
    case .redisClock: return [.redisClock(milliseconds: [0, -3_600_000, -5000, 600_000][random.below(4)])]
    case .spoolFiles:
      switch random.below(5) {
      case 4:
        let damage: Fault =
          random.chance(oneIn: 2)
          ? .spoolGarbled(tracker: tracker, bytes: 1 + random.below(400))
          : .spoolFlipped(tracker: tracker, fromEnd: 1 + random.below(800))
        return [.kill(tracker: tracker), damage, .start(tracker: tracker)]
      case 0: return [.kill(tracker: tracker), .spoolLost(tracker: tracker), .start(tracker: tracker)]
      case 1:
        return [
          .kill(tracker: tracker), .spoolTorn(tracker: tracker, bytes: 1 + random.below(400)), .start(tracker: tracker),
        ]
      case 2: return [.spoolSaved(tracker: tracker)]
      default: return [.kill(tracker: tracker), .spoolOld(tracker: tracker), .start(tracker: tracker)]
      }
    case .diskFull: return [.diskFull(tracker: tracker, random.chance(oneIn: 2))]
    case .sharedSpool, .fullStream, .twoTrackers, .manyTrackers, .smallQueues, .forgetfulPublisher, .longIdle,
      .wanderingRestarts, .consumer, .standby, .documentedACL, .noTime, .announceCounts, .timeCounts, .lossCounts,
      .longRuns, .olderDump, .haste, .smallCalls:
      return []
    default: return consumerFault(kind, site)
    }
  }

  private mutating func consumerFault(_ kind: FaultKind, _ site: SitePlan) -> [Fault] {
    guard site.consumers > 0 else { return [] }
    let consumer = random.below(site.consumers)
    let isOn = random.chance(oneIn: 2)
    switch kind {
    case .consumerDies:
      switch random.below(4) {
      case 0: return [.consumerKill(consumer)]
      case 1: return [.consumerTerminate(consumer)]
      default: return [.consumerStart(consumer)]
      }
    case .consumerLink: return [.consumerLink(consumer, isOn ? .up : random.chance(oneIn: 2) ? .refused : .silent)]
    case .consumerFuse:
      return [
        .consumerFuse(
          consumer, commands: random.below(8), WireFault.allCases[random.below(WireFault.allCases.count)])
      ]
    case .consumerDisk: return [.consumerDisk(consumer, isFull: isOn)]
    case .consumerFreezes: return [.consumerFreeze(consumer, isOn)]
    case .groupDeleted: return [.groupDeleted]
    case .groupSetBack: return [.groupSetBack(entries: 1 + random.below(20))]
    case .entriesDeleted: return [.entryDeleted(random.below(6))]
    case .trimmed: return [.streamTrimmed(random.below(4))]
    case .streamDeleted: return [.streamDeleted]
    // What is not in the last backup is not trimmed: a short stream would be full.
    case .backups where site.maximumStreamLength > 0: return []
    case .backups: return isOn ? [.backup] : [.backupRestored, .consumerStart(consumer)]
    case .heal: return [.heal]
    case .retention: return [.retention]
    default: return []
    }
  }
}
