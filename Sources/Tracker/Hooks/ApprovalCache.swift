// ApprovalCache: who was approved or refused, and when. Read by every worker for every announce, written by the resolver
// thread. Striped locks, held for one probe.
//
// A verdict holds for its time to live and for the epoch it was asked in: when the set in Redis changes, the epoch does,
// and each key is asked about again at its next announce. What the origin said is not in the set, so only time ends it.
// A yes whose time is over is still used, up to the staleness limit, while it is asked about again behind the answer.

import Synchronization

/// Remembered verdicts.
final class ApprovalCache: Sendable {
  enum Verdict: Sendable {
    case approved
    case refused
  }
  enum Source: Sendable {
    case redis
    case origin
  }
  /// What the cache knows.
  enum Knowledge: Equatable {
    case fresh(Verdict)
    /// Approved, and nothing is known to have changed but the time: to be used, and asked about behind the answer.
    case aged
    /// The set has changed since, or a no has aged: to be asked again. A yes is to be used when there is no answer.
    case stale(Verdict)
    case nothing
  }

  private struct Entry {
    var key: UserKey
    var askedSeconds: UInt32
    /// Bit 0: occupied. Bit 1: approved. Bit 2: the origin said so. Bit 3: being asked about again. The rest: the epoch.
    var state: UInt32

    var isOccupied: Bool { state & 1 != 0 }
    var verdict: Verdict { state & 2 != 0 ? .approved : .refused }
    var source: Source { state & 4 != 0 ? .origin : .redis }
    var isBeingChecked: Bool {
      get { state & 8 != 0 }
      set { state = newValue ? state | 8 : state & ~8 }
    }
    var epoch: UInt32 { state >> 4 }

    /// Whole seconds since it was asked; a worker's clock may be a moment behind.
    func ageSeconds(_ nowSeconds: UInt32) -> UInt32 { UInt32(max(0, Int32(bitPattern: nowSeconds &- askedSeconds))) }
  }
  private static let epochMask = UInt32.max >> 4

  private struct Stripe: ~Copyable {
    var entries = [Entry](repeating: vacant, count: 16)
    var count = 0
    var refusedCount = 0
  }
  private final class StripeBox: Sendable {
    let stripe = Mutex(Stripe())
  }
  private static let vacant = Entry(key: UserKey(high: 0, low: 0), askedSeconds: 0, state: 0)

  /// Enough stripes that workers hardly meet.
  private static let stripeCount = 64
  /// Refused keys remembered per stripe, 65,536 in all. A client can invent as many as it likes, so their number has an end;
  /// one more clears the stripe's refusals, which costs a look-up each and nothing else.
  static let maximumRefusedPerStripe = 1024

  private let stripes: [StripeBox]
  private let currentEpoch = Atomic<UInt32>(0)
  private let approvedSeconds: UInt32
  private let originSeconds: UInt32
  private let refusedSeconds: UInt32
  /// How long a yes that could not be asked about again is used; at least its time to live. After that it is forgotten.
  let staleSeconds: UInt32

  /// `originSeconds`: for a yes of the origin, which is slow, where that is longer than `approvedSeconds`. A time to live of 0
  /// is taken as a second: the requests that wait for a verdict must find it fresh.
  init(
    approvedSeconds: UInt32, refusedSeconds: UInt32, originSeconds: UInt32 = 0, staleSeconds: UInt32 = 24 * 3600
  ) {
    stripes = (0..<Self.stripeCount).map { _ in StripeBox() }
    self.approvedSeconds = max(1, approvedSeconds)
    self.originSeconds = max(self.approvedSeconds, originSeconds)
    self.refusedSeconds = max(1, refusedSeconds)
    self.staleSeconds = max(self.originSeconds, staleSeconds)
  }

  /// The epoch to store a verdict under: taken before the question is asked.
  var epoch: UInt32 { currentEpoch.load(ordering: .acquiring) }

  /// Makes every verdict of Redis stale.
  func invalidate() { currentEpoch.wrappingAdd(1, ordering: .acquiringAndReleasing) }

  @inline(__always)
  private func stripe(of key: UserKey) -> StripeBox { stripes[Int(key.low >> 58)] }

  private func entry(of key: UserKey) -> Entry? {
    stripe(of: key).stripe.withLock { stripe in
      let entry = stripe.entries[Self.slot(of: key, in: stripe.entries)]
      return entry.isOccupied ? entry : nil
    }
  }

  private func isYoung(_ entry: Entry, _ nowSeconds: UInt32) -> Bool {
    entry.ageSeconds(nowSeconds)
      < (entry.verdict == .refused ? refusedSeconds : entry.source == .origin ? originSeconds : approvedSeconds)
  }

