// StreamPublisher: carries out what a PushSession decides: sockets, clock, spool, log, metrics. One thread, named
// `publish-N`, owns everything here but the queue, the metrics and the signal.

import CLinux
import Glibc
import Linux
import Redis

/// The publisher of one partition. Made by TrafficPush; `publish` is its thread.
final class StreamPublisher {
  private let settings: PublisherSettings
  private let partition: PushPartition
  private let queue: EventQueue
  private let metrics: PushMetrics
  private let signal: PublisherSignal
  private let spool: PushSpool?
  private(set) var session: PushSession
  private let wallMicroseconds: () -> UInt64
  private var connection: RedisConnection?
  private var reply = RedisReply()
  private lazy var restorations = PushEncoding()
  /// Of clock.lua, once it was loaded, and what it is asked.
  private var clockHash: String?
  private var clockQuestion = CommonClock.Question()
  /// Over this connection: clock.lua is to read it from an entry's name.
  private var isTimeRefused = false

  init(
    settings: PublisherSettings, partition: PushPartition, queue: EventQueue, metrics: PushMetrics,
    signal: PublisherSignal, spool: PushSpool?, session: PushSession,
    wallMicroseconds: @escaping () -> UInt64 = { Clock.unixNanoseconds() / 1000 }
  ) {
    self.wallMicroseconds = wallMicroseconds
    self.settings = settings
    self.partition = partition
    self.queue = queue
    self.metrics = metrics
    self.signal = signal
    self.spool = spool
    self.session = session
  }

  /// Publishes until the signal says stop and what is queued is published or the time for it is over.
  func publish() {
    var event = PushSession.Event.done
    while let action = decide(after: event, now: Clock.monotonicNanoseconds()) { event = perform(action) }
    connection = nil
  }

  /// What to do next; nil when it is over.
  func decide(after event: PushSession.Event, now: UInt64) -> PushSession.Action? {
    if signal.isStopping { session.requestStop() }
    let action = session.next(after: event, now: now)
    tell(session.takeTally())
    if case .finish = action { return nil }
    return action
  }

  /// Does it, and says how it ended.
  func perform(_ action: PushSession.Action) -> PushSession.Event {
    do throws(RedisError) {
      return try carryOut(action)
    } catch {
      return .failed(error)
    }
  }

  private func carryOut(_ action: PushSession.Action) throws(RedisError) -> PushSession.Event {
    switch action {
    case .connect(let timeouts, let redirection): try connect(timeouts, redirectedBy: redirection)
    case .disconnect: connection = nil
    case .loadScript(let name): return .scriptLoaded(hash: try load(name))
    case .send(let batch, let isAsking):
      // Holds for the next command only (cluster specification, "ASK redirection").
      if isAsking { _ = try connection!.command(["ASKING"]) }
      try batch.send(on: &connection!)
    case .awaitReply(let milliseconds): return try awaitEvent(milliseconds, replyIfArrived)
    case .discardReplies:
      while (connection?.pendingReplies ?? 0) > 0 { try connection!.nextReply(reusing: &reply) }
    case .askPlace(let call, let next, let gapFrom): return try ask(call, next: next, gapFrom: gapFrom)
    case .restore(let batch, let call, let hash, let given, let done):
      batch.encodeRestoration(call, scriptHash: hash, given: given, done: done, into: restorations)
      try connection!.send(restorations.buffer)
    case .awaitRestored: return try awaitRestored()
    case .askTime(let question):
      clockQuestion = question
      try sendClockQuestion()
    case .awaitTime(let milliseconds): return try awaitEvent(milliseconds, timeIfArrived)
    case .awaitAnnounces(let milliseconds):
      return signal.wait(milliseconds: Int32(milliseconds), isGathering: true) ? .woken : .timePassed
    case .pause(let milliseconds):
      signal.wait(milliseconds: Int32(milliseconds), isGathering: false)
      return .timePassed
    case .writeSpool:
      spool!.write(
        restored: session.restored.rest, unsent: session.window, run: session.ownRun, queue: queue,
        correctionMicroseconds: session.clock.isKnown ? session.clock.correctionMicroseconds : nil,
        doubt: session.clock.doubt)
      spool!.keep(session.doubtful, run: session.ownRun, doubt: session.clock.doubt)
      return .spooled(spool!.state)
    case .removeSpool:
      spool!.remove(queue: queue)
      // What was restored is held no longer: malloc keeps small blocks for this thread, some of them for ever.
      malloc_trim(0)
      return .spooled(spool!.state)
    case .finish: preconditionFailure("the session is over")
    }
    return .done
  }

