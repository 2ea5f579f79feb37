// Scenario: what happens in a simulated site, as a list of steps that can be written down, shortened and run again. Values.

/// How a site is set up.
struct SitePlan: Equatable {
  var trackers = 1
  var users = 2
  var torrents = 2
  var clients = 3
  /// None: the reference consumer.
  var consumers = 0
  var adoptsGroup = false
  /// The number of announces is checked as bytes are.
  var countsAnnounces = false
  /// So are the seconds.
  var countsTime = false
  /// What the consumer reports as lost is compared with what is.
  var countsLosses = false
  /// What the ACL of the documentation lets its users do; nil: everything.
  var permissions: [String: Set<String>]?
  /// The ACL does not let trackers ask Redis for the time.
  var hasNoTime = false
  var hasSpool = true
  /// All trackers have the same `spool_path`.
  var sharesSpool = false
  /// Clients whose announces go to several trackers keep their peer id when they begin anew.
  var restartsWander = false
  /// Clients announce again at once.
  var isHasty = false
  var retainedBytes = 16 << 20
  var ttlSeconds = 86_400
  var maximumStreamLength = 0
  var queueCapacity = 1 << 20
  var coalesceAbove = 16_384
  /// Announces that a tracker sends in one call.
  var recordsPerCall = 256
}

/// One step. `salt` decides everything small that happens in it, so that a step left out changes no other.
struct Step: CustomStringConvertible {
  var kind: Kind
  var salt: UInt64

  enum Kind {
    case announce(client: Int, Announcing)
    /// So many actions of whoever is next.
    case run(actions: Int)
    case wait(milliseconds: Int)
    /// Until nothing waits for anything.
    case settle
    /// Another producer's entry.
    case foreign(client: Int, isBad: Bool)
    case fault(Fault)
  }

  /// What a client does when it announces.
  enum Announcing: String {
    /// It moves something and says so.
    case move
    /// It has moved nothing.
    case idle
    /// The same announce again: the reply got lost.
    case again
    case complete, stop
    /// It begins anew with counters from zero, without a word; with the same peer id, or another.
    case restart, restartAnew
  }

  var description: String {
    switch kind {
    case .announce(let client, let how): "client \(client) \(how.rawValue)"
    case .run(let actions): "run \(actions)"
    case .wait(let milliseconds): "wait \(milliseconds) ms"
    case .settle: "settle"
    case .foreign(let client, let isBad): "another producer \(client)\(isBad ? ", bad" : "")"
    case .fault(let fault): "\(fault)"
    }
  }
}

/// What goes wrong.
enum Fault {
  case kill(tracker: Int)
  case terminate(tracker: Int)
  case start(tracker: Int)
  case link(tracker: Int, SimulatedLink.Mode)
  case fuse(tracker: Int, commands: Int, WireFault)
  case redisDown, redisUp
  case redisHangs(Bool)
  /// With its data: scripts and connections are gone.
  case redisRestart
  /// To the state before so many writes.
  case failover(writes: Int)
  /// To the state before so many of the latest entries.
  case entriesForgotten(Int)
  /// The same as a failover, but connections live: it was a replica of another for a moment.
  case resync(writes: Int)
  case flushAll
  case readOnly(Bool)
  case outOfMemory(Bool)
  case refusal(String?)
  case forgetScripts
  case trackerClock(tracker: Int, milliseconds: Int)
  /// Its machine stands still, and with it CLOCK_MONOTONIC.
  case standstill(tracker: Int, milliseconds: Int)
  case redisClock(milliseconds: Int)
  case spoolLost(tracker: Int)
  case spoolTorn(tracker: Int, bytes: Int)
  /// Its last bytes become others.
  case spoolGarbled(tracker: Int, bytes: Int)
  /// One byte becomes another, so far from the end.
  case spoolFlipped(tracker: Int, fromEnd: Int)
  /// Puts the file away, and back later.
  case spoolSaved(tracker: Int)
  case spoolOld(tracker: Int)
  case diskFull(tracker: Int, Bool)
  case consumerKill(Int)
  case consumerTerminate(Int)
  case consumerStart(Int)
  case consumerFreeze(Int, Bool)
  case consumerLink(Int, SimulatedLink.Mode)
  case consumerFuse(Int, commands: Int, WireFault)
  case consumerDisk(Int, isFull: Bool)
  case groupDeleted
  /// To the entry before so many of the newest.
  case groupSetBack(entries: Int)
  /// XDEL of an entry, counted from the newest.
  case entryDeleted(Int)
  /// XTRIM of all but so many, read or not.
  case streamTrimmed(Int)
  case streamDeleted
  /// Redis' file is put away, and restored later.
  case redisFileSaved, redisFileRestored
  case backup
  /// The database is replaced by the last backup.
  case backupRestored
  case heal
  /// Windows become days, days are folded, fingerprints of entries that cannot come back go.
  case retention
  /// Dead letters, repaired.
  case replay
}

/// What a fault may cost, by the documentation.
enum LossClass: Int, Comparable {
  /// Nothing.
  case lossless
  /// Something, which is reported.
  case reported

  static func < (left: LossClass, right: LossClass) -> Bool { left.rawValue < right.rawValue }
}
