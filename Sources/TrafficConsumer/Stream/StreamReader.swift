// StreamReader: reads one stream as a member of its group, hands the entries to the writer, and acknowledges what the
// writer has made durable. One thread each, "reader-N".
//
// After every (re)connection: is it the same stream and the same database; own pending entries; entries of the past that
// were never applied (heal); then new ones. On any error of the connection it starts over, with backoff.

import Linux
import Redis

struct StreamReader: ~Copyable {
  /// Entries asked for at once: a reply of about half a megabyte ...
  private static let maximumReadCount = 1000
  /// ... unless they turn out to be large: what a reply should not exceed.
  private static let replyBytes = 4 << 20
  /// The first time nothing is known of them.
  private static let firstReadCount = 100
  /// How long XREADGROUP waits for entries; a stop is noticed within it. Shorter while acknowledgements are due.
  private static let blockMilliseconds = 200
  private static let blockWhileOutstandingMilliseconds = 10
  /// How often stragglers are claimed, ranges joined, the stream counted and trimmed.
  private static let upkeepNanoseconds: UInt64 = 1_000_000_000
  /// The count needs a moment without entries in flight; under constant load one is made this often.
  private static let forcedCountNanoseconds: UInt64 = 30_000_000_000

  private let index: Int
  private let settings: StreamSettings
  private let queue: DeliveryQueue
  private let engine: EngineState
  private let instance: String
  private var commands: StreamCommands
  /// Used again for every reply with new entries.
  private var reply = RedisReply()
  private var readCount = StreamReader.firstReadCount
  private var claimCursor = EntryID.zero
  private var lastUpkeep: UInt64 = 0
  private var lastCount: UInt64 = 0
  private var healSerial = 0

  /// Runs until the daemon stops: connects, reads, and after an error does it again.
  static func run(
    index: Int, settings: StreamSettings, instance: String, queue: DeliveryQueue, engine: EngineState,
    metrics: ConsumerMetrics
  ) {
    var backoff = RetryBackoff(firstMilliseconds: 100, maximumMilliseconds: 5000)
    while !queue.isStopping {
      do throws(RedisError) {
        var reader = try StreamReader(
          index: index, settings: settings, instance: instance, queue: queue, engine: engine)
        try reader.prepare()
        backoff.reset()
        try reader.readUntilStopped()
        break
      } catch {
        metrics.redisErrors.add()
        engine.update(stream: index) { progress in
          progress.isConnected = false
          progress.isCaughtUp = false
          progress.trouble = error.description
        }
        let pause = backoff.next()
        Log.warning(
          "redis trouble, trying again",
          [
            "stream": settings.streams[index], "endpoint": settings.endpoint.redacted, "error": error.description,
            "retry_milliseconds": pause,
          ])
        if queue.waitForStop(milliseconds: pause) { break }
      }
    }
    queue.readerEnded()
  }

  private init(index: Int, settings: StreamSettings, instance: String, queue: DeliveryQueue, engine: EngineState)
    throws(RedisError)
  {
    self.index = index
    self.settings = settings
    self.instance = instance
    self.queue = queue
    self.engine = engine
    commands = try StreamCommands(
      stream: settings.streams[index], group: settings.group, consumer: settings.consumer,
      endpoint: settings.endpoint, timeouts: settings.timeouts)
  }

  // MARK: after connecting

  private mutating func prepare() throws(RedisError) {
    // What an earlier connection left with the writer must be settled first: its entries are pending for us, and are
    // read again below.
    while queue.outstanding(stream: index) > 0 {
      if queue.waitForDone(stream: index, milliseconds: 200).isEmpty, queue.isStopping { return }
    }
    if try commands.createGroup() { Log.info("group created", ["stream": commands.stream, "group": commands.group]) }
    try requireSameDatabase()
    try recogniseStream()
    engine.update(stream: index) { progress in
      progress.isConnected = true
      progress.trouble = nil
    }
    try readOwnPending()
    try healGaps()
    engine.update(stream: index) { $0.isCaughtUp = true }
    Log.info("reading", ["stream": commands.stream, "group": commands.group, "consumer": commands.consumer])
  }

