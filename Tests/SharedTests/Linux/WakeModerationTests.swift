// When an event loop sleeps before it looks for more requests, on a made-up clock.

import Testing

@testable import Linux

@Suite struct WakeModerationTests {
  private static let delay: UInt64 = 1_000_000

  /// A loop with one turn after the other; `cost` nanoseconds of work a request.
  private struct Loop {
    var moderation = WakeModeration(delayNanoseconds: delay)
    var now: UInt64 = 1_000_000_000
    var served = 0
    var turns = 0
    let cost: UInt64 = 4000

    /// Requests come at `rate` a second, whatever the loop does.
    mutating func open(rate: Double, seconds: Double) {
      let end = now + UInt64(seconds * 1e9)
      var due = 0.0
      while now < end {
        let gap = moderation.isDelaying ? WakeModerationTests.delay : UInt64(1e9 / rate)
        due += rate * Double(gap) / 1e9
        turn(idle: gap, requests: Int(due))
        due -= Double(Int(due))
      }
    }

    /// `clients` wait for their replies and then ask again, after `think` nanoseconds.
    mutating func closed(clients: Int, think: UInt64, seconds: Double) {
      let end = now + UInt64(seconds * 1e9)
      while now < end { turn(idle: moderation.isDelaying ? WakeModerationTests.delay : think, requests: clients) }
    }

    private mutating func turn(idle: UInt64, requests: Int) {
      let busy = UInt64(requests) * cost
      now += idle + busy
      served += requests
      turns += 1
      moderation.note(requests: requests, busyNanoseconds: busy, nowNanoseconds: now)
    }
  }

  @Test func `a loop with many requests gathers them, an idle one answers at once`() {
    var loop = Loop()
    loop.open(rate: 500, seconds: 1)
    #expect(!loop.moderation.isDelaying)
    loop.open(rate: 40_000, seconds: 0.2)
    let before = (loop.served, loop.turns)
    loop.open(rate: 40_000, seconds: 2)
    // Forty a turn while it sleeps, one a turn in the few windows of comparison.
    #expect((loop.served - before.0) / (loop.turns - before.1) >= 10)
    loop.open(rate: 500, seconds: 1)
    #expect(!loop.moderation.isDelaying)
  }

  @Test func `a loop that is busy anyway does not sleep`() {
    var loop = Loop()
    for _ in 0..<10_000 {
      loop.closed(clients: 64, think: 1000, seconds: 0.0001)
      #expect(!loop.moderation.isDelaying)
    }
  }

  @Test func `clients that wait for their replies are not slowed down by more than a twentieth`() {
    for clients in [4, 16, 64] {
      var loop = Loop()
      var direct = Loop()
      direct.moderation = WakeModeration(delayNanoseconds: 0)
      let think: UInt64 = 200_000
      loop.closed(clients: clients, think: think, seconds: 20)
      direct.closed(clients: clients, think: think, seconds: 20)
      #expect(Double(loop.served) > 0.95 * Double(direct.served), "\(clients) clients")
    }
  }

  @Test func `a delay of zero never sleeps`() {
    var loop = Loop()
    loop.moderation = WakeModeration(delayNanoseconds: 0)
    loop.open(rate: 40_000, seconds: 1)
    #expect(!loop.moderation.isDelaying)
  }
}
