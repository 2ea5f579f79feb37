import Redis
import Testing

@testable import Tracker

/// How the publisher keeps the common clock, without a socket.
@Suite("push sessions: the clock") struct PushSessionClockTests {
  @Test(
    "orders are by the common clock, asked at the connection and once a minute: Redis' may be set, and it goes on")
  func clocks() throws {
    var site = try PushSessionSite()
    func announce(_ seconds: Int64, sharing shift: Int64) throws {
      site.announce(0..<2)
      try site.settle()
      let found = site.session.clock.correctionMicroseconds
      #expect((found - seconds * 1_000_000).magnitude < 10_000)
      #expect((site.redis.clock.shift - shift * 1_000_000).magnitude < 10_000)
      #expect(site.session.retained.last?.correctionMicroseconds == found)
    }
    func ask(_ times: Int) throws { try site.run { $0.trace.count { $0 == "askTime" } == times } }
    site.redisAheadMicroseconds = -60_000_000
    try announce(-60, sharing: 0)
    #expect(site.notes.contains(.clocksDiffer(seconds: -60)))
    // Within the error of the measurement nothing changes.
    site.redisAheadMicroseconds = -60_004_000
    try ask(2)
    try announce(-60, sharing: 0)
    // Redis' clock is set, ahead and back: the first question finds it, the second has the clock go on.
    site.redisAheadMicroseconds = 5_000_000
    try ask(4)
    try announce(-60, sharing: -65)
    site.redisAheadMicroseconds = -100_000_000
    try ask(6)
    try announce(-60, sharing: 40)
    let set = site.notes.compactMap { if case .clockSet(let milliseconds) = $0 { milliseconds } else { nil } }
    // What it was set back by clock.lua has made up for itself, but for what passed since the last reading.
    #expect(set.first == 65_000 && set.dropFirst().allSatisfy { $0 < 0 }, "\(set)")
  }

  @Test("a tracker that begins after Redis' clock was set back goes on behind the last order of the one before")
  func setBackBetween() throws {
    var site = try PushSessionSite()
    try site.settle()
    // It is killed after a call, and by then had asked for the time some seconds ago, but for the questions after calls.
    let begin = site.now
    while site.now < begin + 5_000_000_000 {
      site.announce(0..<1)
      site.step()
      site.now += 5_000_000
    }
    let last = site.session.clock.microseconds(atMonotonicNanoseconds: site.now)
    var next = try PushSessionSite()
    next.redis = site.redis
    next.now = site.now + 1_000_000_000
    next.redisAheadMicroseconds = -3_600_000_000
    next.announce(0..<1)
    try next.settle()
    #expect(try #require(next.session.call).nowMicroseconds > last)
    #expect(next.redis.clock.shift > 3_599_000_000)
  }

