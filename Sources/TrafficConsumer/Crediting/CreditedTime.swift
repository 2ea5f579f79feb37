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
    // A first announce that is credited (`credit_first_announce`) brings what was moved at any time before.
    let isFirst =
      credited == nil && event.elapsedSeconds == 0 && counters.creditedUpload == event.uploadedDelta
      && counters.creditedDownload == event.downloadedDelta
    // `dt` is a difference of whole seconds. Entries that are missing before this one bring their bytes with it, and were not
    // at a time for which another generation is credited: Redis knew this one when it was before it.
    let reach = (UInt64(event.elapsedSeconds) + 1) * Self.ticksPerSecond
    after = isFirst ? 0 : order - min(reach, order)
  }

  init(after: UInt64, before: UInt64) { (self.after, self.before) = (after, before) }

  /// Whether a generation was credited in it.
  func meets(_ time: CreditedTime) -> Bool {
    time.first < time.last && time.first < before && after < time.last
  }
}

extension TrafficEvent {
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
}
