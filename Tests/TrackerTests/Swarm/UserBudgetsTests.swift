import Linux
import Testing
import Wire

@testable import Tracker

@Suite("what one user may have in all swarms")
struct UserBudgetsTests {
  private let store: SwarmStore
  private let metrics = MetricRegistry()
  private var lottery = PeerLottery(seed: 1)

  init() throws { store = try SwarmStore(shardCount: 4, snatches: SnatchLedger(path: nil), metrics: metrics) }

  private mutating func announce(
    torrent: UInt64, user: UInt64 = 1, peer: UInt64? = nil, address: String? = nil, event: AnnounceEvent = .none,
    limits: SessionLimits = SessionLimits(sessions: 10, newPerHour: 0), hasPasskey: Bool = true, now: UInt32 = 1000
  ) -> SwarmResult {
    var announce = SwarmStoreTests.make(
      torrent: torrent, user: user, peer: peer, address: address.map { IPAddress($0)! }, event: event, now: now)
    announce.hasPasskey = hasPasskey
    return SwarmStoreTests.announce(store, announce, policy: SwarmPolicy(limits: limits), lottery: &lottery).0
  }
  private func sessions(now: UInt32 = 1000) -> Int { store.budgets.summary(nowSeconds: now).mostSessions }

  @Test("a user with as many sessions as is allowed keeps them and gets no more; another user is not concerned")
  mutating func limit() {
    for torrent in 1...10 as ClosedRange<UInt64> { #expect(announce(torrent: torrent).limit == nil) }
    #expect(announce(torrent: 11).limit == .sessions)
    #expect(store.counts().infoHashes == 10, "a refused session leaves no swarm behind")
    #expect(
      announce(torrent: 10, peer: 2, address: "192.0.2.9").limit == .sessions,
      "a swarm that is there makes no difference")
    #expect(announce(torrent: 3, event: .completed).limit == nil)
    #expect(announce(torrent: 3, address: "2001:db8::1").limit == nil, "the other family is the same session")
    #expect(announce(torrent: 11, user: 2).limit == nil)
    #expect(announce(torrent: 11, event: .stopped).limit == nil, "the end of a session that never was")
    #expect(announce(torrent: 3, event: .stopped).limit == nil)
    #expect(sessions() == 9)
    #expect(announce(torrent: 11).limit == nil)
    #expect(announce(torrent: 12).limit == .sessions)
    #expect(metrics.render().contains("tracker_sessions_refused_total{limit=\"max_sessions_per_user\"} 3\n"))
  }

  @Test("at the limit a client that crashed takes its ghost's place")
  mutating func ghost() {
    let limits = SessionLimits(sessions: 2, newPerHour: 0)
    for torrent in 1...2 as ClosedRange<UInt64> { _ = announce(torrent: torrent, limits: limits) }
    #expect(announce(torrent: 1, peer: 7, limits: limits).limit == nil)
    #expect(sessions() == 2)
    #expect(announce(torrent: 1, peer: 8, address: "192.0.2.9", limits: limits).limit == .sessions)
  }

  @Test("sessions that go silent leave the count, whichever address goes first")
  mutating func expiry() {
    _ = announce(torrent: 1)
    _ = announce(torrent: 2)
    _ = announce(torrent: 1, address: "2001:db8::1", now: 1100)
    #expect(store.expire(before: 1050) == 1)
    #expect(sessions() == 1)
    #expect(store.expire(before: 1200) == 1)
    store.budgets.sweep(nowSeconds: 1200)
    #expect(store.budgets.summary(nowSeconds: 1200) == UserBudgets.Summary())
  }

  @Test("a reload that raises or takes away the limit lets in at once who had used it up; what was used stays used")
  mutating func reloaded() {
    func limits(_ perHour: Int) -> SessionLimits { SessionLimits(sessions: 0, newPerHour: perHour) }
    for torrent in 1...10 as ClosedRange<UInt64> { _ = announce(torrent: torrent, limits: limits(10)) }
    #expect(announce(torrent: 11, limits: limits(10)).limit == .newSessions)
    for torrent in 11...40 as ClosedRange<UInt64> {
      #expect(announce(torrent: torrent, limits: limits(0)).limit == nil)
    }
    for torrent in 41...130 as ClosedRange<UInt64> {
      #expect(announce(torrent: torrent, limits: limits(100)).limit == nil)
    }
    #expect(announce(torrent: 131, limits: limits(100)).limit == .newSessions)
    #expect(announce(torrent: 131, limits: limits(10)).limit == .newSessions)
  }

  @Test("new sessions of an hour may come at once, and come back with the time; stopping brings none back")
  mutating func newSessions() {
    let limits = SessionLimits(sessions: 0, newPerHour: 70)
    for torrent in 1...70 as ClosedRange<UInt64> {
      #expect(announce(torrent: torrent, limits: limits).limit == nil)
      _ = announce(torrent: torrent, event: .stopped, limits: limits)
    }
    store.budgets.sweep(nowSeconds: 1000)
    #expect(announce(torrent: 71, limits: limits).limit == .newSessions)
    #expect(announce(torrent: 71, user: 2, limits: limits).limit == nil)
    #expect(store.budgets.summary(nowSeconds: 1000).mostNewPart > 0.99)
    let later: UInt32 = 1000 + 3600 / 70 + 1
    #expect(announce(torrent: 71, limits: limits, now: later).limit == nil)
    #expect(announce(torrent: 72, limits: limits, now: later).limit == .newSessions)
    #expect(announce(torrent: 71, event: .completed, limits: limits, now: later).limit == nil)
    for torrent in 101...170 as ClosedRange<UInt64> {
      #expect(announce(torrent: torrent, limits: limits, now: 4700).limit == nil, "an hour later all are back")
    }
    #expect(metrics.render().contains("tracker_sessions_refused_total{limit=\"max_new_sessions_per_hour\"} 2\n"))
  }

