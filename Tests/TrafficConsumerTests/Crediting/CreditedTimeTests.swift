// One time of a session is credited once, whatever Redis has forgotten: the rule of CreditedTime, in the real database.

import SQLite
import Simulation
import Testing
import Wire

@testable import TrafficConsumer

/// A database, and the entries of one session.
private final class Bench {
  private let directory: TemporaryDirectory
  let settings: StoreWriter.Settings
  private(set) var writer: StoreWriter
  private var sequence: UInt64 = 0

  init() throws {
    directory = try TemporaryDirectory()
    settings = StoreWriter.Settings(
      databasePath: "\(directory.path)/traffic.db", streamNames: ["tracker:traffic"], windowSeconds: 3600,
      maximumDeliveries: 3)
    writer = try StoreWriter(settings: settings)
  }

  func restart() throws { writer = try StoreWriter(settings: settings, fence: writer.fenceText) }

  /// Applies an entry as the stream's next one.
  func apply(_ event: TrafficEvent) throws { try apply(event.encode()) }

  func apply(_ fields: [String]) throws {
    sequence += 1
    let id = EntryID(milliseconds: 1_800_000_000_000, sequence: sequence)
    let entry = (id: id, fields: EntryFields?.some(EntryFields(items: fields.map { Array($0.utf8) })))
    _ = try writer.apply([StreamDelivery(streamIndex: 0, source: .consecutive, entries: [entry])])
  }

  func integer(_ question: String) throws -> Int64 { try writer.database.integer(question) ?? 0 }
  var uploaded: Int64 { get throws { try integer("SELECT total(uploaded) FROM users") } }
  var withheld: WithheldSums { get throws { try WithheldSums.read(writer.database) } }
  var withheldEver: Int64 {
    get throws { try StoreGauges.read(writer.database, path: settings.databasePath).withheldEver }
  }
}

/// An entry of a generation: the second of its announce, what is credited of it so far, and of the announce.
private func entry(
  _ generation: String, _ second: Int64, _ credited: UInt64, du: UInt64, dt: UInt32 = 0, ticks: Int64 = 0,
  event: AnnounceEvent = .none
) -> TrafficEvent {
  EventMaker().event(
    du: du, event: event, ts: second, dt: dt, gen: generation, cu: credited,
    order: UInt64(second * 62_500 + ticks))
}

/// Every order of so many.
private func permutations(of count: Int) -> [[Int]] {
  guard count > 0 else { return [[]] }
  return permutations(of: count - 1).flatMap { rest in
    (0...rest.count).map { place in Array(rest[..<place]) + [count - 1] + rest[place...] }
  }
}

private let start: Int64 = 1_800_000_000

@Suite("Credited time") struct CreditedTimeTests {
  /// A generation of 300 bytes from second 0 to 20, and one that began at 30 and has 800 bytes at 50.
  private static let first = [
    entry("A", start, 0, du: 0, event: .started), entry("A", start + 10, 100, du: 100, dt: 10),
    entry("A", start + 20, 300, du: 200, dt: 10),
  ]
  private static let second = [
    entry("B", start + 30, 0, du: 0, dt: 10), entry("B", start + 40, 500, du: 500, dt: 10),
    entry("B", start + 50, 800, du: 300, dt: 10),
  ]

  @Test("generations that follow each other are credited in full, in whatever order their entries come")
  func honest() throws {
    for order in [
      [0, 1, 2, 3, 4, 5], [3, 4, 5, 0, 1, 2], [5, 4, 3, 2, 1, 0], [0, 4, 1, 5, 2, 3], [0, 3, 5, 2, 1, 4],
    ] {
      let bench = try Bench()
      for index in order + order { try bench.apply((Self.first + Self.second)[index]) }
      #expect(try bench.uploaded == 1100 && bench.withheld == WithheldSums(), "order \(order)")
      // Late announces of the first one, made before the second began; and the second goes on.
      try bench.apply(entry("A", start + 28, 320, du: 20, dt: 8))
      try bench.apply(entry("B", start + 60, 1000, du: 200, dt: 10))
      #expect(try bench.uploaded == 1320 && bench.withheld == WithheldSums(), "order \(order)")
    }
  }

