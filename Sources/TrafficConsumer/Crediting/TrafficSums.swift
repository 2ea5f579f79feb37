// TrafficSums: what is added up per window, day, session, user and torrent. A value; any thread.

/// Sums over applied entries. Bytes fit Int64 because the aggregator refuses what would not (SQLite's integers end there).
struct TrafficSums: Hashable, Sendable {
  /// Bytes credited.
  var uploaded: Int64 = 0
  var downloaded: Int64 = 0
  /// Seconds credited as seeding and as leeching.
  var seedSeconds: Int64 = 0
  var leechSeconds: Int64 = 0
  /// The sum of `dt`, which rates are measured by.
  var elapsedSeconds: Int64 = 0
  /// Announces applied; an entry may stand for several.
  var events: Int64 = 0
  /// Snatches.
  var completed: Int64 = 0
  /// Unix seconds of the first and last announce, 0 without any.
  var firstSeen: Int64 = 0
  var lastSeen: Int64 = 0

  var isEmpty: Bool { self == TrafficSums() }
  /// At most announces that say nothing new.
  var addsNothing: Bool {
    uploaded == 0 && downloaded == 0 && seedSeconds == 0 && leechSeconds == 0 && completed == 0
  }

  /// The most bytes in one direction of one user: sixteen entries of 2^53. Far more than anyone moves, and far less than what
  /// fits into a torrent's sum: no user alone can fill that, and so have what others move on the torrent refused.
  static let maximumUserBytes: Int64 = 1 << 57

  /// Whether a user with these may have others as well: to a direction that is beyond the limit, from a time when there was
  /// none, nothing can be added, and what adds nothing to it can always be.
  func userHasRoom(for other: TrafficSums) -> Bool {
    func fits(_ sum: Int64, _ more: Int64) -> Bool { more == 0 || sum + more <= Self.maximumUserBytes }
    return hasRoom(for: other) && fits(uploaded, other.uploaded) && fits(downloaded, other.downloaded)
  }

  /// Whether the bytes of both fit.
  func hasRoom(for other: TrafficSums) -> Bool {
    !uploaded.addingReportingOverflow(other.uploaded).overflow
      && !downloaded.addingReportingOverflow(other.downloaded).overflow
  }

  /// Adds other sums. Who stores them has seen to it that bytes do not overflow; where several databases are shown as one they
  /// may, and stay at what an Int64 holds. Seconds and counts cannot within the 2^32 seconds of a timestamp's range times the
  /// entries a stream can hold.
  mutating func add(_ other: TrafficSums) {
    func sum(_ some: Int64, _ more: Int64) -> Int64 {
      let (sum, overflow) = some.addingReportingOverflow(more)
      return overflow ? .max : sum
    }
    uploaded = sum(uploaded, other.uploaded)
    downloaded = sum(downloaded, other.downloaded)
    seedSeconds += other.seedSeconds
    leechSeconds += other.leechSeconds
    elapsedSeconds += other.elapsedSeconds
    events += other.events
    completed += other.completed
    if other.firstSeen != 0 { firstSeen = firstSeen == 0 ? other.firstSeen : min(firstSeen, other.firstSeen) }
    lastSeen = max(lastSeen, other.lastSeen)
  }
}
