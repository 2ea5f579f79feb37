// CommonClock: the clock that announces of different trackers are put in order by: what it is ahead of this process'
// OrderClock. It is Redis' clock with a shift that Redis keeps (Scripts/clock.lua) and that trackers set when Redis' clock
// steps, so that theirs does not. Owned by a PushSession, on the publisher's thread; no I/O.
//
// A reading is wrong by half of the time that the answer took, at most. So orders of one tracker never go back, and those of
// two trackers are comparable to some milliseconds, whatever the clocks of Redis and of the machines are set to.

import Linux

struct CommonClock {
  /// An answer, when it came, and how long it took.
  private struct Reading {
    var answer: Answer
    var at: UInt64
    var tripNanoseconds: UInt64
  }

  /// How often the clock is measured, by several questions if need be, and what a reading may differ by from the last besides the time that the question
  /// took: less is not worth a correction.
  static let pauseNanoseconds: UInt64 = 60_000_000_000
  /// After a call the clock is read again within this time, by one question, so that Redis keeps a reading (`top`) that no
  /// order is ahead of by more: from there the clock goes on when Redis' was set and nobody is left who knew it. Where
  /// answers are slow, after so many times what one takes: calls wait for it.
  static let keepNanoseconds: UInt64 = 500_000_000
  static let keepTrips: UInt64 = 50
  /// The same without a call: who does not know the clock goes by that reading, and a machine that stood still is told from a
  /// clock that was set by it. And how often at most when the time in a reply differs by so much from what it should be.
  static let restNanoseconds: UInt64 = 1_000_000_000
  static let doubtMicroseconds: Int64 = 100_000
  static let toleranceMicroseconds: UInt64 = 10_000
  /// An answer that took longer says too little: the question is repeated, and the quickest answer counts; but not for
  /// longer than this, as nothing is published meanwhile.
  static let tripNanoseconds: UInt64 = 2_000_000
  static let questionLimit = 8
  static let measuringNanoseconds: UInt64 = 200_000_000
  /// Of an answer that took longer the least that it may mean is taken: what is missing comes with a better one.
  static let coarseTripNanoseconds: UInt64 = 100_000_000
  /// A reading that is ahead by less is taken over: clocks drift. By more: Redis' clock was set.
  static let stepMicroseconds: UInt64 = 1_000_000
  /// ... or this machine stood still, and CLOCK_MONOTONIC with it, which looks the same. Then Redis refuses the change, because
  /// another tracker has read the clock meanwhile, or another tracker undoes it, and what is found within this time is taken
  /// over.
  static let setBackPauseNanoseconds: UInt64 = 600_000_000_000
  /// A difference between this machine's clock and Redis' that is worth a line in the log.
  static let warningMicroseconds: UInt64 = 10_000_000

  private let clock: OrderClock
  /// The highest order of an earlier process, and from when on this one orders announces, by the OrderClock.
  private let highest: UInt64
  private let first: UInt64
  /// What it is ahead of the OrderClock.
  private(set) var correctionMicroseconds: Int64 = 0
  /// What Redis' clock is ahead of this machine's.
  private(set) var offsetMicroseconds: Int64 = 0
  /// What it is ahead of this machine's clock.
  private(set) var wallCorrectionMicroseconds: Int64 = 0
  /// From when on Redis has forgotten nothing, by this clock.
  private(set) var sinceMicroseconds: UInt64 = 0
  private var shiftMicroseconds: Int64 = 0
  /// What Redis' clock and the shift said when it was last found right.
  private var lastReading: Int64 = 0
  /// What the answer said then.
  private var lastAnswer: Answer?
  private(set) var isKnown = false
  private(set) var doubt: Doubt
  /// Whether all announces of before the doubt's moment are published.
  private var isDoubtOver = false
  /// What it may be behind because of a coarse reading.
  private var slackMicroseconds: Int64 = 0
  /// Redis' time in a reply was not what it should be; Redis has forgotten something; a question was not answered.
  private var isDoubted = false
  private var isForgetful = false
  private var isUnanswered = false
  /// Whether calls were sent since the last question, by this clock.
  private(set) var isUsed = false
  private var asked: UInt64
  private var lastTripNanoseconds: UInt64 = 0
  /// When it was measured last, and whether the question on its way is no measurement: one answer that agrees is enough.
  private var measured: UInt64
  private var isKeeping = false
  /// The quickest of the answers that were had in a row, how many those are, and when the first was asked for.
  private var best: Reading?
  private var questions = 0
  private var begun: UInt64
  /// What the next question is to change, and whether one did since the clock was last known to be right.
  private var change: Change?
  private var hasChanged = false
  /// When this one set the clock back last, and the same of a change that Redis has not answered.
  private var setBack: UInt64?
  private var proposed: UInt64?
  /// What Redis' clock seems to have been set by, until that is known.
  private var step: Int64?
  private var warnings = RareLog(pauseNanoseconds: pauseNanoseconds)
  private var notes: [PushSession.Note] = []

