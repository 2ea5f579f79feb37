// The decisions of a resolver, driven by a Redis and a clock that are values of the test.

import Redis
import Testing
import Wire

@testable import Tracker

/// Carries out what a session decides, in place of MembershipLink.
private struct Bench {
  private final class Receiver: AnswerReceiver {
    func lookedUp(_ keys: [UserKey]) {}
  }

  static let second: UInt64 = 1_000_000_000
  private let hasher = KeyedHash(seed: 5)
  private let receiver = Receiver()
  let cache = ApprovalCache(approvedSeconds: 300, refusedSeconds: 300)
  private var session: MembershipSession
  private(set) var now: UInt64 = 1000 * second
  private var later: [(due: UInt64, event: MembershipSession.Event)] = []

  // The simulated Redis.
  /// nil: the set is missing.
  var members: Set<String>? = []
  var isThere = true
  /// Exchanges that end the connection before one is answered.
  var brokenExchanges = 0
  var isLate = false
  var breaksSubscription = false

  // What was done.
  private(set) var told: [String] = []
  private(set) var givenUp: [String] = []
  private(set) var askedOrigin: [String] = []
  private(set) var connects: [UInt64] = []
  private(set) var asks = 0
  private(set) var isConnected = false

  init(hasOrigin: Bool = false) {
    session = MembershipSession(
      cache: cache, hasOrigin: hasOrigin, missingSetPatienceNanoseconds: Self.second,
      backoff: RetryBackoff(firstMilliseconds: 100, maximumMilliseconds: 2000, random: { $0.upperBound }))
  }

  func key(_ name: String) -> UserKey { hasher.userKey(Passkey(name)!) }
  func knowledge(_ name: String) -> ApprovalCache.Knowledge {
    cache.knowledge(of: key(name), nowSeconds: BatchTime.seconds(now))
  }

  /// As the resolver asks: about whom the cache has approved, as about a known one.
  mutating func ask(_ names: String...) {
    send(
      .questions(
        names.map {
          let isKnown = [.aged, .stale(.approved), .fresh(.approved)].contains(knowledge($0))
          return MembershipResolver.Waiting(
            member: .passkey(Passkey($0)!), key: key($0), source: HostNetwork(of: .loopbackV4), receiver: receiver,
            isKnown: isKnown)
        }))
  }

  mutating func send(_ event: MembershipSession.Event) {
    for action in session.handle(event, nowNanoseconds: now) { carryOut(action) }
  }

  /// Lets time pass, with what falls due in it.
  mutating func pass(milliseconds: UInt64) {
    let end = now + milliseconds * 1_000_000
    while let next = later.indices.min(by: { later[$0].due < later[$1].due }), later[next].due <= end {
      let (due, event) = later.remove(at: next)
      now = due
      send(event)
    }
    now = end
  }

  private mutating func carryOut(_ action: MembershipSession.Action) {
    switch action {
    case .connect:
      connects.append(now)
      isConnected = isThere
      send(isThere ? .connected : .connectionFailed)
    case .disconnect: isConnected = false
    case .ask(let batch):
      precondition(isConnected, "asked without a connection")
      answer(batch)
    case .invalidateCache: cache.invalidate()
    case .subscribe: send(.subscribed)
    case .remember(let verdict, let question, let source, let epoch):
      cache.remember(verdict, for: question.key, from: source, epoch: epoch, nowSeconds: BatchTime.seconds(now))
    case .tell(let batch): told += batch.map(\.member.text)
    case .giveUp(let batch): givenUp += batch.map(\.member.text)
    case .askOrigin(let question, _): askedOrigin.append(question.member.text)
    case .askLater(let batch, let nanoseconds): later.append((now + nanoseconds, .questions(batch)))
    case .checkSubscription:
      if breaksSubscription {
        breaksSubscription = false
        send(.subscriptionLost)
      }
    case .probeLater(let nanoseconds): later.append((now + nanoseconds, .probe))
    }
  }

  private mutating func answer(_ batch: [MembershipResolver.Waiting]) {
    asks += 1
    if isLate { send(.late) }
    if !isThere || brokenExchanges > 0 {
      brokenExchanges = max(0, brokenExchanges - 1)
      isConnected = false
      return send(.exchangeFailed)
    }
    let members = members
    send(
      .answered(
        MembershipAnswer(
          setExists: members != nil, isMember: batch.map { members?.contains($0.member.text) ?? false }),
        epoch: cache.epoch))
  }
}

