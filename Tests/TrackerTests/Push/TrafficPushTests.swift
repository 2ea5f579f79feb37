import Linux
import Redis
import Simulation
import Synchronization
import Testing
import Wire

@testable import Tracker

@Suite struct TrafficPushTests {
  @Test("announces reach the stream, also those enqueued before Redis was there")
  func basic() async throws {
    let directory = try TemporaryDirectory()
    let redis = try RedisServer(in: directory)
    let metrics = MetricRegistry()
    var options = TrafficPushOptions(redisBroker: redis.url)
    options.retryInterval = .milliseconds(20)
    let push = try TrafficPush(options: options, metrics: metrics)
    try push.start()
    push.enqueue([makeRecord(uploaded: 100), makeRecord(uploaded: 150)])
    try await eventually("the push says that it is not ready") { !push.isReady }
    try await redis.start()
    try await eventually("the push is ready") { push.isReady }
    push.enqueue([makeRecord(uploaded: 170, event: .stopped)])
    push.shutdown()
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let events = try connection.events(of: "tracker:traffic")
    #expect(events.map(\.uploadedDelta) == [0, 50, 20])
    #expect(events.map { $0.counters?.creditedUpload } == [0, 50, 70])
    #expect(metrics.render().contains("tracker_push_published_total 3\n"))
  }

  @Test("with partitions a user's announces go to the stream of the documented hash")
  func partitions() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var options = TrafficPushOptions(redisBroker: redis.url)
    options.partitions = 3
    let push = try TrafficPush(options: options, metrics: MetricRegistry())
    try push.start()
    push.enqueue((0..<60).map { makeRecord(user: $0, uploaded: 1) })
    push.shutdown()
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    var seen = 0
    for partition in 0..<3 {
      for event in try connection.events(of: "tracker:traffic:{p\(partition)}") {
        seen += 1
        #expect(StreamPartition.index(of: event.passkey, count: 3) == partition)
        let key = "tracker:last:{p\(partition)}:\(event.passkey.text):\(event.infoHash.hex):\(event.peerID.hex)"
        #expect(try connection.integer(["EXISTS", key]) == 1)
      }
    }
    #expect(seen == 60)
    // FNV-1a 64 of "a" is af63dc4c8601ec8c (draft-eastlake-fnv).
    #expect(
      StreamPartition.index(of: Passkey("a")!, count: 1_000_003) == Int(0xaf63_dc4c_8601_ec8c as UInt64 % 1_000_003))
  }

  @Test("a script that Redis has forgotten is loaded again")
  func noScript() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    let metrics = MetricRegistry()
    let push = try TrafficPush(options: TrafficPushOptions(redisBroker: redis.url), metrics: metrics)
    try push.start()
    try await eventually("ready") { push.isReady }
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    _ = try connection.command(["SCRIPT", "FLUSH"])
    push.enqueue([makeRecord(uploaded: 100), makeRecord(uploaded: 150)])
    push.shutdown()
    #expect(try connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 50])
    #expect(metrics.render().contains("tracker_push_errors_total{error=\"NOSCRIPT\"} 1\n"))
  }

  @Test("a Redis that takes the connection and refuses the script, being busy or loading, is waited for")
  func busyAtStart() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    _ = try connection.command(["CONFIG", "SET", "lua-time-limit", "1"])
    var busy = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    busy.append(["EVAL", "while true do end", "0"])
    try busy.flush()
    // Each time by another connection: one whose reply did not come in time owes it.
    try await eventually("Redis is busy") {
      guard var probe = try? RedisConnection(endpoint: RedisEndpoint(url: redis.url)) else { return false }
      return (try? probe.command(["PING"]).isNil) == nil
    }
    let metrics = MetricRegistry()
    var options = TrafficPushOptions(redisBroker: redis.url)
    options.retryInterval = .milliseconds(1)
    let push = try TrafficPush(options: options, metrics: metrics)
    try push.start()
    push.enqueue([makeRecord(uploaded: 100), makeRecord(uploaded: 150)])
    try await eventually("it has tried more than once", evidence: metrics.render()) {
      let tries = metrics.render().split(separator: "\n").first {
        $0.hasPrefix("tracker_push_errors_total{error=\"BUSY\"}")
      }
      return (tries?.split(separator: " ").last).flatMap { Int($0) } ?? 0 >= 2
    }
    _ = try connection.command(["SCRIPT", "KILL"])
    try await eventually("the push is ready") { push.isReady }
    push.shutdown()
    #expect(try connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 50])
  }
}
