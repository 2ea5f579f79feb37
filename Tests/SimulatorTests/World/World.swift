// World: the simulated site: its clock, Redis, trackers, consumers and clients, and who acts when. What happens to it is in the
// files beside it, what it must show in Oracle/. Everything random comes from the steps' salts. One thread.

import Glibc
import Linux
import Redis
import Simulation
import Wire

@testable import Tracker
@testable import TrafficConsumer

final class World {
  static let streamKey = "tracker:traffic"
  static let group = "group-pt"
  static let startNanoseconds: UInt64 = 1_000_000_000_000_000
  private static let startWallNanoseconds: UInt64 = 1_800_000_000_000_000_000
  /// The read timeout of connections.
  static let readMilliseconds = 5000
  /// What a killed tracker may not have written yet: a read timeout, two seconds until Redis counts as away, one between
  /// two writes, and what the steps in between take.
  static let spoolGraceNanoseconds: UInt64 = 9_000_000_000
  static let intervalSeconds: Int64 = 1800

  /// A publisher asks once a second whether Redis has what it was given; a connection that is gone it makes anew within
  /// some seconds more.
  static let givingBackNanoseconds: UInt64 = 15_000_000_000
  private static let longestSleepNanoseconds: UInt64 = 30_000_000_000_000
  static let clockTolerance: UInt64 = 3_000_000_000
  /// Orders may be wrong by this and a little less.
  static let hasteNanoseconds: UInt64 = 100_000_000

  /// Unix nanoseconds, truly.
  static func wall(_ now: UInt64) -> UInt64 { startWallNanoseconds + (now - startNanoseconds) }

  let site: SitePlan
  let folder: String
  let runNames: RunNames
  let waits = Waits()
  let redis: RedisModel
  var now = startNanoseconds
  /// What the action at hand takes, nanoseconds.
  var cost: UInt64 = 0
  var random = SeededBytes(0)
  var truth = Truth()
  var reference = ReferenceConsumer()
  private(set) var trackers: [SimulatedTracker] = []
  private(set) var consumers: [SimulatedConsumer] = []
  var clients: [SimulatedClient] = []
  private(set) var actions = 0

  var trouble = Trouble()
  var isRedisDown = false
  var isRedisHung = false
  var redisOffset: Int64 = 0
  var history = RedisHistory()
  var entries = EntryBook()
  /// What another producer added.
  var foreign: [ForeignEntry] = []
  var isForeignUnsure = false
  /// Milliseconds that the consumers' wall clocks are off.
  var consumerClock: UInt64 = 0
  /// Unix time as they have it.
  var consumerMilliseconds: UInt64 { Self.wall(now) / 1_000_000 &+ consumerClock }
  /// A client that moves nothing, for announces that are nobody's.
  lazy var witness = SimulatedClient(
    index: site.clients, name: SessionName(user: 9999, torrent: 9999, peer: 99_999), reach: .first, uploaded: 0, left: 0
  )
  private(set) var failure: Violation?
  var books: ConsumerBooks?

  /// Routine is told too.
  let isVerbose = getenv("VERBOSE") != nil
  private var keepsTrace: Bool
  private(set) var lines: [String] = []

  init(site: SitePlan, folder: String, salt: UInt64, programs: ScriptPrograms, keepsTrace: Bool) {
    self.site = site
    self.folder = folder
    self.keepsTrace = keepsTrace
    runNames = RunNames(salt: salt)
    redis = RedisModel(programs: programs)
    // The site is not new: its trackers know that Redis has forgotten nothing.
    _ = redis.execute(["HSET", Self.streamKey + ":clock", "since", "1"])
    redis.hasNoTime = site.hasNoTime
    redis.onAdd = { [unowned self] stream, id, fields in
      stream == Array(Self.streamKey.utf8) ? entries.add(id, fields) : 0
    }
    redis.onScriptError = { [unowned self] text in fail("x", "a script failed: \(text)") }
    for index in 0..<site.trackers {
      let path = site.sharesSpool ? "\(folder)/spool" : "\(folder)/spool\(index)"
      trackers.append(SimulatedTracker(index, world: self, spoolPath: site.hasSpool ? path : nil))
    }
    for index in 0..<site.consumers { consumers.append(SimulatedConsumer(index, world: self)) }
    for tracker in trackers { tracker.link.allowed = site.permissions?["tracker"] }
    for consumer in consumers { consumer.link.allowed = site.permissions?["consumer"] }
    makeClients(salt)
    for tracker in trackers { tracker.start() }
    for consumer in consumers { consumer.start() }
  }

  private func makeClients(_ salt: UInt64) {
    var random = SeededBytes(salt ^ 0x5eed)
    for index in 0..<site.clients {
      let name = SessionName(user: index % site.users, torrent: random.below(site.torrents), peer: index)
      let reaches: [SimulatedClient.Reach] = [.first, .any, .all, .dualStack, .any, .first]
      clients.append(
        SimulatedClient(
          index: index, name: name, reach: reaches[random.below(reaches.count)],
          uploaded: random.chance(oneIn: 3) ? random.bytes(1 << 40) : 0,
          left: random.chance(oneIn: 2) ? 0 : random.bytes(10_000_000)))
    }
  }

  // MARK: telling

  func fail(_ kind: String, _ text: String) {
    if failure == nil { failure = Violation(kind: kind, text: text) }
  }

