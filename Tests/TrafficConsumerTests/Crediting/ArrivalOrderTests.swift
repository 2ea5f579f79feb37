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

    func event(of user: Int) -> TrafficEvent {
      let start: Int64 = 1_800_000_000
      var maker = EventMaker()
      maker.passkey = Passkey("user\(user)")!
      return maker.event(
        du: du, event: event, ts: start + ticks / 62_500, dt: dt, gen: generation, cu: credited,
        order: UInt64(start * 62_500 + ticks))
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

  /// Every order of so many.
  private static func orders(of count: Int) -> [[Int]] {
    guard count > 0 else { return [[]] }
    return orders(of: count - 1).flatMap { rest in
      (0...rest.count).map { place in Array(rest[..<place]) + [count - 1] + rest[place...] }
    }
  }
}
