// ApprovalCache: which users were approved or refused, and when. Read by every worker for every announce, written by the
// resolver thread. Striped locks, held for one probe.
//
// A verdict holds for its time to live and for the epoch it was asked in: when the set of passkeys changes, the epoch
// does, and every user is asked about again at his next announce.

import CLinux
import Glibc
import Shared
import Synchronization

/// Remembered verdicts.
final class ApprovalCache: Sendable {
  enum Verdict: Sendable {
    case approved
    case refused
  }
  /// What the cache knows.
  enum Knowledge {
    case fresh(Verdict)
    /// Out of date: to be asked again, and to be used when nobody answers.
    case stale(Verdict)
    case nothing
  }

  private struct Entry {
    var key: UserKey
    var askedSeconds: UInt32
    /// Bit 0: occupied. Bit 1: approved. The rest: the epoch.
    var state: UInt32

    var isOccupied: Bool { state & 1 != 0 }
    var verdict: Verdict { state & 2 != 0 ? .approved : .refused }
    var epoch: UInt32 { state >> 2 }
  }

  private struct Stripe: ~Copyable {
    var entries: [Entry]
    var count = 0
    var refusedCount = 0
  }
  private final class StripeBox: Sendable {
    let stripe = Mutex(Stripe(entries: [Entry](repeating: StripeBox.empty, count: 16)))
    static let empty = Entry(key: UserKey(high: 0, low: 0), askedSeconds: 0, state: 0)
  }

  /// Enough stripes that workers hardly meet.
  private static let stripeCount = 64
  /// Refused users remembered per stripe, 65,536 in all. They are anybody's invention, so their number must have an end;
  /// one more clears the stripe's refusals, which costs a look-up each and nothing else.
  static let maximumRefusedPerStripe = 1024

  private let stripes: [StripeBox]
  private let currentEpoch = Atomic<UInt32>(0)
  private let approvedSeconds: UInt32
  private let refusedSeconds: UInt32

  init(approvedSeconds: UInt32, refusedSeconds: UInt32) {
    stripes = (0..<Self.stripeCount).map { _ in StripeBox() }
    self.approvedSeconds = approvedSeconds
    self.refusedSeconds = refusedSeconds
  }

  /// The epoch to store a verdict under: taken before the question is asked.
  var epoch: UInt32 { currentEpoch.load(ordering: .acquiring) }

  /// Makes every verdict stale.
  func invalidate() { currentEpoch.wrappingAdd(1, ordering: .acquiringAndReleasing) }

  @inline(__always)
  private func stripe(of key: UserKey) -> StripeBox { stripes[Int(key.low >> 58)] }

  func knowledge(of key: UserKey, nowSeconds: UInt32) -> Knowledge {
    let epoch = epoch & (.max >> 2)
    let found = stripe(of: key).stripe.withLock { stripe in
      let entry = stripe.entries[Self.slot(of: key, in: stripe.entries)]
      return entry.isOccupied ? entry : nil
    }
    guard let found else { return .nothing }
    let lifetime = found.verdict == .approved ? approvedSeconds : refusedSeconds
    let isFresh = found.epoch == epoch && nowSeconds &- found.askedSeconds < lifetime
    return isFresh ? .fresh(found.verdict) : .stale(found.verdict)
  }

  func remember(_ verdict: Verdict, for key: UserKey, epoch: UInt32, nowSeconds: UInt32) {
    let state = (epoch & (.max >> 2)) << 2 | (verdict == .approved ? 2 : 0) | 1
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
      stripe.entries[slot] = Entry(key: key, askedSeconds: nowSeconds, state: state)
    }
  }

  /// Forgets users nobody has asked for since `cutoffSeconds`.
  func expire(before cutoffSeconds: UInt32) {
    for box in stripes {
      box.stripe.withLock { stripe in
        Self.rebuild(&stripe, keeping: { Int32(bitPattern: $0.askedSeconds &- cutoffSeconds) >= 0 })
      }
    }
  }

  /// Users remembered, approved and refused.
  var count: Int { stripes.reduce(0) { $0 + $1.stripe.withLock { $0.count } } }

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
    while (kept.count + 1) * 4 > capacity * 2 { capacity *= 2 }
    stripe.entries = [Entry](repeating: StripeBox.empty, count: capacity)
    stripe.count = kept.count
    stripe.refusedCount = 0
    for entry in kept {
      stripe.entries[slot(of: entry.key, in: stripe.entries)] = entry
      if entry.verdict == .refused { stripe.refusedCount += 1 }
    }
  }
}