  @Test("a generation that Redis had forgotten is not credited again as the one before it", arguments: [false, true])
  func forgotten(restarts: Bool) throws {
    let bench = try Bench()
    func apply(_ event: TrafficEvent) throws {
      if restarts { try bench.restart() }
      try bench.apply(event)
    }
    for event in Self.first + Self.second { try apply(event) }
    // The client is at 1000 now; Redis knows the first generation, at 300.
    let again = entry("A", start + 60, 1000, du: 700, dt: 40)
    try apply(again)
    #expect(try bench.uploaded == 1100)
    #expect(try bench.withheld == WithheldSums(entries: 1, uploaded: 700, downloaded: 0))
    // It is counted once, and the time as before.
    try apply(again)
    #expect(try bench.withheld.entries == 1 && bench.integer("SELECT seed_seconds FROM users") == 60)
    // The other generation is given back, with more than was known of it: of a time that nothing was credited for.
    for event in Self.second + [entry("B", start + 58, 990, du: 190, dt: 8)] { try apply(event) }
    #expect(try bench.uploaded == 1290 && bench.withheld.entries == 1)
    // What follows is credited.
    try apply(entry("A", start + 70, 1050, du: 50, dt: 10))
    try apply(entry("A", start + 80, 1150, du: 100, dt: 10))
    #expect(try bench.uploaded == 1440 && bench.withheld.entries == 1)
    let explained = try ExplainQuery.entries(
      of: EventMaker().passkey.text, in: QueryRange(), from: bench.writer.database
    ).entries.map(\.explanation)
    let withheld = explained.filter { $0.rule == .withheld }
    #expect(withheld.map(\.reportedUpload) == [700] && withheld.map(\.creditedUpload) == [0])
  }

  @Test("... nor after it: the announce of the older generation came first")
  func givenBackLater() throws {
    let bench = try Bench()
    for event in Self.first { try bench.apply(event) }
    try bench.apply(entry("A", start + 60, 1000, du: 700, dt: 40))
    #expect(try bench.uploaded == 1000)
    for event in Self.second { try bench.apply(event) }
    #expect(try bench.uploaded == 1000)
    #expect(try bench.withheld == WithheldSums(entries: 2, uploaded: 800, downloaded: 0))
    // What is of a later time is not.
    try bench.apply(entry("B", start + 70, 1100, du: 300, dt: 20))
    #expect(try bench.uploaded == 1000)
    try bench.apply(entry("B", start + 80, 1150, du: 50, dt: 10))
    #expect(try bench.uploaded == 1050)
  }

  @Test("what has been credited nothing keeps nothing from being credited")
  func baselineAlone() throws {
    let bench = try Bench()
    for event in Self.first { try bench.apply(event) }
    // A first sight after a flush; then the other tracker gives the session back as it was.
    try bench.apply(entry("B", start + 30, 0, du: 0))
    try bench.apply(entry("A", start + 40, 700, du: 400, dt: 20))
    #expect(try bench.uploaded == 700 && bench.withheld == WithheldSums())
    try bench.apply(entry("B", start + 50, 900, du: 900, dt: 20))
    #expect(try bench.uploaded == 700 && bench.withheld.uploaded == 900)
  }

  @Test("the beginning of a generation that is lowered is credited, up to the one before")
  func lowered() throws {
    for (second, isCredited) in [(start + 25, true), (start + 15, false)] {
      let bench = try Bench()
      for event in Self.first + Self.second { try bench.apply(event) }
      try bench.apply(entry("B", second, 850, du: 50, event: .started))
      #expect(try bench.uploaded == (isCredited ? 1150 : 1100))
      #expect(try bench.withheld.entries == (isCredited ? 0 : 1))
    }
  }

  @Test("a first announce that is credited is, unless its session was credited before")
  func firstAnnounceCredited() throws {
    let bench = try Bench()
    try bench.apply(entry("A", start, 500, du: 500, event: .started))
    try bench.apply(entry("A", start + 10, 700, du: 200, dt: 10))
    #expect(try bench.uploaded == 700)
    // Redis was flushed: it brings everything again.
    try bench.apply(entry("B", start + 20, 900, du: 900))
    #expect(try bench.uploaded == 700 && bench.withheld.uploaded == 900)
    try bench.apply(entry("B", start + 30, 1000, du: 100, dt: 10))
    #expect(try bench.uploaded == 800)
  }

