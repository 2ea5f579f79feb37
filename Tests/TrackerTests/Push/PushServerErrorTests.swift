import Foundation
import Linux
import Redis
import Simulation
import Testing
import Wire

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

    push.enqueue((0..<50).map { makeRecord(peer: $0, uploaded: 1000, at: 1_700_000_000) })
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

  @Test("a disk that Redis cannot write (MISCONF) is named in readiness, loses nothing and ends with its cause")
  func misconfigured() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    let metrics = MetricRegistry()
    var options = TrafficPushOptions(redisBroker: redis.url)
    options.retryInterval = .milliseconds(10)
    let push = try TrafficPush(options: options, metrics: metrics)
    try push.start()
    defer { push.shutdown() }
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    push.enqueue([makeRecord(uploaded: 1000)])
    try await eventually("the baseline is published") { metrics.value(of: "tracker_push_published_total") == 1 }
    // A folder in the place of the dump: its rename fails, whichever user runs Redis.
    let setting = try connection.command(["CONFIG", "GET", "dbfilename"])
    let dump = try #require(setting.view[1].string)
    let obstacle = "\(directory.path)/\(dump)"
    try FileManager.default.createDirectory(atPath: "\(obstacle)/full", withIntermediateDirectories: true)
    _ = try connection.command(["CONFIG", "SET", "stop-writes-on-bgsave-error", "yes", "save", "3600 1000000"])
    _ = try connection.command(["BGSAVE"])
    try await eventually("the dump has failed") {
      try connection.command(["INFO", "persistence"]).string!.contains("rdb_last_bgsave_status:err")
    }
    push.enqueue([makeRecord(uploaded: 1500, at: 1_800_001_800)])
    try await eventually("readiness names MISCONF", evidence: push.troubles.joined()) {
      push.troubles.contains { $0.contains("MISCONF") }
    }
    #expect(metrics.errors("MISCONF") >= 1)
    push.enqueue([makeRecord(uploaded: 4000, event: .stopped, at: 1_800_003_600)])
    try FileManager.default.removeItem(atPath: obstacle)
    _ = try connection.command(["BGSAVE"])
    try await eventually("everything is published", evidence: push.troubles.joined()) {
      metrics.value(of: "tracker_push_published_total") == 3 && push.isReady
    }
    #expect(try connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 500, 2500])
  }

  @Test("a Redis that is loading its data is waited for by name, and nothing is lost")
  func loading() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory, extra: ["--appendonly", "no"])
    let metrics = MetricRegistry()
    var options = TrafficPushOptions(redisBroker: redis.url)
    options.retryInterval = .milliseconds(10)
    let push = try TrafficPush(options: options, metrics: metrics)
    try push.start()
    defer { push.shutdown() }
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    push.enqueue((0..<2000).map { makeRecord(peer: $0, uploaded: 1000) })
    try await eventually("the baselines are published") { metrics.value(of: "tracker_push_published_total") == 2000 }
    _ = try connection.command(["SAVE"])
    try await redis.stop()
    push.enqueue((0..<2000).map { makeRecord(peer: $0, uploaded: 1500, event: .stopped, at: 1_800_001_800) })
    // The same files and the same socket; 50 ms for each key until a client has been told LOADING.
    let slow = try RedisServer(
      in: directory,
      extra: ["--appendonly", "no", "--key-load-delay", "50000", "--loading-process-events-interval-bytes", "1024"])
    async let started: Void = slow.start()
    try await eventually("the push was told LOADING", evidence: metrics.render()) {
      metrics.errors("LOADING") >= 1
    }
    #expect(!push.isReady)
    try await eventually("the load is quick again") {
      guard var hasty = try? RedisConnection(endpoint: RedisEndpoint(url: slow.url)) else { return false }
      return (try? hasty.command(["CONFIG", "SET", "key-load-delay", "0"])) != nil
    }
    try await started
    try await eventually("everything is published", evidence: push.troubles.joined()) {
      metrics.value(of: "tracker_push_published_total") == 4000 && push.isReady
    }
    connection = try RedisConnection(endpoint: RedisEndpoint(url: slow.url))
    let events = try connection.events(of: "tracker:traffic")
    #expect(events.count == 4000 && events.map(\.uploadedDelta).reduce(0, +) == 2000 * 500)
  }

  @Test("every error has its series from the start, so that a first one is an increase")
  func registered() throws {
    let metrics = MetricRegistry()
    _ = try TrafficPush(options: TrafficPushOptions(redisBroker: "redis://127.0.0.1:1"), metrics: metrics)
    for name in ["unreachable", "timeout read", "closed", "LOADING", "MISCONF", "NOSCRIPT", "MOVED", "other"] {
      #expect(metrics.render().contains("tracker_push_errors_total{error=\"\(name)\"} 0\n"))
    }
  }
}
