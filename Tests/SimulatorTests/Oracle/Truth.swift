// Truth: what the simulated clients really did, and what follows from it for every user and torrent by the rules that the
// operator is promised (docs/accounting.md). It shares no code with the daemons. One thread.

/// Who announces: user, torrent and peer id.
struct SessionName: Hashable, Comparable, CustomStringConvertible {
  var user: Int
  var torrent: Int
  var peer: Int
  var description: String { "u\(user)/t\(torrent)/p\(peer)" }
  static func < (left: SessionName, right: SessionName) -> Bool {
    (left.user, left.torrent, left.peer) < (right.user, right.torrent, right.peer)
  }
}

enum TrueEvent: String { case none, started, completed, stopped }

/// One announce that a tracker answered with peers.
struct TrueAnnounce {
  var session: SessionName
  /// Which run of the client's counters, from 0.
  var life: Int
  var uploaded: UInt64
  var downloaded: UInt64
  var left: UInt64
  var event: TrueEvent
  /// Unix nanoseconds, by the clock on the wall.
  var at: UInt64
  var interval: Int64
  var tracker: Int
  /// May be missing, as documented.
  var isExcused = false

  /// Whether both say the same in the same second.
  func isAlike(_ other: Self) -> Bool {
    session == other.session && at / 1_000_000_000 == other.at / 1_000_000_000 && event == other.event
      && (uploaded, downloaded, left) == (other.uploaded, other.downloaded, other.left)
  }
}

/// What a user or a torrent is shown.
struct Shown: Equatable, CustomStringConvertible {
  var uploaded: Int64 = 0
  var downloaded: Int64 = 0
  var snatches: Int64 = 0
  var announces: Int64 = 0
  var seconds: Int64 = 0
  var description: String {
    "up \(uploaded) down \(downloaded) snatches \(snatches) announces \(announces) seconds \(seconds)"
  }
  static func += (left: inout Shown, right: Shown) {
    left.uploaded += right.uploaded
    left.downloaded += right.downloaded
    left.snatches += right.snatches
    left.announces += right.announces
    left.seconds += right.seconds
  }
}

struct Truth {
  private(set) var announces: [TrueAnnounce] = []
  private var bySession: [SessionName: [Int]] = [:]
  /// A client is told an interval and may be late by this; the product has the same constant under its own name.
  private static let toleranceSeconds: Int64 = 300

  mutating func add(_ announce: TrueAnnounce) {
    bySession[announce.session, default: []].append(announces.count)
    announces.append(announce)
  }

  /// What a tracker was told since a moment (the simulation's time) may be missing.
  mutating func excuse(tracker: Int, since: UInt64) {
    for index in announces.indices.reversed() {
      guard announces[index].at >= World.wall(since) else { return }
      if announces[index].tracker == tracker { announces[index].isExcused = true }
    }
  }
  /// An entry was deleted unread: what it says may be missing, and of several announces it stands for, all.
  mutating func excuse(_ entry: EntryOrigin, isTimeKnown: Bool) {
    guard let name = entry.name, let indices = bySession[name] else { return }
    guard isTimeKnown else {
      for index in indices { announces[index].isExcused = true }
      return
    }
    let before = indices.filter { announces[$0].at / 1_000_000_000 <= entry.second }
    // Which of the announces of its second it is, it does not say.
    for index in before where announces[index].at / 1_000_000_000 == entry.second { announces[index].isExcused = true }
    for index in before.suffix(entry.announces) { announces[index].isExcused = true }
  }
  mutating func excuseLast() { announces[announces.count - 1].isExcused = true }

  var hasExcuses: Bool { announces.contains { $0.isExcused } }

  /// A client has begun anew, and announced by way of more than one tracker.
  var hasRestartElsewhere: Bool {
    bySession.values.contains { indices in
      Set(indices.map { announces[$0].life }).count > 1 && Set(indices.map { announces[$0].tracker }).count > 1
    }
  }

  /// Bounds of what each user and torrent may be shown. `exact` is what must be shown when nothing was excused.
  struct Bounds {
    var users: [Int: (least: Shown, exact: Shown, most: Shown)] = [:]
    var torrents: [Int: (least: Shown, exact: Shown, most: Shown)] = [:]
  }

  func bounds() -> Bounds {
    var bounds = Bounds()
    for (name, indices) in bySession {
      let (least, exact, most) = Self.credit(indices.map { announces[$0] })
      bounds.add(name, least, exact, most)
    }
    for (user, torrent, isSure) in snatches() {
      var (one, none) = (Shown(), Shown())
      one.snatches = 1
      none.snatches = 0
      bounds.add(SessionName(user: user, torrent: torrent, peer: 0), isSure ? one : none, one, one)
    }
    return bounds
  }

  /// Each user and torrent that was completed, and whether an announce that cannot be missing says so.
  private func snatches() -> [(Int, Int, Bool)] {
    struct Pair: Hashable {
      var user: Int
      var torrent: Int
    }
    var found: [Pair: Bool] = [:]
    for announce in announces where announce.event == .completed {
      let pair = Pair(user: announce.session.user, torrent: announce.session.torrent)
      found[pair] = (found[pair] ?? false) || !announce.isExcused
    }
    return found.map { ($0.key.user, $0.key.torrent, $0.value) }
  }

  private static func credit(_ list: [TrueAnnounce]) -> (Shown, Shown, Shown) {
    var (least, exact, most) = (Shown(), Shown(), Shown())
    var last: TrueAnnounce?
    for announce in list {
      exact.announces += 1
      most.announces += 1
      if !announce.isExcused { least.announces += 1 }
      if let last {
        if announce.uploaded >= last.uploaded, announce.downloaded >= last.downloaded {
          exact.uploaded += Int64(announce.uploaded - last.uploaded)
          exact.downloaded += Int64(announce.downloaded - last.downloaded)
        }
        let gap = max(0, Int64(announce.at / 1_000_000_000) - Int64(last.at / 1_000_000_000))
        if last.event != .stopped {
          exact.seconds += min(gap, announce.interval + toleranceSeconds)
          most.seconds += gap
        }
      }
      last = announce
    }
    for life in Set(list.map(\.life)) {
      let all = list.filter { $0.life == life }
      // The first life began before anybody looked; every other one from zero, which is moved too.
      let (firstUp, firstDown) = life == 0 ? (all[0].uploaded, all[0].downloaded) : (0, 0)
      most.uploaded += Int64(all.map(\.uploaded).max()! - firstUp)
      most.downloaded += Int64(all.map(\.downloaded).max()! - firstDown)
      let sure = all.filter { !$0.isExcused }
      guard let first = sure.first else { continue }
      least.uploaded += Int64(sure.map(\.uploaded).max()! - first.uploaded)
      least.downloaded += Int64(sure.map(\.downloaded).max()! - first.downloaded)
    }
    least.seconds = 0
    return (least, exact, most)
  }
}

extension Truth.Bounds {
  mutating func add(_ name: SessionName, _ least: Shown, _ exact: Shown, _ most: Shown) {
    var user = users[name.user] ?? (Shown(), Shown(), Shown())
    user.least += least
    user.exact += exact
    user.most += most
    users[name.user] = user
    var torrent = torrents[name.torrent] ?? (Shown(), Shown(), Shown())
    torrent.least += least
    torrent.exact += exact
    torrent.most += most
    torrents[name.torrent] = torrent
  }
}