  @Test("of a generation whose beginning was not seen the first entry says when it was, to the second")
  func unseenBeginning() throws {
    // Its predecessor was 9 to 10 seconds before: behind 20, or perhaps not.
    for (ticks, isCredited) in [(Int64(0), true), (-1, false)] {
      let bench = try Bench()
      for event in Self.first { try bench.apply(event) }
      try bench.apply(entry("B", start + 30, 500, du: 500, dt: 9, ticks: ticks))
      #expect(try bench.uploaded == (isCredited ? 800 : 300))
    }
  }

  @Test("what is missing before the first known entry of a generation is withheld until its beginning is known")
  func missingBeginning() throws {
    let bench = try Bench()
    for event in Self.first { try bench.apply(event) }
    // Its own 300 bytes are of the last ten seconds; the 500 before may be what the first one was credited.
    for event in [Self.second[2], Self.second[2], Self.second[1]] {
      try bench.apply(event)
      #expect(try bench.uploaded == 600 && bench.withheld == WithheldSums(entries: 1, uploaded: 500))
    }
    try bench.restart()
    try bench.apply(entry("B", start + 60, 900, du: 100, dt: 10))
    #expect(try bench.uploaded == 700 && bench.withheld.uploaded == 500)
    try bench.apply(Self.second[0])
    #expect(try bench.uploaded == 1200 && bench.withheld == WithheldSums())
    // Of the only generation everything that is missing comes with the next entry.
    let alone = try Bench()
    try alone.apply(Self.second[2])
    #expect(try alone.uploaded == 800 && alone.withheld == WithheldSums())
    // And what comes later of another one is not credited in a time of which it is not known whose it was.
    try alone.apply(Self.first[2])
    #expect(try alone.uploaded == 800 && alone.withheld.uploaded == 300)
    try alone.apply(Self.second[0])
    #expect(try alone.uploaded == 1100 && alone.withheld == WithheldSums())
  }

  /// Redis comes back with a file from before the client began anew. The tracker that was cut off meanwhile brings an
  /// announce of the new life, credited as of the old one; what the other one still holds of the new life is its end.
  @Test("the end of a generation that is given back brings no bytes of a time that the one before was credited")
  func onlyTheEndGivenBack() throws {
    for du in [UInt64(500), 0] {
      for order in [[0, 1, 2, 3], [3, 0, 1, 2], [0, 1, 3, 2]] {
        let bench = try Bench()
        let all = [
          entry("A", start, 0, du: 0, event: .started), entry("A", start + 2, 1000, du: 1000, dt: 2),
          // Of the 3000 bytes of the second life 2000 had been moved.
          entry("A", start + 11, 2000, du: 1000, dt: 9), entry("B", start + 20, 3000, du: du, dt: 6),
        ]
        for index in order + order { try bench.apply(all[index]) }
        let (uploaded, withheld) = (try bench.uploaded, try bench.withheld.uploaded)
        #expect(uploaded <= 4000 && uploaded + withheld == 5000, "order \(order): \(uploaded), \(withheld)")
        #expect(order[3] != 3 || uploaded == 2000 + Int64(du))
        // What follows is credited.
        try bench.apply(entry("B", start + 40, 3500, du: 500, dt: 20))
        #expect(try bench.uploaded == uploaded + 500)
        // The beginning shows that it was so.
        try bench.apply(entry("B", start + 6, 0, du: 0, event: .started))
        #expect(try bench.uploaded <= 4500)
        #expect(try StoreCheck.run(bench.writer.database).allSatisfy(\.isOK), "order \(order)")
      }
    }
  }