  // MARK: Redis

  private func connect(_ timeouts: RedisTimeouts, redirectedBy redirection: RedisServerError?) throws(RedisError) {
    connection = nil
    isTimeRefused = false
    if let redirection {
      connection = try RedisConnection(redirectedBy: redirection, endpoint: settings.endpoint, timeouts: timeouts)
    } else {
      connection = try RedisConnection(endpoint: settings.endpoint, timeouts: timeouts, key: partition.streamKey)
    }
  }

  private func load(_ name: PushScript.Name) throws(RedisError) -> String {
    // Both in one trip.
    let isClockWanted = name == .push && clockHash == nil
    if isClockWanted { connection!.append(["SCRIPT", "LOAD", PushScript.clockText]) }
    connection!.append(["SCRIPT", "LOAD", name.text])
    if isClockWanted { clockHash = try loadedHash() }
    let hash = try loadedHash()
    // Connecting to a Redis that was away has less time than what follows.
    connection!.timeouts = settings.timeouts
    return hash
  }

  private func loadedHash() throws(RedisError) -> String {
    try connection!.nextReply(reusing: &reply)
    if let error = reply.error { throw .server(error) }
    guard let hash = reply.string else { throw .protocolViolation("SCRIPT LOAD gave no hash") }
    return hash
  }

  /// It may have come together with the one before.
  private func awaitEvent(_ milliseconds: Int, _ eventIfArrived: () throws(RedisError) -> PushSession.Event?)
    throws(RedisError) -> PushSession.Event
  {
    if let event = try eventIfArrived() { return event }
    var poll = pollfd(fd: connection?.descriptor ?? -1, events: Int16(POLLIN), revents: 0)
    guard Glibc.poll(&poll, 1, Int32(milliseconds)) > 0 else { return .timePassed }
    return try eventIfArrived() ?? .timePassed
  }

  /// The next reply; nil when it is not there yet.
  func replyIfArrived() throws(RedisError) -> PushSession.Event? {
    guard try connection!.nextReplyIfArrived(reusing: &reply) else { return nil }
    return try scriptReply()
  }

  private func scriptReply() throws(RedisError) -> PushSession.Event {
    if let error = reply.error { throw .server(error) }
    guard let answer = PushScript.Reply(reply.view) else {
      throw .protocolViolation("the push script's reply has another shape")
    }
    return .reply(answer, tails: PushScript.Reply.tails(of: reply.view))
  }

  private func ask(_ call: PushCall, next: UInt64, gapFrom: PushCall.Gap?) throws(RedisError) -> PushSession.Event {
    var buffer = RedisCommandBuffer()
    var noRecords = PushRecords()
    call.encode([], first: next, gapFrom: gapFrom, records: &noRecords, into: &buffer)
    try connection!.send(buffer)
    try connection!.nextReply(reusing: &reply)
    return try scriptReply()
  }

  /// The question, or the script if Redis may not have it yet.
  private func sendClockQuestion() throws(RedisError) {
    guard let clockHash else {
      connection!.append(["SCRIPT", "LOAD", PushScript.clockText])
      return try connection!.flush()
    }
    if session.isAsking { _ = try connection!.command(["ASKING"]) }
    let (question, change) = (clockQuestion, clockQuestion.change)
    let keys = isTimeRefused ? ["2", partition.clockKey, partition.clockEntryKey] : ["1", partition.clockKey]
    connection!.append(
      ["EVALSHA", clockHash] + keys + [
        question.expectedMicroseconds.map { "\($0)" } ?? "-", change.map { "\($0.from)" } ?? "-",
        change.map { "\($0.to)" } ?? "-", question.isForgetful ? "1" : "0", "\(question.sinceMicroseconds)",
        "\(question.highestMicroseconds)",
      ])
    try connection!.flush()
  }

