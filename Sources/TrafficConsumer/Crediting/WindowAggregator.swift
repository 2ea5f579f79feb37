// WindowAggregator: what one entry is worth: the crediting rules of the accounting document as a pure function from what
// is remembered and an entry to what is added. Called by the writer thread for every entry.

import Wire

/// The rule that decided what an entry is credited; shown by `query user --explain`.
enum CreditRule: UInt8, Sendable, CaseIterable {
  /// Credited as it says.
  case delta = 1
  /// More than it says: an earlier entry of the generation was lost, and its bytes come with this one (L2).
  case healed = 2
  /// Less than it says: a part was credited with another entry already (L2).
  case partlyCredited = 3
  /// Nothing: a duplicate (L2 or L3).
  case duplicate = 4
  /// The first entry of a generation, with nothing to credit.
  case baseline = 5
  /// No bytes: of the time in which they were moved another generation was credited.
  case withheld = 6

  var text: String {
    switch self {
    case .delta: "delta"
    case .healed: "healed"
    case .partlyCredited: "partly credited before"
    case .duplicate: "duplicate"
    case .baseline: "baseline"
    case .withheld: "withheld"
    }
  }
}

/// What one entry adds.
struct Credit: Equatable, Sendable {
  var rule: CreditRule
  var sums: TrafficSums
  /// The counters credited for the entry's generation after it; nil for producers without.
  var counters: CreditedCounters?
  /// What is not credited, with the rule of that name.
  var withheld: Withheld?
}

/// What has to be known before an entry can be credited.
struct CreditContext {
  var ledger: SessionLedger
  /// The counters credited for the entry's generation so far; nil when this is its first entry.
  var counters: CreditedCounters?
  /// When the bytes were moved that the entry would be credited, and whether another generation was credited then.
  var claim: TimeClaim?
  var isClaimedTwice = false
  /// What is missing before it and is withheld, whatever becomes of the entry's own; `counters` are those behind it.
  var unseen: Withheld?
  /// When the entry's generation began, if that was not known (`TrafficEvent.lateBeginning`).
  var beginning: UInt64?
  /// An entry equal in all fields arrived within an hour of it, and is no longer in the ledger.
  var isRepeated = false
  /// Announces of its time were applied before Redis lost something: it may be one of those, given back under another id.
  var mayHaveReturned = false
  /// Whether the user has not completed this torrent before.
  var isFirstSnatch: Bool
  /// Bytes of the user and of the torrent so far.
  var userSums: TrafficSums
  var torrentSums: TrafficSums

  /// One that says nothing may be of another time than its counters (a late one): it leaves these to the entry that is
  /// missing, or to the next.
  func isPassedOver(_ event: TrafficEvent) -> Bool {
    event.hasNoBytes && (isClaimedTwice || event.isIdle && claim != nil)
  }
}

struct WindowAggregator: Sendable {
  /// How much later than promised an announce may come and still be credited in full: clients that were refused or
  /// timed out come back within five minutes, and libtorrent spreads its announces.
  static let toleranceSeconds: Int64 = 300
  /// Two equal announces of one second that are two arrive together.
  static let twinMilliseconds: UInt64 = 1000
  /// A tracker that has not written to Redis for a day is forgotten there and gives back all it holds (STATE_SECONDS in
  /// common.lua), which is at least as old as that: ten minutes less, as clocks may differ.
  static let returnSeconds: Int64 = 86_400 - 600

  /// A divisor of a day, so that days are whole numbers of windows.
  let windowSeconds: Int64
  static let daySeconds: Int64 = 86_400

  func windowStart(of timestamp: Int64) -> Int64 { timestamp - timestamp % windowSeconds }
  static func dayStart(of timestamp: Int64) -> Int64 { timestamp - timestamp % daySeconds }

