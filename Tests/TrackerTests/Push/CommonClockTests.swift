import Linux
import Redis
import Simulation
import Testing

@testable import Tracker

/// What clock.lua keeps, and what Redis' clock says, which may be set; several trackers ask in turn.
private struct ClockSite {
  var kept = ModelClock()
  /// Nanoseconds of CLOCK_MONOTONIC, which all have in common here; microseconds that Redis' clock is ahead of it.
  var now: UInt64 = 1_000_000_000_000
  var redisAhead: Int64 = 1_700_000_000_000_000
  var trackers: [CommonClock] = []
  /// What each machine stood still, nanoseconds.
  var standstills: [UInt64] = []
  /// Of the questions: how long one takes.
  var trip: UInt64 = 500_000

  mutating func add(
    doubt: CommonClock.Doubt = CommonClock.Doubt(), past: CommonClock.Past = CommonClock.Past()
  ) {
    // Their wall clocks are anything.
    let clock = OrderClock(
      wallNanoseconds: 1_600_000_000_000_000_000 + UInt64(trackers.count) * 77_000_000_000, atMonotonicNanoseconds: now)
    trackers.append(CommonClock(clock, now: now, doubt: doubt, past: past))
    standstills.append(0)
  }

  /// A tracker asks until it knows.
  mutating func ask(_ index: Int) {
    var questions = 0
    repeat {
      let question = trackers[index].ask(now: now - standstills[index])
      now += trip / 2
      let answer = kept.answer(question, now: UInt64(Int64(now / 1000) + redisAhead))
      now += trip / 2
      questions += 1
      precondition(questions < 100, "it never knows")
      if trackers[index].take(answer, now: now - standstills[index]) { break }
    } while true
  }

  /// What a tracker would order an announce of now by.
  func order(_ index: Int) -> Int64 {
    Int64(trackers[index].microseconds(atMonotonicNanoseconds: now - standstills[index]))
  }

  /// What the trackers' orders differ by.
  var spread: Int64 {
    let orders = trackers.indices.map { order($0) }
    return orders.max()! - orders.min()!
  }

  mutating func pass(seconds: UInt64) { now += seconds * 1_000_000_000 }
}

@Suite("the clock that trackers have in common") struct CommonClockTests {
  private func site(trackers: Int) -> ClockSite {
    var site = ClockSite()
    for index in 0..<trackers {
      site.add()
      site.ask(index)
    }
    return site
  }

  @Test("it goes on when Redis' is set, for those who notice, those who were away, and those who begin later")
  func steps() {
    var site = site(trackers: 3)
    var (last, at) = (site.order(0), site.now)
    for step: Int64 in [-3_600_000_000, 3_600_000_000, 600_000_000, -5_000_000, 30_000, -30_000] {
      site.pass(seconds: 700)
      site.redisAhead += step
      site.ask(0)
      #expect(site.spread < 31_000, "after a step of \(step)")
      // The second was away meanwhile, the first of the third kind begins.
      site.ask(1)
      site.add()
      site.ask(site.trackers.count - 1)
      #expect(site.spread < 62_000, "after a step of \(step)")
      let passed = Int64((site.now - at) / 1000)
      #expect((site.order(0) - last - passed).magnitude < 62_000, "after a step of \(step)")
      (last, at) = (site.order(0), site.now)
    }
  }

  @Test("Redis' clock is set again and again within a minute, and nobody takes that for a machine that stood still")
  func quickSteps() {
    var site = site(trackers: 1)
    let (first, at) = (site.order(0), site.now)
    for step: Int64 in [3_595_000_000, 605_000_000, -600_000_000, 600_000_000] {
      site.redisAhead += step
      site.pass(seconds: 5)
      site.ask(0)
    }
    #expect((site.order(0) - first - Int64((site.now - at) / 1000)).magnitude < 22_000)
  }

  @Test("no tracker's orders go back, whatever a reading says", arguments: [500_000, 80_000_000] as [UInt64])
  func monotonic(trip: UInt64) {
    var site = site(trackers: 2)
    var random = SeededRandom(seed: 7)
    site.trip = trip
    var last = [site.order(0), site.order(1)]
    for _ in 0..<500 {
      site.redisAhead += Int64(random.next() % 8_000_000) - 4_000_000
      site.pass(seconds: random.next() % 100)
      site.ask(Int(random.next() % 2))
      for index in 0..<2 {
        #expect(site.order(index) >= last[index])
        last[index] = site.order(index)
      }
    }
  }

