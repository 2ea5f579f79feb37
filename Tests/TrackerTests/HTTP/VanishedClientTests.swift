import Linux
import Redis
import Simulation
import Synchronization
import Testing
import Wire

@testable import Tracker

@Suite("clients that are gone when their approval is decided")
struct VanishedClientTests {
  /// A worker whose approval is decided by the test: its resolver has no thread.
  private final class Bench {
    final class Sink: AnnounceRecordSink {
      let uploaded = Mutex<[UInt64]>([])
      func enqueue(_ records: UnsafeBufferPointer<AnnounceRecord>) {
        let more = records.map(\.uploaded)
        uploaded.withLock { $0 += more }
      }
    }

    let sink = Sink()
    let resolver: MembershipResolver
    let worker: TestWorker
    private let passkey = Passkey("alice")!

    init() throws {
      resolver = try MembershipResolver(
        rules: MembershipRules(
          endpoint: RedisEndpoint(url: "redis://127.0.0.1:1"), timeouts: RedisTimeouts(), setKey: "pt:passkeys",
          name: "passkey", origin: nil),
        cache: ApprovalCache(approvedSeconds: 300, refusedSeconds: 300), metrics: MetricRegistry())
      worker = try TestWorker(
        pipeline: PipelineRules(hooks: [PasskeyApproval(resolver: resolver)]), push: sink)
    }

    /// Announces, waits until the look-up does, and goes by a reset.
    func announceAndVanish() async throws -> [MembershipResolver.Waiting] {
      let socket = try ClientSocket(worker.endpoint, udp: false)
      try socket.send(Array("GET \(target(1, uploaded: 4096)) HTTP/1.1\r\nHost: t\r\n\r\n".utf8))
      let waiting = try await eventually("the announce waits") {
        let waiting = resolver.takeWaiting(limit: 1).batch
        return waiting.isEmpty ? nil : waiting
      }
      #expect(shows("tracker_http_connections_open 1"))
      socket.resetAtClose()
      _ = consume socket
      try await eventually("the tracker has seen the end") { shows("tracker_http_connections_open 0") }
      return waiting
    }

    func target(_ peer: Int, uploaded: Int) -> String {
      "/announce?passkey=\(passkey.text)&info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=-XX0000-00000000000\(peer)&port=100\(peer)"
        + "&uploaded=\(uploaded)&downloaded=0&left=1"
    }

    /// Ends the look-up; nil: without an answer.
    func decide(_ verdict: ApprovalCache.Verdict?, _ waiting: [MembershipResolver.Waiting]) {
      for one in waiting {
        guard let verdict else { continue }
        resolver.cache.remember(
          verdict, for: one.key, epoch: resolver.cache.epoch, nowSeconds: BatchTime.now().monotonicSeconds)
      }
      resolver.tell(waiting)
    }

    func shows(_ line: String) -> Bool { worker.registry.render().contains("\n\(line)\n") }

    func counted(_ error: String) async throws {
      let name = "chihaya_http_response_duration_milliseconds_count"
      try await eventually("it is counted", evidence: worker.registry.render()) {
        shows(#"\#(name){action="announce",address_family="IPv4",error="\#(error)"} 1"#)
          && shows("tracker_http_unanswered_total 1")
      }
    }
  }

  @Test("an approved one's announce counts in the swarm and in the stream, though nobody gets the reply")
  func approved() async throws {
    let bench = try Bench()
    let waiting = try await bench.announceAndVanish()
    bench.decide(.approved, waiting)
    try await bench.counted("")
    #expect(bench.sink.uploaded.withLock { $0 } == [4096])
    let next = try bench.worker.bencoded(bench.target(2, uploaded: 1))
    #expect(next["incomplete"]?.integer == 2)
  }

  @Test(
    "one who is not approved, or whose approval nobody could tell, is a refusal",
    arguments: [ApprovalCache.Verdict.refused, nil])
  func refused(verdict: ApprovalCache.Verdict?) async throws {
    let bench = try Bench()
    let waiting = try await bench.announceAndVanish()
    bench.decide(verdict, waiting)
    try await bench.counted("\(verdict == nil ? Refusal.tryAgain.text : Refusal.unapprovedPasskey.text)")
    #expect(bench.sink.uploaded.withLock { $0 } == [])
  }
}
