// PeerProgress: what a session's announces said of its download, in the four bytes that a Peer has room for. Belongs to a
// Torrent, under its shard's lock.

import Wire

/// How far a session has got, and how it keeps to the interval.
struct PeerProgress {
  /// What explains a complete torrent, of a session that was seen without one; `none` of any other.
  private var goal = DownloadGoal.none
  private var flags: Flags = []
  /// Regular announces in a row that came before their time.
  private var earlyAnnounces: UInt8 = 0

  private struct Flags: OptionSet {
    let rawValue: UInt8
    /// A leecher that downloads nothing any more (BEP 21).
    static let partialSeed = Flags(rawValue: 1)
    /// Seen without a complete torrent, or it had downloaded something before it was seen: by way of another tracker, or
    /// before this one was started.
    static let mayComplete = Flags(rawValue: 2)
  }

  /// Regular announces in a row before their time that are none too many. One session's listeners announce one after the
  /// other from what may be one address, libtorrent's once for each network interface, and a user may press a button.
  static let maximumEarlyAnnounces: UInt8 = 7

  var isPartialSeed: Bool { flags.contains(.partialSeed) }

  /// Takes what an announce says; returns whether it completes a download. `completed` does where one may have been going
  /// on; without that word the first announce with nothing left does, of a session that was seen with something left and has
  /// downloaded what explains it: rTorrent says `completed` only if told so, aria2 not when it stops at the end. Nothing is
  /// completed while something is left: Transmission says so of the files that were wanted.
  mutating func take(_ announce: SwarmAnnounce, isNew: Bool) -> Bool {
    let begins = isNew || announce.event == .started
    if announce.left > 0 {
      set(announce.isPartialSeed ? [.partialSeed, .mayComplete] : .mayComplete)
      if begins || goal.isNone { goal = DownloadGoal(downloaded: announce.downloaded, left: announce.left) }
      return false
    }
    if begins { goal = .none }
    set(begins ? (announce.downloaded > 0 ? .mayComplete : []) : flags.intersection(.mayComplete))
    let completes =
      announce.event == .completed ? flags.contains(.mayComplete) : goal.isReached(by: announce.downloaded)
    if completes { goal = .none }
    return completes
  }

  /// Nearly always nothing changes: the cache line stays clean.
  private mutating func set(_ new: Flags) { if new != flags { flags = new } }

  /// Takes the time since the announce before of the same family; returns whether the client announces too often.
  mutating func takeInterval(_ seconds: UInt32, of announce: SwarmAnnounce) -> Bool {
    guard announce.event == .none else { return false }
    if seconds >= announce.minIntervalSeconds {
      if earlyAnnounces > 0 { earlyAnnounces = 0 }
      return false
    }
    if earlyAnnounces == Self.maximumEarlyAnnounces { return true }
    earlyAnnounces += 1
    return false
  }
}

/// The bytes that a session must have downloaded, by its own counter, to have downloaded half of what it lacked when it was
/// seen first: the rest may have been there in pieces that were not complete, or come from another torrent. A number of 64
/// bits in sixteen, rounded down by less than a thousandth.
struct DownloadGoal: Equatable {
  private let code: UInt16

  static let none = DownloadGoal(code: .max)
  private static let fractionBits = 10

  private init(code: UInt16) { self.code = code }

  init(downloaded: UInt64, left: UInt64) {
    // What a client sends that does not know yet is more than that (BEP 15: -1).
    let lacking = left > TrafficEvent.maximumBytes ? 0 : left / 2
    let (sum, overflow) = downloaded.addingReportingOverflow(lacking)
    let bytes = overflow ? .max : sum
    let shift = max(0, UInt64.bitWidth - bytes.leadingZeroBitCount - Self.fractionBits - 1)
    code = UInt16(shift) << Self.fractionBits + UInt16(truncatingIfNeeded: bytes >> UInt64(shift))
  }

  var isNone: Bool { self == .none }

  /// The number as it was rounded.
  var bytes: UInt64 {
    let shift = max(1, code >> Self.fractionBits) - 1
    return UInt64(code - shift << Self.fractionBits) << UInt64(shift)
  }

  func isReached(by downloaded: UInt64) -> Bool { !isNone && downloaded > bytes }
}