  @Test("Redis' clock is set back while nobody is there: the clock goes on from where it was read last")
  func nobodyThere() {
    var site = site(trackers: 1)
    let before = site.order(0)
    site.trackers = []
    site.standstills = []
    site.redisAhead -= 3_600_000_000
    site.pass(seconds: 5)
    site.add()
    site.ask(0)
    #expect(site.order(0) >= before)
    site.pass(seconds: 60)
    site.add()
    site.ask(1)
    #expect(site.spread < 11_000)
  }

  @Test("the same when nobody said goodbye: orders that were given after the last reading are not ahead of the clock")
  func nobodySaidGoodbye() {
    var site = site(trackers: 1)
    site.trackers[0].noteUse()
    var last = site.now
    while !site.trackers[0].isDue(now: site.now) {
      last = site.now
      site.now += 1_000_000
    }
    let before = Int64(site.trackers[0].microseconds(atMonotonicNanoseconds: last))
    site.trackers = []
    site.standstills = []
    site.redisAhead -= 3_600_000_000
    site.pass(seconds: 5)
    site.add()
    site.ask(0)
    #expect((before...before + 1_000_000).contains(site.order(0)))
    // One that knew the clock and comes back takes it over.
    let shift = site.kept.shift
    site.add()
    site.ask(1)
    #expect(site.spread < 11_000 && site.kept.shift == shift)
  }

  @Test(
    "a process that began while Redis was away orders behind what an earlier one left, if Redis' clock is behind",
    arguments: [true, false])
  func begunInAnOutage(isFlushed: Bool) {
    for trip: UInt64 in [500_000, 400_000_000] {
      var site = site(trackers: 1)
      site.pass(seconds: 40)
      let last = site.order(0)
      site.trackers = []
      site.standstills = []
      site.pass(seconds: 1)
      site.add(past: CommonClock.Past(highest: UInt64(last)))
      let begin = site.now
      site.pass(seconds: 20)
      site.redisAhead -= 3_600_000_000
      if isFlushed { site.kept = ModelClock() }
      site.trip = trip
      site.ask(0)
      let first = Int64(site.trackers[0].microseconds(atMonotonicNanoseconds: begin))
      #expect((last + 1...last + 1_011_000).contains(first), "\(first - last)")
    }
  }

  @Test("the same where Redis' clock goes right: nothing is added to it, however long the process did not reach it")
  func begunInAnOutageOnly() {
    var site = site(trackers: 1)
    for _ in 0..<3 {
      site.pass(seconds: 1)
      // The other tracker is there all the time.
      site.add(past: CommonClock.Past(highest: UInt64(site.order(0)) - 500_000))
      site.pass(seconds: 20)
      site.ask(0)
      site.ask(site.trackers.count - 1)
      #expect(site.kept.shift == 0 && site.spread < 11_000)
    }
  }

  @Test("a process that did not know the clock took it up where it was behind: who knew it doubts what came by then")
  func takenUp() {
    for isFlushed in [false, true] {
      var site = site(trackers: 1)
      site.ask(0)
      // Both are away for a minute, the other one was started anew.
      site.pass(seconds: 60)
      site.redisAhead -= 3_600_000_000
      if isFlushed { site.kept = ModelClock() }
      site.add()
      site.ask(1)
      let behind = site.order(0) - site.order(1)
      site.pass(seconds: 1)
      site.ask(0)
      #expect((Int64(site.trackers[0].doubt.by) - behind).magnitude < 11_000 && behind > 59_000_000)
      site.ask(1)
      #expect(site.spread < 22_000)
      // Taken up where it was right, and set back later.
      site.add()
      site.ask(2)
      site.ask(0)
      site.trackers[0].noteRest()
      let doubt = site.trackers[0].doubt
      site.redisAhead -= 3_600_000_000
      site.pass(seconds: 20)
      site.ask(0)
      #expect(site.trackers[0].doubt == doubt)
    }
  }

  @Test("the first answer is slow: what it may be wrong by is made up for later, and is no step of Redis' clock")
  func coarse() {
    var site = site(trackers: 1)
    site.trip = 4_000_000_000
    site.add()
    site.ask(1)
    let behind = site.order(0) - site.order(1)
    #expect((-11_000...4_011_000).contains(behind))
    site.trip = 500_000
    site.pass(seconds: 60)
    site.ask(1)
    #expect(site.spread < 11_000 && site.kept.shift == 0)
    // A slow answer later is no reason for a change.
    site.trip = 4_000_000_000
    site.pass(seconds: 60)
    site.ask(1)
    #expect(site.spread < 11_000 && site.kept.shift == 0)
  }

