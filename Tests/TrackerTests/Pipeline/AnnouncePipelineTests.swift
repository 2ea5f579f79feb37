import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

@Suite("the way of an announce, on the test's own thread")
struct AnnouncePipelineTests {
  /// A pipeline with a passkey approval whose Redis is not there, and the receiver of what was parked.
  private final class Bench: ParkedRequestReceiver {
    let store: SwarmStore
    let resolver: MembershipResolver
    let pipeline: AnnouncePipeline
    private let mailbox: EventLoopMailbox
    /// The ports of those that went on, and how.
    var resumed: [(port: UInt16, outcome: Tracker.AnnounceOutcome)] = []

    init(budget: Int? = nil) throws {
      store = try SwarmStore(shardCount: 4, snatches: SnatchLedger(path: nil))
      mailbox = try EventLoopMailbox()
      resolver = try MembershipResolver(
        rules: MembershipRules(
          endpoint: RedisEndpoint(url: "redis://127.0.0.1:1"), timeouts: RedisTimeouts(), setKey: "pt:passkeys",
          name: "passkey", origin: nil, maximumWaitingPerSource: budget),
        cache: ApprovalCache(approvedSeconds: 300, refusedSeconds: 300), metrics: MetricRegistry())
      pipeline = AnnouncePipeline(
        store: store, push: nil, rules: PipelineRules(hooks: [PasskeyApproval(resolver: resolver)]), mailbox: mailbox)
      pipeline.httpReceiver = self
    }

    func resume(_ request: AnnounceRequest, origin: RequestOrigin) {
      resumed.append((request.port, announce(request)))
    }

    /// One turn of the worker's loop: the letters that are there, and none that they post.
    func turn() throws {
      mailbox.post { $0.stop() }
      try EventLoop(mailbox: mailbox).run()
    }

    /// Approves whoever waits for a look-up, and says so.
    func approveAll() {
      let waiting = resolver.takeWaiting(limit: .max).batch
      for one in waiting {
        resolver.cache.remember(
          .approved, for: one.key, epoch: resolver.cache.epoch, nowSeconds: BatchTime.now().monotonicSeconds)
      }
      resolver.tell(waiting)
    }

    func announce(
      _ passkey: String, from address: String = "192.0.2.1", port: UInt16 = 6881
    ) -> Tracker.AnnounceOutcome {
      announce(passkey, from: IPAddress(address)!, port: port)
    }

    func announce(_ passkey: String, from address: IPAddress, port: UInt16 = 6881) -> Tracker.AnnounceOutcome {
      var request = HookTests.request(port: port)
      request.source = address
      request.passkey = Passkey(passkey)
      return announce(request)
    }

    private func announce(_ request: AnnounceRequest) -> Tracker.AnnounceOutcome {
      var reply = AnnounceReply()
      return withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { bytes in
        reply.peers = UDPWriter.sink(for: .v4, limit: 10, in: bytes.baseAddress!)
        return pipeline.announce(
          request, origin: .http(ticket: 0, form: 0), time: BatchTime.now(), reply: &reply)
      }
    }

    func know(_ passkey: String) {
      resolver.cache.remember(
        .approved, for: store.hasher.userKey(Passkey(passkey)!), epoch: resolver.cache.epoch,
        nowSeconds: BatchTime.now().monotonicSeconds)
    }
  }

  @Test("a full parking lot turns away whom the cache does not know, and nobody whom it does")
  func fullLot() throws {
    let bench = try Bench()
    bench.know("alice")
    for number in 0..<UInt32(ParkingLot.capacity) {
      guard case .parked = bench.announce("stranger\(number)", from: IPAddress(v4: number)) else {
        throw HarnessError("\(number) did not wait")
      }
    }
    guard case .refused(.tryAgain) = bench.announce("another") else { throw HarnessError("no end of the lot") }
    guard case .accepted = bench.announce("alice") else { throw HarnessError("fresh") }
    bench.resolver.note(nil)
    bench.resolver.cache.invalidate()
    guard case .accepted = bench.announce("alice") else { throw HarnessError("stale, and Redis answers") }
    #expect(bench.pipeline.parkedCount == ParkingLot.capacity)
  }

  @Test(
    "an address has its budget of unknown passkeys: the next one is refused by name, known users and others are not")
  func budget() throws {
    let bench = try Bench(budget: 100)
    bench.know("alice")
    for number in 0..<100 {
      guard case .parked = bench.announce("stranger\(number)") else { throw HarnessError("\(number) did not wait") }
    }
    for _ in 0..<2 {
      guard case .refused(.tooManyLookups) = bench.announce("another") else { throw HarnessError("no end of it") }
    }
    #expect(bench.resolver.metrics.overBudget.current == 2 && bench.pipeline.parkedCount == 100)
    guard case .parked = bench.announce("stranger7") else { throw HarnessError("its look-up is under way") }
    guard case .accepted = bench.announce("alice") else { throw HarnessError("known, from the same address") }
    guard case .parked = bench.announce("bob", from: "192.0.2.2") else { throw HarnessError("another address") }
    // Whom Redis is asked about first after a change of the set waits beside the budget.
    bench.resolver.note(nil)
    bench.resolver.cache.invalidate()
    guard case .parked = bench.announce("alice") else { throw HarnessError("known, and the set has changed") }
    // The look-up has ended: its place is free.
    let first = bench.resolver.takeWaiting(limit: 2).batch
    #expect(first.map(\.isKnown) == [true, false])
    bench.resolver.tell(first)
    guard case .parked = bench.announce("another") else { throw HarnessError("there is room again") }
    guard case .refused(.tooManyLookups) = bench.announce("more") else { throw HarnessError("for one") }
  }

