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
    case connecting, loading, verifying
    case sending, awaiting, idle, pinging, pausing
    case discarding(AfterDiscard)
    case disconnecting(AfterDisconnect)
    /// The script after a NOSCRIPT, which is the error.
    case reloading(RedisError)
    case loadingRestoration(Restoration)
    case restoring(Restoration)
    case adopting(next: UInt64)
    case spooling(AfterSpool)
    case spoolingRest
    case finished
  }

  /// What the replies are discarded for.
  enum AfterDiscard {
    case gap(serverNext: UInt64, expected: UInt64)
    case full
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
  private let newRun: @Sendable () -> PushRun

  var phase = Phase.deciding
  /// The time of the event at hand, monotonic nanoseconds.
  var now: UInt64
  private(set) var isStopping = false
  private(set) var run: PushRun
  /// What all calls have in common, once the script is loaded.
  var call: PushCall?
  /// Oldest first: not known to be applied.
  var window: [PushBatch] = []
  /// Applied.
  var retained: RetainedCalls
  private var pool: [PushBatch] = []
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

  /// `restoredRun` is the run of a spool that was read back into the queue. `newRun` names runs, `random` picks waits:
  /// with both given, the same events have the same actions.
  init(
    settings: PublisherSettings, partition: PushPartition, queue: EventQueue, spool: SpoolState?,
    restoredRun: PushRun?, now: UInt64, newRun: @escaping @Sendable () -> PushRun = { PushRun() },
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
    run = restoredRun ?? newRun()
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
    if let batch = nextToSend() {
      batch.isSent = true
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
    if let waiting = window.first(where: { !$0.isSent }) { return waiting }
    guard window.count < (isAsking ? 1 : PublisherSettings.window) else { return nil }
    let batch = pool.popLast() ?? PushBatch()
    guard batch.fill(from: queue, call: call!, willWait: window.isEmpty) else {
      pool.append(batch)
      return nil
    }
    window.append(batch)
    return batch
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
    phase = .pinging
    return .ping
  }

  private mutating func take(_ reply: PushScript.Reply, tails: UnsafeRawBufferPointer?) -> Action {
    lastReply = now
    let oldest = window[0]
    if reply.status == .gap { return beginGap(serverNext: reply.next, expected: oldest.first) }
    count(reply, of: oldest, tails: tails)
    return reply.next >= oldest.end ? succeed(oldest) : discardReplies(.full)
  }

  private mutating func count(_ reply: PushScript.Reply, of batch: PushBatch, tails: UnsafeRawBufferPointer?) {
    tally.published += reply.applied
    if reply.applied > 0, let tails { batch.keepTails(tails, of: reply.applied, next: reply.next) }
    let before = max(counted.next, batch.first)
    if reply.next > before + reply.applied { tally.duplicates += reply.next - before - reply.applied }
    tally.counts.add(reply.counts, since: counted.counts)
    // A client that lies does so at every announce.
    if reply.counts.impossible > counted.counts.impossible, refusalLog.next(now: now) != nil {
      tally.notes.append(.refused)
    }
    counted = reply
  }

  private mutating func succeed(_ batch: PushBatch) -> Action {
    window.removeFirst()
    retained.hold(batch, pool: &pool)
    failures = 0
    backoff.reset()
    fullBackoff.reset()
    lastProgress = now
    setRedisTrouble(nil)
    let next = window.first?.first ?? batch.end
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
      window.isEmpty, call != nil, spool?.isActive != true
    else { return }
    run = newRun()
    call!.run = run
    counted = PushScript.Reply(status: .done, next: 0)
    lastReply = now
    retained.removeAll(pool: &pool)
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
  }
}
