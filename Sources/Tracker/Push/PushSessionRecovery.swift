// PushSessionRecovery: the part of PushSession that gets a connection ready and decides what a failure means. The window
// stays through all of it: it is sent again, as it is, and the script recognises what it has applied.

import Redis

extension PushSession {
  /// Events of everything but the ordinary way.
  mutating func continueRecovery(after event: Event) -> Action {
    switch (phase, event) {
    case (.connecting, .done): return prepare()
    case (.loading, .scriptLoaded(let hash)): return beginCalls(scriptHash: hash)
    case (.timing, .time(let redis, let wall)):
      guard takeTime(redis, wall: wall) else { return askTime() }
      return isPreparing ? verifyPlace() : decide()
    case (.verifying, .reply(let reply, _)):
      guard let last = retained.last else { return goOnAfterGap() }
      if last.run == run, isFromFuture(reply.next) { return abandonRun(found: reply.next) }
      guard reply.status == .gap else { return goOnAfterGap() }
      return beginGap(Gap(run: last.run, found: reply.next, expected: retained.end(of: last.run) ?? last.end))
    case (.discarding(let afterwards), .done): return goOn(afterwards)
    case (.disconnecting(.failure), .done): return backOff()
    case (.disconnecting(.asked(let next)), .done): return spoolAfterSuccess(next: next)
    case (.reloading, .scriptLoaded): return decide()
    default: return continueGap(after: event)
    }
  }

  // MARK: connection

  mutating func connect() -> Action {
    phase = .connecting
    isAsking = redirection != nil
    defer { redirection = nil }
    var timeouts = settings.timeouts
    if failures > 0 {
      let limit = PublisherSettings.awayConnectMilliseconds
      timeouts = RedisTimeouts(
        connectMilliseconds: min(limit, timeouts.connectMilliseconds),
        readMilliseconds: min(limit, timeouts.readMilliseconds),
        writeMilliseconds: min(limit, timeouts.writeMilliseconds))
    }
    return .connect(timeouts, redirectedBy: redirection)
  }

  private mutating func prepare() -> Action {
    isConnected = true
    isPreparing = true
    clockAnswer = nil
    clockQuestions = 0
    for batch in window { batch.isSent = false }
    phase = .loading
    return .loadScript(.push)
  }

  private mutating func beginCalls(scriptHash: String) -> Action {
    if call == nil {
      call = PushCall(
        partition: partition, run: run, scriptHash: scriptHash, ttlSeconds: settings.ttlSeconds,
        maximumStreamLength: settings.maximumStreamLength, creditFirstAnnounce: settings.creditFirstAnnounce,
        maximumBytesPerSecond: settings.maximumBytesPerSecond)
    }
    return isAsking ? verifyPlace() : askTime()
  }

  /// Compares the place of the run with what this Redis knows of it: another process may answer than before.
  private mutating func verifyPlace() -> Action {
    if !isAsking, let question = askWhatIsHeld() { return question }
    return beginPublishing()
  }

  /// Asks whether Redis still has what was applied last; nil when nothing is held.
  mutating func askWhatIsHeld() -> Action? {
    guard let last = retained.last, var call else { return nil }
    call.run = last.run
    phase = .verifying
    // A call that was sent again is held last and is not the newest.
    return .askPlace(call, next: retained.end(of: last.run) ?? last.end, gapFrom: nil)
  }

  // MARK: clocks

  /// Once a minute, when no call is on its way: Redis' clock may be set, and a failover brings another.
  var isClockDue: Bool {
    !isAsking && Self.isOver(PublisherSettings.clockPauseNanoseconds, since: clockAsked, now: now)
  }

  /// What Redis and this machine said, when, and how long Redis took.
  struct ClockAnswer {
    var redisMicroseconds: UInt64?
    var wallMicroseconds: UInt64
    var at: UInt64
    var tripNanoseconds: UInt64
  }

  /// Whether the answer, or the quickest of several, is good enough.
  private mutating func takeTime(_ redis: UInt64?, wall: UInt64) -> Bool {
    let answer = ClockAnswer(
      redisMicroseconds: redis, wallMicroseconds: wall, at: now, tripNanoseconds: now &- clockAsked)
    if clockAnswer.map({ answer.tripNanoseconds < $0.tripNanoseconds }) ?? true { clockAnswer = answer }
    clockQuestions += 1
    let best = clockAnswer!
    guard
      redis == nil || best.tripNanoseconds <= PublisherSettings.clockTripNanoseconds
        || clockQuestions >= PublisherSettings.clockQuestions
    else { return false }
    clockAnswer = nil
    clockQuestions = 0
    note(redis == nil ? answer : best)
    return true
  }

  mutating func askTime() -> Action {
    clockAsked = now
    phase = .timing
    return .askTime
  }

