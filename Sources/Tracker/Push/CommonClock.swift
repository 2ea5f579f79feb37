// CommonClock: the clock that announces of different trackers are put in order by: what it is ahead of this process'
// OrderClock. It is Redis' clock with a shift that Redis keeps (Scripts/clock.lua) and that trackers set when Redis' clock
// steps, so that theirs does not. Owned by a PushSession, on the publisher's thread; no I/O.
//
// A reading is wrong by half of the time that the answer took, at most. So orders of one tracker never go back, and those of
// two trackers are comparable to some milliseconds, whatever the clocks of Redis and of the machines are set to.

import Linux

struct CommonClock {
  /// What clock.lua is asked: where the clock should be, when that is known, and the change of the shift that makes it so.
  struct Question: Equatable {
    var expectedMicroseconds: UInt64?
    var change: Change?
    /// Redis has forgotten something.
    var isForgetful = false
  }

  /// Set the shift, if it is still as it was found.
  struct Change: Equatable {
    var from: Int64
    var to: Int64
  }

  /// What Redis said, nil where it may not be asked for the time, and this machine's clock; Unix microseconds.
  struct Answer: Equatable {
    var redisMicroseconds: UInt64?
    var shiftMicroseconds: Int64 = 0
    /// From when on Redis has forgotten nothing.
    var sinceMicroseconds: UInt64 = 0
    var wallMicroseconds: UInt64
  }

  /// An answer, when it came, and how long it took.
  private struct Reading {
    var answer: Answer
    var at: UInt64
    var tripNanoseconds: UInt64
  }

  /// How often Redis is asked, and what a reading may differ by from the last besides the time that the question took: less
  /// is not worth a correction.
  static let pauseNanoseconds: UInt64 = 60_000_000_000
  /// How often at most when the time in a reply differs by so much from what it should be.
  static let doubtNanoseconds: UInt64 = 1_000_000_000
  static let doubtMicroseconds: Int64 = 100_000
  static let toleranceMicroseconds: UInt64 = 10_000
  /// An answer that took longer says too little: the question is repeated, and the quickest answer counts.
  static let tripNanoseconds: UInt64 = 2_000_000
  static let questionLimit = 8
  /// A reading that is ahead by less is taken over: clocks drift. By more: Redis' clock was set.
  static let stepMicroseconds: UInt64 = 1_000_000
  /// ... or this machine stood still, which looks the same. Then another tracker undoes the change, and what is found within
  /// this time is taken over.
  static let setBackPauseNanoseconds: UInt64 = 600_000_000_000
  /// A difference between this machine's clock and Redis' that is worth a line in the log.
  static let warningMicroseconds: UInt64 = 10_000_000
  /// Without Redis' time the machine's clock has to do. When that is set back by less, the orders wait for it; by more they
  /// follow, and push.lua takes the snapshots for what they are, those of a wrong clock.
  static let wallStepMicroseconds: Int64 = 600_000_000

  private let clock: OrderClock
  /// What it is ahead of the OrderClock.
  private(set) var correctionMicroseconds: Int64 = 0
  /// What Redis' clock is ahead of this machine's, when that could be asked.
  private(set) var offsetMicroseconds: Int64 = 0
  /// What it is ahead of this machine's clock.
  private(set) var wallCorrectionMicroseconds: Int64 = 0
  /// From when on Redis has forgotten nothing, by this clock.
  private(set) var sinceMicroseconds: UInt64 = 0
  private var shiftMicroseconds: Int64 = 0
  private(set) var isKnown = false
  /// Redis' time in a reply was not what it should be; Redis has forgotten something.
  private var isDoubted = false
  private var isForgetful = false
  private var asked: UInt64
  /// The quickest of the answers that were had in a row, and how many those are.
  private var best: Reading?
  private var questions = 0
  /// What the next question is to change, and whether one did since the clock was last known to be right.
  private var change: Change?
  private var hasChanged = false
  /// When this one set the clock back last, and the shift that it set last.
  private var setBack: (at: UInt64, shift: Int64)?
  private var warnings = RareLog(pauseNanoseconds: pauseNanoseconds)
  private var notes: [PushSession.Note] = []

  init(_ clock: OrderClock, now: UInt64) {
    self.clock = clock
    asked = now
  }

