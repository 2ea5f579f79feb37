// PushSession: how a partition's announces reach Redis in order, each exactly once: which call is sent when, what a reply
// or a failure means, when to wait, to spool, to stop. A state machine without socket, clock, file or thread: the time
// comes with each event, and StreamPublisher carries the actions out. Owned by one thread.
//
//     done -> [connect -> loadScript -> askPlace] -> send, send -> awaitReply -> reply -> send -> awaitReply -> ...
//
// This file has the state and the ordinary way; PushSessionWindow.swift which call is next, PushSessionReplies.swift what
// an answer means, PushSessionWaits.swift pauses, the spool and the end, PushSessionRecovery.swift connections and
// failures, PushSessionGaps.swift what to do when Redis has forgotten something.

import Linux
import Redis

/// The state of one partition's publisher.
struct PushSession {
  /// What is under way.
  enum Phase {
    /// Nothing: what is next is decided from the rest of the state.
    case deciding
    case connecting, loading, timing
    /// What Redis knows of a run.
    case verifying(PushRun)
    case sending, awaiting, idle, pausing
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
    case survey
    case full
    case readClock
    case giveBack
    case abandonRun
    case reload(RedisError)
    case failure
  }

  enum AfterDisconnect {
    case failure
    /// After a call that an ASK sent there: the next asks the slot's owner again. `next` is not applied.
    case asked(next: UInt64)
  }

  enum AfterSpool { case decide, awaitReply, askTime, awaitTime, pause, giveBack }

  let settings: PublisherSettings
  let partition: PushPartition
  let queue: EventQueue
  let newRun: @Sendable () -> PushRun

  var phase = Phase.deciding
  /// The time of the event at hand, monotonic nanoseconds.
  var now: UInt64
  let started: UInt64
  private(set) var isStopping = false
  /// At the end: what is held was asked for; Redis left a question, or a call, without an answer.
  var hasAskedLast = false
  var isLeftUnanswered = false
  /// The run of the calls that are made now.
  var run: PushRun
  /// The run of the queue's numbers, this process' own, and the first of them in it.
  var ownRun: PushRun
  var runBegin: UInt64 = 0
  /// What an earlier process left: it goes out before anything of the own run.
  var restored: RestoredRecords
  /// What all calls have in common, once the script is loaded.
  var call: PushCall?
  /// Oldest first: not known to be applied.
  var window: [PushBatch] = []
  /// Applied.
  var retained: RetainedCalls
  var pool: [PushBatch] = []
  /// Of calls that are held, for the next ones.
  var encodings: [PushEncoding] = []
  /// By run, where Redis is, when the next call that is filled does not follow on it: what is between was given back.
  var gapsAhead: [UInt64: PushCall.Gap] = [:]
  /// How often giving back was begun.
  var givingsBack: UInt32 = 0
  /// What Redis still has of each run is being asked.
  var survey: Survey?
  /// A giving back that waits for room in the stream, or for a Redis that takes writes, over the same connection.
  var suspended: Restoration?
  /// Calls that give back whose replies are owed.
  var restoresOnWay = 0
  /// By run, the last counts, to tell what a reply adds.
  var counted: [UInt64: PushScript.Reply] = [:]

  var isConnected = false
  /// Connected, and not known yet to be of use.
  var isPreparing = false
  /// Redis Cluster moves our slot: the node to ask once, and whether the connection is to it.
  var redirection: RedisServerError?
  var isAsking = false
  /// In a row.
  var failures = 0
  var backoff: RetryBackoff
  var fullBackoff: RetryBackoff

