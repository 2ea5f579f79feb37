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
    var resumed: [Tracker.AnnounceOutcome] = []

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

    func resume(_ request: AnnounceRequest, origin: RequestOrigin) { resumed.append(announce(request)) }

    func announce(_ passkey: String, from address: String = "192.0.2.1") -> Tracker.AnnounceOutcome {
      announce(passkey, from: IPAddress(address)!)
    }

    func announce(_ passkey: String, from address: IPAddress) -> Tracker.AnnounceOutcome {
      var request = HookTests.request()
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
}