  /// Credits an entry: changes `context.ledger` and says what to add, or throws when sums would overflow.
  func credit(
    _ event: TrafficEvent, arrivedMilliseconds: UInt64, fingerprint: UInt64, context: inout CreditContext
  ) throws(EntryFault) -> Credit {
    var ledger = context.ledger
    var credit: Credit
    let entry = EntryFingerprint(arrivedMilliseconds: arrivedMilliseconds, hash: fingerprint)
    if let counters = event.counters {
      credit = byCounters(event, counters, entry, ledger: &ledger, context)
    } else {
      credit = byFingerprint(event, entry, ledger: &ledger, context)
    }
    if credit.rule != .duplicate {
      try refuseOverflow(credit.sums, context)
      credit.sums.events = Int64(event.announces)
      credit.sums.elapsedSeconds = Int64(event.elapsedSeconds)
      credit.sums.firstSeen = event.timestamp
      credit.sums.lastSeen = event.timestamp
      if ledger.isLatest(event) { ledger.isStopped = event.event == .stopped }
    }
    context.ledger = ledger
    return credit
  }

  /// L2: the highest counters applied say what is new. An entry that says something and adds nothing is a duplicate.
  private func byCounters(
    _ event: TrafficEvent, _ counters: TrafficEvent.Counters, _ entry: EntryFingerprint, ledger: inout SessionLedger,
    _ context: CreditContext
  ) -> Credit {
    let seen = context.counters
    let before = seen ?? CreditedCounters(uploaded: 0, downloaded: 0)
    let isPassedOver = context.isPassedOver(event)
    let after =
      isPassedOver
      ? before
      : CreditedCounters(
        uploaded: max(before.uploaded, counters.creditedUpload),
        downloaded: max(before.downloaded, counters.creditedDownload), time: time(after: event, context))
    // At most 2^53 each: the decoder's limit for `cu` and `cd`.
    let bytes = (Int64(after.uploaded - before.uploaded), Int64(after.downloaded - before.downloaded))
    var sums = TrafficSums()
    if !context.isClaimedTwice { (sums.uploaded, sums.downloaded) = bytes }
    sums.completed = event.completes && context.isFirstSnatch ? 1 : 0
    let wasCounted = wasCounted(event, entry, ledger, context)
    if event.timestamp > ledger.coveredTo { ledger.latestIdle = [] }
    let seconds = coverTime(event, &ledger)
    setTime(seconds, event, &sums)
    if context.isClaimedTwice && !isPassedOver {
      var withheld = context.claim.map { Withheld(claim: $0, uploaded: bytes.0, downloaded: bytes.1) }
      if let unseen = context.unseen { withheld?.add(unseen) }
      return Credit(rule: .withheld, sums: sums, counters: after, withheld: withheld)
    }
    if let unseen = context.unseen {
      return Credit(rule: .withheld, sums: sums, counters: after, withheld: unseen)
    }
    let adds = sums.uploaded > 0 || sums.downloaded > 0 || sums.completed > 0 || seconds > 0
    let rule: CreditRule
    if !adds && wasCounted {
      rule = .duplicate
    } else if seen == nil {
      rule = sums.uploaded == 0 && sums.downloaded == 0 ? .baseline : byBytes(event, sums)
    } else {
      rule = byBytes(event, sums)
    }
    if rule != .duplicate && event.mayComeIdle(isFirst: seen == nil) && event.timestamp == ledger.coveredTo {
      ledger.noteIdle(entry)
    }
    return Credit(rule: rule, sums: sums, counters: isPassedOver ? seen : after)
  }

  /// When what is credited of the entry's generation was moved, this entry included.
  private func time(after event: TrafficEvent, _ context: CreditContext) -> CreditedTime? {
    guard let order = event.order else { return context.counters?.time }
    guard let claim = context.claim else {
      // An announce that adds nothing may be a late one, of another time.
      guard let counters = context.counters else { return CreditedTime(baseline: order) }
      guard var time = counters.time else { return nil }
      if let beginning = context.beginning { time.begin(at: beginning) }
      return time
    }
    var time = context.counters?.time ?? CreditedTime(baseline: order)
    time.take(claim, order: order, isCredited: !context.isClaimedTwice)
    return time
  }

