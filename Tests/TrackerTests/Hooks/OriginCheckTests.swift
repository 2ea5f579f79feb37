import Foundation
import HTTP
import Linux
import Redis
import Simulation
import Synchronization
import Testing
import Wire

@testable import Tracker

@Suite("asking the origin")
struct OriginCheckTests {
  /// A site's check on a loopback port: `/verify` approves passkeys that begin with `good`, `/slow` takes a minute.
  private final class Origin: Sendable {
    struct Seen {
      var queries: [String] = []
      var keys: [String] = []
      var running = 0
      var mostRunning = 0
    }
    /// What the server's thread works with, as long as it runs.
    final class Desk: Sendable {
      let seen = Mutex(Seen())
      let answers: Atomic<Bool>
      init(answers: Bool) { self.answers = Atomic(answers) }
    }
    private let desk: Desk
    private let server = Mutex<AdminServer?>(nil)
    let port: UInt16
    var seen: Seen { desk.seen.withLock { $0 } }

    /// `delayNanoseconds`: how long each answer takes. `answers`: false until `answer()`.
    init(delayNanoseconds: UInt64 = 0, answers: Bool = true) throws {
      let desk = Desk(answers: answers)
      self.desk = desk
      port = try FreePort.take()
      let queries = Mutex<[String]>([])
      let routes = [
        AdminServer.Route(
          path: "/verify",
          begin: { request in
            let query = String(decoding: request.query, as: UTF8.self)
            var keys: [String] = []
            Array("x-api-key".utf8).withUnsafeBytes { name in
              request.forEachValue(ofHeader: name) { keys.append(String(decoding: $0, as: UTF8.self)) }
            }
            queries.withLock { $0.append(query) }
            desk.seen.withLock { seen in
              seen.queries.append(query)
              seen.keys += keys
              seen.running += 1
              seen.mostRunning = max(seen.mostRunning, seen.running)
            }
            return delayNanoseconds
          }, refuse: { _, _ in },
          finish: { writer in
            while !desk.answers.load(ordering: .acquiring) { usleep(1000) }
            desk.seen.withLock { $0.running -= 1 }
            // All take equally long: they end in the order in which they began.
            let isGood = queries.withLock { $0.removeFirst() }.contains("passkey=good")
            writer.begin(.ok, contentType: "application/json")
            writer.append("{\"valid\": \(isGood)}")
          }),
        AdminServer.Route(
          path: "/slow", begin: { _ in 60_000_000_000 }, refuse: { _, _ in },
          finish: { writer in writer.begin(.ok, contentType: "application/json") }),
      ]
      let server = try AdminServer(
        address: .host(.loopbackV4, port: port), registry: MetricRegistry(), metricPrefix: "origin", routes: routes,
        probe: { Health(isLive: true, isReady: true) })
      self.server.withLock { $0 = server }
    }

    func answer() { desk.answers.store(true, ordering: .releasing) }

    deinit {
      answer()
      server.withLock { $0?.shutdown() }
    }

    func check(_ path: String, timeoutSeconds: Double = 60) -> OriginCheck {
      OriginCheck(
        url: "http://127.0.0.1:\(port)\(path)", apiKeyHeader: "X-API-Key", apiKey: "s3cret",
        timeoutSeconds: timeoutSeconds)!
    }
  }

  /// The answers that have come in.
  private final class Answers: Sendable {
    let list = Mutex<[ApprovalCache.Verdict?]>([])
    func take(_ verdict: ApprovalCache.Verdict?) { list.withLock { $0.append(verdict) } }
    var all: [ApprovalCache.Verdict?] { list.withLock { $0 } }
  }

  private let hasher = KeyedHash(seed: 3)

  private func ask(
    _ check: OriginCheck, _ passkey: String, _ answers: Answers, from address: IPAddress = .loopbackV4,
    isKnown: Bool = false
  ) {
    let passkey = Passkey(passkey)!
    check.ask(passkey, key: hasher.userKey(passkey), of: HostNetwork(of: address), isKnown: isKnown) {
      answers.take($0)
    }
  }