  /// What the trackers have in common.
  var clock: CommonClock
  /// The last call came late to Redis, or the clock was wrong: what is sent next is taken whenever it comes.
  var isDelayed = false
  var placeAsked: UInt64 = 0
  var replyDeadline: UInt64 = 0
  var pauseEnd: UInt64 = 0
  var flushDeadline: UInt64?
  var lastReply: UInt64
  /// The last to a call of an earlier process' run.
  var lastEarlierReply: UInt64 = 0
  /// When Redis last took something, or there was nothing to take.
  var lastProgress: UInt64
  var refusalLog = RareLog(pauseNanoseconds: PublisherSettings.refusalLogSeconds * 1_000_000_000)

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
    restored: SpoolContent = SpoolContent(), now: UInt64, clock: OrderClock = .process,
    newRun: @escaping @Sendable () -> PushRun = { PushRun() },
    random: @escaping @Sendable (ClosedRange<Int>) -> Int = { Int.random(in: $0) }
  ) {
    self.settings = settings
    self.partition = partition
    self.queue = queue
    self.spool = spool
    self.newRun = newRun
    self.now = now
    started = now
    lastReply = now
    lastProgress = now
    self.clock = CommonClock(clock, now: now, doubt: restored.doubt, past: restored.past)
    self.restored = RestoredRecords(restored.owed)
    ownRun = newRun()
    run = restored.owed.first?.run ?? ownRun
    retained = RetainedCalls(limitBytes: settings.retainedBytes)
    lastEarlierReply = now
    for batch in restored.applied { _ = retained.hold(batch, pool: &pool) }
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
    case (.deciding, .done): return decide()
    case (.sending, .done): return proceed()
    case (.idle, .woken), (.idle, .timePassed): return leaveIdle(isWoken: event.isWoken)
    case (.pausing, .timePassed): return keepPausing()
    case (.spooling(let afterwards), .spooled(let state)): return goOn(afterwards, spool: state)
    case (.spoolingRest, .spooled(let state)):
      note(state)
      return endRest(state)
    default: return continueRecovery(after: event)
    }
  }

  // MARK: the ordinary way

  /// What is next after a reply, a failure or a wait: these are the moments at which it may be over.
  mutating func decide() -> Action { mayEnd() ? askLast() ?? giveUpRest() : proceed() }

  /// What is next while calls are sent: a connection that has just been made, and a call that is on its way, get a reply
  /// before a stop gives up.
  mutating func proceed() -> Action {
    guard isConnected else { return connect() }
    if let action = resumeGivingBack() ?? askOfNextRun() { return action }
    renewIdleRun()
    if isClockDue, !window.contains(where: \.isSent) { return askTime() }
    call?.nowMicroseconds = clock.microseconds(atMonotonicNanoseconds: now)
    call?.latestRedisMicroseconds =
      isDelayed ? PushScript.maximumMicroseconds : clock.latestRedisMicroseconds(atMonotonicNanoseconds: now)
    if let batch = nextToSend() {
      batch.isSent = true
      batch.sentAt = now
      batch.sends += 1
      clock.noteUse()
      phase = .sending
      return .send(batch, isAsking: isAsking)
    }
    guard window.isEmpty else {
      replyDeadline = now &+ Self.nanoseconds(settings.timeouts.readMilliseconds)
      return awaitReply()
    }
    clock.noteRest()
    lastProgress = now
    // An earlier process left what Redis has, or has again.
    if spool?.hasFile == true {
      phase = .spooling(.decide)
      return .removeSpool
    }
    phase = .idle
    return .awaitAnnounces(milliseconds: PublisherSettings.idleCheckMilliseconds)
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
    return askWhatIsHeld() ?? askTime()
  }

  /// Redis forgets a run that is silent for a day; half a day earlier nothing is in doubt and a new one may begin: Redis was
  /// asked over this connection, and has what is held, or has been given it back.
  private mutating func renewIdleRun() {
    guard !isAsking else { return }
    // Of an earlier process' run nothing is sent that would keep it in mind.
    if Self.isOver(PublisherSettings.runIdleSeconds * 1_000_000_000, since: lastEarlierReply, now: now) {
      retained.removeAll(but: ownRun)
    }
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