  /// `doubt` and `past` are what an earlier process left. What is ordered from now on is behind that.
  init(_ clock: OrderClock, now: UInt64, doubt: Doubt = Doubt(), past: Past = Past()) {
    self.clock = clock
    self.doubt = doubt
    highest = past.highest
    first = min(past.firstOwn, clock.microseconds(atMonotonicNanoseconds: now))
    asked = now
    measured = now
    begun = now
  }

  /// What it says at a moment of CLOCK_MONOTONIC.
  func microseconds(atMonotonicNanoseconds moment: UInt64) -> UInt64 {
    clock.microseconds(atMonotonicNanoseconds: moment).corrected(byMicroseconds: correctionMicroseconds)
  }

  /// Redis' clock may be set, and a failover brings another.
  func isDue(now: UInt64) -> Bool {
    if isForgetful || isUnanswered { return true }
    if isUsed, PushSession.isOver(keepPauseNanoseconds, since: asked, now: now) { return true }
    let pause = isDoubted ? Self.restNanoseconds : max(Self.restNanoseconds, keepPauseNanoseconds)
    return PushSession.isOver(pause, since: asked, now: now)
  }

  /// What Redis' clock may say at most when a call of now arrives. Otherwise it was set, or this machine stood still: no call
  /// is to be applied before that is known. Or the call was long on its way.
  func latestRedisMicroseconds(atMonotonicNanoseconds moment: UInt64) -> UInt64 {
    let most = Int64(Self.stepMicroseconds) + slackMicroseconds - shiftMicroseconds
    return microseconds(atMonotonicNanoseconds: moment).corrected(byMicroseconds: most)
  }

  private var keepPauseNanoseconds: UInt64 {
    max(Self.keepNanoseconds, min(Self.pauseNanoseconds, lastTripNanoseconds &* Self.keepTrips))
  }

  /// A call is sent whose orders are by it.
  mutating func noteUse() { isUsed = true }

  /// Nothing is owed to Redis.
  mutating func noteRest() { isDoubtOver = true }

  /// The last question failed: it is to be asked again. What it was to change nobody has undone.
  mutating func noteFailure() {
    isUnanswered = true
    hasChanged = false
  }

  /// Looks at Redis' time in the reply to a call that was sent then.
  mutating func notice(redisMicroseconds: UInt64?, sent: UInt64, now: UInt64) {
    guard isKnown, let redisMicroseconds else { return }
    let reading = Int64(redisMicroseconds) + shiftMicroseconds
    let earliest = Int64(microseconds(atMonotonicNanoseconds: sent)) - Self.doubtMicroseconds
    let latest = Int64(microseconds(atMonotonicNanoseconds: now)) + Self.doubtMicroseconds
    isDoubted = reading < earliest || reading > latest
  }

  /// Redis has lost what was applied: the next question says so.
  mutating func noticeLoss() { isForgetful = true }

  /// What is to be told since the last time.
  mutating func takeNotes() -> [PushSession.Note] {
    defer { notes = [] }
    return notes
  }

  /// There is a connection, and what was asked over the last one is void.
  mutating func begin() {
    best = nil
    questions = 0
    change = nil
    hasChanged = false
  }

  mutating func ask(now: UInt64) -> Question {
    asked = now
    isUsed = false
    if questions == 0 {
      begun = now
      isKeeping =
        isKnown && !isDoubted && !isForgetful && change == nil
        && !PushSession.isOver(Self.pauseNanoseconds, since: measured, now: now)
    }
    defer { change = nil }
    guard isKnown else {
      let reading = clock.microseconds(atMonotonicNanoseconds: now)
      return Question(
        isForgetful: isForgetful, sinceMicroseconds: reading - min(reading, first), highestMicroseconds: highest)
    }
    return Question(
      expectedMicroseconds: microseconds(atMonotonicNanoseconds: now), change: change, isForgetful: isForgetful)
  }

  /// Whether the answer, or the quickest of several, is good enough; else Redis is to be asked again. In a hurry one is.
  mutating func take(_ answer: Answer, now: UInt64, isHurried: Bool = false) -> Bool {
    defer { isForgetful = false }
    isDoubted = false
    isUnanswered = false
    sinceMicroseconds = answer.sinceMicroseconds
    shiftMicroseconds = answer.shiftMicroseconds
    let reading = Reading(answer: answer, at: now, tripNanoseconds: now &- asked)
    lastTripNanoseconds = reading.tripNanoseconds
    let quickest = best.flatMap { $0.tripNanoseconds <= reading.tripNanoseconds ? $0 : nil } ?? reading
    best = quickest
    questions += 1
    let isOver = isHurried || PushSession.isOver(Self.measuringNanoseconds, since: begun, now: now)
    let isGood = quickest.tripNanoseconds <= Self.tripNanoseconds || isKeeping && agrees(quickest)
    guard isGood || isOver || questions >= Self.questionLimit else { return false }
    best = nil
    questions = 0
    if !isKeeping { measured = now }
    change = settle(quickest, now: now)
    hasChanged = change != nil
    return change == nil
  }

