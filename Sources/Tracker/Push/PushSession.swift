// PushSession: how a partition's announces reach Redis in order, each exactly once: which call is sent when, what a reply
// or a failure means, when to wait, to spool, to stop. A state machine without socket, clock, file or thread: the time
// comes with each event, and StreamPublisher carries the actions out. Owned by one thread.
//
//     done -> [connect -> loadScript -> askPlace] -> send, send -> awaitReply -> reply -> send -> awaitReply -> ...
//
// This file has the ordinary way; PushSessionWaits.swift has pauses, the spool and the end, PushSessionRecovery.swift
// connections and failures, PushSessionGaps.swift what to do when Redis has forgotten something.

import Linux
import Redis

/// The state of one partition's publisher.
struct PushSession {
  /// What is under way.
  enum Phase {
    /// Nothing: what is next is decided from the rest of the state.
    case deciding
    case connecting, loading, timing, verifying
    case sending, awaiting, idle, pinging, pausing
    case discarding(AfterDiscard)
    case disconnecting(AfterDisconnect)
    /// The script after a NOSCRIPT, which is the error.
    case reloading(RedisError)
    case loadingRestoration(Restoration)
    case restoring(Restoration)
    case adopting(Restoration)
    case spooling(AfterSpool)
    case spoolingRest
    case finished
  }

  /// What the replies are discarded for.
  enum AfterDiscard {
    case gap(Gap)
    case full
    case abandonRun
    case reload(RedisError)
    case failure
  }

  enum AfterDisconnect {
    case failure
    /// After a call that an ASK sent there: the next asks the slot's owner again. `next` is not applied.
    case asked(next: UInt64)
  }

  enum AfterSpool { case decide, awaitReply, pause }

  let settings: PublisherSettings
  let partition: PushPartition
  let queue: EventQueue
  let newRun: @Sendable () -> PushRun

  var phase = Phase.deciding
  /// The time of the event at hand, monotonic nanoseconds.
  var now: UInt64
  private(set) var isStopping = false
  /// The run of the calls that are made now.
  private(set) var run: PushRun
  /// The run of the queue's numbers, this process' own, and the first of them in it.
  private(set) var ownRun: PushRun
  private var runBegin: UInt64 = 0
  /// What an earlier process left, from `restoredPlace` of the first on: it goes out before anything of the own run.
  private(set) var restored: [SpooledRun]
  private var restoredPlace = 0
  /// What all calls have in common, once the script is loaded.
  var call: PushCall?
  /// Oldest first: not known to be applied.
  var window: [PushBatch] = []
  /// Applied.
  var retained: RetainedCalls
  private var pool: [PushBatch] = []
  /// Of calls that are held, for the next ones.
  private var encodings: [PushEncoding] = []
  /// Where Redis is, when the next call that is filled does not follow on it: what is between was given back.
  var gapAhead: UInt64?
  /// A giving back that waits for room in the stream, or for a Redis that takes writes, over the same connection.
  var suspended: Restoration?
  /// The last counts of this run, to tell what a reply adds.
  var counted = PushScript.Reply(status: .done, next: 0)

  var isConnected = false
  /// Connected, and not known yet to be of use.
  var isPreparing = false
  /// Redis Cluster moves our slot: the node to ask once, and whether the connection is to it.
  var redirection: RedisServerError?
  var isAsking = false
  /// In a row.
  var failures = 0
  var backoff: RetryBackoff
  private var fullBackoff: RetryBackoff

  /// What Redis' clock is ahead of the OrderClock; what it is ahead of this machine's, when that could be asked.
  var correctionMicroseconds: Int64 = 0
  var clockOffsetMicroseconds: Int64 = 0
  let clock: OrderClock
  var isClockKnown = false
  /// The quickest answer of those that were had in a row, and how many those are.
  var clockAnswer: ClockAnswer?
  var clockQuestions = 0
  var clockAsked: UInt64
  var clockLog = RareLog(pauseNanoseconds: PublisherSettings.clockPauseNanoseconds)
  var replyDeadline: UInt64 = 0
  var pauseEnd: UInt64 = 0
  var flushDeadline: UInt64?
  private var lastReply: UInt64
  /// When Redis last took something, or there was nothing to take.
  var lastProgress: UInt64
  private var refusalLog = RareLog(pauseNanoseconds: PublisherSettings.refusalLogSeconds * 1_000_000_000)

