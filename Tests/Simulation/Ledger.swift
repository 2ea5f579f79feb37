// Ledger: the independent oracle. It is told what was announced, when, and what interval the reply gave, and computes
// what accounting.md promises every user and torrent. It shares no code with the daemons. A value; one thread.

import Wire

/// What a user (or a torrent) must show.
public struct LedgerTotals: Equatable, Sendable {
  /// Bytes.
  public var uploaded: UInt64 = 0
  public var downloaded: UInt64 = 0
  /// Seconds. The tracker stamps an announce between the moment it was sent and the moment its reply was read; when a
  /// second begins in between, its time is one of two, so a sum is a range, nearly always of one number.
  public var seedSeconds: ClosedRange<Int64> = 0...0
  public var leechSeconds: ClosedRange<Int64> = 0...0
  /// Snatches.
  public var completed = 0
  /// Accepted announces.
  public var events = 0

  public init(
    uploaded: UInt64 = 0, downloaded: UInt64 = 0, seedSeconds: ClosedRange<Int64> = 0...0,
    leechSeconds: ClosedRange<Int64> = 0...0, completed: Int = 0, events: Int = 0
  ) {
    self.uploaded = uploaded
    self.downloaded = downloaded
    self.seedSeconds = seedSeconds
    self.leechSeconds = leechSeconds
    self.completed = completed
    self.events = events
  }
}

/// Every announce that a tracker accepted, as sums.
public struct Ledger: Sendable {
  /// An announce counts for no more time than the interval its peer was told and this much for a late client; the
  /// consumer has the same constant under its own name.
  public static let seedToleranceSeconds: Int64 = 300

  private struct SessionKey: Hashable {
    var passkey: String
    var infoHash: InfoHash
    var peerID: PeerID
  }
  private struct Session {
    var uploaded: UInt64
    var downloaded: UInt64
    var time: ClosedRange<Int64>
    var hasStopped: Bool
  }
  private struct Snatch: Hashable {
    var passkey: String
    var infoHash: InfoHash
  }

  public private(set) var users: [String: LedgerTotals] = [:]
  public private(set) var torrents: [InfoHash: LedgerTotals] = [:]
  private var sessions: [SessionKey: Session] = [:]
  private var snatches: Set<Snatch> = []

  public init() {}

  /// Enters an announce that was answered with `interval` seconds; `time` is the Unix second before it was sent through
  /// the one after its reply was read. In the order in which the replies came.
  public mutating func record(_ announcement: Announcement, interval: Int, at time: ClosedRange<Int64>) {
    let key = SessionKey(
      passkey: announcement.passkey, infoHash: announcement.infoHash, peerID: announcement.peerID)
    var change = LedgerTotals()
    change.events = 1
    // First sight is a baseline.
    if let last = sessions[key] {
      // Counters that go backwards are a client that started over: a new baseline, nothing credited.
      if announcement.uploaded >= last.uploaded && announcement.downloaded >= last.downloaded {
        change.uploaded = announcement.uploaded - last.uploaded
        change.downloaded = announcement.downloaded - last.downloaded
      }
      // Between `stopped` and a return the user was not there.
      if !last.hasStopped {
        let cap = Int64(interval) + Self.seedToleranceSeconds
        let least = max(0, time.lowerBound - last.time.upperBound)
        let most = max(0, time.upperBound - last.time.lowerBound)
        let seconds = min(least, cap)...min(most, cap)
        // The time until `completed` was spent downloading, unless nothing was: it is said again, or over another family.
        if announcement.left == 0 && (announcement.event != .completed || change.downloaded == 0) {
          change.seedSeconds = seconds
        } else {
          change.leechSeconds = seconds
        }
      }
    }
    if announcement.event == .completed, announcement.left == 0,
      snatches.insert(Snatch(passkey: announcement.passkey, infoHash: announcement.infoHash)).inserted
    {
      change.completed = 1
    }
    sessions[key] = Session(
      uploaded: announcement.uploaded, downloaded: announcement.downloaded, time: time,
      hasStopped: announcement.event == .stopped)
    users[announcement.passkey, default: LedgerTotals()].add(change)
    torrents[announcement.infoHash, default: LedgerTotals()].add(change)
  }

  /// Enters an upload of a producer that is not the tracker: one stream entry, no time.
  public mutating func enter(uploaded: UInt64, for passkey: String, torrent: InfoHash) {
    let change = LedgerTotals(uploaded: uploaded, events: 1)
    users[passkey, default: LedgerTotals()].add(change)
    torrents[torrent, default: LedgerTotals()].add(change)
  }
}

extension LedgerTotals {
  fileprivate mutating func add(_ other: LedgerTotals) {
    uploaded += other.uploaded
    downloaded += other.downloaded
    seedSeconds = seedSeconds + other.seedSeconds
    leechSeconds = leechSeconds + other.leechSeconds
    completed += other.completed
    events += other.events
  }
}

private func + (left: ClosedRange<Int64>, right: ClosedRange<Int64>) -> ClosedRange<Int64> {
  left.lowerBound + right.lowerBound...left.upperBound + right.upperBound
}