  /// A consumer of the group that stands still holds some entries, and the others are read first.
  @Test("a generation whose beginning comes last is told from the one that ended just before it")
  func beginningComesLast() throws {
    // `stopped` and `started` within a second: what follows says to the second only when that was.
    let all = [
      entry("A", start, 0, du: 0, event: .started), entry("A", start + 10, 100, du: 100, dt: 10),
      entry("A", start + 20, 300, du: 200, dt: 10, ticks: 37_500, event: .stopped),
      entry("B", start + 20, 0, du: 0, ticks: 56_250, event: .started),
      entry("B", start + 50, 500, du: 500, dt: 30),
    ]
    for order in permutations(of: all.count) {
      let bench = try Bench()
      for index in order { try bench.apply(all[index]) }
      #expect(try bench.uploaded == 800 && bench.withheld == WithheldSums(), "order \(order)")
      for index in order { try bench.apply(all[index]) }
      try bench.apply(entry("B", start + 60, 600, du: 100, dt: 10))
      #expect(try bench.uploaded == 900 && bench.withheld == WithheldSums(), "order \(order), again")
      #expect(try StoreCheck.run(bench.writer.database).allSatisfy(\.isOK), "order \(order)")
    }
    // Also where the one that is known first is not the first with bytes.
    for order in permutations(of: 6).enumerated().filter({ $0.offset % 7 == 0 }).map(\.element) {
      let bench = try Bench()
      for index in order { try bench.apply((Self.first + Self.second)[index]) }
      #expect(try bench.uploaded == 1100 && bench.withheld == WithheldSums(), "order \(order)")
    }
    // It never comes: what may have been credited twice is withheld, and said.
    let bench = try Bench()
    for index in [0, 1, 4, 2] { try bench.apply(all[index]) }
    #expect(try bench.uploaded == 600 && bench.withheld == WithheldSums(entries: 1, uploaded: 200))
    try bench.restart()
    try bench.apply(all[3])
    #expect(try bench.uploaded == 800 && bench.withheld == WithheldSums())
    let healed = try ExplainQuery.entries(
      of: EventMaker().passkey.text, in: QueryRange(), from: bench.writer.database
    ).entries.map(\.explanation).filter { $0.rule == .healed }
    #expect(healed.map(\.creditedUpload) == [200])
  }

  @Test("a beginning that comes last is an announce as well, and no duplicate")
  func beginningCounts() throws {
    // The `started` says how long ago the `stopped` was, across a second's edge, and brings no time.
    let all = [
      entry("A", start, 0, du: 0, event: .started),
      entry("A", start + 99, 300, du: 300, dt: 99, ticks: 56_250, event: .stopped),
      entry("B", start + 100, 0, du: 0, dt: 1, ticks: 12_500, event: .started),
      entry("B", start + 160, 500, du: 500, dt: 60, ticks: 12_500),
    ]
    for order in permutations(of: all.count) {
      let bench = try Bench()
      for index in order { try bench.apply(all[index]) }
      #expect(try bench.uploaded == 800 && bench.withheld == WithheldSums(), "order \(order)")
      #expect(try bench.integer("SELECT events FROM users") == 4, "order \(order)")
      #expect(try bench.integer("SELECT min(first_seen) FROM windows") == start, "order \(order)")
      #expect(bench.writer.streams[0].counters.applied == 4, "order \(order)")
      // Once more, it is one.
      for index in order { try bench.apply(all[index]) }
      #expect(try bench.integer("SELECT events FROM users") == 4, "order \(order), again")
    }
  }

  @Test("... and what was credited in its time under another one stays withheld")
  func beginningShowsTheOverlap() throws {
    // The other tracker's announce came 0.2 s after the client had begun anew, and is credited as of the first generation.
    for order in [[0, 1, 2, 3, 4], [0, 1, 4, 2, 3], [4, 3, 0, 1, 2], [0, 1, 2, 4, 3], [4, 0, 1, 2, 3]] {
      let bench = try Bench()
      let all = [
        entry("A", start, 0, du: 0, event: .started), entry("A", start + 10, 100, du: 100, dt: 10),
        entry("A", start + 20, 300, du: 200, dt: 10, ticks: 37_500),
        entry("B", start + 20, 0, du: 0, ticks: 25_000, event: .started),
        entry("B", start + 50, 500, du: 500, dt: 30),
      ]
      for index in order + order { try bench.apply(all[index]) }
      let (uploaded, withheld) = (try bench.uploaded, try bench.withheld)
      #expect(withheld.entries == 1 && uploaded + withheld.uploaded == 800, "order \(order): \(uploaded)")
    }
  }

