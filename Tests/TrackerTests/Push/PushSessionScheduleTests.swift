import Redis
import Simulation
import Testing

@testable import Tracker

/// The publisher under failures, losses and announces that a seed picks, without a socket.
@Suite("push sessions: any schedule") struct PushSessionScheduleTests {
  @Test(
    "whatever fails when, every record is in the stream, and the same seed takes the same steps",
    arguments: 0..<40)
  func anySchedule(seed: UInt64) throws {
    let first = try schedule(seed: seed)
    let again = try schedule(seed: seed)
    #expect(first.trace == again.trace)
    var seen: Set<ModelRedis.Entry> = []
    let once = first.redis.stream.filter { seen.insert($0).inserted }
    // What is sent again after a loss comes behind what is given back: `order` tells the script which is older.
    #expect(once.map(\.number).sorted() == Array(0..<UInt64(once.count)) && once.count > 0, "seed \(seed)")
    #expect(first.redis.next[1] == UInt64(once.count), "seed \(seed)")
  }

  /// Announces, failures before and after Redis has done its work, and rollbacks, all chosen by the seed.
  private func schedule(seed: UInt64) throws -> PushSessionSite {
    let random = Box(SeededRandom(seed: seed))
    var site = try PushSessionSite(spool: true, seed: seed)
    site.fault = { action in
      switch action {
      case .pause, .awaitAnnounces, .disconnect, .writeSpool, .removeSpool, .finish: return nil
      default: break
      }
      guard random.value.chance(oneIn: 12) else { return nil }
      let lines = ["OOM", "NOSCRIPT", "READONLY", "MOVED 1 127.0.0.1:2", "ASK 1 127.0.0.1:2", "LOADING"]
      if random.value.chance(oneIn: 2) { return (.closed("by the server"), random.value.chance(oneIn: 2)) }
      let line = lines.randomElement(using: &random.value)!
      // Nobody answers a call before it is sent.
      if case .restore = action { return nil }
      return (.server(RedisServerError(line: line)), false)
    }
    var peers = 0
    for _ in 0..<25 {
      let count = Int.random(in: 1...400, using: &random.value)
      site.announce(peers..<peers + count)
      peers += count
      for _ in 0..<Int.random(in: 1...30, using: &random.value) { site.step() }
      if random.value.chance(oneIn: 10), !site.redis.stream.isEmpty {
        let kept = Int.random(in: max(1, site.redis.stream.count - 500)...site.redis.stream.count, using: &random.value)
        site.redis.rollBack(to: kept, run: 1)
      }
    }
    site.fault = { _ in nil }
    // Without a call a rollback behind a living connection stays unknown.
    site.announce(peers..<peers + 1)
    peers += 1
    try site.settle()
    #expect(Set(site.redis.stream).count == peers)
    return site
  }
}

/// A value that a closure changes.
private final class Box<Value> {
  var value: Value
  init(_ value: Value) { self.value = value }
}