  @Test("the passkey is appended to the URL's own query, with the key in its header, and the answer decides")
  func question() async throws {
    let origin = try Origin()
    let answers = Answers()
    let check = origin.check("/verify?site=a&passkey=")
    ask(check, "good1", answers)
    try await eventually("approved") { answers.all == [.approved] }
    ask(check, "bad1", answers)
    try await eventually("refused") { answers.all == [.approved, .refused] }
    let (queries, keys) = (origin.seen.queries, origin.seen.keys)
    #expect(queries == ["site=a&passkey=good1", "site=a&passkey=bad1"])
    #expect(keys == ["s3cret", "s3cret"])
  }

  @Test("who asks about a passkey that is being asked about shares the answer: one call at a time for each")
  func shared() async throws {
    let origin = try Origin(answers: false)
    let answers = Answers()
    let check = origin.check("/verify")
    for _ in 0..<50 { ask(check, "good1", answers) }
    origin.answer()
    try await eventually("all have it") { answers.all.count == 50 }
    #expect(answers.all.allSatisfy { $0 == .approved })
    #expect(origin.seen.queries.count == 1)
  }

  @Test("at most eight calls run at once, and all are answered")
  func bounded() async throws {
    let origin = try Origin(delayNanoseconds: 20_000_000)
    let answers = Answers()
    let check = origin.check("/verify")
    for number in 0..<60 { ask(check, number % 2 == 0 ? "good\(number)" : "bad\(number)", answers) }
    try await eventually("all are answered") { answers.all.count == 60 }
    #expect(answers.all.count { $0 == .approved } == 30)
    #expect(answers.all.count { $0 == .refused } == 30)
    #expect((1...8).contains(origin.seen.mostRunning))
  }

  @Test("sources take turns: who comes after a flood of another address is called for next, not last")
  func turns() async throws {
    let origin = try Origin(answers: false)
    let answers = Answers()
    let check = origin.check("/verify")
    for number in 0..<200 { ask(check, "bad\(number)", answers, from: IPAddress("192.0.2.1")!) }
    ask(check, "good", answers, from: IPAddress("2001:db8::1")!)
    origin.answer()
    try await eventually("all are answered") { answers.all.count == 201 }
    let place = try #require(origin.seen.queries.firstIndex(of: "passkey=good"))
    // Behind the eight under way and one of the flood's; calls that overlap arrive as they like.
    #expect(place < 32)
  }

  @Test("a known user waits for no stranger, however many addresses they have")
  func knownFirst() async throws {
    let origin = try Origin(answers: false)
    let answers = Answers()
    let check = origin.check("/verify")
    for number in 0..<200 { ask(check, "bad\(number)", answers, from: IPAddress("192.0.2.\(number)")!) }
    ask(check, "good", answers, from: IPAddress("2001:db8::1")!, isKnown: true)
    origin.answer()
    try await eventually("all are answered") { answers.all.count == 201 }
    let place = try #require(origin.seen.queries.firstIndex(of: "passkey=good"))
    // Behind the eight under way; calls that overlap arrive as they like.
    #expect(place < 32)
  }

  @Test("no source fills the queue, and there is room for others when it has all it can get")
  func shares() async throws {
    let origin = try Origin(answers: false)
    let answers = Answers()
    let check = origin.check("/verify")
    for number in 0..<2500 { ask(check, "bad\(number)", answers, from: IPAddress("192.0.2.1")!) }
    // A fifth of ten thousand.
    #expect((450...550).contains(answers.all.count) && answers.all.allSatisfy { $0 == nil })
    let undecided = answers.all.count
    for number in 0..<1000 { ask(check, "good\(number)", answers, from: IPAddress("192.0.2.2")!) }
    #expect(answers.all.count == undecided)
    origin.answer()
    try await eventually("all are answered") { answers.all.count == 3500 }
    #expect(answers.all.count { $0 == .approved } == 1000)
  }

  @Test("no answer in time, and no origin there, are no decision")
  func noAnswer() async throws {
    let answers = Answers()
    do {
      let origin = try Origin()
      ask(origin.check("/slow", timeoutSeconds: 0.2), "good1", answers)
      try await eventually("given up") { answers.all == [nil] }
    }
    let absent = OriginCheck(
      url: "http://127.0.0.1:\(try FreePort.take())/verify", apiKeyHeader: "X-API-Key", apiKey: nil, timeoutSeconds: 60)!
    ask(absent, "good1", answers)
    try await eventually("no origin there") { answers.all == [nil, nil] }
  }

