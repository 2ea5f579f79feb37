// PushSessionRecovery: the part of PushSession that gets a connection ready and decides what a failure means. The window
// stays through all of it: it is sent again, as it is, and the script recognises what it has applied.

import Redis

extension PushSession {
  /// Events of everything but the ordinary way.
  mutating func continueRecovery(after event: Event) -> Action {
    switch (phase, event) {
    case (.connecting, .done): return prepare()
    case (.loading, .scriptLoaded(let hash)): return beginCalls(scriptHash: hash)
    case (.timing, .done): return awaitTime()
    case (.timing, .timePassed): return keepAwaitingTime()
    case (.timing, .time(let answer)): return take(answer)
    case (.verifying(let run), .reply(let reply, _)): return take(place: reply, of: run)
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
    clock.begin()
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
    return isAsking && clock.isKnown ? verifyPlace() : askTime()
  }

  /// Compares the place of the run with what this Redis knows of it: another process may answer than before.
  private mutating func verifyPlace() -> Action {
    if !isAsking, let question = askWhatIsHeld() { return question }
    return beginPublishing()
  }

  // MARK: the clock

  /// Once a minute, and soon after calls, when none is on its way.
  var isClockDue: Bool { !isAsking && clock.isDue(now: now) }

  mutating func askTime() -> Action {
    replyDeadline = now &+ Self.nanoseconds(settings.timeouts.readMilliseconds)
    phase = .timing
    return .askTime(clock.ask(now: now))
  }

  /// Before a clean end: the time, so that Redis keeps a reading behind the last order; and once whether it is there still, and
  /// has what is held: a connection that looks alive may be of a Redis that has ended, and after this nobody would notice.
  mutating func askLast() -> Action? {
    guard rest == 0, isConnected, !isAsking, failures == 0, !isLeftUnanswered else { return nil }
    if clock.isUsed { return askTime() }
    guard !hasAskedLast, !retained.isEmpty, isSure else { return nil }
    hasAskedLast = true
    return askWhatIsHeld()
  }

  mutating func awaitTime() -> Action {
    phase = .timing
    let end = isStopping ? min(replyDeadline, flushDeadline ?? replyDeadline) : replyDeadline
    return .awaitTime(milliseconds: Self.slice(until: end, now: now) ?? 0)
  }

  /// An answer that is slow does not keep announces from the spool, nor the process from its end.
  private mutating func keepAwaitingTime() -> Action {
    if now >= replyDeadline { return fail(.timedOut(.read)) }
    if mayEnd(), let flushDeadline, now >= flushDeadline {
      isLeftUnanswered = true
      return giveUpRest()
    }
    return isSpoolDue ? writeSpool(.awaitTime) : awaitTime()
  }

  private mutating func take(_ answer: CommonClock.Answer) -> Action {
    let isEnough = clock.take(answer, now: now, isHurried: isStopping)
    tally.notes += clock.takeNotes()
    guard isEnough else {
      return mayEnd() && now >= flushDeadline ?? now ? giveUpRest() : isSpoolDue ? writeSpool(.askTime) : askTime()
    }
    call?.correctionMicroseconds = clock.correctionMicroseconds
    call?.wallCorrectionMicroseconds = clock.wallCorrectionMicroseconds
    call?.sinceMicroseconds = clock.sinceMicroseconds
    call?.doubt = clock.doubt
    noteWell()
    return isPreparing ? verifyPlace() : decide()
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
    survey = nil
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
    case .survey: return askOfNextRun() ?? decide()
    case .full: return holdBack()
    case .readClock:
      isDelayed = true
      return askTime()
    case .giveBack: return resumeGivingBack() ?? decide()
    case .abandonRun:
      beginRun(at: window.first { $0.run == ownRun }?.first ?? queue.next)
      return isPreparing ? beginPublishing() : decide()
    case .failure: return backOff()
    case .reload(let error):
      if let restoration = suspended, !restoration.isGivenBack {
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
    holdGap()
    if case .timing = phase { clock.noteFailure() }
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