  private mutating func requireSameDatabase() throws(RedisError) {
    let owner = try commands.claimGroup(for: instance, replacing: settings.adoptsGroup)
    guard owner != instance else { return }
    engine.fail(
      EngineState.Fatal(
        code: .configuration,
        message:
          "group \(commands.group) of stream \(commands.stream) belongs to another database (\(owner.prefix(8))); "
          + "this one is \(instance.prefix(8)). Start with --adopt-group if this database is to take over"))
    queue.stop()
    throw .closed("the group belongs to another database")
  }

  /// Compares what the stream holds now with what is remembered of it.
  private mutating func recogniseStream() throws(RedisError) {
    let known = engine.committed[index]
    guard let last = known.applied.last else { return }
    let census = try commands.census()
    var present = 0
    var changed = 0
    // The highest one known again below every changed one; anchors are in order.
    var common: EntryID?
    let hash = try currentHash()
    for anchor in known.anchors {
      let reply = try commands.entry(anchor.id)
      guard reply.count == 1 else { continue }
      if hash.raw(of: DeadLetterFields(reply.view[0][1])) == anchor.hash {
        present += 1
        if changed == 0 { common = anchor.id }
      } else {
        changed += 1
      }
    }
    let verdict = StreamRecognition.judge(
      lastApplied: last, lastGenerated: census.lastGeneratedID, first: census.firstEntryID,
      anchorsKnown: known.anchors.count, anchorsPresent: present, anchorsChanged: changed,
      isCommonBelowChange: common != nil)
    let (stream, streamName) = (index, commands.stream)
    switch verdict {
    case .same: return
    case .rolledBack, .forked:
      let end = verdict == .forked ? common ?? .zero : census.lastGeneratedID
      Log.warning("redis came back with an older state of the stream", ["stream": streamName, "end": "\(end)"])
      try runOnWriter { writer throws(StoreError) in try writer.rollBack(stream: stream, to: end) }
    case .another:
      Log.warning("this is another stream under the same name: a new epoch begins", ["stream": streamName])
      try runOnWriter { writer throws(StoreError) in try writer.beginEpoch(stream: stream) }
    }
  }

  private func currentHash() throws(RedisError) -> EntryHash {
    let box = Monitor<EntryHash?>(nil)
    try runOnWriter { writer throws(StoreError) in box.withLock { $0 = writer.hash } }
    guard let hash = box.withLock({ $0 }) else { throw .closed("the daemon stops") }
    return hash
  }

  private mutating func readOwnPending() throws(RedisError) {
    var after = EntryID.zero
    while !queue.isStopping {
      let reply = try commands.readOwnPending(after: after, count: readCount)
      guard reply.count == 1, reply.view[0][1].count > 0 else { return }
      let delivery = delivery(of: reply.view[0][1], .scattered)
      guard let last = delivery.entries.last?.id else { return }
      Log.info("pending entries delivered again", ["stream": commands.stream, "entries": delivery.count])
      try settle(delivery)
      after = last
    }
  }

  /// Applies what lies between the applied ranges and up to the group's position: entries that somebody acknowledged
  /// without applying, that a deleted consumer took along, that were there before the group, or that an older backup of
  /// the database has not seen.
  private mutating func healGaps() throws(RedisError) {
    let applied = engine.committed[index].applied
    let end = try commands.census().lastDeliveredID
    for gap in applied.gaps { _ = try heal(after: gap.after, through: gap.before, isClosed: false) }
    let after = applied.last ?? .zero
    if after < end { _ = try heal(after: after, through: end, isClosed: true) }
  }

  /// Reads a part of the stream and gives it to the writer, which knows what was applied. Returns how many entries.
  private mutating func heal(after: EntryID, through: EntryID, isClosed: Bool) throws(RedisError) -> Int {
    var after = after
    var count = 0
    while !queue.isStopping {
      let reply = try commands.range(after: after, through: through, isClosed: isClosed, count: readCount)
      guard reply.count > 0 else { break }
      let delivery = delivery(of: reply.view, .consecutive)
      guard let last = delivery.entries.last?.id else { break }
      count += delivery.count
      try settle(delivery)
      after = last
    }
    if count > 0 { Log.info("read the past again", ["stream": commands.stream, "entries": count]) }
    return count
  }

