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

    init() throws {
      store = try SwarmStore(shardCount: 4, snatches: SnatchLedger(path: nil))
      mailbox = try EventLoopMailbox()
      resolver = try MembershipResolver(
        rules: MembershipRules(
          endpoint: RedisEndpoint(url: "redis://127.0.0.1:1"), timeouts: RedisTimeouts(), setKey: "pt:passkeys",
          name: "passkey", origin: nil),
        cache: ApprovalCache(approvedSeconds: 300, refusedSeconds: 300), metrics: MetricRegistry())
      pipeline = AnnouncePipeline(
        store: store, push: nil, rules: PipelineRules(hooks: [PasskeyApproval(resolver: resolver)]), mailbox: mailbox)
      pipeline.httpReceiver = self
    }

    func resume(_ request: AnnounceRequest, origin: RequestOrigin) { resumed.append(announce(request)) }

    func announce(_ passkey: String) -> Tracker.AnnounceOutcome {
      var request = HookTests.request()
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
    for number in 0..<ParkingLot.capacity {
      guard case .parked = bench.announce("stranger\(number)") else { throw HarnessError("\(number) did not wait") }
    }
    guard case .refused(.tryAgain) = bench.announce("another") else { throw HarnessError("no end of the lot") }
    guard case .accepted = bench.announce("alice") else { throw HarnessError("fresh") }
    bench.resolver.note(nil)
    bench.resolver.cache.invalidate()
    guard case .accepted = bench.announce("alice") else { throw HarnessError("stale, and Redis answers") }
    #expect(bench.pipeline.parkedCount == ParkingLot.capacity)
  }
}
