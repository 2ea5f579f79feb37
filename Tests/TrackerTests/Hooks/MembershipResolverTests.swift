import Glibc
import Linux
import Redis
import Simulation
import Synchronization
import Testing
import Wire

@testable import Tracker

@Suite("membership look-ups against a real Redis")
struct MembershipResolverTests {
  /// A resolver with its Redis.
  final class Bench {
    let redis: RedisServer
    private let url: String
    private let owner: AnyObject
    let resolver: MembershipResolver
    let hasher = KeyedHash(seed: 7)
    private let receiver = Receiver()

    private final class Receiver: AnswerReceiver {
      let told = Mutex<[UserKey]>([])
      func lookedUp(_ keys: [UserKey]) { told.withLock { $0 += keys } }
    }

    convenience init(
      startRedis: Bool = true, patienceSeconds: UInt64 = 1, timeouts: RedisTimeouts = RedisTimeouts(),
      origin: OriginCheck? = nil
    ) async throws {
      let directory = try TemporaryDirectory()
      let redis = try RedisServer(in: directory)
      if startRedis { try await redis.start() }
      try self.init(
        redis, redis.url, patienceSeconds: patienceSeconds, timeouts: timeouts, origin: origin, owner: directory)
    }

    /// With a Redis that the test has: `url` is where the resolver looks for it.
    init(
      _ redis: RedisServer, _ url: String, patienceSeconds: UInt64 = 1, timeouts: RedisTimeouts = RedisTimeouts(),
      origin: OriginCheck? = nil, owner: AnyObject
    ) throws {
      self.redis = redis
      self.url = url
      self.owner = owner
      resolver = try MembershipResolver(
        rules: MembershipRules(
          endpoint: try RedisEndpoint(url: url), timeouts: timeouts, setKey: "pt:passkeys",
          name: "passkey", origin: origin, missingSetPatienceNanoseconds: patienceSeconds * 1_000_000_000),
        cache: ApprovalCache(approvedSeconds: 300, refusedSeconds: 300),
        metrics: MetricRegistry())
      try resolver.start()
    }

    deinit { resolver.stop() }

    func command(_ arguments: String...) throws {
      var connection = try RedisConnection(endpoint: try RedisEndpoint(url: url), key: "pt:passkeys")
      _ = try connection.command(arguments)
    }

    func key(_ passkey: String) -> UserKey { hasher.userKey(Passkey(passkey)!) }

    func ask(_ passkey: String, isKnown: Bool = false) -> Bool {
      resolver.lookUp(
        MembershipQuestion(
          resolver: resolver, key: key(passkey), member: .passkey(Passkey(passkey)!),
          source: HostNetwork(of: .loopbackV4), isKnown: isKnown), for: receiver) == .accepted
    }

    /// How often those who asked about a passkey were told.
    func told(_ passkey: String) -> Int { receiver.told.withLock { $0.count { $0 == key(passkey) } } }

    /// What an announce of the user comes to, `later` seconds from now.
    func verdict(_ passkey: String, later: UInt32 = 0) -> HookVerdict {
      resolver.verdict(
        on: key(passkey), nowSeconds: BatchTime.now().monotonicSeconds + later, from: .loopbackV4,
        refusal: .unapprovedPasskey, .passkey(Passkey(passkey)!))
    }
    func passes(_ passkey: String, later: UInt32 = 0) -> Bool {
      if case .proceed = verdict(passkey, later: later) { return true }
      return false
    }

    var knowledge: (String) -> ApprovalCache.Knowledge {
      { [self] in resolver.cache.knowledge(of: key($0), nowSeconds: BatchTime.now().monotonicSeconds) }
    }

    /// Asks until the cache says it.
    func expect(_ passkey: String, _ wanted: ApprovalCache.Knowledge) async throws {
      try await eventually("\(passkey) is \(wanted)") {
        if knowledge(passkey) == wanted { return true }
        return !ask(passkey)
      }
    }
  }

  @Test("members are approved, others refused")
  func answers() async throws {
    let bench = try await Bench()
    try bench.command("SADD", "pt:passkeys", "alice")
    try await bench.expect("alice", .fresh(.approved))
    try await bench.expect("mallory", .fresh(.refused))
  }

  /// Strangers who ask about one more passkey for each answer.
  private final class Strangers: AnswerReceiver {
    private let resolver: MembershipResolver
    private let hasher: KeyedHash
    let asked = Atomic(0)
    let isOver = Atomic(false)

    init(_ bench: Bench) {
      resolver = bench.resolver
      hasher = bench.hasher
    }

    func ask() {
      let number = asked.wrappingAdd(1, ordering: .relaxed).newValue
      let passkey = Passkey("stranger\(number)")!
      _ = resolver.lookUp(
        MembershipQuestion(
          resolver: resolver, key: hasher.userKey(passkey), member: .passkey(passkey),
          source: HostNetwork(of: .loopbackV4), isKnown: false), for: self)
    }

