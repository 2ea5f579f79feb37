// SessionLedger: what is remembered of one session (passkey, infohash, peer_id) so that each of its entries is credited
// once: the counters already credited (L2), the fingerprints of the last hour (L3), the time already credited. Pure values;
// the writer thread owns them.

import Wire

/// The counters of one generation that have been credited, the highest seen.
struct CreditedCounters: Equatable, Sendable {
  var uploaded: UInt64
  var downloaded: UInt64
  /// When those bytes were moved; nil: only of producers that do not say.
  var time: CreditedTime?
}

/// One entry of which only what it holds can tell that it was there before.
struct EntryFingerprint: Equatable, Sendable {
  /// Milliseconds of the entry id: when Redis took it.
  var arrivedMilliseconds: UInt64
  /// Keyed hash of all fields.
  var hash: UInt64

  /// Whether two arrived further apart than this.
  func isApart(from other: Self, by milliseconds: UInt64) -> Bool {
    let (earlier, later) = (
      min(arrivedMilliseconds, other.arrivedMilliseconds), max(arrivedMilliseconds, other.arrivedMilliseconds)
    )
    return later - earlier > milliseconds
  }
}

extension TrafficEvent {
  /// It brings neither bytes nor time: the first announce of a session, or another one of the same second.
  var isIdle: Bool { hasNoBytes && elapsedSeconds == 0 }
  var hasNoBytes: Bool { uploadedDelta == 0 && downloadedDelta == 0 }

  /// Whether it says nothing, or would should it be sent again: one that begins a generation brings the time since the one
  /// before it, unless Redis has forgotten that.
  func mayComeIdle(isFirst: Bool) -> Bool { isIdle || isFirst && hasNoBytes }
}

struct SessionLedger: Equatable, Sendable {
  /// The generation of the latest entry, and its counters. Earlier generations are kept apart (`generations`).
  var generation: TrafficGeneration?
  var credited = CreditedCounters(uploaded: 0, downloaded: 0)
  /// Of no other generation was anything credited after this order.
  var othersLast: UInt64 = 0
  /// Time from here to there (Unix seconds) has been credited or passed over, but for `gaps`; 0 before the first entry.
  var coveredFrom: Int64 = 0
  var coveredTo: Int64 = 0
  /// The latest entry was a `stopped`: until the next one it does not seed.
  var isStopped = false
  var gaps: [TimeGap] = []
  /// Of a producer without counters: those of the last hour.
  var fingerprints: [EntryFingerprint] = []
  /// Of a producer with counters: the announces at `coveredTo` that say nothing, for these have only their content. Nil: an
  /// earlier version wrote the session, and it is not known.
  var latestIdle: [EntryFingerprint]? = []
  /// Those that left it since the session was written: for the table `fingerprints`.
  var expired: [EntryFingerprint] = []

  /// How far apart two equal entries of a producer without counters may arrive and still be one (accounting, L3).
  static let fingerprintMilliseconds: UInt64 = 3_600_000
  /// So many fingerprints that are out of reach become one row of the table: a row for each would cost a third of what it
  /// takes to credit the entry.
  static let expiredTogether = 16
  /// A client that announces more often than this in one second is counted again from there on, should Redis lose it.
  static let maximumIdle = 16
  /// Gaps kept per session. One appears only when an entry is lost or late; beyond 16 outstanding ones of a single
  /// session the oldest is given up, which can cost a late entry its seconds, never bytes.
  static let maximumGaps = 16

  /// Whether nothing later of the session is known. Of one second the common clock tells which came last: a `stopped` by way of
  /// one tracker may arrive after the `started` that followed it by way of another.
  func isLatest(_ event: TrafficEvent) -> Bool {
    guard event.timestamp == coveredTo, let order = event.order, let reached = credited.time?.reached else {
      return event.timestamp >= coveredTo
    }
    return order >= reached
  }

  /// An entry that arrived at this time may equal one that is in the table, not here.
  func reachesBack(_ arrivedMilliseconds: UInt64) -> Bool {
    fingerprints.contains { $0.arrivedMilliseconds > arrivedMilliseconds }
  }

  /// Notes a fingerprint, or says that it is known. Those that are out of reach of anything new go to the table.
  mutating func isRepeated(_ new: EntryFingerprint) -> Bool {
    for known in fingerprints where known.hash == new.hash {
      if !known.isApart(from: new, by: Self.fingerprintMilliseconds) { return true }
    }
    let newest = fingerprints.reduce(new.arrivedMilliseconds) { max($0, $1.arrivedMilliseconds) }
    let horizon = newest < Self.fingerprintMilliseconds ? 0 : newest - Self.fingerprintMilliseconds
    if fingerprints.count(where: { $0.arrivedMilliseconds < horizon }) >= Self.expiredTogether {
      expired += fingerprints.filter { $0.arrivedMilliseconds < horizon }
      fingerprints.removeAll { $0.arrivedMilliseconds < horizon }
    }
    if new.arrivedMilliseconds >= horizon { fingerprints.append(new) } else { expired.append(new) }
    return false
  }

  /// Notes an announce of the latest second that says nothing.
  mutating func noteIdle(_ new: EntryFingerprint) {
    guard let latest = latestIdle, latest.count < Self.maximumIdle else { return }
    latestIdle?.append(new)
  }
}