  /// Whether an announce that adds nothing was counted with the session's others. One that says something and adds nothing
  /// was. One that says nothing adds nothing but its number: two in one second look alike and are two; but where announces
  /// may have been given back, only one of the session's latest second that is not among those of that second is believed,
  /// and without a fault one that comes again much later is not, nor one of a generation's first order: that is its first.
  private func wasCounted(
    _ event: TrafficEvent, _ entry: EntryFingerprint, _ ledger: SessionLedger, _ context: CreditContext
  ) -> Bool {
    // Of a generation whose beginning is still to come, that is no other entry than this one.
    guard context.beginning == nil, event.timestamp <= ledger.coveredTo else { return false }
    let age = Int64(clamping: entry.arrivedMilliseconds / 1000) - event.timestamp
    let mayHaveReturned = context.mayHaveReturned || age >= Self.returnSeconds
    guard let counters = context.counters else { return mayHaveReturned }
    guard event.isIdle else { return true }
    guard event.timestamp == ledger.coveredTo else {
      // Redis may have lost it, and a tracker have given it back, before that is noticed.
      return mayHaveReturned || event.order != nil && event.order == counters.time?.first
    }
    guard let latest = ledger.latestIdle else { return mayHaveReturned }
    return latest.contains { known in
      known.hash == entry.hash
        && (mayHaveReturned || entry.isApart(from: known, by: Self.twinMilliseconds))
    }
  }

  /// L3: an entry with all fields equal to one that arrived within an hour of it is a duplicate; everything else counts as
  /// it says.
  private func byFingerprint(
    _ event: TrafficEvent, _ entry: EntryFingerprint, ledger: inout SessionLedger, _ context: CreditContext
  ) -> Credit {
    guard !context.isRepeated, !ledger.isRepeated(entry) else {
      return Credit(rule: .duplicate, sums: TrafficSums(), counters: nil)
    }
    var sums = TrafficSums()
    sums.uploaded = Int64(event.uploadedDelta)
    sums.downloaded = Int64(event.downloadedDelta)
    sums.completed = event.completes && context.isFirstSnatch ? 1 : 0
    setTime(coverTime(event, &ledger), event, &sums)
    return Credit(rule: .delta, sums: sums, counters: nil)
  }

  private func byBytes(_ event: TrafficEvent, _ sums: TrafficSums) -> CreditRule {
    let reported = (event.uploadedDelta, event.downloadedDelta)
    if UInt64(sums.uploaded) > reported.0 || UInt64(sums.downloaded) > reported.1 { return .healed }
    if UInt64(sums.uploaded) < reported.0 || UInt64(sums.downloaded) < reported.1 { return .partlyCredited }
    return .delta
  }

  /// The seconds an entry adds. Of `dt` may count the promised interval for each announce the entry stands for, and one
  /// tolerance.
  private func coverTime(_ event: TrafficEvent, _ ledger: inout SessionLedger) -> Int64 {
    // 2^32 times 2^32 does not fit Int64; dt, which it caps, is below 2^32 anyway.
    let promised = UInt64(event.announces) * UInt64(event.intervalSeconds)
    return ledger.coverTime(
      until: event.timestamp, elapsed: Int64(event.elapsedSeconds),
      cap: Int64(min(promised, TrafficEvent.maximumSeconds)) + Self.toleranceSeconds, event: event.event)
  }

  /// Until it sends `completed` a peer was leeching; otherwise `left` tells. It had nothing left before when it downloaded
  /// nothing more: it says `completed` again, or to another tracker.
  private func setTime(_ seconds: Int64, _ event: TrafficEvent, _ sums: inout TrafficSums) {
    if event.left == 0 && (event.event != .completed || event.downloadedDelta == 0) {
      sums.seedSeconds = seconds
    } else {
      sums.leechSeconds = seconds
    }
  }

  /// Every other sum is a part of the user's or the torrent's.
  private func refuseOverflow(_ sums: TrafficSums, _ context: CreditContext) throws(EntryFault) {
    let fits = context.userSums.userHasRoom(for: sums) && context.torrentSums.hasRoom(for: sums)
    if !fits { throw .totalOverflow }
  }
}