  @Test("calls say since when Redis has forgotten nothing: since the first question, then since the one after a loss")
  func since() throws {
    var site = try PushSessionSite()
    try site.announce(rounds: 3, of: 0..<4)
    func since() throws -> UInt64 { try #require(site.session.call).sinceMicroseconds }
    func clock() -> UInt64 { site.session.clock.microseconds(atMonotonicNanoseconds: site.now) }
    let first = try since()
    #expect(first > 0 && first < clock())
    try site.run { [begin = site.now] in $0.now > begin + 90_000_000_000 }
    #expect(try since() == first)
    // An older dump: the clock is as it was, and the run is not.
    let before = clock()
    site.redis.rollBack(to: 6, run: 1)
    site.announce(0..<4, uploaded: 9)
    try site.settle()
    try site.run { [begin = site.now] in $0.now > begin + 2_000_000_000 }
    #expect(site.sum.gaps == 1)
    #expect(try before < since() && since() < clock())
  }

  @Test("a machine that stood still learns of it from the call, which nothing is taken of, and doubts what came before")
  func standstill() throws {
    var site = try PushSessionSite()
    site.announce(0..<2)
    try site.settle()
    site.trace = []
    try site.run { $0.trace.last == "askTime" }
    // Another tracker has read the clock meanwhile.
    site.redisAheadMicroseconds = 15_000_000
    site.redis.clock.top += 15_000_000
    site.announce(0..<2, uploaded: 9)
    try site.run { $0.trace.last == "discardReplies" }
    #expect(site.redis.next.values.max() == 2)
    let order = site.session.clock.microseconds(atMonotonicNanoseconds: site.now)
    try site.settle()
    let call = try #require(site.session.call)
    #expect(site.redis.next.values.max() == 4 && (call.correctionMicroseconds - 15_000_000).magnitude < 10_000)
    #expect((call.doubt.by / 10_000 == 1500) && call.doubt.until > order + 14_990_000)
    #expect(site.notes.contains(.stoodStill(milliseconds: 15_000)) && site.sum.errors.isEmpty)
    #expect(!site.notes.contains { if case .clockSet = $0 { true } else { false } })
    // One after the next has the two together only while announces wait.
    try site.run { [begin = site.now] in $0.now > begin + 5_000_000_000 }
    site.redisAheadMicroseconds += 4_000_000
    site.redis.clock.top += 4_000_000
    site.announce(0..<2, uploaded: 19)
    try site.settle()
    #expect((try #require(site.session.call)).doubt.by / 10_000 == 400)
  }

  @Test("what was in doubt when a process ended is in doubt for the next one, together with what that doubts itself")
  func doubtOfAnother() throws {
    var runs: [SpooledRun] = [77, 78].map { id in
      SpooledRun(
        run: PushRun(id: id, generationBase: 0),
        announces: [SpooledAnnounce(number: 0, announce: QueuedAnnounce(record: makeRecord(uploaded: 1), order: 5))])
    }
    runs[0].doubt = CommonClock.Doubt(until: 99, by: 8_000_000)
    runs[1].doubt = CommonClock.Doubt(until: 88, by: 9_000_000)
    let both = CommonClock.Doubt(until: 99, by: 9_000_000)
    var site = try PushSessionSite(restored: runs)
    #expect(site.session.clock.doubt == both)
    try site.run { $0.trace.last?.hasPrefix("send") == true }
    #expect((try #require(site.session.call)).doubt == both)
    try site.settle()
    #expect((try #require(site.session.call)).doubt == both)
    // Of it all is published: what is found now is in doubt by no more than that.
    try site.run { [begin = site.now] in $0.now > begin + 5_000_000_000 }
    site.redisAheadMicroseconds += 15_000_000
    site.redis.clock.top += 15_000_000
    site.announce(0..<2)
    try site.settle()
    #expect((try #require(site.session.call)).doubt.by / 10_000 == 1500)
  }

  @Test(
    "a change of the shift that was lost on its way, or refused over the same connection, is none that was undone",
    arguments: [RedisError.closed("by the test"), .server(RedisServerError(line: "OOM command not allowed"))])
  func lostChange(error: RedisError) throws {
    var site = try PushSessionSite()
    site.announce(0..<2)
    try site.settle()
    site.redisAheadMicroseconds = 15_000_000
    var isLost = false
    site.fault = { action in
      guard !isLost, case .askTime(let question) = action, question.change != nil else { return nil }
      isLost = true
      return (error, false)
    }
    site.announce(0..<2, uploaded: 9)
    try site.settle()
    #expect(isLost && (site.redis.clock.shift + 15_000_000).magnitude < 10_000)
    #expect(site.session.clock.correctionMicroseconds.magnitude < 10_000)
    #expect(site.session.clock.doubt == CommonClock.Doubt())
  }

  @Test("a call that was long on its way is sent again, and then taken however long it takes")
  func delayed() throws {
    var site = try PushSessionSite()
    site.announce(0..<2)
    try site.settle()
    site.slowness = { _ in 0 }
    var delays = 0
    site.fault = { action in
      if case .send = action { delays += 1 }
      return nil
    }
    site.sendingNanoseconds = 3_000_000_000
    site.announce(0..<2, uploaded: 9)
    try site.settle()
    #expect(delays == 2 && site.redis.next.values.max() == 4 && site.session.clock.doubt == CommonClock.Doubt())
  }

  @Test("an answer that took long says too little about the clock: of several the quickest counts")
  func slowClock() throws {
    var site = try PushSessionSite()
    var asked = 0
    site.slowness = { action in
      guard case .askTime = action else { return 0 }
      asked += 1
      // All of it on the way there.
      return asked == 3 ? 1_000_000 : 40_000_000
    }
    site.announce(0..<2)
    try site.settle()
    #expect(asked == 3 && site.session.clock.correctionMicroseconds.magnitude < 1000)
    // Where all are slow, nothing waits for eight of them.
    site = try PushSessionSite()
    site.slowness = { if case .askTime = $0 { 900_000_000 } else { 0 } }
    site.announce(0..<2)
    try site.run { $0.trace.last == "send 0..<2" }
    #expect(site.trace.count { $0 == "askTime" } == 1)
  }

  @Test(
    "the clock is read within half a second after calls, else once a second, and at a clean end after calls; then what is held"
  )
  func keepsReading() throws {
    var site = try PushSessionSite()
    try site.settle()
    func asked() -> Int { site.trace.count { $0 == "askTime" } }
    var (before, begin, lastAsked, longest) = (asked(), site.now, site.now, UInt64(0))
    while site.now < begin + 3_000_000_000 {
      site.announce(0..<1)
      site.step()
      if site.trace.last == "askTime" { lastAsked = site.now }
      if site.trace.last?.hasPrefix("send") == true { longest = max(longest, site.now - lastAsked) }
      site.now += 5_000_000
    }
    #expect((5...7).contains(asked() - before) && longest < 510_000_000)
    try site.settle()
    try site.run { $0.now > begin + 5_000_000_000 }
    (before, begin) = (asked(), site.now)
    try site.run { $0.now > begin + 50_000_000_000 }
    #expect((48...50).contains(asked() - before))
    site.announce(0..<1)
    try site.run { $0.trace.last?.hasPrefix("send") == true }
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.trace.suffix(3) == ["askTime", "verify 601", "finish"])
    for held in 0..<2 {
      site = try PushSessionSite()
      site.announce(0..<held)
      try site.settle()
      try site.run { $0.now > begin + 60_000_000_000 && $0.trace.last == "awaitAnnounces" }
      site.stop()
      site.trace = []
      try site.run { $0.isFinished }
      #expect(site.trace == (held == 0 ? [] : ["verify 1"]) + ["finish"])
    }
  }