  @Test("the set decides first; what it does not have, the origin does, and no answer lets no one in")
  func withResolver() async throws {
    let origin = try Origin()
    let bench = try await MembershipResolverTests.Bench(origin: origin.check("/verify"))
    try bench.command("SADD", "pt:passkeys", "alice")
    try await bench.expect("alice", .fresh(.approved))
    #expect(origin.seen.queries.count == 0)
    try await bench.expect("good1", .fresh(.approved))
    try await bench.expect("mallory", .fresh(.refused))
    // The bench asks until it is told: perhaps once more, where the answer is on its way, and such questions share a call.
    let asked = origin.seen.queries
    #expect(Set(asked) == ["passkey=good1", "passkey=mallory"])
    #expect(bench.resolver.metrics.originCalls.current >= asked.count)
    let silent = try await MembershipResolverTests.Bench(origin: origin.check("/slow", timeoutSeconds: 0.1))
    #expect(silent.ask("good1"))
    try await eventually("the origin gave no answer") { silent.resolver.metrics.originFailures.current == 1 }
    #expect(silent.knowledge("good1") == .nothing)
  }

  @Test("a known user whom the set no longer has waits for no hung origin, and its no applies when it comes")
  func knownAtHungOrigin() async throws {
    let origin = try Origin(answers: false)
    let bench = try await MembershipResolverTests.Bench(origin: origin.check("/verify"))
    try bench.command("SADD", "pt:passkeys", "alice", "bob")
    try await bench.expect("alice", .fresh(.approved))
    try await eventually("nothing is under way") { bench.told("alice") == bench.resolver.metrics.lookups.current }
    try bench.command("SREM", "pt:passkeys", "alice")
    try await eventually("the change is noticed") { bench.knowledge("alice") == .stale(.approved) }
    let (told, unchecked) = (bench.told("alice"), bench.resolver.metrics.unchecked.current)
    #expect(bench.ask("alice", isKnown: true))
    try await eventually("alice is told") { bench.told("alice") == told + 1 }
    #expect(bench.resolver.metrics.unchecked.current == unchecked + 1)
    #expect(bench.knowledge("alice") == .stale(.approved), "who is told goes on with the old yes")
    origin.answer()
    try await eventually("alice is out") { bench.knowledge("alice") == .fresh(.refused) }
    #expect(bench.told("alice") == told + 1, "once")
  }

  @Test("who waits for the origin is told when Redis, which the resolver waits for then, does not answer either")
  func knownAtOriginAndRedisHangs() throws {
    let resolver = try MembershipResolver(
      rules: MembershipRules(
        endpoint: RedisEndpoint(url: "redis://127.0.0.1:1"), timeouts: RedisTimeouts(), setKey: "pt:passkeys",
        name: "passkey", origin: nil), cache: ApprovalCache(approvedSeconds: 300, refusedSeconds: 300),
      metrics: MetricRegistry())
    final class Receiver: AnswerReceiver {
      let told = Mutex<[UserKey]>([])
      func lookedUp(_ keys: [UserKey]) { told.withLock { $0 += keys } }
    }
    let receiver = Receiver()
    func question(_ passkey: String, isKnown: Bool) -> MembershipResolver.Waiting {
      MembershipResolver.Waiting(
        member: .passkey(Passkey(passkey)!), key: hasher.userKey(Passkey(passkey)!),
        source: HostNetwork(of: .loopbackV4), receiver: receiver, isKnown: isKnown)
    }
    resolver.note(nil)
    let alice = try #require(resolver.originWaits.begin(question("alice", isKnown: true)))
    #expect(resolver.originWaits.begin(question("mallory", isKnown: false)) == nil)
    resolver.noteLate()
    #expect(receiver.told.withLock { $0 } == [hasher.userKey(Passkey("alice")!)])
    #expect(!resolver.originWaits.end(alice), "the answer tells nobody a second time")
  }
}
