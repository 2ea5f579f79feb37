import Shared
import Simulation
import Testing

@testable import Tracker

/// Redis answers, and answers with an error: every one is named, nothing is lost, and it goes on when the cause is gone.
@Suite struct PushServerErrorTests {
  struct Trouble: CustomTestStringConvertible {
    let code: String
    let cause: [[String]]
    let repair: [[String]]
    var testDescription: String { code }
  }

  static let troubles = [
    Trouble(
      code: "OOM", cause: [["CONFIG", "SET", "maxmemory", "1"]], repair: [["CONFIG", "SET", "maxmemory", "0"]]),
    Trouble(
      code: "READONLY", cause: [["REPLICAOF", "127.0.0.1", "1"]], repair: [["REPLICAOF", "NO", "ONE"]]),
    Trouble(
      code: "NOPERM", cause: [["ACL", "SETUSER", "default", "-evalsha", "-eval", "-script"]],
      repair: [["ACL", "SETUSER", "default", "+@all"]]),
    Trouble(
      code: "WRONGTYPE", cause: [["RENAME", "tracker:traffic", "aside"], ["SET", "tracker:traffic", "no stream"]],
      repair: [["DEL", "tracker:traffic"], ["RENAME", "aside", "tracker:traffic"]]),
  ]

  @Test("an error of the server is named in readiness, loses nothing and ends with its cause", arguments: troubles)
  func recovers(trouble: Trouble) async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    let metrics = MetricRegistry()
    var options = TrafficPushOptions(redisBroker: redis.url)
    options.retryInterval = .milliseconds(10)
    let push = try TrafficPush(options: options, metrics: metrics)
    try push.start()
    defer { push.shutdown() }
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    func published() -> Bool { metrics.value(of: "tracker_push_queue_depth") == 0 && push.isReady }

    push.enqueue((0..<50).map { makeRecord(peer: $0, uploaded: 1000, at: 1_800_000_000) })
    try await eventually("the baselines are published") {
      try published() && connection.integer(["XLEN", "tracker:traffic"]) == 50
    }
    for command in trouble.cause { _ = try connection.command(command) }
    push.enqueue((0..<50).map { makeRecord(peer: $0, uploaded: 1500, at: 1_800_001_800) })
    try await eventually("readiness names \(trouble.code)", evidence: push.troubles.joined()) {
      !push.isReady && push.troubles.contains { $0.contains(trouble.code) }
    }
    push.enqueue((0..<50).map { makeRecord(peer: $0, uploaded: 4000, event: .stopped, at: 1_800_003_600) })
    for command in trouble.repair { _ = try connection.command(command) }
    try await eventually("everything is published", evidence: push.troubles.joined()) { published() }

    let events = try connection.events(of: "tracker:traffic")
    #expect(events.count == 150)
    var uploaded: [PeerID: UInt64] = [:]
    for event in events { uploaded[event.peerID, default: 0] += event.uploadedDelta }
    #expect(uploaded.count == 50 && uploaded.values.allSatisfy { $0 == 3000 })
    #expect(events.count { $0.event == .stopped } == 50)
  }
}