  /// Nil when there is none.
  var spool: SpoolState?
  var lastSpoolWrite: UInt64?
  var redisTrouble: String? = "not connected yet"
  /// What keeps announces from the stream, and from the disk meanwhile.
  var trouble: String? = "not connected yet"
  var tally = Tally()

  /// `restored` is what a spool kept. `newRun` names runs, `random` picks waits:
  /// with both given, the same events have the same actions.
  init(
    settings: PublisherSettings, partition: PushPartition, queue: EventQueue, spool: SpoolState?,
    restored: [SpooledRun] = [], now: UInt64, clock: OrderClock = .process,
    newRun: @escaping @Sendable () -> PushRun = { PushRun() },
    random: @escaping @Sendable (ClosedRange<Int>) -> Int = { Int.random(in: $0) }
  ) {
    self.settings = settings
    self.partition = partition
    self.queue = queue
    self.spool = spool
    self.newRun = newRun
    self.now = now
    lastReply = now
    lastProgress = now
    self.clock = clock
    clockAsked = now
    self.restored = restored
    ownRun = newRun()
    run = restored.first?.run ?? ownRun
    retained = RetainedCalls(limitBytes: settings.retainedBytes)
    backoff = RetryBackoff(
      firstMilliseconds: max(1, settings.retryMilliseconds),
      maximumMilliseconds: max(1, settings.retryMilliseconds, PublisherSettings.longestWaitMilliseconds),
      random: random)
    fullBackoff = RetryBackoff(
      firstMilliseconds: PublisherSettings.fullWaitMilliseconds.lowerBound,
      maximumMilliseconds: PublisherSettings.fullWaitMilliseconds.upperBound, random: random)
  }

  /// Publish what is queued, then end.
  mutating func requestStop() { isStopping = true }

  /// What is to be counted and logged since the last time.
  mutating func takeTally() -> Tally {
    defer { tally = Tally() }
    return tally
  }

  /// What to do after the last action ended with `event`; the first event is `done`. `now` is monotonic, in nanoseconds.
  mutating func next(after event: Event, now: UInt64) -> Action {
    self.now = now
    switch (phase, event) {
    case (_, .failed(let error)): return fail(error)
    case (.awaiting, .reply(let reply, let tails)): return take(reply, tails: tails)
    case (.awaiting, .timePassed): return keepAwaiting()
    case (.deciding, .done), (.pinging, .done): return decide()
    case (.sending, .done): return proceed()
    case (.idle, .woken), (.idle, .timePassed): return leaveIdle(isWoken: event.isWoken)
    case (.pausing, .timePassed): return keepPausing()
    case (.spooling(let afterwards), .spooled(let state)): return goOn(afterwards, spool: state)
    case (.spoolingRest, .spooled(let state)):
      note(state)
      return endRest(isSpooled: state.trouble == nil)
    default: return continueRecovery(after: event)
    }
  }

  // MARK: the ordinary way

  /// What is next after a reply, a failure or a wait: these are the moments at which it may be over.
  mutating func decide() -> Action { mayEnd() ? giveUpRest() : proceed() }

  /// What is next while calls are sent: a connection that has just been made, and a call that is on its way, get a reply
  /// before a stop gives up.
  mutating func proceed() -> Action {
    renewIdleRun()
    guard isConnected else { return connect() }
    if let restoration = suspended {
      suspended = nil
      return giveBack(restoration)
    }
    if isClockDue, window.isEmpty { return askTime() }
    call?.nowMicroseconds = clock.microseconds(atMonotonicNanoseconds: now)
      .corrected(byMicroseconds: correctionMicroseconds)
    if let batch = nextToSend() {
      batch.isSent = true
      batch.sends += 1
      phase = .sending
      return .send(batch, isAsking: isAsking)
    }
    guard window.isEmpty else {
      replyDeadline = now &+ Self.nanoseconds(settings.timeouts.readMilliseconds)
      return awaitReply()
    }
    lastProgress = now
    phase = .idle
    return .awaitAnnounces(milliseconds: PublisherSettings.idleCheckMilliseconds)
  }

