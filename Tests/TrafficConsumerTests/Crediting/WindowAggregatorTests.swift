// The crediting rules, one by one.

import Simulation
import Testing
import Wire

@testable import TrafficConsumer

/// Applies entries to one session, as the writer does.
private struct Bench {
  let aggregator = WindowAggregator(windowSeconds: 3600)
  let hash = EntryHash(key: (1, 2))
  var ledger = SessionLedger()
  var counters: [TrafficGeneration: CreditedCounters] = [:]
  var hasSnatched = false
  var sums = TrafficSums()
  var arrived: UInt64 = 1_700_000_000_000

  @discardableResult
  mutating func apply(
    _ event: TrafficEvent, arrivedAfter milliseconds: UInt64 = 1000, mayHaveReturned: Bool = false
  ) throws(EntryFault) -> Credit {
    arrived += milliseconds
    var context = CreditContext(
      ledger: ledger, counters: event.counters.flatMap { counters[$0.generation] },
      mayHaveReturned: mayHaveReturned, isFirstSnatch: event.event == .completed && !hasSnatched, userSums: sums,
      torrentSums: sums)
    let credit = try aggregator.credit(
      event, arrivedMilliseconds: arrived, fingerprint: hash.fingerprint(of: event), context: &context)
    ledger = context.ledger
    if let counters = event.counters { self.counters[counters.generation] = credit.counters }
    if credit.sums.completed > 0 { hasSnatched = true }
    sums.add(credit.sums)
    return credit
  }
}

@Suite("Crediting") struct WindowAggregatorTests {
  private let maker = EventMaker()

  @Test("a producer without counters is credited as it says")
  func delta() throws {
    var bench = Bench()
    let credit = try bench.apply(maker.event(du: 100, dd: 7, dt: 1800))
    #expect(credit.rule == .delta && credit.sums.uploaded == 100 && credit.sums.downloaded == 7)
    #expect(credit.sums.seedSeconds == 1800 && credit.sums.events == 1)
  }

  @Test("a late announce brings its seconds although the session has stopped since", arguments: [false, true])
  func lateBeforeStop(hasCounters: Bool) throws {
    let start: Int64 = 1_700_000_000
    func entry(_ half: Int64, _ event: AnnounceEvent = .none) -> TrafficEvent {
      maker.event(
        du: half == 0 ? 0 : 100, event: event, ts: start + half * 1800, dt: half == 0 ? 0 : 1800,
        gen: hasCounters ? "1" : nil, cu: hasCounters ? UInt64(half) * 100 : 0)
    }
    var bench = Bench()
    try bench.apply(entry(0, .started))
    try bench.apply(entry(2, .stopped))
    #expect(bench.sums.seedSeconds == 1800)
    try bench.apply(entry(1))
    #expect(bench.sums.seedSeconds == 3600)
    // It stays stopped: until it is back it does not seed.
    try bench.apply(entry(4))
    #expect(bench.sums.seedSeconds == 3600)
  }

  @Test("an entry with all fields equal within the hour is a duplicate, a millisecond later it is not")
  func fingerprints() throws {
    let entry = maker.event(du: 100, dt: 1800)
    var bench = Bench()
    try bench.apply(entry)
    #expect(try bench.apply(entry, arrivedAfter: SessionLedger.fingerprintMilliseconds).rule == .duplicate)
    #expect(bench.sums.uploaded == 100 && bench.sums.events == 1)
    #expect(try bench.apply(entry, arrivedAfter: 1).rule == .delta)
    for _ in 0..<100 {
      try bench.apply(entry, arrivedAfter: SessionLedger.fingerprintMilliseconds + 1)
      #expect(bench.ledger.fingerprints.count <= SessionLedger.expiredTogether + 1)
    }
    #expect(bench.ledger.fingerprints.count + bench.ledger.expired.count == 102)
  }

