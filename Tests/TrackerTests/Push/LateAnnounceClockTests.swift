import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

/// Announces that come late where clocks differ, or were wrong.
extension LateAnnounceTests {
  @Test("a tracker that ended before it knew the time has spooled announces of the future: none begins anything")
  func spooledByAWrongClock() throws {
    let now = 9000.0
    var next: UInt64 = 0
    func send(_ steps: [Step]) throws -> PushScript.Reply {
      var caller = try ScriptCaller(redis, run: runs[0])
      caller.call.nowMicroseconds = UInt64((Self.start + now) * 1_000_000)
      let reply = try caller.send(
        steps.map {
          QueuedAnnounce(
            record: makeRecord(uploaded: $0.up, event: $0.event, at: Int64(Self.start + $0.at)),
            order: UInt64((Self.start + $0.at) * 1_000_000))
        }, first: next)
      next += UInt64(steps.count)
      return reply
    }
    // The first that is seen of a session says nothing of when that began.
    _ = try send([Step(tracker: 0, at: 172_800, up: 900, event: .started)])
    let first = try send([Step(tracker: 0, at: 100, up: 0, event: .started)])
    #expect(first.counts.unknown == 1)
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    #expect(try connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 0])
    _ = try connection.command(["FLUSHALL"])
    next = 0
    let days = 172_800.0
    _ = try send([Step(tracker: 0, at: 0, up: 1000, event: .started), Step(tracker: 0, at: 1800, up: 1800)])
    let reply = try send([
      Step(tracker: 0, at: days, up: 1000, event: .started), Step(tracker: 0, at: days + 1, up: 1800),
      Step(tracker: 0, at: days + 2, up: 1850), Step(tracker: 0, at: days + 3, up: 0, event: .started),
      Step(tracker: 0, at: 8000, up: 1840),
    ])
    #expect(reply.counts.unknown == 2 && reply.counts.resets == 0 && reply.counts.late == 3)
    #expect(try connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 800, 0, 0, 50, 0, 0])
  }

  @Test("... nor is added to a life that began after another, by way of another tracker", arguments: [true, false])
  func spooledOfTheLifeBefore(hasOther: Bool) throws {
    func send(_ run: PushRun, first: UInt64, _ steps: [Step]) throws -> PushScript.Reply {
      var caller = try ScriptCaller(redis, run: run)
      caller.call.nowMicroseconds = UInt64((Self.start + 9) * 1_000_000)
      return try caller.send(
        steps.map {
          QueuedAnnounce(
            record: makeRecord(uploaded: $0.up, event: $0.event, at: Int64(Self.start + $0.at)),
            order: UInt64((Self.start + $0.at) * 1_000_000))
        }, first: first)
    }
    let life = [Step(tracker: 1, at: 6, up: 0, event: .started), Step(tracker: 1, at: 9, up: 100)]
    let other = [Step(tracker: 1, at: 0, up: 0, event: .started), Step(tracker: 1, at: 3, up: 9000)]
    let known = (hasOther ? other : []) + life
    _ = try send(runs[1], first: 0, known)
    let reply = try send(runs[0], first: 0, [Step(tracker: 0, at: 172_800, up: 9000)])
    #expect(reply.counts.unknown == (hasOther ? 1 : 0))
    _ = try send(runs[1], first: UInt64(known.count), [Step(tracker: 1, at: 12, up: 200)])
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let bytes = try connection.events(of: "tracker:traffic").map(\.uploadedDelta)
    #expect(bytes == (hasOther ? [0, 9000, 0, 100, 0, 100] : [0, 100, 8900, 0]))
  }

  @Test(
    "what is after the life before is told by the clock in common, not by the trackers' own", arguments: [0.0, -8, 60])
  func ownClocks(skew: Double) throws {
    let first = [
      Step(tracker: 0, at: 0, up: 0, event: .started), Step(tracker: 0, at: 1000, up: 2000, event: .stopped),
      Step(tracker: 0, at: 1010, up: 1000), Step(tracker: 0, at: 1020, up: 1500),
    ]
    let late = Step(tracker: 1, at: 1007, up: 0, event: .started, skew: skew)
    let (credited, counts): Result = try apply(first + [late])
    #expect(credited == [0, 2000, 0, 500, 1000] && counts[1].unknown == 0)
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    _ = try connection.command(["FLUSHALL"])
    let older = Step(tracker: 1, at: 900, up: 0, event: .started, skew: skew * 10)
    let (again, unknown): Result = try apply(first + [older])
    #expect(again == [0, 2000, 0, 500, 0] && unknown[1].unknown == 1)
  }