    func lookedUp(_ keys: [UserKey]) { if !isOver.load(ordering: .relaxed) { for _ in keys { ask() } } }
  }

  @Test("a removal is heard while strangers keep asking, so that somebody always waits")
  func removalInAFlood() async throws {
    let bench = try await Bench()
    try bench.command("SADD", "pt:passkeys", "alice", "bob")
    try await bench.expect("alice", .fresh(.approved))
    let strangers = Strangers(bench)
    defer { strangers.isOver.store(true, ordering: .relaxed) }
    for _ in 0..<2 { strangers.ask() }
    try await eventually("the strangers are at it") { strangers.asked.load(ordering: .relaxed) > 100 }
    try bench.command("SREM", "pt:passkeys", "alice")
    try await eventually("the removal is heard") { bench.knowledge("alice") != .fresh(.approved) }
  }

  @Test("a removed passkey is stale at once and refused at the next question, long before its time to live")
  func removal() async throws {
    let bench = try await Bench()
    try bench.command("SADD", "pt:passkeys", "alice", "bob")
    try await bench.expect("alice", .fresh(.approved))
    try bench.command("SREM", "pt:passkeys", "alice")
    try await eventually("the change is noticed without a question") { bench.knowledge("alice") == .stale(.approved) }
    try await bench.expect("alice", .fresh(.refused))
    try await bench.expect("bob", .fresh(.approved))
  }

  @Test("a passkey that was refused is approved as soon as it is added")
  func addition() async throws {
    let bench = try await Bench()
    try bench.command("SADD", "pt:passkeys", "bob")
    try await bench.expect("alice", .fresh(.refused))
    try bench.command("SADD", "pt:passkeys", "alice")
    try await bench.expect("alice", .fresh(.approved))
  }

  @Test("the two-step refresh refuses no user, known or new")
  func refresh() async throws {
    // Long enough for a loaded machine.
    let bench = try await Bench(patienceSeconds: 60)
    try bench.command("SADD", "pt:passkeys", "alice", "bob")
    try await bench.expect("alice", .fresh(.approved))
    try bench.command("SADD", "pt:passkeys:new", "alice", "bob", "carol")
    try bench.command("RENAME", "pt:passkeys", "pt:passkeys:old")
    try await eventually("the change is noticed") { bench.knowledge("alice") == .stale(.approved) }
    let before = bench.resolver.metrics.lookups.current
    #expect(bench.ask("alice") && bench.ask("bob"))
    try await eventually("the set was asked while it was missing") {
      bench.resolver.metrics.lookups.current > before + 2
    }
    #expect(bench.knowledge("alice") == .stale(.approved), "stale, so that it passes, and not refused")
    #expect(bench.knowledge("bob") == .nothing, "still waiting, and not refused")
    try bench.command("RENAME", "pt:passkeys:new", "pt:passkeys")
    try await bench.expect("bob", .fresh(.approved))
    try await bench.expect("alice", .fresh(.approved))
    try await bench.expect("carol", .fresh(.approved))
  }

  @Test("a set that does not exist approves no one")
  func noSet() async throws {
    let bench = try await Bench()
    try await bench.expect("alice", .fresh(.refused))
  }

  @Test("Redis away: known users stay known, nothing is invented, and everything goes on when it is back")
  func outage() async throws {
    let bench = try await Bench()
    try bench.command("SADD", "pt:passkeys", "alice")
    try await bench.expect("alice", .fresh(.approved))
    bench.redis.kill9()
    try await eventually("the outage is noticed") { !bench.resolver.isReady }
    #expect(bench.ask("alice") && bench.ask("bob"))
    try await eventually("the questions failed") { bench.resolver.metrics.failures.current >= 2 }
    #expect(bench.knowledge("alice") == .stale(.approved))
    #expect(bench.knowledge("bob") == .nothing)
    try await bench.redis.start()
    try await bench.expect("alice", .fresh(.approved))
    try await bench.expect("bob", .fresh(.refused))
    #expect(bench.resolver.isReady)
  }