  /// What it says at a moment of CLOCK_MONOTONIC.
  func microseconds(atMonotonicNanoseconds moment: UInt64) -> UInt64 {
    clock.microseconds(atMonotonicNanoseconds: moment).corrected(byMicroseconds: correctionMicroseconds)
  }

  /// Redis' clock may be set, and a failover brings another.
  func isDue(now: UInt64) -> Bool {
    isForgetful
      || PushSession.isOver(isDoubted ? Self.doubtNanoseconds : Self.pauseNanoseconds, since: asked, now: now)
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
    defer { change = nil }
    return Question(
      expectedMicroseconds: isKnown ? microseconds(atMonotonicNanoseconds: now) : nil, change: change,
      isForgetful: isForgetful)
  }

  /// Whether the answer, or the quickest of several, is good enough; else Redis is to be asked again.
  mutating func take(_ answer: Answer, now: UInt64) -> Bool {
    defer { isForgetful = false }
    isDoubted = false
    guard answer.redisMicroseconds != nil else {
      begin()
      follow(wall: answer.wallMicroseconds, now: now)
      return true
    }
    sinceMicroseconds = answer.sinceMicroseconds
    shiftMicroseconds = answer.shiftMicroseconds
    let reading = Reading(answer: answer, at: now, tripNanoseconds: now &- asked)
    if best.map({ reading.tripNanoseconds < $0.tripNanoseconds }) ?? true { best = reading }
    questions += 1
    let quickest = best!
    guard quickest.tripNanoseconds <= Self.tripNanoseconds || questions >= Self.questionLimit else { return false }
    best = nil
    questions = 0
    change = settle(quickest, now: now)
    hasChanged = change != nil
    return change == nil
  }

  /// Takes a reading over, or returns the change of the shift after which it would say what it should.
  private mutating func settle(_ reading: Reading, now: UInt64) -> Change? {
    let redis = reading.answer.redisMicroseconds!
    let shift = reading.answer.shiftMicroseconds
    let halfTrip = reading.tripNanoseconds / 2000
    let read = clock.microseconds(atMonotonicNanoseconds: reading.at &- reading.tripNanoseconds / 2)
    let found = Int64(bitPattern: redis &- read) + shift
    note(offset: Int64(bitPattern: redis &- reading.answer.wallMicroseconds) + Int64(halfTrip), now: now)
    wallCorrectionMicroseconds = offsetMicroseconds + shift
    let ahead = found - correctionMicroseconds
    if isKnown, ahead.magnitude <= Self.toleranceMicroseconds + halfTrip { return nil }
    if isKnown, !hasChanged, isStep(ahead, shift: shift, now: now) {
      setBack = (ahead > 0 ? now : setBack?.at ?? 0, shift - ahead)
      if ahead.magnitude >= Self.stepMicroseconds {
        notes.append(.clockSet(milliseconds: ahead / 1000))
      }
      return Change(from: shift, to: shift - ahead)
    }
    // Never back.
    if !isKnown || ahead > 0 { correctionMicroseconds = found }
    isKnown = true
    return nil
  }

  /// Whether the clock is not where it should be because Redis' was set.
  private func isStep(_ ahead: Int64, shift: Int64, now: UInt64) -> Bool {
    if ahead < 0 { return true }
    guard ahead.magnitude >= Self.stepMicroseconds else { return false }
    guard let setBack, setBack.shift != shift else { return true }
    return PushSession.isOver(Self.setBackPauseNanoseconds, since: setBack.at, now: now)
  }

  private mutating func note(offset: Int64, now: UInt64) {
    offsetMicroseconds = offset
    if offset.magnitude > Self.warningMicroseconds, warnings.next(now: now) != nil {
      notes.append(.clocksDiffer(seconds: offset / 1_000_000))
    }
  }

  private mutating func follow(wall: UInt64, now: UInt64) {
    let found = Int64(bitPattern: wall &- clock.microseconds(atMonotonicNanoseconds: now))
    let ahead = found - correctionMicroseconds
    if !isKnown || ahead > Int64(Self.toleranceMicroseconds) || ahead < -Self.wallStepMicroseconds {
      correctionMicroseconds = found
    }
    isKnown = true
    wallCorrectionMicroseconds = correctionMicroseconds - found
    if isForgetful { sinceMicroseconds = microseconds(atMonotonicNanoseconds: now) }
  }
}
