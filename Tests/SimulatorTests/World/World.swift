// World: the simulated site: its clock, Redis, trackers and clients, and what happens when. Everything random comes from the
// steps' salts. One thread.

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
  private static let givingBackNanoseconds: UInt64 = 15_000_000_000
  private static let longestSleepNanoseconds: UInt64 = 30_000_000_000_000
  private static let clockTolerance: UInt64 = 3_000_000_000

  /// Unix nanoseconds, truly.
  static func wall(_ now: UInt64) -> UInt64 { startWallNanoseconds + (now - startNanoseconds) }

  let site: SitePlan
  let folder: String
  let runNames: RunNames
  let waits = Waits()
  let redis: RedisModel
  private(set) var now = startNanoseconds
  /// What the action at hand takes, nanoseconds.
  var cost: UInt64 = 0
  private var random = SeededBytes(0)
  var truth = Truth()
  var reference = ReferenceConsumer()
  private(set) var trackers: [SimulatedTracker] = []
  private(set) var consumers: [SimulatedConsumer] = []
  private(set) var clients: [SimulatedClient] = []
  private(set) var worst = LossClass.lossless
  private(set) var actions = 0

  var isRedisDown = false
  var isRedisHung = false
  private var redisOffset: Int64 = 0
  /// Before each write, the newest last.
  private struct Past {
    var at: UInt64
    var data: RedisData
  }
  private var pasts: [Past] = []
  private var savedFile: Past?
  private var serial = 0
  /// The entry that last had an id.
  private var serials: [StreamID: Int] = [:]
  private var committedSerials: Set<Int> = []
  private var committedInBackup: Set<Int> = []
  /// What each entry says, by serial from 1.
  private var added: [EntryOrigin] = []
  /// Entries that somebody deleted before they were applied.
  private var deleted: Set<Int> = []
  /// Of those the number need not be known: they came and went before a new database looked first, or went with the whole
  /// stream.
  private var uncounted: Set<Int> = []
  /// Deleted of the stream that was last made anew; the epoch until that was seen.
  private var deletedOfNewStream: Set<Int> = []
  private var epochBefore: Int64?
  /// What another producer added.
  private var foreign: [ForeignEntry] = []
  private var isForeignUnsure = false
  /// Milliseconds that the consumers' wall clocks are off.
  var consumerClock: UInt64 = 0
  /// A client that moves nothing, for announces that are nobody's.
  private lazy var witness = SimulatedClient(
    index: site.clients, name: SessionName(user: 9999, torrent: 9999, peer: 99_999), reach: .first, uploaded: 0, left: 0
  )
  /// When a tracker last lost its memory: what Redis forgets from before then, it cannot give back.
  /// Redis has lost something it had.
  private var hasForgotten = false
  /// Sessions may be forgotten, as documented.
  private var hasExpired = false
  private var hasDeletions = false
  /// Its second may be the one before or behind.
  private var hasSmallClocks = false
  /// What an entry says of its time is not the time.
  private var hasWrongClocks = false
  /// Redis has lost something, and the process that sent it is dead: nobody can know.
  private var hasLostWitnesses = false
  private var lastFault = World.startNanoseconds
  private var isStreamRemade = false
  private var lastAmnesia = World.startNanoseconds
  private(set) var failure: Violation?
  private var books: ConsumerBooks?

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
    redis.onAdd = { [unowned self] _, id, fields in
      serial += 1
      serials[id] = serial
      added.append(EntryOrigin(fields))
      return serial
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
  private static let pastsKept = 3000

  func executeOnRedis(_ command: [[UInt8]], _ session: inout RedisModel.Session) -> RESP {
    redis.now = UInt64(Int64(Self.wall(now) / 1_000_000) + redisOffset)
    if Self.writes.contains(String(decoding: command[0], as: UTF8.self)) {
      pasts.append(Past(at: now, data: redis.data))
      if pasts.count > Self.pastsKept { pasts.removeFirst() }
    }
    let before = redis.data.stream(Self.streamKey)?.entries.count ?? 0
    let reply = redis.execute(command, &session)
    let after = redis.data.stream(Self.streamKey)?.entries.count ?? 0
    if command[0] == Array("EVALSHA".utf8), after > before, site.maximumStreamLength > 0,
      after > site.maximumStreamLength
    {
      fail("x", "the stream has \(after) entries, more than \(site.maximumStreamLength)")
    }
    if let error = reply.error, error.hasPrefix("NOPERM"), !(site.hasNoTime && command[0] == Array("TIME".utf8)) {
      fail("x", "the documented ACL: \(error)")
    }
    return reply
  }

  private func restartRedis() {
    redis.forgetScripts()
    breakWires()
  }

  private func breakWires() {
    for tracker in trackers { tracker.link.breakWires() }
    for consumer in consumers { consumer.link.breakWires() }
  }

  // MARK: time

  /// One action of whoever is next, if it is due by `end`. False when nobody is.
  private func act(by end: UInt64) -> Bool {
    var at = end
    var next: (() -> Void)?
    for tracker in trackers {
      guard let wake = tracker.process?.wakeAt, wake <= at else { continue }
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
  private func pass(nanoseconds: UInt64) {
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
        if let serial = redis.data.stream(Self.streamKey)?.entry(id)?.serial ?? serials[id] {
          committedSerials.insert(serial)
        }
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
  private func collect() {
    guard !isRedisDown, let stream = redis.data.stream(Self.streamKey) else { return }
    guard consumers.isEmpty else { return }
    reference.read(stream, session)
    // It trims what it has read.
    if site.maximumStreamLength > 0, stream.entries.count > site.maximumStreamLength / 2 {
      _ = redis.data.withStream(Array(Self.streamKey.utf8)) { $0.trim(below: $0.lastID.next) }
    }
  }

  // MARK: steps

  func run(_ step: Step) {
    random = SeededBytes(step.salt)
    waits.random = SeededBytes(step.salt ^ 0xbac0ff)
    trace { "--- \(step)" }
    switch step.kind {
    case .announce(let client, let how): announce(client, how)
    case .run(let actions): for _ in 0..<actions { _ = act(by: now + 1_000_000_000) }
    case .wait(let milliseconds):
      // Redis keeps a session for `last_ttl`, and a run that is silent for a day.
      if milliseconds > site.ttlSeconds * 500 {
        note(.reported)
        hasExpired = true
        // What waits for a day keeps nothing alive.
        if !isUntroubled || site.maximumStreamLength > 0 { hasForgotten = true }
      }
      pass(nanoseconds: UInt64(milliseconds) * 1_000_000)
    case .settle:
      settle()
      check(isEnd: false)
    case .foreign(let client, let isBad): addForeign(client: client, isBad: isBad)
    case .fault(let fault): apply(fault)
    }
    // Nobody does two things at one moment.
    now += 1_000_000 + jitter(0...1_000_000)
    if random.chance(oneIn: 3) { collect() }
  }

  /// All faults end, everything comes to rest, and the books are compared.
  func finish() {
    random = SeededBytes(1)
    trace { "--- recovery" }
    isRedisDown = false
    isRedisHung = false
    redis.isReadOnly = false
    redis.isOutOfMemory = false
    redis.refusal = nil
    for tracker in trackers {
      tracker.link.mode = .up
      tracker.link.fuse = nil
      setDisk(full: false, of: tracker)
    }
    for consumer in consumers {
      consumer.link.mode = .up
      consumer.link.fuse = nil
      consumer.freeze(false)
      consumer.isDiskFull = false
    }
    // Who was told to stop has the time to.
    pass(nanoseconds: 10_000_000_000)
    for consumer in consumers { consumer.start() }
    settle()
    for tracker in trackers { tracker.start() }
    // What Redis has forgotten is noticed by a tracker with its next announce.
    for tracker in trackers where tracker.isServing {
      deliver(witness, witness.isStarted ? .none : .started, to: [tracker])
      witness.isStarted = true
      now += 1_000_000
    }
    var rounds = 0
    while !settle(actions: 20_000), failure == nil {
      rounds += 1
      if rounds == 6 { fail("live", "it does not come to rest") }
    }
    if !consumers.isEmpty {
      // `heal`, which the documentation recommends after all that may have gone wrong.
      consumers.first(where: \.isLeading)?.heal()
      pass(nanoseconds: 130_000_000_000)
      settle()
      replayDeadLetters()
    }
    check(isEnd: true)
  }

  // MARK: announces

  private func announce(_ index: Int, _ how: Step.Announcing) {
    let index = index % clients.count
    var client = clients[index]
    let serving = trackers.filter(\.isServing)
    guard !serving.isEmpty else { return }
    // A client does not begin anew within the time by which clocks are allowed to differ.
    if how != .again, let last = client.last, Self.wall(now) < last.at + Self.clockTolerance {
      pass(nanoseconds: last.at + Self.clockTolerance - Self.wall(now))
      return announce(index, how)
    }
    if how == .again {
      if let last = client.last { deliver(client, last.event, to: serving) }
      return
    }
    var how = how
    // By the way of its last announce.
    let isAtHome =
      trackers.count == 1
      || (client.reach == .first || client.reach == .dualStack)
        && client.last.map { $0.tracker == home(of: client, serving).index } ?? true
    if how == .restart, !isAtHome, !site.restartsWander { how = .restartAnew }
    if how == .restartAnew { client.name.peer += site.clients }
    let before = client.isStarted
    let event = client.advance(how, &random)
    // A client that was there before a restart with another peer id is another session: its first life is from zero too.
    if how == .restartAnew { client.life = 0 }
    if how == .stop, !before { clients[index] = client }
    deliver(client, event, to: serving)
  }

  private func deliver(_ client: SimulatedClient, _ event: TrueEvent, to serving: [SimulatedTracker]) {
    var targets: [SimulatedTracker]
    switch client.reach {
    case .first: targets = [home(of: client, serving)]
    case .any: targets = [serving[random.below(serving.count)]]
    case .all: targets = serving
    case .dualStack: targets = [home(of: client, serving), home(of: client, serving)]
    }
    var client = client
    for (turn, tracker) in targets.enumerated() {
      if turn > 0 { now += jitter(1_000_000...40_000_000) }
      var announce = TrueAnnounce(
        session: client.name, life: client.life, uploaded: client.uploaded, downloaded: client.downloaded,
        left: client.left, event: event, at: Self.wall(now), interval: Self.intervalSeconds, tracker: tracker.index)
      let record = self.record(client, event, by: tracker, isV6: client.reach == .dualStack && turn == 1)
      // One that says what another of its second said may be that one, given back or by another tracker.
      let isTwin = client.last.map { $0.isAlike(announce) } ?? false
      announce.isExcused = !tracker.enqueue(record) || site.countsAnnounces && isTwin
      truth.add(announce)
      client.last = announce
      trace {
        "\(announce.session) to tracker \(tracker.index): \(event.rawValue) up \(announce.uploaded) down \(announce.downloaded)"
      }
    }
    if client.index < clients.count { clients[client.index] = client }
  }

  /// The tracker that a client goes to, or another while that does not serve.
  private func home(of client: SimulatedClient, _ serving: [SimulatedTracker]) -> SimulatedTracker {
    let own = client.reach == .first ? client.index % trackers.count : 0
    return serving.first { $0.index == own } ?? serving[0]
  }

  private func record(_ client: SimulatedClient, _ event: TrueEvent, by tracker: SimulatedTracker, isV6: Bool)
    -> AnnounceRecord
  {
    let events: [TrueEvent: AnnounceEvent] = [
      .none: .none, .started: .started, .completed: .completed, .stopped: .stopped,
    ]
    return AnnounceRecord(
      passkey: Passkey(Self.passkey(client.name.user))!, infoHash: Self.infoHash(client.name.torrent),
      peerID: Self.peerID(client.name.peer),
      address: IPAddress(isV6 ? "2001:db8::\(client.index + 1)" : "192.0.2.\(client.index + 1)")!,
      port: UInt16(50_000 + client.index), event: events[event]!, uploaded: client.uploaded,
      downloaded: client.downloaded, left: client.left, timestamp: Int64(tracker.wallNanoseconds / 1_000_000_000),
      intervalSeconds: UInt32(Self.intervalSeconds), minIntervalSeconds: 900)
  }

  private static func passkey(_ user: Int) -> String { "user\(user)" }
  private static func infoHash(_ torrent: Int) -> InfoHash { InfoHash(words: (UInt64(torrent), 0, 7)) }
  private static func peerID(_ peer: Int) -> PeerID { PeerID(words: (UInt64(peer), 1, 2)) }

  /// Who an entry is of.
  private func session(_ entry: ModelStream.Entry) -> SessionName? {
    guard entry.fields.count > 5, let user = Int(String(decoding: entry.fields[1].dropFirst(4), as: UTF8.self)),
      let torrent = InfoHash(hex: String(decoding: entry.fields[3], as: UTF8.self)),
      let peer = PeerID(hex: String(decoding: entry.fields[5], as: UTF8.self))
    else { return nil }
    return SessionName(user: user, torrent: Int(torrent.words.0), peer: Int(peer.words.0))
  }

  // MARK: another producer

  /// Adds an entry of the first fourteen fields. A bad one has a number that is none, until it is repaired.
  private func addForeign(client: Int, isBad: Bool) {
    guard !isRedisDown, !isRedisHung, !redis.isReadOnly, !redis.isOutOfMemory, redis.refusal == nil else { return }
    let user = 500 + client % 2
    let second = max(Self.wall(now) / 1_000_000_000, (foreign.last?.second ?? 0) + 1)
    let entry = ForeignEntry(
      name: SessionName(user: user, torrent: 500, peer: 500 + client % 3), uploaded: Int64(random.bytes(100_000)),
      downloaded: Int64(random.bytes(1000)), second: second, isBad: isBad, serial: serial + 1)
    var session = RedisModel.Session()
    let fields = [
      "passkey", Self.passkey(user), "infohash", Self.infoHash(500).hex, "peer_id", Self.peerID(entry.name.peer).hex,
      "port", "6881", "ip", "192.0.2.99", "af", "IPv4", "du", isBad ? "x\(entry.uploaded)" : "\(entry.uploaded)", "dd",
      "\(entry.downloaded)", "left", "5", "event", "none", "ts", "\(second)", "dt", "0", "interval", "1800",
      "min_interval", "900",
    ]
    let reply = executeOnRedis((["XADD", Self.streamKey, "*"] + fields).map { Array($0.utf8) }, &session)
    guard reply.error == nil else { return }
    foreign.append(entry)
    trace { "another producer adds \(entry)" }
  }

  /// Of what another producer added, what a failover took before it was read is nobody's fault.
  private func addForeign(to bounds: inout Truth.Bounds) {
    let here = Set(redis.data.stream(Self.streamKey)?.entries.map(\.serial) ?? [])
    let nothing = Shown()
    for entry in foreign {
      let shown = Shown(uploaded: entry.uploaded, downloaded: entry.downloaded, announces: 1)
      // Which of two entries with one id was read is not known here.
      let isSure = committedSerials.contains(entry.serial) || here.contains(entry.serial)
      if !isSure || hasForgotten { isForeignUnsure = true }
      bounds.add(entry.name, isSure ? shown : nothing, isSure ? shown : nothing, shown)
    }
  }

  /// Repairs and replays what waits.
  private func replayDeadLetters() {
    guard let consumer = consumers.first(where: \.isLeading) else { return }
    consumer.withWriter { [foreign] writer throws(StoreError) in
      let letters = try DeadLetterTable.list(DeadLetterFilter(state: .dead), in: writer.database)
      for letter in letters {
        guard let second = letter.fields.value("ts"), let entry = foreign.first(where: { "\($0.second)" == second })
        else {
          continue
        }
        let result = try writer.replay(letter.id, repairs: [("du", "\(entry.uploaded)")], isDryRun: false)
        trace { "replayed \(entry): \(result.outcome)" }
      }
    }
  }

  // MARK: faults

  private func note(_ loss: LossClass) { worst = max(worst, loss) }

  private func apply(_ fault: Fault) {
    defer { lastFault = now }
    func tracker(_ index: Int) -> SimulatedTracker { trackers[index % trackers.count] }
    switch fault {
    case .kill(let index):
      noteDeath(of: tracker(index))
      tracker(index).kill()
    case .terminate(let index):
      if !site.hasSpool { note(.reported) }
      noteDeath(of: tracker(index))
      tracker(index).terminate()
    case .start(let index): tracker(index).start()
    case .link(let index, let mode): tracker(index).link.mode = mode
    case .fuse(let index, let commands, let fault): tracker(index).link.fuse = (commands, fault)
    case .redisDown:
      isRedisDown = true
      breakWires()
    case .redisUp:
      if isRedisDown { redis.forgetScripts() }
      isRedisDown = false
    case .redisHangs(let hangs): isRedisHung = hangs
    case .redisRestart: restartRedis()
    case .failover(let writes): goBack(writes)
    case .flushAll:
      hasForgotten = true
      hasLostWitnesses = hasLostWitnesses || lastAmnesia > Self.startNanoseconds
      // One tracker may begin a session anew before another one gives it back.
      if lastAmnesia > Self.startNanoseconds || site.retainedBytes < 1 << 20 || trackers.count > 1 { note(.reported) }
      redis.data.removeAll()
    case .readOnly(let value): redis.isReadOnly = value
    case .outOfMemory(let value): redis.isOutOfMemory = value
    case .refusal(let text): redis.refusal = text
    case .forgetScripts: redis.forgetScripts()
    case .trackerClock(let index, let milliseconds):
      if abs(milliseconds) > 1000 {
        // Its order is by Redis' clock.
        if site.hasNoTime { note(.reported) }
        hasWrongClocks = true
      }
      hasSmallClocks = true
      tracker(index).wallOffset = Int64(milliseconds) * 1_000_000
    case .redisClock(let milliseconds):
      // What was to be kept for a day is not, if the day is over.
      hasForgotten = true
      note(.reported)
      redisOffset = Int64(milliseconds)
    case .redisFileSaved: savedFile = Past(at: now, data: redis.data)
    case .redisFileRestored: if let savedFile { goBack(to: savedFile) }
    case .spoolLost, .spoolTorn, .spoolGarbled, .spoolSaved, .spoolOld, .diskFull: applyToDisk(fault)
    default: applyToConsumers(fault)
    }
  }

  /// Nothing keeps trackers from Redis at the moment.
  private var isUntroubled: Bool {
    !isRedisDown && !isRedisHung && !redis.isReadOnly && !redis.isOutOfMemory && redis.refusal == nil
      && trackers.allSatisfy { $0.link.mode == .up && $0.link.fuse == nil }
  }

  /// What a process knows of what Redis has forgotten is gone with it, unless it had the time to give it back.
  private func noteDeath(of tracker: SimulatedTracker) {
    // Redis was away all its life, and its spool has the order of its own clock.
    if hasWrongClocks, !tracker.isClockKnown { note(.reported) }
    let isCalm = isUntroubled && now > lastFault + Self.givingBackNanoseconds
    hasLostWitnesses = hasLostWitnesses || hasForgotten && !isCalm
    lastAmnesia = now
  }

  private func goBack(_ writes: Int) {
    guard !pasts.isEmpty else { return }
    let place = max(0, pasts.count - writes)
    if place < pasts.count { goBack(to: pasts[place]) }
  }

  private func goBack(to past: Past) {
    // What a process of before had sent is held by nobody.
    if past.at < lastAmnesia || site.retainedBytes < 1 << 20 || trackers.count > 1 { note(.reported) }
    hasForgotten = true
    hasLostWitnesses = hasLostWitnesses || past.at < lastAmnesia
    redis.data = past.data
    pasts.removeAll { $0.at >= past.at }
    restartRedis()
  }

  private func applyToDisk(_ fault: Fault) {
    func dead(_ index: Int) -> SimulatedTracker? {
      let tracker = trackers[index % trackers.count]
      return tracker.process == nil && tracker.spoolPath != nil ? tracker : nil
    }
    switch fault {
    case .spoolLost(let index):
      guard let tracker = dead(index), let path = tracker.spoolPath else { return }
      tracker.excuseUnsaved()
      unlink(path)
    case .spoolTorn(let index, let bytes):
      guard let tracker = dead(index), let path = tracker.spoolPath else { return }
      tracker.excuseUnsaved()
      var status = stat()
      if stat(path, &status) == 0 { truncate(path, max(0, status.st_size - bytes)) }
    case .spoolGarbled(let index, let bytes):
      guard let tracker = dead(index), let path = tracker.spoolPath else { return }
      tracker.excuseUnsaved()
      garble(path, bytes)
    case .spoolSaved(let index):
      let tracker = trackers[index % trackers.count]
      guard let path = tracker.spoolPath else { return }
      copyFile(path, to: path + ".saved")
    case .spoolOld(let index):
      guard let tracker = dead(index), let path = tracker.spoolPath, access(path + ".saved", F_OK) == 0 else { return }
      tracker.excuseUnsaved()
      copyFile(path + ".saved", to: path)
    case .diskFull(let index, let isFull):
      // A shutdown that cannot write its spool counts what it gives up.
      if isFull { note(.reported) }
      setDisk(full: isFull, of: trackers[index % trackers.count])
    default: break
    }
  }

  private func setDisk(full: Bool, of tracker: SimulatedTracker) {
    guard let path = tracker.spoolPath else { return }
    // What opens the new file writes to a device that is always full.
    unlink(path + ".new")
    if full { symlink("/dev/full", path + ".new") }
  }

  private func garble(_ path: String, _ bytes: Int) {
    guard let file = fopen(path, "r+") else { return }
    defer { fclose(file) }
    fseek(file, 0, SEEK_END)
    let count = min(bytes, ftell(file))
    fseek(file, -count, SEEK_END)
    for _ in 0..<count { fputc(Int32(random.below(256)), file) }
  }

  private func copyFile(_ source: String, to target: String) {
    guard let input = fopen(source, "r") else { return }
    defer { fclose(input) }
    guard let output = fopen(target, "w") else { return }
    defer { fclose(output) }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while case let count = fread(&buffer, 1, buffer.count, input), count > 0 { fwrite(buffer, 1, count, output) }
  }

  private func applyToConsumers(_ fault: Fault) {
    guard !consumers.isEmpty else { return }
    func consumer(_ index: Int) -> SimulatedConsumer { consumers[index % consumers.count] }
    let (key, group) = (Array(Self.streamKey.utf8), Array(Self.group.utf8))
    switch fault {
    case .consumerKill(let index): consumer(index).kill()
    case .consumerTerminate(let index): consumer(index).terminate()
    case .consumerStart(let index): consumer(index).start()
    case .consumerFreeze(let index, let isFrozen): consumer(index).freeze(isFrozen)
    case .consumerLink(let index, let mode): consumer(index).link.mode = mode
    case .consumerFuse(let index, let commands, let fault): consumer(index).link.fuse = (commands, fault)
    case .consumerDisk(let index, let isFull): consumer(index).isDiskFull = isFull
    case .groupDeleted: _ = data { $0.withStream(key) { $0.groups[group] = nil } }
    case .groupSetBack(let entries):
      _ = data {
        $0.withStream(key) { stream in
          guard stream.groups[group] != nil else { return }
          let place = stream.entries.count - entries
          let id = place > 0 ? stream.entries[place - 1].id : .zero
          if id < stream.groups[group]!.last {
            stream.groups[group]!.last = id
            stream.groups[group]!.read = nil
          }
        }
      }
    case .entryDeleted(let fromEnd):
      delete { stream in
        guard stream.entries.count > fromEnd else { return }
        _ = stream.delete([stream.entries[stream.entries.count - 1 - fromEnd].id])
      }
    case .streamTrimmed(let kept):
      delete { stream in
        guard stream.entries.count > kept else { return }
        _ = stream.trim(below: kept == 0 ? stream.lastID.next : stream.entries[stream.entries.count - kept].id)
      }
    case .streamDeleted:
      delete(isWhole: true) { $0.entries = [] }
      isStreamRemade = true
      data { _ = $0.remove(key) }
    case .replay: replayDeadLetters()
    case .backup:
      committedInBackup = committedSerials
      consumers.first(where: \.isLeading)?.backup()
    case .backupRestored:
      for consumer in consumers { consumer.kill() }
      let path = "\(folder)/traffic.db"
      guard access(path + ".backup", F_OK) == 0 else { return }
      committedSerials = committedInBackup
      unlink(path + "-wal")
      unlink(path + "-shm")
      copyFile(path + ".backup", to: path)
    case .heal: consumers.first(where: \.isLeading)?.heal()
    default: break
    }
  }

  /// What the database says; nil when there is none.
  private func shown(_ question: String) -> Int64? {
    let path = "\(folder)/traffic.db"
    guard access(path, F_OK) == 0, let database = try? StoreConnection.openForReading(path: path) else { return nil }
    return try? database.integer(question)
  }

  /// Entries go that may not have been read.
  private func delete(isWhole: Bool = false, _ body: (inout ModelStream) -> Void) {
    let before = Set(redis.data.stream(Self.streamKey)?.entries.map(\.serial) ?? [])
    _ = data { $0.withStream(Array(Self.streamKey.utf8), body) }
    let after = Set(redis.data.stream(Self.streamKey)?.entries.map(\.serial) ?? [])
    deleted.formUnion(before.subtracting(after))
    deletedOfNewStream.formUnion(before.subtracting(after))
    if isWhole {
      deletedOfNewStream = []
      epochBefore = shown("SELECT epoch FROM streams")
    }
    let added = redis.data.stream(Self.streamKey)?.added ?? 0
    if isWhole || shown("SELECT added_before FROM streams") == nil {
      uncounted.formUnion(before.subtracting(after))
    } else if epochBefore == shown("SELECT epoch FROM streams"),
      added - Int64(after.count) >= shown("SELECT handled + added_before FROM streams") ?? 0
    {
      // A stream that was made anew looks like the one before, trimmed.
      uncounted.formUnion(deletedOfNewStream)
    }
    hasDeletions = true
  }

  @discardableResult
  private func data<Result>(_ body: (inout RedisData) -> Result) -> Result { body(&redis.data) }

  // MARK: the books

  /// Something that must not be.
  struct Violation: Error, CustomStringConvertible {
    /// a: more than was moved; b: missing without a word, or a word without anything missing; c: not exact; live: no rest;
    /// x: a program failed.
    var kind: String
    var text: String
    var description: String { "(\(kind)) \(text)" }
  }

  /// How often trackers have found that Redis had forgotten something: an alert.
  private var gapsCounted: UInt64 { trackers.reduce(0) { $0 + $1.metrics.reduce(0) { $0 + $1.gaps.current } } }

  /// What the trackers say is missing.
  private var reports: [(name: String, count: UInt64)] {
    func sum(_ name: String, _ path: KeyPath<PushMetrics, Counter>) -> (String, UInt64) {
      (name, trackers.reduce(0) { $0 + $1.metrics.reduce(0) { $0 + $1[keyPath: path].current } })
    }
    return [
      sum("refused queue full", \.refusedQueueFull), sum("refused shutdown", \.refusedShutdown),
      sum("lost to failover", \.lostToFailover), sum("unannounced", \.unannouncedSessions),
      sum("late unknown", \.lateUnknown),
      sum("refused implausible", \.refusedImplausible), sum("refused too large", \.refusedTooLarge),
      ("lost by the consumer", UInt64(books?.lost ?? 0)),
    ].filter { $0.1 > 0 }
  }

  private func check(isEnd: Bool) {
    guard failure == nil else { return }
    books = nil
    if !consumers.isEmpty {
      guard let books = readBooks() else { return }
      self.books = books
    }
    var truth = truth
    for serial in gone { truth.excuse(added[serial - 1], isTimeKnown: !hasWrongClocks) }
    var bounds = truth.bounds()
    addForeign(to: &bounds)
    for isOfBytes in [true, false] {
      for (user, bound) in bounds.users.sorted(by: { $0.key < $1.key }) {
        let shown = books.map { $0.users[Self.passkey(user)] } ?? reference.users[user]
        compare("user \(user)", shown ?? Shown(), bound, isEnd, isOfBytes: isOfBytes)
      }
      for (torrent, bound) in bounds.torrents.sorted(by: { $0.key < $1.key }) {
        let shown = books.map { $0.torrents[Self.infoHash(torrent).bytes] } ?? reference.torrents[torrent]
        compare("torrent \(torrent)", shown ?? Shown(), bound, isEnd, isOfBytes: isOfBytes)
      }
    }
    if isEnd { checkConsumer() }
  }

  /// Deleted entries that nobody has seen, and nobody will.
  private var gone: Set<Int> {
    deleted.subtracting(committedSerials).subtracting(
      redis.data.stream(Self.streamKey)?.entries.map(\.serial) ?? [])
  }

  /// What the database shows at the moment.
  private func readBooks() -> ConsumerBooks? {
    do {
      if let writer = consumers.first(where: \.isLeading)?.process?.writer { return try ConsumerBooks(writer.database) }
      let path = "\(folder)/traffic.db"
      guard access(path, F_OK) == 0 else { return nil }
      return try ConsumerBooks(StoreConnection.openForReading(path: path))
    } catch {
      fail("x", "the database cannot be read: \(error)")
      return nil
    }
  }

  /// What the consumer says of itself.
  private func checkConsumer() {
    guard failure == nil, let books, let consumer = consumers.first(where: \.isLeading) else { return }
    if books.lost > 0, worst == .lossless, gone.isEmpty, site.countsLosses {
      fail("b", "lost \(books.lost): nothing is missing")
    }
    if books.waitingDeadLetters > 0 { fail("b", "\(books.waitingDeadLetters) dead letters, and every entry was good") }
    let isCounted = !hasForgotten && site.countsLosses
    let (lost, certain) = (gone.count, gone.subtracting(uncounted).count)
    if isCounted, !(certain...lost).contains(Int(books.lost)) {
      fail("b", "lost \(books.lost), truly \(lost) entries")
    }
    do {
      for result in try StoreCheck.run(consumer.process!.writer!.database) where !result.isOK {
        // Entries do not add up where some are missing.
        if result.name == "entries", !isCounted || books.lost > 0 { continue }
        fail("b", "check: \(result.name): \(result.detail)")
      }
    } catch {
      fail("x", "check: \(error)")
    }
  }

  private func compare(
    _ whose: String, _ shown: Shown, _ bound: (least: Shown, exact: Shown, most: Shown), _ isEnd: Bool, isOfBytes: Bool
  ) {
    func value(_ name: String, _ path: KeyPath<Shown, Int64>) {
      let (shown, least, exact, most) = (
        shown[keyPath: path], bound.least[keyPath: path], bound.exact[keyPath: path], bound.most[keyPath: path]
      )
      // Of the number of announces it is said apart.
      let suffix = isOfBytes ? "" : "n"
      func fail(_ kind: String, _ text: String) { self.fail(kind + suffix, text) }
      if shown > most { return fail("a", "\(whose) \(name): shown \(shown), moved \(most)") }
      guard isEnd, !hasLostWitnesses else { return }
      let reports = reports
      if worst == .reported {
        if shown < least, reports.isEmpty, !(hasForgotten && gapsCounted > 0) {
          fail("b", "\(whose) \(name): shown \(shown), at least \(least) of \(exact): missing without a word")
        }
        return
      }
      if truth.hasExcuses || !gone.isEmpty || isForeignUnsure {
        if shown < least { fail("c", "\(whose) \(name): shown \(shown), at least \(least) of \(exact)") }
      } else if shown != exact {
        fail("c", "\(whose) \(name): shown \(shown), exactly \(exact)")
      }
    }
    guard isOfBytes else {
      // An announce that says nothing is known by its second.
      if !consumers.isEmpty, site.countsAnnounces, !hasWrongClocks { value("announces", \.announces) }
      let slack = hasSmallClocks ? Int64(2 * truth.announces.count) : 0
      // Of seconds it is only said that there are not too many.
      if !consumers.isEmpty, site.countsTime, !hasWrongClocks, shown.seconds > bound.most.seconds + slack {
        fail("at", "\(whose) seconds: shown \(shown.seconds), at most \(bound.most.seconds)")
      }
      return
    }
    value("up", \.uploaded)
    value("down", \.downloaded)
    value("snatches", \.snatches)
    let gaps = gapsCounted
    if isEnd, !hasForgotten, gaps > 0 {
      fail("b", "redis is said to have forgotten something, \(gaps) times: it has not")
    }
    if isEnd, worst == .lossless, !truth.hasExcuses {
      // What counts as unknown may be nothing: Regressions/late-unknown-false.
      let silent = ["unannounced", "lost by the consumer"] + (site.countsLosses ? [] : ["late unknown"])
      for report in reports where !silent.contains(report.name) {
        fail("b", "\(report.name): \(report.count) reported, and nothing is missing")
      }
    }
  }
}

/// The random choices of a step.
struct SeededBytes {
  private var random: SeededRandom
  init(_ seed: UInt64) { random = SeededRandom(seed: seed) }
  mutating func next() -> UInt64 { random.next() }
  mutating func below(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
  mutating func within(_ range: ClosedRange<UInt64>) -> UInt64 {
    range.lowerBound + random.next() % (range.upperBound - range.lowerBound + 1)
  }
  mutating func chance(oneIn count: Int) -> Bool { below(count) == 0 }
  mutating func bytes(_ limit: UInt64) -> UInt64 { random.next() % limit + 1 }
}

/// The waits of backoffs.
final class Waits: @unchecked Sendable {
  var random = SeededBytes(0)
  func pick(_ range: ClosedRange<Int>) -> Int { range.lowerBound + random.below(range.count) }
}

/// What an entry says of where it came from.
struct EntryOrigin {
  var name: SessionName?
  var second: UInt64
  var announces: Int

  init(_ fields: [[UInt8]]) {
    func value(_ name: String) -> String {
      let name = Array(name.utf8)
      for index in stride(from: 0, to: fields.count - 1, by: 2) where fields[index] == name {
        return String(decoding: fields[index + 1], as: UTF8.self)
      }
      return ""
    }
    second = UInt64(value("ts")) ?? 0
    announces = Int(value("n")) ?? 1
    if let user = Int(value("passkey").dropFirst(4)), let torrent = InfoHash(hex: value("infohash")),
      let peer = PeerID(hex: value("peer_id"))
    {
      name = SessionName(user: user, torrent: Int(torrent.words.0), peer: Int(peer.words.0))
    }
  }
}

/// What another producer said once, and will not say again.
struct ForeignEntry: CustomStringConvertible {
  var name: SessionName
  var uploaded: Int64
  var downloaded: Int64
  var second: UInt64
  var isBad: Bool
  var serial: Int
  var description: String { "\(name) up \(uploaded) down \(downloaded)\(isBad ? ", bad" : "")" }
}

extension EntryFields {
  fileprivate func value(_ name: String) -> String? {
    for index in stride(from: 0, to: items.count - 1, by: 2) where items[index] == Array(name.utf8) {
      return String(decoding: items[index + 1], as: UTF8.self)
    }
    return nil
  }
}