  @Test("a Redis that does not say what time it is keeps nothing from the spool, nor the process from its end")
  func silentClock() throws {
    var site = try PushSessionSite(spool: true, readMilliseconds: 15_000)
    site.announce(0..<2)
    site.isClockSilent = true
    try site.run { $0.trace.last == "askTime" }
    let asked = site.now
    try site.run { $0.trace.last == "writeSpool" }
    #expect(site.now - asked < 3_000_000_000 && site.spooled?.count == 2)
    site.announce(2..<5)
    site.session.requestStop()
    let begin = site.now
    try site.run { $0.isFinished }
    #expect(site.now - begin < 5_600_000_000 && site.spooled?.count == 5)
    #expect(site.notes.last == .spooledRest(announces: 5))
  }

  @Test("what Redis refused on a quiet tracker is over when it answers again, without an announce")
  func refusedClock() throws {
    for error in ["OOM command not allowed", "NOREPLICAS Not enough good replicas", "BUSY Redis is busy"] {
      for held in 0..<2 {
        var site = try PushSessionSite()
        site.announce(0..<held)
        try site.settle()
        site.redis.error = RedisServerError(line: error)
        try site.run { $0.session.trouble != nil && $0.sum.errors.count > 3 }
        site.redis.error = nil
        let begin = site.now
        try site.run { $0.session.trouble == nil }
        #expect(site.now - begin < 6_000_000_000 && site.session.failures == 0)
      }
    }
  }
}