  @Test("a session that other limits refuse costs its user nothing")
  mutating func takenBack() {
    let limits = SessionLimits(sessions: 10, newPerHour: 5)
    for peer in 1...3 as ClosedRange<UInt64> {
      _ = announce(torrent: 1, peer: peer, address: "192.0.2.\(peer)", limits: limits)
    }
    for peer in 4...20 as ClosedRange<UInt64> {
      let result = announce(torrent: 1, peer: peer, address: "192.0.2.\(peer)", limits: limits)
      #expect(result.limit == .clientsOnTorrent)
    }
    #expect(sessions() == 3)
    #expect(announce(torrent: 2, limits: limits).limit == nil)
    #expect(announce(torrent: 3, limits: limits).limit == nil)
    #expect(announce(torrent: 4, limits: limits).limit == .newSessions)
  }

  @Test("without passkeys there are no users: nothing is counted")
  mutating func noPasskeys() {
    for torrent in 1...30 as ClosedRange<UInt64> { #expect(announce(torrent: torrent, hasPasskey: false).limit == nil) }
    #expect(store.budgets.summary(nowSeconds: 1000) == UserBudgets.Summary())
  }

  @Test(
    "three clients with 20,000 torrents come back at once, over both families, and once more with new peer ids",
    arguments: [SessionLimits()])
  mutating func seedbox(limits: SessionLimits) {
    var refused = 0
    func comeBack(peer: UInt64, _ address: String) {
      let address = IPAddress(address)!
      var sink = PeerSink()
      for torrent in 1...20_000 as ClosedRange<UInt64> {
        var announce = SwarmStoreTests.make(torrent: torrent, user: 1, peer: peer, address: address, event: .started)
        announce.hasPasskey = true
        let result = store.announce(announce, policy: SwarmPolicy(limits: limits), lottery: &lottery, into: &sink)
        if result.limit != nil { refused += 1 }
      }
    }
    for client in 1...3 as ClosedRange<UInt64> {
      comeBack(peer: client, "192.0.2.\(client)")
      comeBack(peer: client, "2001:db8::\(client)")
    }
    #expect(sessions() == 60_000)
    comeBack(peer: 9, "192.0.2.1")
    #expect(refused == 0)
    #expect(sessions() == 60_000, "the ghosts are gone")
  }

  /// Users come and go at random; what the table says is what a dictionary says.
  @Test("the table follows the model", arguments: [1, 2, 3, 4] as [UInt64])
  func model(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let budgets = UserBudgets()
    var model: [UInt64: Int] = [:]
    var now: UInt32 = 5000
    for step in 0..<20_000 {
      now += UInt32.random(in: 0...1, using: &random)
      // Two of the parts, and users with the same home in them.
      let user = UInt64.random(in: 1...300, using: &random) << (seed % 2 * 3) | UInt64(step % 2) << 63
      if Bool.random(using: &random) {
        let limit = budgets.join(
          user, SessionLimits(sessions: 4, newPerHour: 0), replaces: false, nowSeconds: now)
        #expect((limit == nil) == (model[user, default: 0] < 4))
        if limit == nil { model[user, default: 0] += 1 }
      } else if model[user, default: 0] > 0 {
        budgets.leave(user)
        model[user]! -= 1
      }
      if step % 1000 == 0 {
        budgets.sweep(nowSeconds: now)
        let summary = budgets.summary(nowSeconds: now)
        #expect(summary.users == model.values.count { $0 > 0 })
        #expect(summary.mostSessions == model.values.max() ?? 0)
      }
    }
  }

  @Test("a user is sixteen bytes, and who leaves nothing behind is forgotten when the table would grow")
  func memory() async {
    await #expect(processExitsWith: .success) {
      let budgets = UserBudgets()
      let limits = SessionLimits()
      let before = SwarmMemoryTests.residentBytes()
      for user in 1...1_000_000 as ClosedRange<UInt64> {
        let hash = user &* 0x9e37_79b9_7f4a_7c15
        _ = budgets.join(hash, limits, replaces: false, nowSeconds: UInt32(user / 1000))
        budgets.leave(hash)
      }
      let afterPassing = SwarmMemoryTests.residentBytes() - before
      for user in 1...200_000 as ClosedRange<UInt64> {
        _ = budgets.join(user &* 0x9e37_79b9_7f4a_7c15, limits, replaces: false, nowSeconds: 2000)
      }
      let perUser = Double(SwarmMemoryTests.residentBytes() - before) / 200_000
      precondition(afterPassing < 4 << 20, "\(afterPassing) bytes of users that are gone")
      precondition(perUser <= 40, "\(perUser) bytes a user")
    }
  }
}