  /// Decodes a list of entries, and learns from it how many to ask for.
  private mutating func delivery(of list: RedisReplyView, _ source: StreamDelivery.Source) -> StreamDelivery {
    let delivery = StreamDelivery(streamIndex: index, source: source, entries: list)
    let average = max(1, delivery.byteCount / max(1, delivery.count))
    readCount = max(1, min(Self.maximumReadCount, Self.replyBytes / average, readCount * 4))
    return delivery
  }

  /// Hands a delivery over, waits until it is durable, and acknowledges it.
  private mutating func settle(_ delivery: StreamDelivery) throws(RedisError) {
    CrashPoint.reach(.entriesRead)
    while !queue.waitForRoom(milliseconds: 200) { if queue.isStopping { return } }
    queue.submit(delivery)
    while queue.outstanding(stream: index) > 0 {
      try acknowledge(queue.waitForDone(stream: index, milliseconds: 200))
    }
  }

  /// Runs work on the writer thread and waits for it. Throws when the work failed or the daemon stops.
  private func runOnWriter(_ work: @escaping @Sendable (StoreWriter) throws(StoreError) -> Void) throws(RedisError) {
    let result = Monitor<Result<Void, StoreError>?>(nil)
    let engine = engine
    queue.post { writer in
      let outcome = Result { () throws(StoreError) in try work(writer) }
      // Before the reader goes on: it decides by what is published, and must not take an old epoch's ranges for new.
      engine.publish(writer.streams)
      result.withLock { $0 = outcome }
    }
    while true {
      if let outcome = result.wait(milliseconds: 200, until: { $0 }) {
        guard case .failure(let error) = outcome else { return }
        // Not Redis' fault; but what follows needs it, so it is tried again like a lost connection.
        throw .closed("by us, because the database is in trouble: \(error.description)")
      }
      if queue.isStopping { throw .closed("by us, the daemon stops") }
    }
  }

  // MARK: the loop

  private mutating func readUntilStopped() throws(RedisError) {
    while !queue.isStopping {
      let turn = queue.nextTurn(stream: index, milliseconds: Self.blockMilliseconds)
      for delivery in turn.done { commands.acknowledgeLater(delivery.settled) }
      guard turn.hasRoom else {
        try commands.acknowledge()
        continue
      }
      try commands.readNew(
        count: readCount,
        blockMilliseconds: turn.isBusy ? Self.blockWhileOutstandingMilliseconds : Self.blockMilliseconds, into: &reply)
      let isIdle = reply.count == 0
      if !isIdle {
        CrashPoint.reach(.entriesRead)
        queue.submit(delivery(of: reply.view[0][1], .consecutive))
      }
      if reply.byteCount > Self.keptReplyBytes { reply = RedisReply() }
      try upkeep(isIdle: isIdle)
    }
    // Finish what is in flight.
    while queue.outstanding(stream: index) > 0 {
      let done = queue.waitForDone(stream: index, milliseconds: 200)
      try acknowledge(done)
      if done.isEmpty, engine.writerTrouble != nil { return }
    }
  }

  /// A reply that took more than this gives its memory back.
  private static let keptReplyBytes = 2 * replyBytes

  private mutating func acknowledge(_ deliveries: [StreamDelivery]) throws(RedisError) {
    for delivery in deliveries { try commands.acknowledge(delivery.settled) }
  }

  private mutating func upkeep(isIdle: Bool) throws(RedisError) {
    let now = Clock.monotonicNanoseconds()
    guard now &- lastUpkeep >= Self.upkeepNanoseconds else { return }
    lastUpkeep = now
    try claimStragglers()
    if let request = engine.healRequest(after: healSerial) {
      let end = try commands.census().lastDeliveredID
      let before = request.from == .zero ? EntryID.zero : request.from.predecessor
      _ = try heal(after: before, through: end, isClosed: true)
      healSerial = request.serial
      engine.finishHeal(request.serial)
    }
    try joinRanges()
    let mustCount = now &- lastCount >= Self.forcedCountNanoseconds
    if isIdle || mustCount {
      while queue.outstanding(stream: index) > 0, !queue.isStopping {
        try acknowledge(queue.waitForDone(stream: index, milliseconds: 200))
      }
    }
    try count(isQuiet: queue.outstanding(stream: index) == 0)
  }