  /// The oldest call that is not on its way, or a new one if the window has room and the queue has announces.
  private mutating func nextToSend() -> PushBatch? {
    // An ASK holds for one call.
    if isAsking, window.first?.isSent == true { return nil }
    if let waiting = window.first(where: { !$0.isSent }) {
      if waiting.gapFrom != nil, window.first !== waiting { return nil }
      waiting.refresh(call!)
      return waiting
    }
    guard !isClockDue, window.count < (isAsking ? 1 : PublisherSettings.window) else { return nil }
    let batch = pool.popLast() ?? PushBatch()
    batch.take(encodings.popLast())
    guard fillRestored(batch) || fillOwn(batch) else {
      pool.append(batch)
      return nil
    }
    window.append(batch)
    return batch
  }

  private mutating func fillOwn(_ batch: PushBatch) -> Bool {
    guard restored.isEmpty, run == ownRun || window.isEmpty else { return false }
    if run != ownRun { change(to: ownRun) }
    guard gapAhead == nil || window.isEmpty else { return false }
    let isFilled = batch.fill(
      from: queue, call: call!, willWait: window.isEmpty, runBegin: runBegin, gapFrom: gapAhead)
    if isFilled { gapAhead = nil }
    return isFilled
  }

  /// The next of what an earlier process left: consecutive numbers. A hole is stepped over, and a run left, when all
  /// before it is answered.
  private mutating func fillRestored(_ batch: PushBatch) -> Bool {
    guard let spooled = restored.first else { return false }
    let announces = spooled.announces
    var gapFrom = run == spooled.run ? gapAhead : nil
    if gapFrom == nil, restoredPlace > 0, announces[restoredPlace].number != announces[restoredPlace - 1].number + 1 {
      gapFrom = announces[restoredPlace - 1].number + 1
    }
    guard window.isEmpty || run == spooled.run && gapFrom == nil else { return false }
    if run != spooled.run { change(to: spooled.run) }
    var end = restoredPlace + 1
    while end < announces.count, end - restoredPlace < PushBatch.maximumRecords,
      announces[end].number == announces[end - 1].number + 1
    { end += 1 }
    batch.fill(
      from: announces[restoredPlace..<end], call: call!,
      gapFrom: gapFrom)
    gapAhead = nil
    restoredPlace = end
    if end == announces.count {
      restored.removeFirst()
      restoredPlace = 0
    }
    return true
  }

  /// What is not sent yet of what an earlier process left.
  var restoredRest: [SpooledRun] {
    guard var first = restored.first else { return [] }
    first.announces.removeFirst(restoredPlace)
    return [first] + restored.dropFirst()
  }

  /// How many that are.
  var restoredCount: Int { restored.reduce(-restoredPlace) { $0 + $1.announces.count } }

  private mutating func change(to run: PushRun) {
    self.run = run
    call!.run = run
    counted = PushScript.Reply(status: .done, next: 0)
    gapAhead = nil
  }

  /// The own run is given up for a new one, which goes on at record `begin`: what is in the window is sent under it.
  mutating func beginRun(at begin: UInt64) {
    ownRun = newRun()
    runBegin = begin
    change(to: ownRun)
    retained.removeAll()
    suspended = nil
    for batch in window { batch.encode(call!, gapFrom: batch.first > 0 && batch.first == begin ? 0 : nil) }
  }

  /// Whether Redis expects a record of the own run that was never sent: another process had its name, or its numbers.
  func isFromFuture(_ next: UInt64) -> Bool {
    run == ownRun && next > max(window.last?.end ?? 0, retained.end(of: run) ?? 0, runBegin)
  }

  /// Whether Redis took records of a call of the own run that it sees for the first time for applied ones.
  private func skipsUnsent(_ reply: PushScript.Reply, of batch: PushBatch) -> Bool {
    run == ownRun && batch.sends == 1 && reply.status != .gap && reply.next > batch.first + reply.applied
  }

  /// A reply that is there is taken, whatever the time.
  mutating func awaitReply() -> Action {
    phase = .awaiting
    return .awaitReply(milliseconds: Self.slice(until: replyDeadline, now: now) ?? 0)
  }

