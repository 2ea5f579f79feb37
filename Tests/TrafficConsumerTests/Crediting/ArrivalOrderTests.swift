// Without a fault of Redis a session is credited the same bytes in whatever order its entries come: every order of a client's,
// each order a user of one database.

import SQLite
import Simulation
import Testing
import Wire

@testable import TrafficConsumer

@Suite("Orders of arrival") struct ArrivalOrderTests {
  /// An announce: its generation, ticks since the beginning, what is credited of it so far, and of the announce.
  private struct Announce {
    var generation: String
    var ticks: Int64
    var credited: UInt64
    var du: UInt64
    var dt: UInt32
    var event = AnnounceEvent.none
    /// The tracker says when it came.
    var hasOrder = true

    func event(of user: Int) -> TrafficEvent {
      let start: Int64 = 1_800_000_000
      var maker = EventMaker()
      maker.passkey = Passkey("user\(user)")!
      return maker.event(
        du: du, event: event, ts: start + ticks / 62_500, dt: dt, gen: generation, cu: credited,
        order: hasOrder ? UInt64(start * 62_500 + ticks) : nil)
    }
  }

  /// `stopped`, `started` and two more announces in a second: the end of the first generation is told to the second only.
  private static let restart = [
    Announce(generation: "A", ticks: 0, credited: 0, du: 0, dt: 0, event: .started),
    Announce(generation: "A", ticks: 112_500_000, credited: 7, du: 7, dt: 1800),
    Announce(generation: "A", ticks: 112_575_000, credited: 7, du: 0, dt: 1, event: .stopped),
    Announce(generation: "B", ticks: 112_587_500, credited: 0, du: 0, dt: 0, event: .started),
    Announce(generation: "B", ticks: 112_606_250, credited: 7, du: 7, dt: 0),
    Announce(generation: "B", ticks: 112_625_000, credited: 1007, du: 1000, dt: 1),
    Announce(generation: "B", ticks: 131_375_000, credited: 1057, du: 50, dt: 300, event: .stopped),
  ]

  /// A generation that became the session's latest again before its beginning came, and another one.
  @Test("a client that begins anew within a second is credited everything, in whatever order")
  func withinASecond() throws {
    let directory = try TemporaryDirectory()
    let writer = try StoreWriter(
      settings: StoreWriter.Settings(
        databasePath: "\(directory.path)/traffic.db", streamNames: ["tracker:traffic"], windowSeconds: 3600,
        maximumDeliveries: 3))
    var entries: [(id: EntryID, fields: EntryFields?)] = []
    var users = 0
    for order in Self.orders(of: Self.restart.count) {
      users += 1
      for index in order {
        let fields = Self.restart[index].event(of: users).encode().map { Array($0.utf8) }
        let id = EntryID(milliseconds: 1_800_003_000_000, sequence: UInt64(entries.count + 1))
        entries.append((id: id, fields: EntryFields(items: fields)))
      }
    }
    _ = try writer.apply([StreamDelivery(streamIndex: 0, source: .consecutive, entries: entries)])
    #expect(try WithheldSums.read(writer.database) == WithheldSums())
    let complete = try writer.database.integer("SELECT count(*) FROM users WHERE uploaded = 1064")
    #expect(complete == Int64(users))
    #expect(try StoreCheck.run(writer.database).allSatisfy(\.isOK))
  }

  @Test("of `stopped` and `started` in one second the trackers' clock tells which was last, whichever comes first")
  func stoppedInThatSecond() throws {
    let directory = try TemporaryDirectory()
    let writer = try StoreWriter(
      settings: StoreWriter.Settings(
        databasePath: "\(directory.path)/traffic.db", streamNames: ["tracker:traffic"], windowSeconds: 3600,
        maximumDeliveries: 3))
    let second: Int64 = 62_500
    let announces = [
      Announce(generation: "A", ticks: 0, credited: 0, du: 0, dt: 0, event: .started),
      Announce(generation: "A", ticks: 1800 * second, credited: 10, du: 10, dt: 1800),
      Announce(generation: "A", ticks: 2000 * second + 10_000, credited: 20, du: 10, dt: 200, event: .stopped),
      Announce(generation: "B", ticks: 2000 * second + 40_000, credited: 0, du: 0, dt: 0, event: .started),
      Announce(generation: "B", ticks: 3800 * second, credited: 10, du: 10, dt: 1800),
    ]
    for (user, order) in [[0, 1, 2, 3, 4], [0, 1, 3, 2, 4]].enumerated() {
      let entries = order.map { index in
        let fields = announces[index].event(of: user).encode().map { Array($0.utf8) }
        return (
          id: EntryID(milliseconds: 1_800_003_000_000 + UInt64(user), sequence: UInt64(index + 1)),
          fields: Optional(EntryFields(items: fields))
        )
      }
      for entry in entries {
        _ = try writer.apply([StreamDelivery(streamIndex: 0, source: .scattered, entries: [entry])])
      }
    }
    #expect(try writer.database.integer("SELECT count(*) FROM users WHERE uploaded = 30") == 2)
    #expect(try writer.database.integer("SELECT count(*) FROM users WHERE seed_seconds = 3800") == 2)
  }