  /// Takes over what a dead consumer of the group has left. The cursor is carried from call to call: starting at the
  /// beginning each time would never reach the later ones.
  private mutating func claimStragglers() throws(RedisError) {
    let reply = try commands.claim(
      idleMilliseconds: settings.claimIdleMilliseconds, cursor: claimCursor, count: readCount)
    guard reply.count >= 2 else { return }
    claimCursor = reply.view[0].bytes.flatMap { EntryID($0) } ?? .zero
    if reply.count > 2, reply.view[2].count > 0 {
      // Redis dropped these from the pending list: their entries are gone from the stream.
      let ids = (0..<reply.view[2].count).compactMap { reply.view[2][$0].bytes.flatMap { EntryID($0) } }
      let stream = index
      try runOnWriter { writer throws(StoreError) in try writer.noteVanished(ids, stream: stream) }
    }
    guard reply.view[1].count > 0 else { return }
    Log.info("claimed entries of other consumers", ["stream": commands.stream, "entries": reply.view[1].count])
    queue.submit(delivery(of: reply.view[1], .scattered))
  }

  /// Joins applied ranges between which Redis has no entry.
  private mutating func joinRanges() throws(RedisError) {
    let gaps = engine.committed[index].applied.gaps.dropFirst().prefix(Self.gapsPerTurn)
    guard !gaps.isEmpty else { return }
    let empty = try commands.empty(of: Array(gaps))
    guard !empty.isEmpty else { return }
    let stream = index
    let pairs = empty.map { (left: $0.after, right: $0.before) }
    try runOnWriter { writer throws(StoreError) in try writer.join(pairs, stream: stream) }
  }

  private static let gapsPerTurn = 1000

  /// Looks at the stream: lag for the metrics, and when nothing is in flight the arithmetic that finds lost entries.
  private mutating func count(isQuiet: Bool) throws(RedisError) {
    let census = try commands.census()
    let undelivered = try commands.undelivered(census)
    let oldest = try oldestWaiting(census)
    engine.update(stream: index) { progress in
      progress.pendingEntries = census.pending
      progress.undeliveredEntries = undelivered
      progress.oldestWaitingMilliseconds = oldest
    }
    guard isQuiet else { return }
    lastCount = Clock.monotonicNanoseconds()
    if let added = census.entriesAdded {
      let (stream, waiting) = (index, census.pending + undelivered)
      let missing = engine.committed[index].missing(added: added, waiting: waiting)
      // Before entries are called lost, what the stream still has is looked through.
      if missing != 0 || engine.committed[index].counters.addedBefore == nil {
        try healGaps()
        let again = try commands.census()
        let waiting = try again.pending + commands.undelivered(again)
        guard let added = again.entriesAdded else { return }
        try runOnWriter { writer throws(StoreError) in
          try writer.count(stream: stream, added: added, waiting: waiting)
        }
      }
    }
    try trim(census)
  }

  private mutating func oldestWaiting(_ census: StreamCommands.Census) throws(RedisError) -> UInt64? {
    let reply = try commands.range(after: census.lastDeliveredID, through: .maximum, isClosed: true, count: 1)
    return reply.count == 0 ? nil : reply.view[0][0].bytes.flatMap { EntryID($0) }?.milliseconds
  }

  /// Removes what is committed, older than a minute, in the last backup if there is one, and needed by no other group.
  private mutating func trim(_ census: StreamCommands.Census) throws(RedisError) {
    guard settings.trims, let first = census.firstEntryID else { return }
    let known = engine.committed[index]
    guard var floor = known.applied.ranges.first(where: { $0.first <= first && first <= $0.last })?.last else { return }
    let now = Clock.unixNanoseconds() / 1_000_000
    let oldest = now > settings.trimAgeMilliseconds ? now - settings.trimAgeMilliseconds : 0
    floor = min(floor, EntryID(milliseconds: oldest, sequence: 0))
    if let backup = known.backupFloor { floor = min(floor, backup) }
    if let others = census.neededByOthers { floor = min(floor, others) }
    // Whatever is believed to be applied: what this group was never given stays.
    floor = min(floor, census.lastDeliveredID)
    guard first < floor else { return }
    let removed = try commands.trim(below: floor, ifDeliveredTo: census.lastDeliveredID)
    CrashPoint.reach(.afterTrim)
    if removed > 0 { Log.debug("trimmed", ["stream": commands.stream, "entries": removed, "below": "\(floor)"]) }
  }
}