  @Test(
    "Redis hangs: a known user who waits for it is told before it answers or is given up, and the next one does not wait"
  )
  func hang() async throws {
    // Longer than a loaded machine takes to look.
    var timeouts = RedisTimeouts()
    timeouts.readMilliseconds = 120_000
    let bench = try await Bench(timeouts: timeouts)
    try bench.command("SADD", "pt:passkeys", "alice")
    try await bench.expect("alice", .fresh(.approved))
    bench.resolver.cache.invalidate()
    #expect(!bench.passes("alice"), "Redis answers: it is asked first")
    let told = bench.told("alice")
    kill(try #require(bench.redis.pid), SIGSTOP)
    #expect(bench.ask("alice", isKnown: true) && bench.ask("bob"))
    try await eventually("alice is told") { bench.told("alice") > told }
    #expect(bench.resolver.metrics.failures.current == 0 && bench.told("bob") == 0, "Redis has its time still")
    #expect(bench.passes("alice") && !bench.passes("bob") && bench.resolver.isReady)
    #expect(!bench.ask("alice", isKnown: true), "no known user is kept waiting for it")
    kill(try #require(bench.redis.pid), SIGCONT)
    try await bench.expect("bob", .fresh(.refused))
    try await bench.expect("alice", .fresh(.approved))
  }

  @Test("an approval that has aged is used, and checked behind the answer by one question; who was removed is out then")
  func behind() async throws {
    let bench = try await Bench()
    try bench.command("SADD", "pt:passkeys", "alice", "bob")
    try await bench.expect("alice", .fresh(.approved))
    try await eventually("nothing is under way") { bench.told("alice") == bench.resolver.metrics.lookups.current }
    let lookups = bench.resolver.metrics.lookups.current
    kill(try #require(bench.redis.pid), SIGSTOP)
    for _ in 0..<100 { #expect(bench.passes("alice", later: 300)) }
    kill(try #require(bench.redis.pid), SIGCONT)
    try await eventually("it was checked") { bench.passes("alice") && bench.resolver.metrics.lookups.current > lookups }
    #expect(bench.resolver.metrics.lookups.current == lookups + 1)
    try bench.command("SREM", "pt:passkeys", "alice")
    try await eventually("the change is noticed") { bench.knowledge("alice") == .stale(.approved) }
    #expect(!bench.passes("alice"), "Redis is asked first")
    try await bench.expect("alice", .fresh(.refused))
  }

  @Test("Redis not there at the start is waited for")
  func lateRedis() async throws {
    let bench = try await Bench(startRedis: false)
    #expect(bench.ask("alice"))
    try await eventually("the question failed") { bench.resolver.metrics.failures.current == 1 }
    try await bench.redis.start()
    try bench.command("SADD", "pt:passkeys", "alice")
    try await bench.expect("alice", .fresh(.approved))
  }

  @Test("a Redis at its maxmemory still says who may announce")
  func fullRedis() async throws {
    let bench = try await Bench()
    try bench.command("SADD", "pt:passkeys", "alice")
    try bench.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    try bench.command("CONFIG", "SET", "maxmemory", "1")
    #expect(throws: RedisError.self) { try bench.command("SADD", "pt:passkeys", "bob") }
    try await bench.expect("alice", .fresh(.approved))
    try await bench.expect("bob", .fresh(.refused))
    #expect(bench.resolver.metrics.failures.current == 0 && bench.resolver.isReady)
  }

  @Test("a set key of another type is not ready, refuses no one, and is asked again until it is right")
  func wrongType() async throws {
    let bench = try await Bench()
    try bench.command("SADD", "pt:passkeys", "alice")
    try await bench.expect("alice", .fresh(.approved))
    try bench.command("SET", "pt:passkeys", "a mistake")
    try await eventually("it is noticed without a question") { !bench.resolver.isReady }
    #expect(bench.ask("alice") && bench.ask("bob"))
    try await eventually("the questions failed") { bench.resolver.metrics.failures.current >= 2 }
    #expect(bench.knowledge("alice") == .stale(.approved) && bench.knowledge("bob") == .nothing)
    #expect(!bench.resolver.isReady)
    try bench.command("DEL", "pt:passkeys")
    try bench.command("SADD", "pt:passkeys", "bob")
    try await bench.expect("bob", .fresh(.approved))
    try await eventually("it is ready again") { bench.resolver.isReady }
  }

  @Test("many questions while the set is missing do not shorten the wait for it")
  func stormDuringRefresh() async throws {
    let bench = try await Bench()
    try bench.command("SADD", "pt:passkeys", "first")
    try await bench.expect("first", .fresh(.approved))
    let renamed = Clock.monotonicNanoseconds()
    try bench.command("RENAME", "pt:passkeys", "pt:passkeys:old")
    // Each of these is asked about in a batch of its own; there are more than one question has tries in a second.
    for number in 0..<40 {
      let before = bench.resolver.metrics.lookups.current
      #expect(bench.ask("user\(number)"))
      while bench.resolver.metrics.lookups.current == before { await Task.yield() }
    }
    let refused = (0..<40).filter { bench.knowledge("user\($0)") != .nothing }
    // On a machine so slow that the second is over, they are rightly refused.
    let isOver = Clock.monotonicNanoseconds() - renamed >= 1_000_000_000
    #expect(refused.isEmpty || isOver)
    try bench.command("RENAME", "pt:passkeys:old", "pt:passkeys")
    try await bench.expect("user0", .fresh(.refused))
  }
}