  @Test("Redis has forgotten all: the trackers that are there say where the clock was")
  func flushed() {
    var site = site(trackers: 2)
    site.redisAhead -= 9_000_000_000
    site.ask(0)
    site.kept = ModelClock()
    site.pass(seconds: 60)
    site.ask(1)
    site.ask(0)
    #expect(site.spread < 11_000 && site.kept.shift > 8_990_000_000)
  }

  @Test("a machine that stood still finds that it did, and the others do not follow it")
  func standstill() {
    var site = site(trackers: 3)
    for seconds: UInt64 in [5, 40, 300] {
      let order = site.order(0)
      let at = site.now
      site.pass(seconds: seconds)
      site.standstills[1] += seconds * 1_000_000_000
      site.ask(1)
      for _ in 0..<2 {
        for index in [0, 2, 1] {
          site.pass(seconds: 20)
          site.ask(index)
        }
      }
      #expect(site.spread < 22_000, "after \(seconds) s")
      #expect((site.order(0) - order - Int64((site.now - at) / 1000)).magnitude < 22_000)
      site.pass(seconds: 700)
    }
  }

  @Test("Redis was away, its clock is behind or ahead, or the shift is forgotten: nobody takes that for a standstill")
  func outage() {
    for step: Int64 in [-3600, -30, -13, 30, 3600] {
      for isOlder in [false, true] {
        for trackers in 1...2 {
          var site = site(trackers: trackers)
          let older = site.kept
          // Set by hand before, ahead and back.
          for earlier: Int64 in [20_000_000, -35_000_000] {
            site.redisAhead += earlier
            for index in 0..<trackers { site.ask(index) }
          }
          // One has read it once, and asks first.
          site.add()
          site.ask(trackers)
          let (order, at) = (site.order(0), site.now)
          site.pass(seconds: 12)
          if isOlder { site.kept = older }
          site.redisAhead += step * 1_000_000
          for index in (0...trackers).reversed() { site.ask(index) }
          #expect(site.spread < 22_000 && (site.order(0) - order - Int64((site.now - at) / 1000)).magnitude < 22_000)
          #expect(site.trackers.allSatisfy { $0.doubt == CommonClock.Doubt() }, "\(step), \(isOlder), \(trackers)")
        }
      }
    }
  }

  @Test("the shift was set by a machine that stood still: what came before that is found is in doubt")
  func setByStandstill() {
    var site = site(trackers: 2)
    // One has something of an earlier process that is in doubt, one has published it.
    for _ in 0..<2 {
      site.add(doubt: CommonClock.Doubt(until: 1_699_000_000_000_000, by: 8_000_000))
      site.ask(site.trackers.count - 1)
    }
    site.trackers[3].noteRest()
    site.pass(seconds: 20)
    site.standstills[1] = 15_000_000_000
    site.ask(1)
    #expect(site.kept.shift < -14_900_000 && site.trackers[1].doubt == CommonClock.Doubt())
    site.ask(0)
    #expect(site.trackers[0].doubt.by / 100_000 == 150)
    site.ask(1)
    #expect(site.trackers[1].doubt.by / 100_000 == 150 && site.spread < 22_000)
    for index in 2...3 {
      // The same once more: the first time the other one has undone it.
      site.pass(seconds: 700)
      site.standstills[1] += 15_000_000_000
      site.ask(1)
      site.ask(index)
      #expect(site.trackers[index].doubt.by / 100_000 == (index == 2 ? 230 : 150))
      site.ask(1)
    }
  }

