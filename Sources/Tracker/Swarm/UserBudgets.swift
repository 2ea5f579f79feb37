// UserBudgets: how many sessions each user has in all swarms together, and how many of them are new. Asked when a session
// joins and told when one leaves, never for one that goes on, while no swarm is locked. Shared by all workers and the expiry
// thread: a part of the users has a lock of its own.
//
// A user is 16 bytes: the hash, sessions in 22 bits, and the time at which the budget of new ones is whole again in 42 bits
// of quarter milliseconds (the generic cell rate algorithm: 34 years). A place is given up when there is neither a
// session nor a new one that still counts: when the table would grow otherwise, and on every sweep.

import Linux
import Synchronization

/// What one user may have; 0: no limit but what 22 bits hold.
struct SessionLimits: Sendable, Equatable {
  /// Sessions in all swarms. Three clients with 20,000 torrents each are 60,000.
  var sessions = 100_000
  /// New ones in an hour, and at once: a client with 20,000 torrents may come back five times, or five of them once, when
  /// the tracker or they were started again.
  var newPerHour = 100_000
}

/// Which limit a new session is beyond.
enum SessionLimit: Sendable {
  case clientsOnTorrent
  case sessions
  case newSessions
}

/// The sessions of all users.
final class UserBudgets: Sendable {
  /// What 22 bits hold; more than a user can have of either.
  static let maximum = 1 << 22 - 1
  private static let partBits: UInt64 = 8

  private final class Part: Sendable {
    /// Guards the users whose hash begins with the part's number.
    let table = Mutex(UserBudgetTable())
  }
  private let parts = (0..<1 << partBits).map { _ in Part() }

  private func withTable<Result>(of user: UInt64, _ body: (inout UserBudgetTable) -> Result) -> Result {
    parts[Int(user >> (64 - Self.partBits))].table.withLock { body(&$0) }
  }

  /// Counts a session that is about to join, or says which limit it is beyond. Where it takes another's place, which leaves
  /// after this, the sessions are no more than before.
  func join(_ user: UInt64, _ limits: SessionLimits, replaces: Bool, nowSeconds: UInt32) -> SessionLimit? {
    withTable(of: user) { $0.join(user, limits, replaces: replaces, nowSeconds: nowSeconds) }
  }

  /// A session has left. A user who is not here has none that count.
  func leave(_ user: UInt64, count: Int = 1) { withTable(of: user) { $0.leave(user, count) } }

  /// The session that `join` counted did not join in the end.
  func takeBack(_ user: UInt64, _ limits: SessionLimits) { withTable(of: user) { $0.takeBack(user, limits) } }

  /// Forgets users without sessions.
  func sweep(nowSeconds: UInt32) {
    for part in parts { part.table.withLock { $0.sweep(nowSeconds: nowSeconds) } }
  }

  struct Summary: Equatable {
    /// Users with a session.
    var users = 0
    /// The most sessions of one of them.
    var mostSessions = 0
    /// The part of the budget of new ones that one of them has used most of.
    var mostNewPart = 0.0
  }

  /// For the metrics. Takes the parts one after the other.
  func summary(nowSeconds: UInt32) -> Summary {
    var summary = Summary()
    for part in parts { part.table.withLock { $0.add(to: &summary, nowSeconds: nowSeconds) } }
    return summary
  }
}

/// An open-addressing table from user to sessions. Guarded by its part's lock.
private struct UserBudgetTable {
  private struct Place {
    /// 0: free. (A user whose hash is 0 has 1.)
    var user: UInt64 = 0
    /// Sessions in the lower 22 bits, above them when all of the budget of new ones is there again.
    var state: UInt64 = 0

    static let countBits: UInt64 = 22
    var sessions: Int {
      get { Int(state & (1 << Self.countBits - 1)) }
      set { state = (state >> Self.countBits) << Self.countBits | UInt64(newValue) }
    }
    var wholeAt: UInt64 {
      get { state >> Self.countBits }
      set { state = newValue << Self.countBits | UInt64(sessions) }
    }
    func isNeeded(_ now: UInt64) -> Bool { user != 0 && (sessions > 0 || wholeAt > now) }
  }

  private var places: [Place] = []
  private var used = 0
  /// The limit that `wholeAt` is by, 0 before there was one: a reload may bring another.
  private var newPerHour = 0

  private static let ticksPerSecond: UInt64 = 4000
  private static func ticks(_ seconds: UInt32) -> UInt64 { UInt64(seconds) * ticksPerSecond }
  /// What one new session takes of the time in which there may be so many.
  private static func ticksPerNew(_ perHour: Int) -> UInt64 { max(1, ticks(3600) / UInt64(perHour)) }

