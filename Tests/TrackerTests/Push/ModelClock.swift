// ModelClock: what clock.lua keeps of the clock that the trackers have in common, and what it does with a question, for a
// PushSessionSite and for the tests of CommonClock.

@testable import Tracker

/// Microseconds, as in clock.lua.
struct ModelClock {
  private static let agreement: UInt64 = 1_000_000
  private static let aheadOfTop: Int64 = 750_000

  var shift: Int64 = 0
  var top: Int64 = 0
  private(set) var changed: Int64 = 0
  private(set) var taken: Int64 = 0
  private(set) var since: Int64?

  /// The answer at Redis' time `now`.
  mutating func answer(_ question: CommonClock.Question, now: UInt64) -> CommonClock.Answer {
    let time = Int64(now)
    if let change = question.change, change.from == shift, time + change.to >= top {
      shift = change.to
      changed = time + shift
    }
    let expected = question.expectedMicroseconds.map { Int64($0) }
    var least = top
    if expected == nil {
      least = time + shift < top ? top + Self.aheadOfTop : 0
      let (lasting, highest) = (Int64(question.sinceMicroseconds), Int64(question.highestMicroseconds))
      if time + shift - lasting <= highest { least = max(least, highest + Self.aheadOfTop + lasting) }
    }
    shift = max(shift, least - time)
    if expected.map({ (time + shift - $0).magnitude <= Self.agreement }) ?? true { top = max(top, time + shift) }
    if expected == nil { taken = time + shift }
    let known = question.isForgetful ? time + shift : since ?? time + shift
    since = known
    return CommonClock.Answer(
      redisMicroseconds: now, shiftMicroseconds: shift, sinceMicroseconds: UInt64(max(0, known)),
      changedMicroseconds: changed, takenMicroseconds: taken, wallMicroseconds: now)
  }
}