  @Test("the script keeps the clock: a shift is set if it is as it was found, and nothing takes the clock back")
  func script() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    func ask(
      _ expected: String, _ from: String = "-", _ to: String = "-", forgot: String = "0", since: String = "0",
      highest: String = "0"
    ) throws
      -> (time: Int64, shift: Int64, changed: Int64)
    {
      let reply = try connection.command([
        "EVAL", PushScript.clockText, "1", "clock", expected, from, to, forgot, since, highest,
      ])
      if let error = reply.error { throw RedisError.server(error) }
      let values = (0..<5).compactMap { reply.view[$0].integer }
      try #require(values.count == 5)
      return (values[0], values[1], values[3])
    }
    func top() throws -> Int64 { Int64(try connection.command(["HGET", "clock", "top"]).string ?? "0")! }
    let first = try ask("-")
    #expect(first.shift == 0 && first.changed == 0)
    #expect(abs(first.time - Int64(Clock.unixNanoseconds() / 1000)) < 5_000_000)
    #expect(try top() == first.time)
    // Another one has set it meanwhile.
    #expect(try ask("-", "7", "900000000").shift == 0)
    // One that expects it elsewhere does not take it for granted.
    _ = try ask("\(first.time - 3_600_000_000)")
    #expect(try top() < first.time + 1_000_000_000)
    // An hour ahead, and not back again.
    let set = try ask("-", "0", "3600000000")
    #expect(set.shift == 3_600_000_000 && set.changed == set.time + set.shift)
    let high = try top()
    #expect(high > first.time + 3_599_000_000)
    #expect(try ask("-", "3600000000", "0").shift == 3_600_000_000)
    // As if Redis' clock had gone back by a day.
    _ = try connection.command(["HSET", "clock", "shift", "0", "top", "\(high + 86_400_000_000)"])
    let later = try ask("\(high)")
    #expect(later.time + later.shift == high + 86_400_000_000 && later.changed == set.changed)
    // From when on nothing was forgotten.
    func since() throws -> Int64 { Int64(try connection.command(["HGET", "clock", "since"]).string ?? "0")! }
    #expect(try since() == first.time)
    let last = try ask("-", forgot: "1")
    #expect(try since() == last.time + last.shift)
    // One that does not know the clock begins behind all orders that were given after the last reading.
    _ = try connection.command(["HSET", "clock", "top", "\(high + 172_800_000_000)"])
    let next = try ask("-")
    #expect(next.time + next.shift == high + 172_800_750_000)
    // Nor before what an earlier process of its own left, and all that it has ordered since.
    let begun = try ask("-", since: "5000000", highest: "\(next.time + next.shift + 60_000_000)")
    #expect(begun.time + begun.shift == next.time + next.shift + 65_750_000)
    #expect(try ask("-", since: "5000000", highest: "\(next.time + next.shift + 59_000_000)").shift == begun.shift)
    // What cannot be kept is no answer.
    _ = try connection.command(["CONFIG", "SET", "maxmemory", "1"])
    #expect(throws: RedisError.self) { _ = try ask("-") }
  }

  @Test("without TIME in the ACL the script reads Redis' clock from an entry's name, and leaves none")
  func scriptWithoutTime() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let entry = "clock:entry"
    _ = try connection.command(["ACL", "SETUSER", "default", "-time"])
    // Who has not named the entry is to do so.
    #expect(
      try connection.command(["EVAL", PushScript.clockText, "1", "clock", "-", "-", "-", "0", "0", "0"]).view.isNil)
    #expect(try connection.integer(["DBSIZE"]) == 0)
    /// What the script says beyond what this machine's clock said before, microseconds.
    func ask() throws -> Int64 {
      let before = Int64(Clock.unixNanoseconds() / 1000)
      let reply = try connection.command([
        "EVAL", PushScript.clockText, "2", "clock", entry, "-", "-", "-", "0", "0", "0",
      ])
      if let error = reply.error { throw RedisError.server(error) }
      #expect(reply.view[1].integer == 0)
      return try #require(reply.view[0].integer) - before
    }
    let plausible: ClosedRange<Int64> = -1000...5_000_000
    // As a script that died may have left it before Redis' clock was set back, or as nobody left it.
    let left = [[], ["XADD", entry, "9999999999999-7", "a", "b"], ["SET", entry, "text"], ["HSET", entry, "a", "b"]]
    for command in left {
      if !command.isEmpty { _ = try connection.command(command) }
      #expect(plausible.contains(try ask()), "after \(command)")
      #expect(try connection.integer(["EXISTS", entry]) == 0)
    }
    // Nor is it a way around what Redis may hold.
    _ = try connection.command(["CONFIG", "SET", "maxmemory", "1"])
    #expect(throws: RedisError.self) { _ = try ask() }
    _ = try connection.command(["CONFIG", "SET", "maxmemory", "0"])
    // Where there is neither, that is the answer, and nothing is left that grows.
    for command in ["xadd", "expire"] {
      _ = try connection.command(["ACL", "SETUSER", "default", "-\(command)"])
      for _ in 0..<3 { #expect(throws: RedisError.self) { _ = try ask() } }
      #expect(try connection.integer(["XLEN", entry]) <= 1)
      _ = try connection.command(["ACL", "SETUSER", "default", "+\(command)"])
    }
    #expect(plausible.contains(try ask()))
    #expect(try connection.integer(["EXISTS", entry]) == 0)
  }
}