  /// A client's lives, announced to this version's tracker or to one that does not say when, and what was moved.
  private static func lives(_ random: inout SeededRandom) -> (announces: [Announce], uploaded: UInt64) {
    let pauses = [0.3, 0.9, 1.2, 2.5, 60, 600, 1800].map { Int64($0 * 62_500) }
    let returns = [0.2, 0.3, 0.5, 1, 1.5, 2.5, 100, 4000].map { Int64($0 * 62_500) }
    var announces: [Announce] = []
    var (ticks, last, uploaded) = (
      [6250, 37_500, 59_375].randomElement(using: &random)! as Int64, Int64?.none, UInt64(0)
    )
    for life in 0..<Int.random(in: 1...3, using: &random) {
      var credited: UInt64 = 0
      func add(_ event: AnnounceEvent, _ du: UInt64) {
        let second = ticks / 62_500
        credited += du
        announces.append(
          Announce(
            generation: "\(life)", ticks: ticks, credited: credited, du: du, dt: UInt32(second - (last ?? second)),
            event: event, hasOrder: Int.random(in: 0..<5, using: &random) < 3))
        last = second
      }
      add(.started, 0)
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        ticks += pauses.randomElement(using: &random)!
        add(.none, [0, 7, 100, 1000].randomElement(using: &random)!)
      }
      if Int.random(in: 0..<10, using: &random) < 7 {
        ticks += [12_500, 68_750, 18_750_000].randomElement(using: &random)!
        add(.stopped, [0, 50].randomElement(using: &random)!)
      }
      uploaded += credited
      ticks += returns.randomElement(using: &random)!
    }
    return (announces, uploaded)
  }

  @Test("a client that begins anew is credited everything beside a tracker that does not say when it announced")
  func mixedVersions() throws {
    var random = SeededRandom(seed: 3)
    let directory = try TemporaryDirectory()
    let writer = try StoreWriter(
      settings: StoreWriter.Settings(
        databasePath: "\(directory.path)/traffic.db", streamNames: ["tracker:traffic"], windowSeconds: 3600,
        maximumDeliveries: 3))
    var entries: [(id: EntryID, fields: EntryFields?)] = []
    var uploaded: [UInt64] = []
    for user in 0..<1000 {
      let lives = Self.lives(&random)
      uploaded.append(lives.uploaded)
      for announce in lives.announces {
        let id = EntryID(milliseconds: 1_800_003_000_000, sequence: UInt64(entries.count + 1))
        entries.append((id: id, fields: EntryFields(items: announce.event(of: user).encode().map { Array($0.utf8) })))
      }
    }
    _ = try writer.apply([StreamDelivery(streamIndex: 0, source: .consecutive, entries: entries)])
    #expect(try WithheldSums.read(writer.database) == WithheldSums())
    let select = try writer.database.prepare("SELECT uploaded FROM users WHERE passkey = ?1")
    for (user, bytes) in uploaded.enumerated() {
      try select.bind("user\(user)", at: 1)
      #expect(try select.step() && select.integer(0) == Int64(bytes), "user \(user) of seed \(random.seed)")
      select.reset()
    }
  }

  /// Every order of so many.
  private static func orders(of count: Int) -> [[Int]] {
    guard count > 0 else { return [[]] }
    return orders(of: count - 1).flatMap { rest in
      (0...rest.count).map { place in Array(rest[..<place]) + [count - 1] + rest[place...] }
    }
  }
}