  @Test("a beginning that is lowered later is not taken for one that was not seen")
  func loweredUnseen() throws {
    let bench = try Bench()
    try bench.apply(entry("B", start + 50, 500, du: 500, dt: 20))
    // The `started` was told to another tracker, with lower counters.
    try bench.apply(entry("B", start + 20, 600, du: 100, event: .started))
    try bench.apply(entry("B", start + 30, 0, du: 0))
    #expect(try bench.uploaded == 600)
    try bench.apply(entry("A", start + 25, 100, du: 100, dt: 4))
    #expect(try bench.uploaded == 600 && bench.withheld.uploaded == 100)
  }

  @Test("entries that do not say when they were are credited by their counters, as before")
  func withoutOrder() throws {
    let bench = try Bench()
    for var event in Self.first + Self.second + [entry("A", start + 60, 1000, du: 700, dt: 40)] {
      event.order = nil
      try bench.apply(event)
    }
    #expect(try bench.uploaded == 1800 && bench.withheld == WithheldSums())
    // An old tracker beside a new one: what the old one brought is of a time that the next entry closes.
    try bench.apply(entry("B", start + 70, 900, du: 100, dt: 20))
    try bench.apply(entry("A", start + 80, 1100, du: 100, dt: 20))
    #expect(try bench.uploaded == 1900 && bench.withheld.uploaded == 100)
  }

  @Test("a late announce that brings nothing leaves the bytes of its generation to the entry that is still missing")
  func lateWithNothing() throws {
    let bench = try Bench()
    for event in Self.first + Self.second.prefix(1) { try bench.apply(event) }
    // By another tracker, of the first generation's time, when the second was at 500 already.
    try bench.apply(entry("B", start + 15, 500, du: 0))
    #expect(try bench.uploaded == 300 && bench.withheld == WithheldSums())
    for event in Self.second.dropFirst() { try bench.apply(event) }
    #expect(try bench.uploaded == 1100 && bench.withheld == WithheldSums())
  }

  @Test(
    "... and of a generation known by that alone, nothing is credited of a time that may be another's",
    arguments: [0, 100])
  func lateWithNothingFirst(du: UInt64) throws {
    let bench = try Bench()
    for event in Self.first + [entry("B", start + 15, 500, du: 0)] { try bench.apply(event) }
    #expect(try bench.uploaded == 300 && bench.withheld == WithheldSums())
    try bench.apply(entry("B", start + 50, 500 + du, du: du, dt: 10))
    #expect(try bench.uploaded == 300 + Int64(du) && bench.withheld == WithheldSums(entries: 1, uploaded: 500))
    try bench.apply(Self.second[0])
    #expect(try bench.uploaded == 800 + Int64(du) && bench.withheld == WithheldSums())
  }

  @Test("a late announce that brings nothing does not say when the bytes were moved that are missing behind it")
  func lateAmongMissing() throws {
    let bench = try Bench()
    for event in Self.first + [Self.second[0]] { try bench.apply(event) }
    // By another tracker, made at 32 when the second generation was at 0, and come when it was at 500, of which nothing is known.
    try bench.apply(entry("B", start + 32, 500, du: 0))
    // Redis has forgotten the second one: the first is credited its bytes.
    try bench.apply(entry("A", start + 38, 400, du: 100, dt: 18))
    #expect(try bench.uploaded == 400)
    // What is credited of it has to be of another time than that.
    try bench.apply(Self.second[2])
    #expect(try bench.uploaded == 400 && bench.withheld.uploaded == 800)
  }

  @Test("a dead letter that is replayed much later is credited, or withheld")
  func deadLetter() throws {
    for isForgotten in [false, true] {
      let bench = try Bench()
      for event in Self.first { try bench.apply(event) }
      let good =
        isForgotten ? entry("A", start + 60, 1000, du: 700, dt: 40) : entry("A", start + 25, 310, du: 10, dt: 5)
      var fields = good.encode()
      fields[9] = "nowhere"
      try bench.apply(fields)
      for event in Self.second { try bench.apply(event) }
      let letter = try bench.integer("SELECT id FROM dead_letters")
      for isDryRun in [true, false] {
        let result = try bench.writer.replay(letter, repairs: [("ip", "192.0.2.7")], isDryRun: isDryRun)
        #expect(result.outcome == .replayed && result.uploaded == (isForgotten ? 0 : 10))
        #expect(try bench.withheldEver == (isForgotten && !isDryRun ? 1 : 0))
      }
      #expect(try bench.withheld == WithheldSums(entries: isForgotten ? 1 : 0, uploaded: isForgotten ? 700 : 0))
    }
  }