  /// What a reading says that the clock is ahead of the OrderClock, in the middle of what it may mean.
  private func found(_ reading: Reading) -> Int64 {
    let read = clock.microseconds(atMonotonicNanoseconds: reading.at &- reading.tripNanoseconds / 2)
    return Int64(bitPattern: reading.answer.redisMicroseconds &- read) + reading.answer.shiftMicroseconds
  }

  private func agrees(_ reading: Reading) -> Bool {
    (found(reading) - correctionMicroseconds).magnitude <= Self.toleranceMicroseconds + reading.tripNanoseconds / 2000
  }

  /// Takes a reading over, or returns the change of the shift after which it would say what it should.
  private mutating func settle(_ reading: Reading, now: UInt64) -> Change? {
    let redis = reading.answer.redisMicroseconds
    let shift = reading.answer.shiftMicroseconds
    let halfTrip = reading.tripNanoseconds / 2000
    let found = found(reading)
    note(offset: Int64(bitPattern: redis &- reading.answer.wallMicroseconds) + Int64(halfTrip), now: now)
    wallCorrectionMicroseconds = offsetMicroseconds + shift
    let ahead = found - correctionMicroseconds
    // One whose answer was lost may have been lost itself: then nobody undid it.
    if hasChanged { setBack = proposed }
    if isKnown, agrees(reading) {
      lastReading = Int64(redis) + shift
      lastAnswer = reading.answer
      if let step { notes.append(.clockSet(milliseconds: step / 1000)) }
      step = nil
      refine(found, reading)
      return nil
    }
    let isLarge = isKnown && ahead.magnitude >= Self.stepMicroseconds
    if isKnown, !hasChanged, isStep(ahead, reading, now: now) {
      proposed = ahead > 0 ? now : setBack
      step = isLarge ? ahead : nil
      // A tracker whose machine stood still has set it, or a process that knew no better has taken it up, and its announces
      // meanwhile have orders that are too low.
      if ahead < 0, isOfAnother(reading) || isTakenUp(reading) { begin(doubt: ahead, now: now) }
      return Change(from: shift, to: shift - ahead)
    }
    // Never back.
    let error = Self.error(of: reading)
    if !isKnown { lastReading = Int64(redis) + shift }
    if !isKnown {
      // Behind what an earlier process left, whatever the reading is wrong by.
      let least = highest == 0 ? Int64.min : Int64(highest + PushScript.orderTickMicroseconds) - Int64(first)
      correctionMicroseconds = max(found - error, least)
    } else if ahead > error {
      correctionMicroseconds = found - error
    }
    if isLarge, ahead > 0 {
      // What came since the last reading came before that or behind it.
      begin(doubt: ahead, now: now)
      notes.append(.stoodStill(milliseconds: ahead / 1000))
    }
    lastAnswer = reading.answer
    step = nil
    slackMicroseconds = 2 * error
    isKnown = true
    return nil
  }

  private mutating func begin(doubt by: Int64, now: UInt64) {
    doubt = Doubt(
      until: microseconds(atMonotonicNanoseconds: now), by: by.magnitude + (isDoubtOver ? 0 : doubt.by))
    isDoubtOver = false
  }

  /// What a coarse reading may be wrong by, either way.
  private static func error(of reading: Reading) -> Int64 {
    reading.tripNanoseconds > coarseTripNanoseconds ? Int64(reading.tripNanoseconds / 2000) : 0
  }

  /// After a coarse reading one that is less so.
  private mutating func refine(_ found: Int64, _ reading: Reading) {
    let error = Self.error(of: reading)
    guard 2 * error < slackMicroseconds else { return }
    slackMicroseconds = 2 * error
    correctionMicroseconds = max(correctionMicroseconds, found - error)
  }

  /// Whether the clock is not where it should be because Redis' was set.
  private func isStep(_ ahead: Int64, _ reading: Reading, now: UInt64) -> Bool {
    if ahead < 0 { return true }
    guard ahead >= Int64(Self.stepMicroseconds) + slackMicroseconds else { return false }
    guard let setBack, isOfAnother(reading) else { return true }
    return PushSession.isOver(Self.setBackPauseNanoseconds, since: setBack, now: now)
  }

  /// Whether another tracker has set the shift since the clock was last right. Where clock.lua went on from `top`, or Redis
  /// has forgotten the shift, no machine stood still.
  private func isOfAnother(_ reading: Reading) -> Bool { reading.answer.changedMicroseconds > lastReading }

  /// Whether a process that did not know the clock has taken it up since it was last right. An older one's reading comes back
  /// with an older state of Redis, which has forgotten nothing of its own.
  private func isTakenUp(_ reading: Reading) -> Bool {
    guard let lastAnswer, reading.answer.takenMicroseconds != lastAnswer.takenMicroseconds else { return false }
    return reading.answer.takenMicroseconds > lastAnswer.takenMicroseconds
      || reading.answer.sinceMicroseconds != lastAnswer.sinceMicroseconds
  }

  private mutating func note(offset: Int64, now: UInt64) {
    offsetMicroseconds = offset
    if offset.magnitude > Self.warningMicroseconds, warnings.next(now: now) != nil {
      notes.append(.clocksDiffer(seconds: offset / 1_000_000))
    }
  }
}