  /// The answer; nil when it is not there yet. A script that had to be loaded is asked once it is, and one that may not ask for
  /// the time once more.
  func timeIfArrived() throws(RedisError) -> PushSession.Event? {
    guard try connection!.nextReplyIfArrived(reusing: &reply) else { return nil }
    if let error = reply.error {
      guard error.code == .noScript, clockHash != nil else { throw .server(error) }
      clockHash = nil
      try sendClockQuestion()
      return try timeIfArrived()
    }
    if reply.view.isNil, clockHash != nil, !isTimeRefused {
      isTimeRefused = true
      try sendClockQuestion()
      return try timeIfArrived()
    }
    guard clockHash != nil else {
      guard let hash = reply.string else { throw .protocolViolation("SCRIPT LOAD gave no hash") }
      clockHash = hash
      try sendClockQuestion()
      return try timeIfArrived()
    }
    guard let answer = CommonClock.Answer(reply.view, wallMicroseconds: wallMicroseconds()) else {
      throw .protocolViolation("the clock script's reply")
    }
    return .time(answer)
  }

  private func awaitRestored() throws(RedisError) -> PushSession.Event {
    try connection!.nextReply(reusing: &reply)
    if let error = reply.error { throw .server(error) }
    guard reply.view.count == 2, let records = reply.view[0].integer, let entries = reply.view[1].integer,
      records >= -1, entries >= 0
    else { throw .protocolViolation("the restoring script's reply has another shape") }
    return .restored(records: records < 0 ? nil : Int(records), entries: UInt64(entries))
  }

  // MARK: telling

  private func tell(_ tally: PushSession.Tally) {
    metrics.add(tally)
    signal.restoredLeft.store(session.restored.count, ordering: .relaxed)
    signal.clockOffsetMilliseconds.store(Int(session.clock.offsetMicroseconds / 1000), ordering: .relaxed)
    if tally.isTroubleNew { signal.setTrouble(session.trouble) }
    for note in tally.notes { log(note) }
  }

  private func log(_ note: PushSession.Note) {
    let index = partition.index
    switch note {
    case .connected:
      Log.info("traffic push connected", ["endpoint": settings.endpoint.redacted, "partition": index])
    case .failed(let error, let attempt):
      Log.warning(
        "traffic push failed",
        ["partition": index, "error": error.description, "attempt": attempt, "queued": queue.depth])
    case .refused:
      Log.warning(
        "announces with impossible counters are refused",
        [
          "partition": index, "implausible_total": metrics.refusedImplausible.current,
          "too_large_total": metrics.refusedTooLarge.current,
        ])
    case .sendingAgain(let records):
      Log.warning(
        "redis lost records after a failover; sending them again", ["partition": index, "records": records])
    case .lost(let expected, let found, let records):
      Log.error(
        found == 0 ? "redis has lost its data" : "redis lost records after a failover that are no longer held",
        ["partition": index, "expected": expected, "found": found, "not_held": records])
    case .gaveBack(let records):
      Log.warning("what redis lost was sent again", ["partition": index, "records": records])
    case .abandonedRun(let expected, let found):
      Log.error(
        "redis knows numbers of this run that were never sent; a new run sends again what is not answered",
        ["partition": index, "expected": expected, "found": found])
    case .clocksDiffer(let seconds):
      Log.warning(
        "this machine's clock and redis' differ: announces of different trackers are put in order by redis', their "
          + "times are this machine's", ["partition": index, "redis_ahead_seconds": seconds])
    case .clockSet(let milliseconds):
      Log.warning(
        "redis' clock was set; announces stay in order by what it was",
        ["partition": index, "ahead_milliseconds": milliseconds])
    case .stoodStill(let milliseconds):
      Log.warning(
        "this machine stood still; the order of announces from before that is not certain",
        ["partition": index, "milliseconds": milliseconds])
    case .spooledRest(let announces):
      Log.info("announces are spooled", ["partition": index, "announces": announces])
    case .gaveUpRest(let announces):
      Log.error("announces were not published and are not spooled", ["partition": index, "announces": announces])
    case .spooledDoubtful(let announces):
      Log.info(
        "announces that redis had taken are spooled: it was away since, or has lost them",
        ["partition": index, "announces": announces])
    case .gaveUpDoubtful(let announces):
      Log.warning(
        "redis was away and not asked whether it has what it had taken; what it has not is lost: that is not spooled",
        ["partition": index, "announces": announces])
    }
  }
}