  @Test("what a machine that stood still was told may be of before or after: what the two differ in is not credited")
  func doubted() throws {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    func announce(_ at: Double, _ up: UInt64, peer: Int = 1, event: AnnounceEvent = .none) -> QueuedAnnounce {
      QueuedAnnounce(
        record: makeRecord(peer: peer, uploaded: up, event: event, at: Int64(Self.start + at)),
        order: UInt64((Self.start + at) * 1_000_000))
    }
    var other = try ScriptCaller(redis, run: runs[0])
    _ = try other.send(
      [
        announce(0, 0, event: .started), announce(3, 9000), announce(8, 0, event: .started), announce(11, 100),
        announce(0, 0, peer: 2, event: .started), announce(4, 50, peer: 2),
      ], first: 0)
    var caller = try ScriptCaller(redis, run: runs[1])
    func until(_ at: Double) -> UInt64 { UInt64((Self.start + at) * 1_000_000) }
    caller.call.doubt = CommonClock.Doubt(until: until(21), by: 15_000_000)
    // The first of them at 5 and not at 20 is of the life before. The others are newer either way; the last is of after it.
    let reply = try caller.send(
      [
        announce(20, 9000), announce(20, 100), announce(20, 70, peer: 2), announce(21, 90, peer: 2),
        announce(21.5, 150),
      ], first: 0)
    let deltas = try connection.events(of: "tracker:traffic").map(\.uploadedDelta)
    #expect(deltas == [0, 9000, 0, 100, 0, 50, 0, 0, 20, 20, 50], "\(deltas)")
    #expect(reply.counts.late == 2 && reply.counts.unknown == 1 && reply.counts.resets == 0)
  }

  @Test("what another tracker held meanwhile, and publishes later, may be of before or after that, too")
  func doubtedOfAnother() throws {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    func announce(_ at: Double, _ up: UInt64, event: AnnounceEvent = .none) -> QueuedAnnounce {
      QueuedAnnounce(
        record: makeRecord(uploaded: up, event: event, at: Int64(Self.start + at)),
        order: UInt64((Self.start + at) * 1_000_000))
    }
    var other = try ScriptCaller(redis, run: runs[0])
    #expect(try other.send([announce(0, 0, event: .started), announce(3, 9000)], first: 0).status == .done)
    // A client that began anew at 20, or as well at 5.
    var caller = try ScriptCaller(redis, run: runs[1])
    caller.call.doubt = CommonClock.Doubt(until: UInt64((Self.start + 21) * 1_000_000), by: 15_000_000)
    #expect(try caller.send([announce(20, 0, event: .started)], first: 0).counts.resets == 1)
    // Of the life before, or of that one; then one that is of the life before either way.
    let reply = try other.send([announce(10, 9200), announce(4.5, 9100)], first: 2)
    #expect(reply.counts.late == 2 && reply.counts.unknown == 1)
    #expect(try connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 9000, 0, 0, 100])
    // What the machine is told later has an order that is known.
    #expect(try caller.send([announce(30, 9300)], first: 1).applied == 1)
    #expect(try other.send([announce(25, 9250)], first: 4).counts.unknown == 1)
  }

  @Test("of what a machine that stood still was told the order is known, unless another tracker's is between")
  func doubtedOwn() throws {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    func announce(_ at: Double, _ up: UInt64, peer: Int, event: AnnounceEvent = .none) -> QueuedAnnounce {
      QueuedAnnounce(
        record: makeRecord(peer: peer, uploaded: up, event: event, at: Int64(Self.start + at)),
        order: UInt64((Self.start + at) * 1_000_000))
    }
    var caller = try ScriptCaller(redis, run: runs[1])
    caller.call.doubt = CommonClock.Doubt(until: UInt64((Self.start + 21) * 1_000_000), by: 15_000_000)
    let first = [announce(18, 0, peer: 1, event: .started), announce(18, 0, peer: 2, event: .started)]
    #expect(try caller.send(first, first: 0).status == .done)
    var other = try ScriptCaller(redis, run: runs[0])
    #expect(try other.send([announce(19, 900, peer: 2)], first: 0).status == .done)
    let reply = try caller.send(
      [announce(20, 5000, peer: 1, event: .stopped), announce(20, 5000, peer: 2), announce(20.5, 6000, peer: 2)],
      first: 2)
    #expect(try connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 0, 900, 5000, 0, 0])
    #expect(reply.counts.late == 2 && reply.counts.unknown == 2)
  }