  /// Announces of different trackers are put in order by the one clock that they have in common, Redis'. Where it may not
  /// be asked this machine's has to do. A correction that is within the error of the measurement stays as it is.
  private mutating func note(_ answer: ClockAnswer) {
    let (redisMicroseconds, wallMicroseconds) = (answer.redisMicroseconds, answer.wallMicroseconds)
    let tripNanoseconds = answer.tripNanoseconds
    let middle = redisMicroseconds == nil ? answer.at : answer.at &- tripNanoseconds / 2
    let read = clock.microseconds(atMonotonicNanoseconds: middle)
    let found = Int64(bitPattern: (redisMicroseconds ?? wallMicroseconds) &- read)
    let tolerance = PublisherSettings.clockToleranceMicroseconds + tripNanoseconds / 2000
    if !isClockKnown || (found - correctionMicroseconds).magnitude > tolerance {
      isClockKnown = true
      correctionMicroseconds = found
      call?.correctionMicroseconds = found
    }
    guard let redisMicroseconds else { return }
    clockOffsetMicroseconds = Int64(bitPattern: redisMicroseconds &- wallMicroseconds) + Int64(tripNanoseconds / 2000)
    if clockOffsetMicroseconds.magnitude > PublisherSettings.clockWarningMicroseconds, clockLog.next(now: now) != nil {
      tally.notes.append(.clocksDiffer(seconds: clockOffsetMicroseconds / 1_000_000))
    }
  }

  /// The connection is of use.
  mutating func beginPublishing() -> Action {
    isPreparing = false
    tally.notes.append(.connected)
    if window.isEmpty { setRedisTrouble(nil) }
    return proceed()
  }

  mutating func disconnect(_ afterwards: AfterDisconnect) -> Action {
    isConnected = false
    isAsking = false
    suspended = nil
    restoresOnWay = 0
    phase = .disconnecting(afterwards)
    return .disconnect
  }

  // MARK: replies that are owed

  /// Has the replies to the rest of the window read; those calls said GAP, or failed like the first.
  mutating func discardReplies(_ afterwards: AfterDiscard) -> Action {
    guard isConnected, restoresOnWay > 0 || window.contains(where: \.isSent) else { return goOn(afterwards) }
    phase = .discarding(afterwards)
    return .discardReplies
  }

  private mutating func goOn(_ afterwards: AfterDiscard) -> Action {
    for batch in window { batch.isSent = false }
    restoresOnWay = 0
    switch afterwards {
    case .gap(let gap): return close(gap)
    case .full: return holdBack()
    case .giveBack: return resumeGivingBack() ?? decide()
    case .abandonRun:
      beginRun(at: window.first?.first ?? queue.next)
      return isPreparing ? beginPublishing() : decide()
    case .failure: return backOff()
    case .reload(let error):
      if let restoration = suspended {
        suspended = nil
        phase = .loadingRestoration(restoration)
        return .loadScript(.restore)
      }
      phase = .reloading(error)
      return .loadScript(.push)
    }
  }

  // MARK: failures

  /// Decides what an error means, by name.
  mutating func fail(_ error: RedisError) -> Action {
    switch phase {
    case .discarding(.reload(let first)), .reloading(let first): return setBack(by: first, leaves: false)
    case .discarding(.failure): return disconnect(.failure)
    default: break
    }
    if case .restoring(let restoration) = phase {
      restoresOnWay = max(0, restoresOnWay - 1)
      if !isPreparing { suspended = restoration }
    }
    tally.errors.append(error)
    if window.contains(where: \.isSent) { tally.retries += 1 }
    // Half prepared it is of no use: a server that is loading or busy takes the connection and refuses the script.
    if isPreparing { return setBack(by: error, leaves: true) }
    if error.code == .noScript, isConnected { return discardReplies(.reload(error)) }
    return setBack(by: error, leaves: Self.needsNewConnection(error))
  }

  private mutating func setBack(by error: RedisError, leaves: Bool) -> Action {
    isPreparing = false
    failures += 1
    if failures == 1 || failures == settings.retryCount + 1 {
      tally.notes.append(.failed(error, attempt: failures))
    }
    if case .server(let server) = error, server.code == .ask || server.code == .moved {
      // MOVED names the new owner before the other nodes know it: asked directly it saves waiting for them.
      redirection = isAsking ? nil : server
    }
    setRedisTrouble(error.description)
    guard leaves else { return discardReplies(.failure) }
    return isConnected ? disconnect(.failure) : backOff()
  }

  private mutating func backOff() -> Action { isStopping ? decide() : pause(milliseconds: backoff.next()) }

  /// A server that says who else takes the writes, or that does not let us in, is left; one that is busy, full or
  /// misconfigured is asked again.
  private static func needsNewConnection(_ error: RedisError) -> Bool {
    if error.endsConnection { return true }
    switch error.code {
    case .readOnly, .moved, .ask, .masterDown, .noPerm, .noAuth, .wrongPass, .clusterDown: return true
    default: return false
    }
  }
}