@Suite("decisions of a membership session, without a socket")
struct MembershipSessionTests {
  @Test("members are approved, others refused, and each is told")
  func answers() {
    var bench = Bench()
    bench.members = ["alice"]
    bench.ask("alice", "mallory")
    #expect(bench.knowledge("alice") == .fresh(.approved) && bench.knowledge("mallory") == .fresh(.refused))
    #expect(bench.told == ["alice", "mallory"])
    #expect(bench.connects.count == 1 && bench.asks == 1, "the first question connects")
  }

  @Test("between the two RENAMEs the known go on at once and the others wait for the set, which then decides")
  func rename() {
    var bench = Bench()
    bench.members = ["alice", "bob"]
    bench.ask("alice")
    bench.members = nil
    bench.cache.invalidate()
    bench.ask("alice", "bob")
    #expect(bench.told == ["alice", "alice"] && bench.knowledge("alice") == .stale(.approved))
    bench.pass(milliseconds: 900)
    #expect(bench.told.count == 2 && bench.knowledge("bob") == .nothing, "bob still waits")
    #expect(bench.asks == 20, "asked again every 50 ms")
    bench.members = ["alice", "bob"]
    bench.pass(milliseconds: 50)
    #expect(bench.told.last == "bob" && bench.knowledge("bob") == .fresh(.approved))
    bench.ask("alice")
    #expect(bench.knowledge("alice") == .fresh(.approved))
  }

  @Test(
    "between the two RENAMEs nobody is refused whose approval has aged, and a set that stays away is an empty one to them"
  )
  func renameWhenAged() {
    var bench = Bench()
    bench.members = ["alice"]
    bench.ask("alice")
    bench.pass(milliseconds: 400_000)
    #expect(bench.knowledge("alice") == .aged)
    bench.members = nil
    bench.ask("alice")
    #expect(bench.told.count == 2 && bench.knowledge("alice") == .aged)
    bench.pass(milliseconds: 999)
    bench.ask("alice")
    #expect(bench.told.count == 3 && bench.knowledge("alice") == .aged)
    bench.pass(milliseconds: 1)
    bench.ask("alice")
    #expect(bench.told.count == 4 && bench.knowledge("alice") == .fresh(.refused))
  }

  @Test(
    "known users are told while the answer is late, and before a second connection is tried; the others when there is one"
  )
  func late() {
    var bench = Bench()
    bench.members = ["alice", "bob"]
    bench.ask("alice")
    bench.cache.invalidate()
    bench.isLate = true
    bench.ask("alice", "bob")
    #expect(bench.told == ["alice", "alice", "alice", "bob"], "late, then with the answer")
    #expect(bench.knowledge("alice") == .fresh(.approved) && bench.knowledge("bob") == .fresh(.approved))
    bench.isLate = false
    bench.cache.invalidate()
    bench.brokenExchanges = 2
    bench.ask("alice", "carol")
    #expect(bench.told.dropFirst(4) == ["alice"] && bench.givenUp == ["alice", "carol"])
  }

  @Test("a set that stays away is an empty set; a storm of questions does not shorten the wait for it")
  func missingForGood() {
    var bench = Bench()
    bench.members = nil
    for number in 0..<40 {
      bench.ask("user\(number)")
      bench.pass(milliseconds: 20)
    }
    #expect(bench.told.isEmpty)
    bench.pass(milliseconds: 250)
    #expect(Set(bench.told) == Set((0..<40).map { "user\($0)" }))
    #expect(bench.knowledge("user0") == .fresh(.refused))
    // It came back in between: the wait begins anew.
    bench.members = []
    bench.ask("someone")
    bench.members = nil
    bench.ask("another")
    #expect(bench.told.last == "someone")
  }