  /// What is used of the budget are sessions, not time: by another limit they take another time.
  private mutating func measure(by perHour: Int, _ now: UInt64) {
    guard perHour != newPerHour else { return }
    defer { newPerHour = perHour }
    guard newPerHour > 0 else { return }
    let (old, new) = (Self.ticksPerNew(newPerHour), Self.ticksPerNew(perHour))
    for at in places.indices where places[at].wholeAt > now {
      let sessions = (places[at].wholeAt - now + old - 1) / old
      places[at].wholeAt = now + min(sessions * new, new * UInt64(perHour))
    }
  }

  /// Takes a new session from the budget; false where it is used up.
  private mutating func takeNew(at place: Int, _ perHour: Int, _ now: UInt64) -> Bool {
    guard perHour > 0 else { return true }
    measure(by: perHour, now)
    let cost = Self.ticksPerNew(perHour)
    let wholeAt = max(places[place].wholeAt, now) + cost
    guard wholeAt - now <= cost * UInt64(perHour) else { return false }
    places[place].wholeAt = wholeAt
    return true
  }

  mutating func join(_ user: UInt64, _ limits: SessionLimits, replaces: Bool, nowSeconds: UInt32) -> SessionLimit? {
    let now = Self.ticks(nowSeconds)
    let at = find(user) ?? add(user, now)
    let most = limits.sessions > 0 ? min(limits.sessions, UserBudgets.maximum) : UserBudgets.maximum
    let sessions = places[at].sessions
    guard sessions < most || replaces && sessions < UserBudgets.maximum else { return .sessions }
    guard takeNew(at: at, limits.newPerHour, now) else { return .newSessions }
    places[at].sessions = sessions + 1
    return nil
  }

  mutating func leave(_ user: UInt64, _ count: Int) {
    guard let at = find(user) else { return }
    places[at].sessions = max(0, places[at].sessions - count)
  }

  mutating func takeBack(_ user: UInt64, _ limits: SessionLimits) {
    guard let at = find(user) else { return }
    places[at].sessions = max(0, places[at].sessions - 1)
    guard limits.newPerHour > 0 else { return }
    places[at].wholeAt -= min(places[at].wholeAt, Self.ticksPerNew(limits.newPerHour))
  }

  mutating func sweep(nowSeconds: UInt32) {
    let now = Self.ticks(nowSeconds)
    if places.contains(where: { $0.user != 0 && !$0.isNeeded(now) }) { rebuild(now, adding: 0) }
  }

  func add(to summary: inout UserBudgets.Summary, nowSeconds: UInt32) {
    let now = Self.ticks(nowSeconds)
    for place in places where place.isNeeded(now) {
      if place.sessions > 0 { summary.users += 1 }
      summary.mostSessions = max(summary.mostSessions, place.sessions)
      if place.wholeAt > now {
        summary.mostNewPart = max(summary.mostNewPart, Double(place.wholeAt - now) / Double(Self.ticks(3600)))
      }
    }
  }

  // MARK: places

  private func home(_ user: UInt64) -> Int { Int(truncatingIfNeeded: user) & (places.count - 1) }

  private func find(_ user: UInt64) -> Int? {
    guard !places.isEmpty else { return nil }
    let user = max(1, user)
    var at = home(user)
    while places[at].user != 0 {
      if places[at].user == user { return at }
      at = (at + 1) & (places.count - 1)
    }
    return nil
  }

  private mutating func add(_ user: UInt64, _ now: UInt64) -> Int {
    if (used + 1) * 8 > places.count * 7 { rebuild(now, adding: 1) }
    used += 1
    return link(Place(user: max(1, user)))
  }

  private mutating func link(_ place: Place) -> Int {
    var at = home(place.user)
    while places[at].user != 0 { at = (at + 1) & (places.count - 1) }
    places[at] = place
    return at
  }

  /// Leaves behind what is not needed, and has as many places as the rest takes.
  private mutating func rebuild(_ now: UInt64, adding: Int) {
    let needed = places.filter { $0.isNeeded(now) }
    used = needed.count
    var capacity = 8
    // At most three quarters: the next few must not bring the next rebuild.
    while (used + adding) * 4 > capacity * 3 { capacity *= 2 }
    places = used + adding == 0 ? [] : Array(repeating: Place(), count: capacity)
    for place in needed { _ = link(place) }
  }
}