  @inline(__always)
  func knowledge(of key: UserKey, nowSeconds: UInt32) -> Knowledge {
    let epoch = epoch & Self.epochMask
    guard let entry = entry(of: key) else { return .nothing }
    let isCurrent = entry.epoch == epoch || (entry.source == .origin && entry.verdict == .approved)
    if isCurrent && isYoung(entry, nowSeconds) { return .fresh(entry.verdict) }
    if entry.verdict == .refused { return .stale(.refused) }
    if entry.ageSeconds(nowSeconds) >= staleSeconds { return .nothing }
    return isCurrent ? .aged : .stale(.approved)
  }

  /// Whether the caller is to have a known key asked about again: true once, until there is a verdict or `endCheck`.
  func beginCheck(of key: UserKey) -> Bool {
    stripe(of: key).stripe.withLock { stripe in
      let slot = Self.slot(of: key, in: stripe.entries)
      guard stripe.entries[slot].isOccupied, !stripe.entries[slot].isBeingChecked else { return false }
      stripe.entries[slot].isBeingChecked = true
      return true
    }
  }

  /// Asking gave no verdict: the next announce asks again.
  func endCheck(of key: UserKey) {
    stripe(of: key).stripe.withLock { stripe in
      let slot = Self.slot(of: key, in: stripe.entries)
      stripe.entries[slot].isBeingChecked = false
    }
  }

  /// What the origin said of a key, while its time has not run out.
  func originVerdict(of key: UserKey, nowSeconds: UInt32) -> Verdict? {
    guard let entry = entry(of: key), entry.source == .origin, isYoung(entry, nowSeconds) else { return nil }
    return entry.verdict
  }

  /// Whether the key was approved, in whatever epoch: within the time to live, or with `isPatient` within the staleness limit.
  func wasApproved(_ key: UserKey, nowSeconds: UInt32, isPatient: Bool) -> Bool {
    guard let entry = entry(of: key), entry.verdict == .approved else { return false }
    return isPatient ? entry.ageSeconds(nowSeconds) < staleSeconds : isYoung(entry, nowSeconds)
  }

  func remember(
    _ verdict: Verdict, for key: UserKey, from source: Source = .redis, epoch: UInt32, nowSeconds: UInt32
  ) {
    let flags: UInt32 = (verdict == .approved ? 2 : 0) | (source == .origin ? 4 : 0) | 1
    stripe(of: key).stripe.withLock { stripe in
      if verdict == .refused && stripe.refusedCount >= Self.maximumRefusedPerStripe {
        Self.rebuild(&stripe, keeping: { $0.verdict == .approved })
      }
      if (stripe.count + 1) * 4 > stripe.entries.count * 3 { Self.rebuild(&stripe, keeping: { _ in true }) }
      let slot = Self.slot(of: key, in: stripe.entries)
      let old = stripe.entries[slot]
      if !old.isOccupied { stripe.count += 1 }
      if old.isOccupied && old.verdict == .refused { stripe.refusedCount -= 1 }
      if verdict == .refused { stripe.refusedCount += 1 }
      stripe.entries[slot] = Entry(
        key: key, askedSeconds: nowSeconds, state: (epoch & Self.epochMask) << 4 | flags)
    }
  }

  /// Forgets keys that were last asked about before `cutoffSeconds`.
  func expire(before cutoffSeconds: UInt32) {
    for box in stripes {
      box.stripe.withLock { stripe in
        Self.rebuild(&stripe, keeping: { Int32(bitPattern: $0.askedSeconds &- cutoffSeconds) >= 0 })
      }
    }
  }

  /// Keys remembered, approved and refused.
  var count: Int { stripes.reduce(0) { sum, box in sum + box.stripe.withLock { $0.count } } }

  /// The slot of a key, or the free one where it belongs.
  private static func slot(of key: UserKey, in entries: [Entry]) -> Int {
    let mask = entries.count - 1
    var slot = Int(truncatingIfNeeded: key.low) & mask
    while entries[slot].isOccupied && entries[slot].key != key { slot = (slot + 1) & mask }
    return slot
  }

  private static func rebuild(_ stripe: inout Stripe, keeping isKept: (Entry) -> Bool) {
    let kept = stripe.entries.filter { $0.isOccupied && isKept($0) }
    var capacity = 16
    while (kept.count + 1) * 2 > capacity { capacity *= 2 }
    stripe.entries = [Entry](repeating: vacant, count: capacity)
    stripe.count = kept.count
    stripe.refusedCount = 0
    for entry in kept {
      stripe.entries[slot(of: entry.key, in: stripe.entries)] = entry
      if entry.verdict == .refused { stripe.refusedCount += 1 }
    }
  }
}
