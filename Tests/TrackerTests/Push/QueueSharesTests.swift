import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

@Suite("shares of the push queue")
struct QueueSharesTests {
  private static let limits = EventQueue.Limits(
    capacityEvents: 1000, coalesceAbove: 0, coalesceBelow: 0, leastShare: 4)

  private static func append(_ record: AnnounceRecord, to queue: EventQueue) -> EventQueue.Outcome {
    withUnsafePointer(to: record) { queue.append(UnsafeBufferPointer(start: $0, count: 1), order: 1) }
  }

  private static func take(_ count: Int, from queue: EventQueue) {
    var announces: [QueuedAnnounce] = []
    _ = queue.take(count, into: &announces, willWait: false)
  }

  @Test("who floods the queue is refused from its half on, others are until its end not")
  func oneFloods() {
    let queue = EventQueue(limits: Self.limits)
    func flood(_ peer: Int) -> EventQueue.Outcome {
      Self.append(makeRecord(user: 0, torrent: peer, peer: peer, uploaded: 0, event: .started), to: queue)
    }
    for peer in 0..<500 { #expect(flood(peer).queued == 1) }
    #expect(flood(500).beyondShare == 1)
    #expect(flood(499).queued + flood(499).coalesced == 0, "nor its second entry of a session")
    for user in 1...500 {
      #expect(Self.append(makeRecord(user: user, uploaded: 7, event: .stopped), to: queue).queued == 1, "\(user)")
      #expect(flood(500).queued == 0)
    }
    #expect(queue.depth == 1000 && queue.highestShare == 500)
    #expect(Self.append(makeRecord(user: 501, uploaded: 7, event: .stopped), to: queue).refused == 1)
    // The first to leave are the flood's.
    Self.take(500, from: queue)
    #expect(queue.highestShare == 1 && flood(500).queued == 1)
  }

  @Test("an announce that a waiting one takes in needs no share")
  func coalesced() {
    let queue = EventQueue(limits: Self.limits)
    for round in 0..<2 {
      for peer in 0..<250 {
        let record = makeRecord(user: 0, peer: peer, uploaded: UInt64(round))
        #expect(Self.append(record, to: queue).queued == 1)
      }
    }
    for peer in 0..<250 {
      #expect(Self.append(makeRecord(user: 0, peer: peer, uploaded: 9, event: .stopped), to: queue).coalesced == 1)
    }
    #expect(Self.append(makeRecord(user: 0, peer: 250, uploaded: 0), to: queue).beyondShare == 1)
  }

  @Test("of many who flood none has more than a quarter of what the others leave", arguments: [1, 2, 8, 40])
  func manyFlood(users: Int) {
    let queue = EventQueue(limits: Self.limits)
    var refused = Array(repeating: 0, count: users)
    for peer in 0..<2000 {
      for user in 0..<users {
        refused[user] += Self.append(makeRecord(user: user, peer: peer, uploaded: 0), to: queue).beyondShare
      }
    }
    let left = 1000 - queue.depth
    #expect(left > 0 && !refused.contains(0))
    #expect(users == 1 ? queue.depth == 500 : queue.highestShare <= max(500 / users + 1, left / 4 + 1))
    for user in 0..<left { #expect(Self.append(makeRecord(user: 1000 + user, uploaded: 0), to: queue).queued == 1) }
  }

  @Test("what waited before the queue began to join announces counts for nobody, and leaves nobody's count")
  func before() {
    let queue = EventQueue(
      limits: EventQueue.Limits(capacityEvents: 1000, coalesceAbove: 100, coalesceBelow: 10, leastShare: 4))
    for peer in 0..<150 { _ = Self.append(makeRecord(user: 0, peer: peer, uploaded: 0), to: queue) }
    #expect(queue.highestShare == 50)
    Self.take(100, from: queue)
    #expect(queue.highestShare == 50)
    Self.take(1, from: queue)
    #expect(queue.highestShare == 49)
    Self.take(39, from: queue)
    #expect(queue.highestShare == 0 && queue.depth == 10, "the queue joins no more")
    Self.take(10, from: queue)
    #expect(queue.depth == 0)
  }

  @Test("the counts are those of what waits", arguments: [1, 2, 3] as [UInt64])
  func model(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let limits = EventQueue.Limits(
      capacityEvents: 6000, coalesceAbove: 50, coalesceBelow: 20, leastShare: 4)
    let queue = EventQueue(limits: limits)
    // Users in the order they wait; nil: from before the counting.
    var waiting: [Int?] = []
    var isCounting = false
    for step in 0..<20_000 {
      let isFilling = step / 4000 % 2 == 0
      if Int.random(in: 0..<10, using: &random) < (isFilling ? 7 : 3) {
        let user = Int.random(in: 0..<(step < 8000 ? 10 : 3000), using: &random)
        if waiting.count >= limits.coalesceAbove { isCounting = true }
        let outcome = Self.append(makeRecord(user: user, peer: step, uploaded: 0), to: queue)
        if outcome.queued == 1 { waiting.append(isCounting ? user : nil) }
      } else {
        let count = Int.random(in: 0...2, using: &random)
        Self.take(count, from: queue)
        waiting.removeFirst(min(count, waiting.count))
        if isCounting && waiting.count <= limits.coalesceBelow {
          isCounting = false
          waiting = waiting.map { _ in nil }
        }
      }
      if step % 97 == 0 {
        var counts: [Int: Int] = [:]
        for case let user? in waiting { counts[user, default: 0] += 1 }
        #expect(queue.depth == waiting.count)
        #expect(queue.highestShare == counts.values.max() ?? 0, "step \(step)")
      }
    }
  }

  @Test("one user floods the queue while Redis is away: another's stopped gets in and is credited")
  func credited() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    let metrics = MetricRegistry()
    var options = TrafficPushOptions(redisBroker: redis.url)
    options.retryInterval = .milliseconds(10)
    let push = try TrafficPush(options: options, metrics: metrics, limits: Self.limits)
    try push.start()
    push.enqueue([makeRecord(user: 1, uploaded: 0, event: .started)])
    try await eventually("published") { metrics.value(of: "tracker_push_published_total") == 1 }
    try await redis.stop()
    // What is on its way already is in the queue no more: two calls at the most.
    for first in stride(from: 0, to: 3000, by: 250) {
      push.enqueue((first..<first + 250).map { makeRecord(user: 0, peer: $0, uploaded: 0, event: .started) })
    }
    #expect(metrics.render().contains("tracker_push_refused_total{reason=\"queue full\"} 0\n"))
    #expect(metrics.value(of: "tracker_push_queue_highest_share") > 0)
    push.enqueue([makeRecord(user: 1, uploaded: 4321, event: .stopped, at: 1_700_000_060)])
    #expect(push.isReady || !push.troubles.contains { $0.contains("full") })
    try await redis.start()
    try await eventually("everything is published") { metrics.value(of: "tracker_push_queue_depth") == 0 }
    push.shutdown()
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let own = try connection.events(of: "tracker:traffic").filter { $0.passkey == Passkey("passkey1")! }
    #expect(own.map(\.uploadedDelta).reduce(0, +) == 4321)
    #expect(!metrics.render().contains("{reason=\"user beyond its share of the queue\"} 0\n"))
  }

  @Test("the secret decides where a user's sessions are, however short the passkey", arguments: [1, 7, 8, 15, 32])
  func secret(length: Int) {
    var record = makeRecord(peer: 1, uploaded: 1)
    record.passkey = Passkey(String(repeating: "a", count: length))!
    #expect(Set((0..<100).map { record.userHash(secret: $0 &* 0x9e37_79b9_7f4a_7c15) }).count == 100)
  }
}