  @Test("a call that comes when its sender does not expect it changes nothing, unless all of it was applied")
  func untimely() throws {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let announces = [QueuedAnnounce(record: makeRecord(uploaded: 0, event: .started), order: 1)]
    var caller = try ScriptCaller(redis, run: runs[0])
    let now = Clock.unixNanoseconds() / 1000
    caller.call.latestRedisMicroseconds = now - 1
    let refused = try caller.send(announces, first: 0)
    #expect(refused.status == .untimely && refused.next == 0 && refused.applied == 0)
    #expect(try connection.integer(["XLEN", "tracker:traffic"]) == 0)
    caller.call.latestRedisMicroseconds = now + 600_000_000
    #expect(try caller.send(announces, first: 0).status == .done)
    caller.call.latestRedisMicroseconds = now - 1
    // What it is asked without records is answered.
    #expect(try caller.send([], first: 1).status == .done)
    #expect(try connection.integer(["XLEN", "tracker:traffic"]) == 1)
  }

  @Test("within the error of clocks, what may be of either generation credits nothing and is counted")
  func ambiguous() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 0, up: 0, event: .started),
      Step(tracker: 0, at: 1800, up: 100),
      Step(tracker: 1, at: 3600, up: 0, event: .started),
      Step(tracker: 1, at: 3605, up: 50),
      Step(tracker: 0, at: 3601, up: 120),
      Step(tracker: 0, at: 3597, up: 110),
    ])
    #expect(credited == [0, 100, 0, 50, 0, 10])
    #expect(counts[0].unknown == 1 && counts[0].late == 2)
  }

  @Test("two restarts within two seconds: what may be of the counters before both credits nothing and is counted")
  func quickRestarts() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 0, up: 0, event: .started),
      Step(tracker: 0, at: 0.1, up: 100, event: .stopped),
      Step(tracker: 0, at: 0.2, up: 0, event: .started),
      Step(tracker: 0, at: 0.8, up: 40),
      Step(tracker: 0, at: 2.3, up: 0, event: .started),
      Step(tracker: 1, at: 0.11, up: 100, event: .stopped),
    ])
    #expect(credited == [0, 100, 0, 40, 0, 0])
    #expect(counts[1].unknown == 1)
  }

  @Test(
    "lower counters within the error of clocks are taken for an older announce, and counted: perhaps they are a restart"
  )
  func withinError() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 0, up: 0, event: .started),
      Step(tracker: 0, at: 1800, up: 100),
      Step(tracker: 1, at: 1800.01, up: 50),
      Step(tracker: 1, at: 1800.1, up: 0, event: .started),
    ])
    #expect(credited == [0, 100, 0, 0])
    #expect(counts[1].unknown == 1 && counts[1].resets == 1)
  }

  @Test("a snapshot of a clock that was two days ahead is not waited for", arguments: [true, false])
  func wrongClock(isTimeAllowed: Bool) throws {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    if !isTimeAllowed { _ = try connection.command(["ACL", "SETUSER", "default", "-time"]) }
    let now = Double(Clock.unixSeconds())
    var caller = try ScriptCaller(redis)
    caller.call.nowMicroseconds = UInt64(now) * 1_000_000
    func announce(_ at: Double, _ up: UInt64) -> QueuedAnnounce {
      QueuedAnnounce(record: makeRecord(uploaded: up, at: Int64(at)), order: UInt64(at * 1_000_000))
    }
    let reply = try caller.send(
      [
        announce(now + 172_800, 100), announce(now + 172_900, 900), announce(now, 0), announce(now + 1, 40),
        announce(now + 500, 100), announce(now + 400, 60),
      ], first: 0)
    #expect(reply.counts.resets == 1 && reply.counts.late == 1 && (reply.timeMicroseconds != nil) == isTimeAllowed)
    #expect(try connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 800, 0, 40, 60, 0])
  }
}
