// PushSessionWaits: the part of PushSession that waits: pauses, the spool that is kept meanwhile, and the end.

extension PushSession {
  // MARK: waiting

  /// Waits, unless it is time to stop, and spools meanwhile.
  mutating func pause(milliseconds: Int) -> Action {
    pauseEnd = now &+ Self.nanoseconds(milliseconds)
    return keepPausing()
  }

  mutating func keepPausing() -> Action {
    guard !isStopping, let left = Self.slice(until: pauseEnd, now: now) else { return decide() }
    phase = .pausing
    return isSpoolDue ? writeSpool(.pause) : .pause(milliseconds: left)
  }

  static func nanoseconds(_ milliseconds: Int) -> UInt64 { UInt64(max(0, milliseconds)) &* 1_000_000 }

  /// The milliseconds until `end`, rounded up, but no more than the spool allows; nil when it is over.
  static func slice(until end: UInt64, now: UInt64) -> Int? {
    guard now < end else { return nil }
    return min(Int((end - now - 1) / 1_000_000) + 1, PublisherSettings.spoolSliceMilliseconds)
  }

  static func isOver(_ nanoseconds: UInt64, since then: UInt64, now: UInt64) -> Bool {
    now >= then && now - then >= nanoseconds
  }

  // MARK: spool

  /// While Redis is away and owed something, and as long as there is a file, it is brought up to date every second.
  var isSpoolDue: Bool {
    guard let spool else { return false }
    if !spool.isActive {
      guard Self.isOver(PublisherSettings.spoolAfterNanoseconds, since: lastProgress, now: now), rest > 0 else {
        return false
      }
    }
    return lastSpoolWrite.map { Self.isOver(PublisherSettings.spoolPauseNanoseconds, since: $0, now: now) } ?? true
  }

  mutating func writeSpool(_ afterwards: AfterSpool) -> Action {
    lastSpoolWrite = now
    phase = .spooling(afterwards)
    return .writeSpool
  }

  /// `next` is the oldest record that is not applied. A file that is applied goes, and one that could not be written is
  /// not missed once Redis takes the announces.
  mutating func spoolAfterSuccess(next: UInt64) -> Action {
    guard let spool, spool.isActive || spool.trouble != nil else { return decide() }
    let isOwn = restored.isEmpty && window.first.map { $0.run == ownRun } ?? true
    if !spool.isActive || isOwn && next >= spool.through {
      phase = .spooling(.decide)
      return .removeSpool
    }
    return isSpoolDue ? writeSpool(.decide) : decide()
  }

  mutating func goOn(_ afterwards: AfterSpool, spool state: SpoolState) -> Action {
    note(state)
    return switch afterwards {
    case .decide: decide()
    case .awaitReply: awaitReply()
    case .askTime: askTime()
    case .awaitTime: awaitTime()
    case .pause: keepPausing()
    case .giveBack: resumeGivingBack() ?? decide()
    }
  }

  mutating func note(_ state: SpoolState) {
    spool = state
    setTrouble()
  }

  mutating func setRedisTrouble(_ text: String?) {
    guard text != redisTrouble else { return }
    redisTrouble = text
    setTrouble()
  }

  /// Redis answers and is owed nothing: what it refused, or did not answer, is over. There may be no announce for hours that
  /// would show it.
  mutating func noteWell() {
    guard !isPreparing, window.isEmpty, suspended == nil else { return }
    failures = 0
    backoff.reset()
    fullBackoff.reset()
    setRedisTrouble(nil)
  }

  private mutating func setTrouble() {
    let texts = [redisTrouble, spool?.trouble].compactMap { $0 }
    let all = texts.isEmpty ? nil : texts.joined(separator: "; ")
    guard all != trouble else { return }
    trouble = all
    tally.isTroubleNew = true
  }

  // MARK: the end

  mutating func mayEnd() -> Bool {
    guard isStopping else { return false }
    let deadline = flushDeadline ?? now &+ Self.nanoseconds(PublisherSettings.flushMilliseconds)
    flushDeadline = deadline
    if rest == 0, isSure { return true }
    // A Redis that is away, or takes nothing, is not waited for.
    return failures > 0 || now >= deadline
  }

  /// Announces that are not known to be applied.
  var rest: Int { window.reduce(queue.depth + restored.count) { $0 + $1.count } }

  /// Whether Redis, asked over this connection, still has what it had applied, or has it again. One that refuses is not asked at
  /// the end, and what it cannot save it may lose.
  var isSure: Bool {
    retained.isEmpty
      || isConnected && failures == 0 && !isPreparing && suspended == nil && survey == nil && !isLeftUnanswered
  }

  /// Applied calls that Redis may have forgotten, and nobody else would give back once the process has ended. The next one
  /// holds them as this one does.
  var doubtful: [PushBatch] {
    if case .spoolingRest = phase, !isSure { retained.calls } else { [] }
  }

  /// What the shutdown could not publish, or give back, goes to the spool; where Redis has all, an earlier one's is gone.
  mutating func giveUpRest() -> Action {
    queue.close()
    if window.contains(where: \.isSent) { isLeftUnanswered = true }
    let isOver = rest == 0 && isSure
    guard let spool, !isOver || spool.hasFile else { return endRest(nil) }
    phase = .spoolingRest
    return isOver ? .removeSpool : .writeSpool
  }

  /// `spool` is what was written; nil: there is none.
  mutating func endRest(_ spool: SpoolState?) -> Action {
    phase = .finished
    let isSpooled = spool.map { $0.trouble == nil } ?? false
    let held = isSure ? 0 : retained.calls.reduce(0) { $0 + $1.count }
    var lost = isSpooled ? 0 : rest
    if spool?.keepsApplied == true {
      if held > 0 { tally.notes.append(.spooledDoubtful(announces: held)) }
    } else {
      // Of the others it is not known that they are lost.
      let forgotten = suspended?.recordsLeft ?? 0
      if held > forgotten { tally.notes.append(.gaveUpDoubtful(announces: held - forgotten)) }
      lost += forgotten
    }
    if isSpooled, rest > 0 { tally.notes.append(.spooledRest(announces: rest)) }
    if lost > 0 {
      tally.refusedShutdown += UInt64(lost)
      tally.notes.append(.gaveUpRest(announces: lost))
    }
    return .finish
  }
}