  @Test("the IPv6 addresses of one /64 have one budget")
  func network() throws {
    let bench = try Bench(budget: 2)
    for host in 1...2 {
      guard case .parked = bench.announce("stranger\(host)", from: "2001:db8::\(host)") else {
        throw HarnessError("\(host)")
      }
    }
    guard case .refused(.tooManyLookups) = bench.announce("another", from: "2001:db8::3") else {
      throw HarnessError("/64")
    }
    guard case .parked = bench.announce("another", from: "2001:db8:0:1::3") else { throw HarnessError("the next /64") }
  }

  @Test("one address does not fill the lot, and finds room for as much as a cold start brings behind one")
  func lotShare() throws {
    let bench = try Bench()
    var count = 0
    // Of one passkey, so that the lot alone decides.
    while case .parked = bench.announce("stranger") { count += 1 }
    #expect(count >= ParkingLot.capacity / (SourceShares.parts + 1) && count < ParkingLot.capacity / SourceShares.parts)
    guard case .refused(.tooManyLookups) = bench.announce("stranger") else { throw HarnessError("no end of it") }
    for number in 0..<1000 as Range<UInt32> {
      guard case .parked = bench.announce("user\(number)", from: IPAddress(v4: number)) else {
        throw HarnessError("\(number) found no room")
      }
    }
    #expect(bench.resolver.takeWaiting(limit: 2).batch.map(\.source.description) == ["192.0.2.1", "0.0.0.0"])
  }

  @Test("look-ups are taken in turns: who comes after a flood of another address is in the next round")
  func turns() throws {
    let bench = try Bench(budget: 1000)
    for number in 0..<1000 { _ = bench.announce("stranger\(number)") }
    _ = bench.announce("alice", from: "192.0.2.2")
    let round = bench.resolver.takeWaiting(limit: MembershipSession.batchLength).batch
    #expect(round.count == MembershipSession.batchLength && round[1].source.description == "192.0.2.2")
  }

  @Test("what waited for one look-up goes on in parts, in its order, and others are served in between")
  func inParts() throws {
    let bench = try Bench()
    bench.know("bob")
    let (part, count) = (AnnouncePipeline.resumedPerTurn, 2 * AnnouncePipeline.resumedPerTurn + 10)
    for number in 0..<count {
      guard case .parked = bench.announce("alice", from: IPAddress(v4: UInt32(number)), port: UInt16(1000 + number))
      else { throw HarnessError("\(number) did not wait") }
    }
    bench.approveAll()
    try bench.turn()
    #expect(bench.resumed.count == part && bench.pipeline.parkedCount == count - part)
    // Alice's next announce comes behind those before it, bob's does not.
    guard case .parked = bench.announce("alice", port: 9000) else { throw HarnessError("before older ones") }
    guard case .accepted = bench.announce("bob", from: "192.0.2.2") else { throw HarnessError("bob waits") }
    try bench.turn()
    #expect(bench.resumed.count == 2 * part)
    try bench.turn()
    #expect(bench.resumed.map(\.port) == (0..<count).map { UInt16(1000 + $0) } + [9000])
    #expect(bench.pipeline.parkedCount == 0)
    let isAllAccepted = bench.resumed.allSatisfy { if case .accepted = $0.outcome { true } else { false } }
    #expect(isAllAccepted)
    guard case .accepted = bench.announce("alice") else { throw HarnessError("nothing is before it") }
    try bench.turn()
    #expect(bench.resumed.count == count + 1, "the last letter was the last")
  }

  @Test("a worker that ends puts through what has its answer, and counts what has none")
  func atTheEnd() throws {
    let bench = try Bench()
    let count = 3 * AnnouncePipeline.resumedPerTurn
    for number in 0..<count { _ = bench.announce("alice", from: IPAddress(v4: UInt32(number))) }
    bench.approveAll()
    _ = bench.announce("carol")
    try bench.turn()
    bench.pipeline.resumeRest()
    #expect(bench.resumed.count == count && bench.pipeline.parkedCount == 1)
  }

  @Test("those who find too much of their address waiting are not kept back for what is before them")
  func noRoomBehind() throws {
    let bench = try Bench()
    var count = 0
    while case .parked = bench.announce("alice") { count += 1 }
    bench.approveAll()
    try bench.turn()
    // The part that went on has made room.
    var behind = 0
    while case .parked = bench.announce("alice") { behind += 1 }
    #expect(behind > 0 && behind <= AnnouncePipeline.resumedPerTurn)
    guard case .accepted = bench.announce("alice") else { throw HarnessError("refused") }
    bench.pipeline.resumeRest()
    #expect(bench.resumed.count == count + behind && bench.pipeline.parkedCount == 0)
  }
}