  @Test("Redis away: stale approvals stay, nothing is invented, and no look-up waits for a connection")
  func away() {
    var bench = Bench()
    bench.members = ["alice"]
    bench.ask("alice")
    bench.isThere = false
    bench.cache.invalidate()
    bench.ask("alice", "bob")
    #expect(bench.givenUp == ["alice", "bob"])
    #expect(bench.knowledge("alice") == .stale(.approved) && bench.knowledge("bob") == .nothing)
    let tried = bench.connects.count
    for _ in 0..<50 { bench.ask("bob") }
    #expect(bench.connects.count == tried, "within the pause no attempt is made")
    #expect(bench.givenUp.count == 52, "and every question is told")
    bench.isThere = true
    bench.pass(milliseconds: 100)
    bench.ask("alice", "bob")
    #expect(bench.knowledge("alice") == .fresh(.approved) && bench.knowledge("bob") == .fresh(.refused))
  }

  @Test("attempts to connect are 100 ms apart, then twice as long each, up to 2 s, and the first wait counts again")
  func backoff() {
    var bench = Bench()
    bench.isThere = false
    for _ in 0..<1000 {
      bench.ask("bob")
      bench.pass(milliseconds: 10)
    }
    let pauses = zip(bench.connects, bench.connects.dropFirst()).map { ($1 - $0) / 1_000_000 }
    #expect(pauses.prefix(7) == [100, 200, 400, 800, 1600, 2000, 2000])
    bench.isThere = true
    bench.pass(milliseconds: 2000)
    bench.ask("bob")
    #expect(bench.isConnected)
    bench.isThere = false
    bench.ask("bob")
    let failed = bench.connects.count
    bench.pass(milliseconds: 100)
    bench.ask("bob")
    #expect(bench.connects.count == failed + 1)
  }

  @Test("a connection that turns out dead is replaced at once, and its question is answered")
  func deadConnection() {
    var bench = Bench()
    bench.members = ["alice"]
    bench.send(.probe)
    bench.brokenExchanges = 1
    bench.ask("alice")
    #expect(bench.givenUp.isEmpty && bench.told == ["alice"])
    #expect(bench.knowledge("alice") == .fresh(.approved), "the answer came after the new connection's invalidation")
    #expect(bench.connects.count == 2)
  }

  @Test("a Redis that accepts connections and answers nothing is given up after two tries, with a pause")
  func twice() {
    var bench = Bench()
    bench.brokenExchanges = 2
    bench.ask("alice")
    #expect(bench.givenUp == ["alice"] && bench.asks == 2 && bench.connects.count == 2)
    bench.ask("alice")
    #expect(bench.asks == 2, "the pause holds")
    bench.pass(milliseconds: 200)
    bench.ask("alice")
    #expect(bench.told == ["alice"])
  }

  @Test("probes go on every second, and one finds Redis back without a question")
  func probes() {
    var bench = Bench()
    bench.isThere = false
    bench.send(.probe)
    #expect(bench.connects.count == 1 && bench.givenUp.isEmpty)
    bench.pass(milliseconds: 5000)
    #expect(bench.connects.count == 5, "each second an attempt, until a pause of 1.6 s holds at the fifth")
    bench.isThere = true
    bench.pass(milliseconds: 2000)
    #expect(bench.isConnected)
  }

  @Test("a lost subscription costs the connection; the next one makes the cache stale, for changes went unreported")
  func subscription() {
    var bench = Bench()
    bench.members = ["alice"]
    bench.send(.probe)
    bench.ask("alice")
    bench.breaksSubscription = true
    #expect(bench.connects.count == 1)
    bench.pass(milliseconds: 1000)
    #expect(bench.connects.count == 2 && bench.isConnected && bench.knowledge("alice") == .stale(.approved))
  }

  @Test("the origin is asked about what the set does not have, and its word outlives a change of the set")
  func origin() {
    var bench = Bench(hasOrigin: true)
    bench.members = ["alice"]
    bench.ask("alice", "bob")
    #expect(bench.told == ["alice"] && bench.askedOrigin == ["bob"])
    bench.cache.remember(
      .refused, for: bench.key("bob"), from: .origin, epoch: bench.cache.epoch, nowSeconds: BatchTime.seconds(bench.now)
    )
    bench.cache.invalidate()
    bench.ask("bob")
    #expect(bench.askedOrigin == ["bob"] && bench.told == ["alice", "bob"])
    #expect(bench.knowledge("bob") == .fresh(.refused))
  }
}