  @Test(
    "a difference in any field makes it another entry",
    arguments: [
      EventMaker().event(du: 101, dt: 1800), EventMaker().event(du: 100, dd: 1, dt: 1800),
      EventMaker().event(du: 100, left: 1, dt: 1800), EventMaker().event(du: 100, event: .stopped, dt: 1800),
      EventMaker().event(du: 100, ts: 1_700_000_001, dt: 1800), EventMaker().event(du: 100, dt: 1801),
      EventMaker().event(du: 100, dt: 1800, interval: 1801),
    ])
  func differences(other: TrafficEvent) throws {
    var bench = Bench()
    try bench.apply(maker.event(du: 100, dt: 1800))
    #expect(try bench.apply(other).rule == .delta)
  }

  @Test("the highest counters applied say what is new, in whatever order entries come")
  func counters() throws {
    let entries = [
      maker.event(gen: "1"), maker.event(du: 100, ts: 1_700_000_010, dt: 10, gen: "1", cu: 100),
      maker.event(du: 50, dd: 9, ts: 1_700_000_020, dt: 10, gen: "1", cu: 150, cd: 9),
    ]
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 2, 1, 1, 0], [2]] {
      var bench = Bench()
      for index in order { try bench.apply(entries[index]) }
      #expect(bench.sums.uploaded == 150 && bench.sums.downloaded == 9, "order \(order)")
      if order.count >= 3 { #expect(bench.sums.seedSeconds == 20, "order \(order)") }
    }
  }

  @Test("a lost entry is healed by the next one, and says so")
  func healed() throws {
    var bench = Bench()
    try bench.apply(maker.event(gen: "1"))
    let credit = try bench.apply(maker.event(du: 50, ts: 1_700_000_020, dt: 10, gen: "1", cu: 150))
    #expect(credit.rule == .healed && credit.sums.uploaded == 150)
    let late = try bench.apply(maker.event(du: 100, ts: 1_700_000_010, dt: 10, gen: "1", cu: 100))
    #expect(late.sums.uploaded == 0 && late.sums.seedSeconds == 10)
  }

  @Test("a repetition after a rollback of Redis adds neither bytes nor time twice")
  func rollback() throws {
    var bench = Bench()
    try bench.apply(maker.event(gen: "1"))
    try bench.apply(maker.event(du: 100, ts: 1_700_000_100, dt: 100, gen: "1", cu: 100))
    try bench.apply(maker.event(ts: 1_700_000_200, dt: 100, gen: "1", cu: 100))
    // Redis forgot both: the next delta starts from the first.
    let credit = try bench.apply(maker.event(du: 130, ts: 1_700_000_300, dt: 300, gen: "1", cu: 130))
    #expect(credit.rule == .partlyCredited && credit.sums.uploaded == 30)
    #expect(bench.sums.uploaded == 130 && bench.sums.seedSeconds == 300)
  }

  @Test("an exact repetition is a duplicate; two idle announces in one second are two")
  func duplicates() throws {
    var bench = Bench()
    let entry = maker.event(du: 100, ts: 1_700_000_100, dt: 100, gen: "1", cu: 100)
    try bench.apply(entry)
    #expect(try bench.apply(entry).rule == .duplicate)
    let idle = maker.event(ts: 1_700_000_100, gen: "1", cu: 100)
    #expect(try bench.apply(idle).rule == .delta && bench.sums.events == 2)
  }

  @Test("announces that say nothing and are given back are counted once; those that were never counted are counted")
  func returned() throws {
    let start: Int64 = 1_700_000_000
    let entries = [
      maker.event(event: .started, ts: start, gen: "1"), maker.event(left: 1, ts: start, gen: "1"),
      maker.event(du: 5, ts: start + 60, dt: 60, gen: "1", cu: 5), maker.event(ts: start + 60, gen: "1", cu: 5),
    ]
    for known in 0...4 {
      var bench = Bench()
      for entry in entries[..<known] { try bench.apply(entry) }
      // Twice: the answer to the first time was lost.
      for entry in entries + entries { try bench.apply(entry, mayHaveReturned: true) }
      #expect(bench.sums.events == 4 && bench.sums.uploaded == 5, "\(known) were known")
      // What is new says so by its time.
      try bench.apply(maker.event(ts: start + 120, dt: 60, gen: "1", cu: 5), mayHaveReturned: true)
      #expect(bench.sums.events == 5)
    }
  }

  @Test("a restart that is sent again to a Redis that has forgotten the session is counted once")
  func restartAgain() throws {
    let start: Int64 = 1_700_000_000
    var bench = Bench()
    try bench.apply(maker.event(event: .started, ts: start, gen: "1"))
    try bench.apply(maker.event(event: .started, ts: start + 60, dt: 60, gen: "2"))
    // Without the snapshot it says of no time; under whatever generation.
    for gen in ["2", "3"] {
      let again = maker.event(event: .started, ts: start + 60, gen: gen)
      #expect(try bench.apply(again, mayHaveReturned: true).rule == .duplicate)
    }
    #expect(bench.sums.events == 2 && bench.sums.seedSeconds == 60)
    // Of two in one second the second one as well.
    try bench.apply(maker.event(du: 9, ts: start + 90, dt: 30, gen: "3", cu: 9))
    try bench.apply(maker.event(left: 6, ts: start + 90, gen: "3", cu: 9))
    for left in [0, 6] {
      let again = maker.event(left: UInt64(left), ts: start + 90, gen: "4")
      #expect(try bench.apply(again, mayHaveReturned: true).rule == .duplicate)
    }
    #expect(bench.sums.events == 4)
  }

  @Test("without a fault an announce that says nothing is known when it comes again much later, and late ones count")
  func idleAgain() throws {
    var bench = Bench()
    let entry = maker.event(event: .started, gen: "1")
    try bench.apply(entry)
    #expect(try bench.apply(entry, arrivedAfter: WindowAggregator.twinMilliseconds).rule == .delta)
    #expect(try bench.apply(entry, arrivedAfter: WindowAggregator.twinMilliseconds + 1).rule == .duplicate)
    try bench.apply(maker.event(ts: 1_700_000_060, dt: 60, gen: "1"))
    #expect(try bench.apply(maker.event(ts: 1_700_000_030, gen: "1")).rule == .delta)
    // Of one that an earlier version wrote it is not known what its last second held.
    bench.ledger.latestIdle = nil
    #expect(try bench.apply(maker.event(ts: 1_700_000_060, gen: "1"), mayHaveReturned: true).rule == .duplicate)
    #expect(bench.sums.events == 4)
  }

  @Test("given back before it is noticed that Redis has forgotten, the announce that began a generation is known")
  func beginningGivenBack() throws {
    let start: Int64 = 1_700_000_000
    var bench = Bench()
    let first = maker.event(event: .started, ts: start, gen: "1", order: 1000)
    try bench.apply(first)
    try bench.apply(maker.event(du: 5, ts: start + 60, dt: 60, gen: "1", cu: 5, order: 2000))
    #expect(try bench.apply(first).rule == .duplicate)
    // A late one of the same second is another one.
    #expect(try bench.apply(maker.event(ts: start, gen: "1", cu: 5, order: 1001)).rule == .delta)
    #expect(bench.sums.events == 3)
  }

  @Test("what says nothing and is a day old may have been given back by a tracker that Redis had forgotten")
  func dayOld() throws {
    let start: Int64 = 1_700_000_000
    let twins = [
      maker.event(event: .started, ts: start, gen: "1", order: 1000),
      maker.event(left: 1, event: .started, ts: start, gen: "1", order: 1001),
    ]
    let day = UInt64(WindowAggregator.returnSeconds) * 1000
    for (milliseconds, count) in [(day - 3000, Int64(4)), (day, 3)] {
      var bench = Bench()
      for twin in twins { try bench.apply(twin) }
      try bench.apply(maker.event(du: 5, ts: start + 60, dt: 60, gen: "1", cu: 5, order: 2000), arrivedAfter: 0)
      try bench.apply(twins[1], arrivedAfter: milliseconds)
      #expect(bench.sums.events == count && bench.sums.uploaded == 5)
    }
  }

  @Test("of a client that announces many times in a second a bounded number is remembered")
  func idleLimit() throws {
    var bench = Bench()
    for left in 0..<100 { try bench.apply(maker.event(left: UInt64(left), gen: "1"), arrivedAfter: 1) }
    #expect(bench.ledger.latestIdle?.count == SessionLedger.maximumIdle && bench.sums.events == 100)
  }

  @Test("each generation has its own counters")
  func generations() throws {
    var bench = Bench()
    try bench.apply(maker.event(du: 100, ts: 1_700_000_100, gen: "1", cu: 100))
    #expect(try bench.apply(maker.event(ts: 1_700_000_200, dt: 100, gen: "2")).rule == .baseline)
    try bench.apply(maker.event(du: 30, ts: 1_700_000_300, dt: 100, gen: "2", cu: 30))
    #expect(try bench.apply(maker.event(du: 100, ts: 1_700_000_100, gen: "1", cu: 100)).sums.uploaded == 0)
    #expect(bench.sums.uploaded == 130)
  }

  @Test(
    "time is dt, capped at the promised interval for each announce and one tolerance",
    arguments: [
      (1800, 1, 1800), (2100, 1, 2100), (2101, 1, 2100), (86_400, 1, 2100), (3600, 2, 3600), (3901, 2, 3900), (0, 1, 0),
    ] as [(UInt32, UInt32, Int64)])
  func timeCap(dt: UInt32, n: UInt32, credited: Int64) throws {
    for gen in [nil, "1"] {
      var bench = Bench()
      try bench.apply(maker.event(dt: dt, gen: gen, n: n))
      #expect(bench.sums.seedSeconds == credited && bench.sums.leechSeconds == 0 && bench.sums.events == Int64(n))
    }
  }

  @Test("until it has completed a peer leeches; after it stopped it does neither")
  func seedAndLeech() throws {
    for gen in [nil, "1"] {
      var bench = Bench()
      try bench.apply(maker.event(left: 10, event: .started, ts: 1_700_000_000, gen: gen))
      try bench.apply(maker.event(left: 5, ts: 1_700_000_100, dt: 100, gen: gen))
      let cd: UInt64 = gen == nil ? 0 : 5
      try bench.apply(maker.event(dd: 5, event: .completed, ts: 1_700_000_200, dt: 100, gen: gen, cd: cd))
      #expect(bench.sums.leechSeconds == 200 && bench.sums.seedSeconds == 0)
      try bench.apply(maker.event(event: .stopped, ts: 1_700_000_300, dt: 100, gen: gen, cd: cd))
      #expect(bench.sums.seedSeconds == 100)
      try bench.apply(maker.event(event: .started, ts: 1_700_000_900, dt: 600, gen: gen, cd: cd))
      #expect(bench.sums.seedSeconds == 100 && bench.sums.leechSeconds == 200)
      try bench.apply(maker.event(ts: 1_700_001_000, dt: 100, gen: gen, cd: cd))
      #expect(bench.sums.seedSeconds == 200)
      // Said again, or to another tracker: it seeded since.
      try bench.apply(maker.event(event: .completed, ts: 1_700_001_100, dt: 100, gen: gen, cd: cd))
      #expect(bench.sums.seedSeconds == 300 && bench.sums.leechSeconds == 200 && bench.sums.completed == 1)
    }
  }

  @Test("completed is one snatch, however often it is sent")
  func snatch() throws {
    for gen in [nil, "1"] {
      var bench = Bench()
      for second in 0..<3 {
        try bench.apply(maker.event(event: .completed, ts: 1_700_000_000 + Int64(second), dt: 1, gen: gen))
      }
      #expect(bench.sums.completed == 1)
    }
  }

  @Test("completed with bytes left is none: nothing was, and the peer leeches on")
  func notCompleted() throws {
    for gen in [nil, "1"] {
      var bench = Bench()
      try bench.apply(maker.event(left: 1, event: .completed, ts: 1_700_000_100, dt: 100, gen: gen))
      #expect(bench.sums.completed == 0 && bench.sums.leechSeconds == 100 && bench.sums.events == 1)
      try bench.apply(maker.event(left: 0, event: .completed, ts: 1_700_000_200, dt: 100, gen: gen))
      #expect(bench.sums.completed == 1)
    }
  }

  @Test("of a producer whose clock was set back the bytes count and no time does; dt 0 is another entry")
  func backwardClock() throws {
    var bench = Bench()
    var event = maker.event(du: 7, ts: 1_700_000_100)
    event.backwardSeconds = 50
    try bench.apply(event)
    #expect(bench.sums.uploaded == 7 && bench.sums.seedSeconds == 0)
    #expect(try bench.apply(event).rule == .duplicate)
    event.backwardSeconds = 0
    #expect(try bench.apply(event).rule == .delta)
    event.backwardSeconds = 51
    #expect(try bench.apply(event).rule == .delta)
    #expect(bench.sums.uploaded == 21 && bench.sums.seedSeconds == 0)
  }

  @Test("of a producer without counters no second counts twice where entries cover the same time")
  func overlappingTime() throws {
    var bench = Bench()
    let first: Int64 = 1_700_000_000
    // Both families of a client, each with its own time since the last announce.
    for (ts, dt) in [(0, 0), (5, 0), (1800, 1800), (1805, 1800), (3600, 1800), (3610, 1805)] as [(Int64, UInt32)] {
      try bench.apply(maker.event(ts: first + ts, dt: dt))
    }
    #expect(bench.sums.seedSeconds == 3610)
  }

  @Test("a total that would be more than a user may have is refused before anything changes")
  func overflow() throws {
    var bench = Bench()
    bench.sums.uploaded = TrafficSums.maximumUserBytes - 100
    let before = bench.ledger
    #expect(throws: EntryFault.totalOverflow) { try bench.apply(maker.event(du: 101)) }
    #expect(bench.ledger == before)
    try bench.apply(maker.event(du: 100))
    #expect(bench.sums.uploaded == TrafficSums.maximumUserBytes)
  }

  @Test("who had more than a user may have before there was a limit is credited what adds nothing to that")
  func beyondTheLimit() throws {
    var bench = Bench()
    bench.sums.uploaded = TrafficSums.maximumUserBytes + 1
    try bench.apply(maker.event(dd: 50))
    #expect(bench.sums.downloaded == 50)
    #expect(throws: EntryFault.totalOverflow) { try bench.apply(maker.event(du: 1)) }
  }

  @Test("sums of several databases that no Int64 holds end at its highest value")
  func sumsOfDatabases() {
    var sums = TrafficSums(uploaded: .max - 1, downloaded: 1)
    sums.add(TrafficSums(uploaded: 2, downloaded: 2))
    #expect(sums.uploaded == .max && sums.downloaded == 3)
  }

  @Test("windows and days begin at whole multiples of Unix time")
  func windows() {
    let aggregator = WindowAggregator(windowSeconds: 1800)
    #expect(aggregator.windowStart(of: 1_700_000_000) == 1_699_999_200)
    #expect(aggregator.windowStart(of: 1_699_999_200) == 1_699_999_200)
    #expect(WindowAggregator.dayStart(of: 1_700_000_000) == 1_699_920_000)
  }

  @Test("time is the union of what entries stand for, whatever their order and repetition", arguments: 0..<60)
  func timeUnion(seed: Int) {
    var random = SeededRandom(seed: UInt64(seed))
    var entries: [(ts: Int64, dt: Int64)] = []
    var now: Int64 = 1_700_000_000
    for index in 0..<12 {
      let dt = index == 0 ? 0 : Int64.random(in: 1...100, using: &random)
      now += dt
      entries.append((now, dt))
    }
    var ledger = SessionLedger()
    var seconds: Int64 = 0
    for entry in (entries + entries).shuffled(using: &random) {
      seconds += ledger.coverTime(until: entry.ts, elapsed: entry.dt, cap: 1000)
    }
    #expect(seconds == now - 1_700_000_000, "seed \(seed)")
    #expect(ledger.gaps.isEmpty)
  }

  /// What a client did: announces, some of them after a time away.
  private struct Visit {
    var ts: Int64
    var dt: Int64
    var event: AnnounceEvent
  }

  /// Announces of one session, and the seconds that it was there. A client that is killed begins anew without `stopped`.
  private func visits(_ random: inout SeededRandom, cap: Int64) -> ([Visit], seconds: Int64) {
    var visits: [Visit] = []
    var (now, seconds): (Int64, Int64) = (1_700_000_000, 0)
    for index in 0..<10 {
      let isStart = index == 0 || visits[index - 1].event == .stopped || random.chance(oneIn: 5)
      let dt = index == 0 ? 0 : Int64.random(in: 1...100, using: &random)
      now += dt
      if index > 0, visits[index - 1].event != .stopped { seconds += min(dt, cap) }
      visits.append(Visit(ts: now, dt: dt, event: isStart ? .started : random.chance(oneIn: 3) ? .stopped : .none))
    }
    return (visits, seconds)
  }

  @Test(
    "time away is not credited, whatever is missing or late, and nothing else is lost", arguments: [1000, 40], 0..<300)
  func timeAway(cap: Int64, seed: Int) {
    var random = SeededRandom(seed: UInt64(seed))
    let (visits, truth) = visits(&random, cap: cap)
    var ledger = SessionLedger()
    func apply(_ visit: Visit) -> Int64 {
      let seconds = ledger.coverTime(until: visit.ts, elapsed: visit.dt, cap: cap, event: visit.event)
      if visit.ts >= ledger.coveredTo { ledger.isStopped = visit.event == .stopped }
      return seconds
    }
    var seconds: Int64 = 0
    let order = visits.shuffled(using: &random)
    for (index, visit) in order.enumerated() {
      seconds += apply(visit)
      #expect(seconds <= truth, "seed \(seed), \(index + 1) of \(order)")
      // Repeated, it adds nothing.
      if random.chance(oneIn: 4) {
        #expect(apply(order[Int.random(in: 0...index, using: &random)]) == 0, "seed \(seed)")
      }
    }
    #expect(seconds == truth, "seed \(seed): \(order)")
  }

  @Test("a started that comes late, after a stopped, brings no time that the client was away", arguments: [nil, "1"])
  func lateStart(gen: String?) throws {
    let start: Int64 = 1_700_000_000
    var bench = Bench()
    try bench.apply(maker.event(event: .started, ts: start, gen: gen))
    try bench.apply(maker.event(event: .stopped, ts: start + 1800, dt: 1800, gen: gen))
    try bench.apply(maker.event(ts: start + 5460, dt: 60, gen: gen))
    #expect(bench.sums.seedSeconds == 1800)
    // As it was in the database meanwhile.
    try bench.apply(maker.event(event: .started, ts: start + 5400, dt: 3600, gen: gen))
    #expect(bench.sums.seedSeconds == 1860)
    // And a stopped that comes late leaves what was away uncredited.
    try bench.apply(maker.event(event: .started, ts: start + 9000, dt: 1800, gen: gen))
    #expect(bench.sums.seedSeconds == 1860)
    try bench.apply(maker.event(event: .stopped, ts: start + 7200, dt: 1740, gen: gen))
    #expect(bench.sums.seedSeconds == 3600)
  }

  @Test("gaps of a session are bounded; giving one up costs seconds of a late entry, nothing else")
  func gapLimit() {
    var ledger = SessionLedger()
    for index in 0..<100 { _ = ledger.coverTime(until: 1_700_000_000 + Int64(index) * 100, elapsed: 10, cap: 1000) }
    #expect(ledger.gaps.count == SessionLedger.maximumGaps)
    #expect(ledger.coverTime(until: 1_700_000_050, elapsed: 10, cap: 1000) == 0)
    #expect(ledger.coverTime(until: 1_700_009_850, elapsed: 10, cap: 1000) == 10)
  }
}
