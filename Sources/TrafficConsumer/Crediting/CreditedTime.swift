// CreditedTime: the time in which a generation was credited, and what an entry says of the time in which its bytes were
// moved. Redis may forget a generation (an older file, a flush, a snapshot that expired), and what its client moved in it is
// then reported under another one too. Generations are told apart by the order of their announces: no two of a session are of
// the same time, and where two say so, only one is credited. Values; the writer thread.

import Wire

/// Orders of announces (TrafficEvent.order).
struct CreditedTime: Equatable, Sendable {
  /// Bytes were credited that were moved between these two; none were while they are equal.
  var first: UInt64
  var last: UInt64
  /// The order of the announce that had the highest counters: what is credited next was moved after it.
  var reached: UInt64

  /// Before anything was credited.
  init(baseline order: UInt64) {
    (first, last, reached) = (order, order, order)
  }

  init(first: UInt64, last: UInt64, reached: UInt64) {
    (self.first, self.last, self.reached) = (first, last, reached)
  }

  /// Its beginning has come, after what followed it: no byte was moved before that.
  mutating func begin(at order: UInt64) { if first < last { first = min(max(first, order), last) } }

  /// After an entry of whose bytes a claim was made, and which was credited or not.
  mutating func take(_ claim: TimeClaim, order: UInt64, isCredited: Bool) {
    if isCredited {
      first = first == last ? claim.after : min(first, claim.after)
      last = max(last, order)
    }
    reached = max(reached, order)
  }
}

/// When the bytes were moved that an entry would be credited: between two orders, which are not part of it.
struct TimeClaim: Equatable, Sendable {
  var after: UInt64
  var before: UInt64

  /// Ticks of `order` in a second, 16 us each.
  static let ticksPerSecond: UInt64 = 62_500

  /// Nil when the entry would be credited nothing, or does not say when it was. `credited`: of its generation so far.
  init?(_ event: TrafficEvent, credited: CreditedCounters?) {
    guard let order = event.order, let counters = event.counters else { return nil }
    let (up, down) = (credited?.uploaded ?? 0, credited?.downloaded ?? 0)
    guard counters.creditedUpload > up || counters.creditedDownload > down else { return nil }
    if let time = credited?.time {
      // Counters grow with time. Where an earlier announce has the higher ones (a beginning that is lowered, clocks that were
      // wrong), it is not known when: at some time of the generation's.
      let isNext = order > time.reached
      after = isNext ? time.reached : min(time.first, order)
      before = isNext ? order : time.reached
      return
    }
    before = order
    // A first announce that is credited (`credit_first_announce`) brings what was moved at any time before, as does one before
    // which entries are missing.
    guard credited != nil || event.elapsedSeconds > 0, event.isNext(after: credited) else {
      after = 0
      return
    }
    // The announce before it is known and does not say when it was (a tracker of an earlier version): nobody's are the two
    // seconds in which that was, and another generation ended.
    after = credited != nil ? event.latestPredecessor(order) : event.earliestPredecessor(order)
  }

  init(after: UInt64, before: UInt64) { (self.after, self.before) = (after, before) }

  /// Whether a generation was credited in it.
  func meets(_ time: CreditedTime) -> Bool {
    time.first < time.last && time.first < before && after < time.last
  }
}

extension TrafficEvent {
  /// Whether its bytes are all that its generation was credited since `credited`.
  fileprivate func isNext(after credited: CreditedCounters?) -> Bool {
    guard let counters else { return true }
    return counters.creditedUpload <= (credited?.uploaded ?? 0) + uploadedDelta
      && counters.creditedDownload <= (credited?.downloaded ?? 0) + downloadedDelta
  }

  /// Its bytes were moved after this. `dt` is a difference of whole seconds.
  fileprivate func earliestPredecessor(_ order: UInt64) -> UInt64 {
    let reach = (UInt64(elapsedSeconds) + 1) * TimeClaim.ticksPerSecond
    return order - min(reach, order)
  }

  /// The announce before it was made before this.
  fileprivate func latestPredecessor(_ order: UInt64) -> UInt64 {
    order - min(UInt64(max(elapsedSeconds, 1) - 1) * TimeClaim.ticksPerSecond, order)
  }

  /// The counters of its generation before it, where entries are missing and it is not known when their bytes were moved: Redis
  /// may have lost them, and have credited the same under another generation meanwhile. Nil for any other.
  func unseenBefore(_ credited: CreditedCounters?) -> CreditedCounters? {
    guard credited?.time == nil, let order, let counters, !isIdle, !isNext(after: credited) else { return nil }
    func before(_ now: UInt64, _ own: UInt64, _ credited: UInt64) -> UInt64 { max(now - min(own, now), credited) }
    return CreditedCounters(
      uploaded: before(counters.creditedUpload, uploadedDelta, credited?.uploaded ?? 0),
      downloaded: before(counters.creditedDownload, downloadedDelta, credited?.downloaded ?? 0),
      time: CreditedTime(baseline: earliestPredecessor(order)))
  }

  /// Its generation had been credited nothing when it came, and is known by later entries: when it began. Nil for any other.
  func lateBeginning(_ credited: CreditedCounters?) -> UInt64? {
    guard let credited, credited.uploaded > 0 || credited.downloaded > 0, let counters else { return nil }
    return counters.creditedUpload == 0 && counters.creditedDownload == 0 ? order : nil
  }
}

/// What was not credited of a generation, as its time had been under another one.
struct Withheld: Equatable, Sendable {
  var claim: TimeClaim
  var uploaded: Int64
  var downloaded: Int64

  mutating func add(_ other: Self) {
    claim = TimeClaim(after: min(claim.after, other.claim.after), before: max(claim.before, other.claim.before))
    uploaded += other.uploaded
    downloaded += other.downloaded
  }
}
