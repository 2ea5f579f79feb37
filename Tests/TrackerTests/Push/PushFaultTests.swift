import Linux
import Redis
import Simulation
import Testing

@testable import Tracker

/// Every entry of one session in order, whatever happened to the connection.
@Suite struct PushFaultTests {
  /// A push through a proxy, and its Redis.
  private struct Line {
    let directory: TemporaryDirectory
    let redis: RedisServer
    let proxy: FaultProxy
    let push: TrafficPush
    let metrics = MetricRegistry()

    init(readMilliseconds: Int = 5000) async throws {
      directory = try TemporaryDirectory()
      redis = try await RedisServer.start(in: directory)
      proxy = try FaultProxy(target: redis.port)
      var options = TrafficPushOptions(redisBroker: "redis://127.0.0.1:\(proxy.port)/0")
      options.retryInterval = .milliseconds(1)
      options.timeouts.read = .milliseconds(readMilliseconds)
      push = try TrafficPush(options: options, metrics: metrics)
      try push.start()
      let push = push
      try await eventually("ready") { push.isReady }
    }

    /// Two announces of one session in one call: 100 bytes more each.
    func announce(_ round: Int) {
      let counters = [UInt64(round * 200 + 1_000_000), UInt64(round * 200 + 1_000_100)]
      push.enqueue(counters.map { makeRecord(uploaded: $0, at: 1_700_000_000 + Int64(round)) })
    }

    /// All rounds are in the stream once.
    func check(rounds: Int, _ note: String) throws {
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
      let events = try connection.events(of: "tracker:traffic")
      #expect(events.count == rounds * 2, "\(note)")
      #expect(events.map(\.uploadedDelta) == [0] + Array(repeating: 100, count: rounds * 2 - 1), "\(note)")
    }

    /// Waits until the publisher knows that all rounds are in the stream.
    func settle(rounds: Int) async throws {
      try await eventually("round \(rounds) is in the stream") {
        let known = ["published_total", "duplicate_records_total"].map { metrics.value(of: "tracker_push_\($0)") }
        return known.reduce(0, +) == Double(rounds * 2)
      }
    }
  }

  @Test(
    "a connection that ends at any byte of a call or its reply costs nothing and doubles nothing",
    arguments: [FaultProxy.Fault.cut, .reset], FaultProxy.Direction.allCases)
  func everyByte(fault: FaultProxy.Fault, direction: FaultProxy.Direction) async throws {
    let line = try await Line()
    line.proxy.arm(nil)
    line.announce(0)
    try await line.settle(rounds: 1)
    var rounds = 1
    var offset = 0
    var untouched = 0
    /// The offsets at which a call was cut: it was sent again.
    var cut: [Int] = []
    var attempts = 0
    // On to ten offsets behind the end of the call: its length varies with its numbers.
    while untouched < 10 {
      let before = (faults: line.proxy.faults, retries: line.metrics.value(of: "tracker_push_retries_total"))
      line.proxy.arm(FaultProxy.Plan(fault, direction, after: offset))
      line.announce(rounds)
      rounds += 1
      attempts += 1
      try await line.settle(rounds: rounds)
      if line.metrics.value(of: "tracker_push_retries_total") > before.retries { cut.append(offset) }
      untouched = line.proxy.faults == before.faults ? untouched + 1 : 0
      // A question for the time was cut instead, as may be several times in turn, or the last byte of the reply had come.
      if untouched == 0, cut.last != offset, attempts < 20 { continue }
      attempts = 0
      offset += 1
    }
    // A call has some 640 bytes and a reply some 130; every one of them was the last before a fault.
    // Behind the end another one may be cut, which gets the connection ready.
    let length = max(direction == .request ? 600 : 100, cut.count - 10)
    #expect(Array(cut.prefix(length)) == Array(0..<length), "\(cut)")
    line.push.shutdown()
    try line.check(rounds: rounds, "\(fault) \(direction)")
  }

  @Test(
    "a connection that falls silent in the middle is given up and nothing is doubled",
    arguments: FaultProxy.Direction.allCases)
  func blackHole(direction: FaultProxy.Direction) async throws {
    let line = try await Line(readMilliseconds: 60)
    var rounds = 0
    for offset in [0, 1, 7, 20, 33, 40, 200, 500] {
      line.proxy.arm(FaultProxy.Plan(.blackHole, direction, after: offset))
      line.announce(rounds)
      rounds += 1
      try await line.settle(rounds: rounds)
    }
    line.push.shutdown()
    try line.check(rounds: rounds, "\(direction)")
  }

  @Test("a slow connection is slow and nothing else: replies that come together are both seen")
  func delay() async throws {
    let line = try await Line(readMilliseconds: 2000)
    line.proxy.delay(milliseconds: 15)
    for round in 0..<PushBatch.maximumRecords * 4 { line.announce(round) }
    try await line.settle(rounds: PushBatch.maximumRecords * 4)
    line.push.shutdown()
    try line.check(rounds: PushBatch.maximumRecords * 4, "delay")
    #expect(line.metrics.errors() == 0)
  }
}