  @Test("what is withheld while other bytes are released is seen, though there is no more withheld than before")
  func withheldEver() throws {
    let bench = try Bench()
    #expect(try bench.withheldEver == 0)
    for event in Self.first + [Self.second[2]] { try bench.apply(event) }
    #expect(try bench.withheld.entries == 1 && bench.withheldEver == 1)
    for event in [Self.second[0], entry("A", start + 60, 1000, du: 700, dt: 40)] { try bench.apply(event) }
    #expect(try bench.withheld == WithheldSums(entries: 1, uploaded: 700) && bench.withheldEver == 2)
    try bench.restart()
    #expect(try bench.withheldEver == 2)
  }

  @Test("what several databases have withheld and does not fit is as much as fits")
  func withheldOverflow() throws {
    let bench = try Bench()
    try bench.apply(Self.first[0])
    try bench.writer.database.execute(
      "INSERT INTO withheld SELECT id, 'x', 0, 1, 1, 1 << 62, 7 FROM sessions")
    var report = StatusReport()
    for expected in [Int64(1) << 62, .max] {
      try report.add(bench.writer.database)
      #expect(report.withheld.uploaded == expected)
    }
    #expect(report.withheld == WithheldSums(entries: 2, uploaded: .max, downloaded: 14))
  }

  @Test("a database of schema 7 knows of no times: the rule begins with what is credited from there on")
  func migration() throws {
    let bench = try Bench()
    for event in Self.first + Self.second { try bench.apply(event) }
    try bench.writer.database.execute(EarlierSchema.seven)
    try bench.restart()
    try bench.apply(entry("B", start + 60, 900, du: 100, dt: 10))
    #expect(try bench.uploaded == 1200 && bench.withheld == WithheldSums())
    try bench.apply(entry("A", start + 70, 1000, du: 700, dt: 15))
    #expect(try bench.uploaded == 1200 && bench.withheld.uploaded == 700)
  }

  @Test("what schema 8 withheld is of no generation: it is still counted, and stays withheld")
  func migrationFromEight() throws {
    let bench = try Bench()
    for event in Self.first { try bench.apply(event) }
    try bench.apply(entry("B", start + 21, 500, du: 500, dt: 1))
    let withheld = WithheldSums(entries: 1, uploaded: 500)
    #expect(try bench.uploaded == 300 && bench.withheld == withheld)
    try bench.writer.database.execute(EarlierSchema.eight)
    try bench.restart()
    #expect(try bench.withheld == withheld && bench.withheldEver == 1)
    try bench.apply(entry("B", start + 20, 0, du: 0, ticks: 1, event: .started))
    #expect(try bench.uploaded == 300 && bench.withheld == withheld)
  }

  @Test("a time ends where the next begins: what touches does not meet")
  func edges() {
    let time = CreditedTime(first: 100, last: 200, reached: 200)
    func meets(_ after: UInt64, _ before: UInt64) -> Bool {
      var claim = TimeClaim(entry("A", start, 1, du: 1), credited: nil)!
      (claim.after, claim.before) = (after, before)
      return claim.meets(time)
    }
    #expect(
      !meets(50, 100) && meets(50, 101) && meets(199, 300) && !meets(200, 300) && meets(120, 130) && meets(0, 900))
    var withheld = CreditedTime(first: 100, last: 200, reached: 300)
    #expect(!TimeClaim.of(order: 400, withheld).meets(time))
    withheld.take(TimeClaim.of(order: 400, withheld), order: 400, isCredited: false)
    #expect(withheld == CreditedTime(first: 100, last: 200, reached: 400))
    withheld.take(TimeClaim.of(order: 500, withheld), order: 500, isCredited: true)
    #expect(withheld == CreditedTime(first: 100, last: 500, reached: 500))
  }
}

extension TimeClaim {
  /// What an entry of one byte more claims.
  fileprivate static func of(order: UInt64, _ time: CreditedTime) -> Self {
    var event = entry("A", start, 2, du: 1)
    event.order = order
    return TimeClaim(event, credited: CreditedCounters(uploaded: 1, downloaded: 0, time: time))!
  }
}