  private mutating func keepAwaiting() -> Action {
    if now >= replyDeadline { return fail(.timedOut(.read)) }
    return isSpoolDue ? writeSpool(.awaitReply) : awaitReply()
  }

  /// Redis is asked for a sign of life, so that readiness is true on a quiet tracker too, and what a failover took back is
  /// noticed before the next announce.
  private mutating func leaveIdle(isWoken: Bool) -> Action {
    lastProgress = now
    if isWoken { return decide() }
    if let question = askWhatIsHeld() { return question }
    phase = .pinging
    return .ping
  }

  private mutating func take(_ reply: PushScript.Reply, tails: UnsafeRawBufferPointer?) -> Action {
    lastReply = now
    let oldest = window[0]
    if isFromFuture(reply.next) || skipsUnsent(reply, of: oldest) { return abandonRun(found: reply.next) }
    if reply.status == .gap { return beginGap(Gap(run: run, found: reply.next, expected: oldest.first)) }
    count(reply, of: oldest, tails: tails)
    return reply.next >= oldest.end ? succeed(oldest) : discardReplies(.full)
  }

  private mutating func count(_ reply: PushScript.Reply, of batch: PushBatch, tails: UnsafeRawBufferPointer?) {
    tally.published += reply.applied
    if reply.applied > 0, let tails { batch.keepTails(tails, of: reply.applied, next: reply.next) }
    let before = max(counted.next, batch.first)
    // An earlier process may have had more applied than it knew.
    let known = min(reply.next, window[window.count - 1].end)
    if known > before + reply.applied { tally.duplicates += known - before - reply.applied }
    tally.counts.add(reply.counts, since: counted.counts)
    // A client that lies does so at every announce.
    if reply.counts.impossible > counted.counts.impossible, refusalLog.next(now: now) != nil {
      tally.notes.append(.refused)
    }
    counted = reply
    counted.next = known
  }

  private mutating func succeed(_ batch: PushBatch) -> Action {
    window.removeFirst()
    if let encoding = retained.hold(batch, pool: &pool), encodings.count < PublisherSettings.window {
      encodings.append(encoding)
    }
    failures = 0
    backoff.reset()
    fullBackoff.reset()
    lastProgress = now
    setRedisTrouble(nil)
    // In the own run's numbers.
    let next = window.first?.first ?? (batch.run == ownRun ? batch.end : 0)
    return isAsking ? disconnect(.asked(next: next)) : spoolAfterSuccess(next: next)
  }

  /// The stream is full, and the replies to the rest of the window, which said GAP, are read: what Redis did not take is
  /// sent again after a while.
  mutating func holdBack() -> Action {
    tally.full += 1
    setRedisTrouble("the stream has reached max_stream_length")
    guard !isStopping else {
      failures += 1
      return decide()
    }
    return pause(milliseconds: fullBackoff.next())
  }

  /// Redis forgets a run that is silent for a day; half a day earlier nothing is in doubt and a new one may begin.
  private mutating func renewIdleRun() {
    guard Self.isOver(PublisherSettings.runIdleSeconds * 1_000_000_000, since: lastReply, now: now),
      window.isEmpty, restored.isEmpty, call != nil, spool?.isActive != true
    else { return }
    lastReply = now
    beginRun(at: queue.next)
  }
}

extension PushSession.Event {
  fileprivate var isWoken: Bool {
    if case .woken = self { true } else { false }
  }
}

extension PushScript.Reply.Counts {
  /// Refused because no client can have moved so much.
  fileprivate var impossible: UInt64 { implausible + tooLarge }

  /// Adds what `new` has more than `old`.
  fileprivate mutating func add(_ new: Self, since old: Self) {
    func growth(_ count: KeyPath<Self, UInt64>) -> UInt64 {
      new[keyPath: count] > old[keyPath: count] ? new[keyPath: count] - old[keyPath: count] : 0
    }
    guard new != old else { return }
    resets += growth(\.resets)
    late += growth(\.late)
    tooLarge += growth(\.tooLarge)
    wrongType += growth(\.wrongType)
    implausible += growth(\.implausible)
    unannounced += growth(\.unannounced)
    unknown += growth(\.unknown)
  }
}