  func trace(_ line: () -> String) {
    guard keepsTrace else { return }
    lines.append("\(Double((now - Self.startNanoseconds) / 1_000_000) / 1000) s  \(line())")
  }

  func charge(milliseconds: Int) { cost += UInt64(max(0, milliseconds)) * 1_000_000 }
  func jitter(_ range: ClosedRange<UInt64>) -> UInt64 { random.within(range) }

  // MARK: Redis

  private static let writes: Set<String> = [
    "EVALSHA", "EVAL", "XADD", "XREADGROUP", "XACK", "XTRIM", "XAUTOCLAIM", "XGROUP", "SET",
  ]

  func executeOnRedis(_ command: [[UInt8]], _ session: inout RedisModel.Session) -> RESP {
    redis.now = UInt64(Int64(Self.wall(now) / 1_000_000) + redisOffset)
    if Self.writes.contains(String(decoding: command[0], as: UTF8.self)) {
      history.note(redis.data, at: now)
    }
    let before = redis.data.stream(Self.streamKey)?.entries.count ?? 0
    let reply = redis.execute(command, &session)
    let after = redis.data.stream(Self.streamKey)?.entries.count ?? 0
    if command[0] == Array("EVALSHA".utf8), after > before, site.maximumStreamLength > 0,
      after > site.maximumStreamLength
    {
      fail("x", "the stream has \(after) entries, more than \(site.maximumStreamLength)")
    }
    if let error = reply.error, error.hasPrefix("NOPERM") {
      fail("x", "the documented ACL: \(error)")
    }
    return reply
  }

  func restartRedis() {
    redis.forgetScripts()
    breakWires()
  }

  func breakWires() {
    for tracker in trackers { tracker.link.breakWires() }
    for consumer in consumers { consumer.link.breakWires() }
  }

  // MARK: time

  /// One action of whoever is next, if it is due by `end`. False when nobody is.
  func act(by end: UInt64) -> Bool {
    var at = end
    var next: (() -> Void)?
    for tracker in trackers {
      guard let wake = tracker.wakeAt, wake <= at else { continue }
      (at, next) = (wake, tracker.step)
    }
    for consumer in consumers {
      guard let wake = consumer.wakeAt, wake <= at else { continue }
      (at, next) = (wake, consumer.step)
    }
    guard let next else { return false }
    now = max(now, at)
    actions += 1
    next()
    return true
  }

  /// Lets time pass. Nobody is interested in hours of waiting: a long wait is cut short for all at once, but for a look
  /// every few hours.
  func pass(nanoseconds: UInt64) {
    let end = now + nanoseconds
    var left = 40 * (trackers.count + 2 * consumers.count)
    while left > 0, act(by: end) { left -= 1 }
    while left == 0, end > now + 4_000_000_000 {
      now = min(end - 4_000_000_000, now + Self.longestSleepNanoseconds)
      for tracker in trackers { tracker.process?.wakeAt = now }
      for consumer in consumers { consumer.skip(to: now) }
      let isLast = now == end - 4_000_000_000
      left = isLast ? 300 : 40
      while left > 0, act(by: isLast ? end : now + 2_000_000_000) { left -= 1 }
      left = isLast ? 1 : 0
    }
    now = max(now, end)
  }

  /// Whether everything came to rest. In the middle of a run it may be that nothing can.
  @discardableResult
  func settle(actions: Int = 3000) -> Bool {
    let end = now + 1800 * 1_000_000_000
    for turn in 0..<actions {
      if turn % 64 == 63 { collect() }
      if failure != nil { return true }
      if isAtRest {
        collect()
        return true
      }
      guard act(by: end) else { break }
    }
    collect()
    return false
  }

  private var isAtRest: Bool {
    guard trackers.allSatisfy(\.isClean) else { return false }
    guard !consumers.isEmpty else { return true }
    guard consumers.contains(where: \.isAtRest), let stream = redis.data.stream(Self.streamKey),
      let group = stream.groups[Array(Self.group.utf8)]
    else { return false }
    return group.last >= stream.lastID && group.pending.isEmpty
  }

  /// What entries hold is in the database.
  func committed(_ deliveries: [StreamDelivery]) {
    for delivery in deliveries {
      let deleted = Set(delivery.entries.filter { if case .deleted = $0.content { true } else { false } }.map(\.id))
      for id in delivery.settled where !deleted.contains(id) {
        let id = StreamID(milliseconds: id.milliseconds, sequence: id.sequence)
        entries.commit(id, serial: redis.data.stream(Self.streamKey)?.entry(id)?.serial)
      }
    }
  }

  /// Whether a consumer may take the lock: nobody has it, or who has it does not move.
  func mayLead(_ consumer: SimulatedConsumer) -> Bool {
    consumers.allSatisfy { other in
      guard other !== consumer, let process = other.process, process.writer != nil else { return true }
      return process.isFrozen && now - process.lastBeat >= SimulatedConsumer.staleNanoseconds
    }
  }

  /// The reference consumer reads.
  func collect() {
    guard !isRedisDown, let stream = redis.data.stream(Self.streamKey) else { return }
    guard consumers.isEmpty else { return }
    reference.read(stream, session)
    // It trims what it has read.
    if site.maximumStreamLength > 0, stream.entries.count > site.maximumStreamLength / 2 {
      _ = redis.data.withStream(Array(Self.streamKey.utf8)) { $0.trim(below: $0.lastID.next) }
    }
  }
}
