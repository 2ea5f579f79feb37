// What becomes of an entry that is a dead letter and comes again: its letter keeps its fate, and of equal entries each is a
// letter of its own.

import Redis
import SQLite
import Simulation
import Testing
import Wire

@testable import TrafficConsumer

@Suite("Letters whose entries come again") struct ReturnedLetterTests {
  private func bench() async throws -> ([AnyObject], StreamBench) {
    let directory = try TemporaryDirectory()
    let server = try await RedisServer.start(in: directory, extra: ["--appendonly", "no"])
    return ([directory, server], try StreamBench(server: server, database: 0))
  }

  private func states(_ bench: StreamBench) throws -> [DeadLetterState] {
    try DeadLetterTable.list(DeadLetterFilter(), in: bench.reader()).map(\.state)
  }

  @Test("an entry that fails again under the identity it had is the same letter, delivered once more")
  func sameLetter() async throws {
    let (server, bench) = try await bench()
    try bench.add(["nonsense", "1"])
    try bench.apply(0..<1)
    // As if L1 had never known it.
    try SQLiteDatabase(path: bench.databasePath, access: .readWrite).execute("DELETE FROM applied_ranges")
    try bench.restart()
    #expect(try bench.apply(0..<1).dead == 1)
    let letters = try DeadLetterTable.list(DeadLetterFilter(), in: bench.reader())
    #expect(letters.map(\.deliveries) == [2] && letters.map(\.entryID) == bench.ids)
    #expect(try bench.faults() == [])
    withExtendedLifetime(server) {}
  }

  @Test(
    "a letter whose entry comes again after a rollback, under whatever id, keeps its fate", arguments: [false, true])
  func letterAgain(isOfEarlierVersion: Bool) async throws {
    let (server, bench) = try await bench()
    func letter(_ number: Int) -> [String] {
      EventMaker().event(du: 10, ts: 1_700_000_000 + Int64(number)).encode().map { $0 == "10" ? "x1\(number)" : $0 }
    }
    for number in 0..<3 { try bench.add(letter(number)) }
    // An entry of the same content in the same epoch is another one.
    try bench.add(letter(2))
    try bench.apply(0..<4)
    #expect(try bench.writer.replay(1, repairs: [("du", "10")], isDryRun: false).outcome == .replayed)
    #expect(try bench.writer.discard([2], note: "") == 1)
    if isOfEarlierVersion {
      try SQLiteDatabase(path: bench.databasePath, access: .readWrite).execute("UPDATE dead_letters SET content = NULL")
      try bench.restart()
    }
    for _ in 0..<2 {
      let kept = bench.ids[0]
      try bench.writer.make(.rollBack(to: kept.predecessor, restoredThrough: kept.predecessor), stream: 0)
      let first = bench.ids.count
      for number in [1, 2, 2, 3] { try bench.add(letter(number)) }
      try bench.apply(first..<first + 4)
      try bench.apply(0..<1)
      let letters = try DeadLetterTable.list(DeadLetterFilter(), in: bench.reader())
      #expect(letters.map(\.state) == [.replayed, .discarded, .dead, .dead, .dead])
    }
    #expect(try bench.sums(of: EventMaker().passkey.text).uploaded == 10)
    #expect(bench.writer.streams[0].counters.dead == 5 && bench.writer.streams[0].counters.duplicates == 9)
    withExtendedLifetime(server) {}
  }

  @Test("equal entries beyond the letters of earlier epochs are letters of their own")
  func moreLetters() async throws {
    let (server, bench) = try await bench()
    try bench.add(["nonsense", "1"])
    try bench.apply(0..<1)
    #expect(try bench.writer.discard([1], note: "") == 1)
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
    for _ in 0..<3 { try bench.add(["nonsense", "1"]) }
    let counters = try bench.apply(1..<4)
    #expect(counters.duplicates == 1 && counters.dead == 2)
    let letters = try DeadLetterTable.list(DeadLetterFilter(), in: bench.reader())
    #expect(letters.map(\.state) == [.discarded, .dead, .dead])
    withExtendedLifetime(server) {}
  }

  @Test("a letter that could be applied when it comes again is not: what became of it has been decided")
  func appliedAgain() async throws {
    let (server, bench) = try await bench()
    try bench.add(EventMaker().event(du: 5, ts: 1_700_000_000))
    var full = EventMaker()
    full.passkey = Passkey("full")!
    try bench.add(full.event(du: TrafficEvent.maximumBytes, ts: 1_700_000_001))
    try bench.apply(0..<1)
    let database = try SQLiteDatabase(path: bench.databasePath, access: .readWrite)
    try database.execute("UPDATE torrents SET uploaded = \(Int64.max - 10)")
    try bench.restart()
    #expect(try bench.apply(1..<2).dead == 1)
    #expect(try bench.writer.discard([1], note: "") == 1)
    try database.execute("UPDATE torrents SET uploaded = 5")
    try bench.writer.make(.rollBack(to: bench.ids[0], restoredThrough: bench.ids[0]), stream: 0)
    try bench.restart()
    #expect(try bench.apply(1..<2).duplicates == 1)
    #expect(try bench.sums(of: "full").uploaded == 0 && bench.faults() == [])
    withExtendedLifetime(server) {}
  }

  /// The group's position is set back, a group is deleted: what is known comes as new.
  @Test("a letter that came again, delivered once more as new, is that letter still")
  func deliveredAsNew() async throws {
    let (server, bench) = try await bench()
    let old = EventMaker().event(du: 1000, ts: 1_700_000_000).encode().map { $0 == "1000" ? "x" : $0 }
    try bench.add(old)
    try bench.add(["nonsense", "1"])
    try bench.apply(0..<2)
    #expect(try bench.writer.replay(1, repairs: [("du", "1000")], isDryRun: false).outcome == .replayed)
    #expect(try bench.writer.discard([2], note: "") == 1)
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
    try bench.add(["nonsense", "1"])
    try bench.add(old)
    try bench.apply(2..<4)
    for _ in 0..<2 {
      _ = try bench.writer.apply([try bench.delivery(2..<4, .fresh)])
      #expect(try states(bench) == [.replayed, .discarded])
      try bench.restart()
    }
    // The ids of the earlier epoch are in the stream still.
    _ = try bench.writer.apply([try bench.delivery(0..<4, .fresh)])
    #expect(try states(bench).prefix(2) == [.replayed, .discarded])
    #expect(try bench.sums(of: EventMaker().passkey.text).uploaded == 1000 && bench.faults() == [])
    withExtendedLifetime(server) {}
  }

  @Test(
    "... also when it came again before the upgrade from schema 8 or 9, which did not note under which id",
    arguments: [EarlierSchema.eight, EarlierSchema.nine])
  func returnedBeforeUpgrade(schema: String) async throws {
    let (server, bench) = try await bench()
    let old = EventMaker().event(du: 1000, ts: 1_700_000_000).encode().map { $0 == "1000" ? "x" : $0 }
    try bench.add(old)
    try bench.apply(0..<1)
    #expect(try bench.writer.replay(1, repairs: [("du", "1000")], isDryRun: false).outcome == .replayed)
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
    try bench.add(old)
    #expect(try bench.apply(1..<2).duplicates == 1)
    try SQLiteDatabase(path: bench.databasePath, access: .readWrite).execute(schema)
    try bench.restart()
    let handled = bench.writer.streams[0].counters.handled
    for _ in 0..<2 {
      #expect(try bench.writer.apply([try bench.delivery(1..<2, .fresh)]).redelivered == 1)
      #expect(try states(bench) == [.replayed] && bench.writer.streams[0].counters.handled == handled)
    }
    // Its id is known by now: an equal one is a letter of its own.
    try bench.add(old)
    #expect(try bench.apply(2..<3).dead == 1)
    withExtendedLifetime(server) {}
  }

  @Test(
    "a letter that was purged is not opened again by a second delivery, and counts once", arguments: [false, true])
  func purged(isRolledBack: Bool) async throws {
    let (server, bench) = try await bench()
    try bench.add(EventMaker().event(du: 5, ts: 1_700_000_000))
    try bench.add(["nonsense", "1"])
    try bench.add(EventMaker().event(du: 7, ts: 1_700_000_001))
    try bench.apply(0..<3)
    if isRolledBack {
      try bench.loseEnd(from: 2)
      try bench.add(["nonsense", "1"])
      try bench.apply(2..<3)
      #expect(try bench.writer.discard([2], note: "") == 1)
    }
    #expect(try bench.writer.discard([1], note: "") == 1)
    #expect(try bench.writer.purge(.discarded, before: .max) == (isRolledBack ? 2 : 1))
    let handled = bench.writer.streams[0].counters.handled
    for _ in 0..<2 {
      #expect(try bench.writer.apply([try bench.delivery(0..<3, .fresh)]).redelivered == 3)
      #expect(try states(bench) == [] && bench.writer.streams[0].counters.handled == handled)
      try bench.restart()
    }
    // Its id is known as long as the stream has it.
    try bench.loseEnd(from: 2)
    #expect(try bench.writer.apply([try bench.delivery(0..<2, .fresh)]).redelivered == 2)
    try bench.loseEnd(from: 1)
    try bench.add(["nonsense", "1"])
    #expect(try bench.apply(1..<2).dead == 1)
    #expect(try bench.writer.discard([2, 3], note: "") == 1)
    #expect(try bench.writer.purge(.discarded, before: .max) == 1)
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
    #expect(try bench.writer.database.integer("SELECT count(*) FROM purged_letters") == 0)
    withExtendedLifetime(server) {}
  }

  @Test("... nor is one that had come again under another id; one that had not is forgotten", arguments: [true, false])
  func purgedReturn(cameAgain: Bool) async throws {
    let (server, bench) = try await bench()
    try bench.add(["nonsense", "1"], id: "5-0")
    try bench.apply(0..<1)
    #expect(try bench.writer.discard([1], note: "") == 1)
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
    if cameAgain {
      try bench.add(["nonsense", "1"], id: "6-0")
      #expect(try bench.apply(1..<2).duplicates == 1)
    }
    #expect(try bench.writer.purge(.discarded, before: .max) == 1)
    #expect(try bench.writer.database.integer("SELECT count(*) FROM purged_letters") == (cameAgain ? 1 : 0))
    if cameAgain {
      #expect(try bench.writer.apply([try bench.delivery(1..<2, .fresh)]).redelivered == 1)
      #expect(try states(bench) == [])
    }
    withExtendedLifetime(server) {}
  }

  @Test("one that an earlier version purged is a letter again, and does not count for an entry that is gone")
  func purgedByEarlierVersion() async throws {
    let (server, bench) = try await bench()
    try bench.add(["nonsense", "1"])
    try bench.apply(0..<1)
    #expect(try bench.writer.discard([1], note: "") == 1)
    try SQLiteDatabase(path: bench.databasePath, access: .readWrite).execute("DELETE FROM dead_letters")
    try bench.restart()
    #expect(try bench.writer.apply([try bench.delivery(0..<1, .fresh)]).dead == 1)
    #expect(try states(bench) == [.dead] && bench.writer.streams[0].counters.handled == 1)
    withExtendedLifetime(server) {}
  }

  @Test("a discarded letter that could be applied by now is not, when it is delivered once more as new")
  func appliedAsNew() async throws {
    let (server, bench) = try await bench()
    var full = EventMaker()
    full.passkey = Passkey("full")!
    try bench.add(EventMaker().event(du: 5, ts: 1_700_000_000))
    try bench.apply(0..<1)
    let database = try SQLiteDatabase(path: bench.databasePath, access: .readWrite)
    try database.execute("UPDATE torrents SET uploaded = \(Int64.max - 10)")
    try bench.restart()
    try bench.add(full.event(du: TrafficEvent.maximumBytes, ts: 1_700_000_001))
    #expect(try bench.apply(1..<2).dead == 1)
    #expect(try bench.writer.discard([1], note: "") == 1)
    try database.execute("UPDATE torrents SET uploaded = 5")
    try bench.restart()
    #expect(try bench.writer.apply([try bench.delivery(0..<2, .fresh)]).redelivered == 2)
    #expect(try bench.sums(of: "full").uploaded == 0 && states(bench) == [.discarded])
    withExtendedLifetime(server) {}
  }

  @Test("new entries equal to a letter that a roll back has left in the stream are letters of their own")
  func keptByRollBack() async throws {
    let (server, bench) = try await bench()
    try bench.add(["nonsense", "1"])
    try bench.add(EventMaker().event(du: 5, ts: 1_700_000_000))
    try bench.apply(0..<2)
    for round in 0..<2 {
      try bench.loseEnd(from: 1 + round)
      try bench.add(["nonsense", "1"])
      #expect(try bench.apply(1 + round..<2 + round).dead == 1)
    }
    #expect(try states(bench) == [.dead, .dead, .dead])
    // What is known is known.
    _ = try bench.writer.apply([try bench.delivery(0..<3, .fresh)])
    #expect(try states(bench).count == 3)
    withExtendedLifetime(server) {}
  }

  @Test("of equal entries whose ids are another's, the first is the letter that comes again, and the next is its own")
  func doubtfulReturn() async throws {
    let (server, bench) = try await bench()
    let event = EventMaker().event(du: 5, ts: 1_700_000_000)
    try bench.add(["nonsense", "1"], id: "5-0")
    try bench.apply(0..<1)
    #expect(try bench.writer.discard([1], note: "") == 1)
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
    try bench.add(event, id: "6-0")
    try bench.add(event, id: "7-0")
    try bench.apply(1..<3)
    // Redis lost these, and its clock is behind.
    try bench.replaceEnd(from: 1, with: ["nonsense", "1"])
    let handled = bench.writer.streams[0].counters.handled
    _ = try bench.writer.apply([try bench.delivery(1..<3, .fresh)])
    #expect(try states(bench) == [.discarded, .dead])
    // Redis has counted as many as before.
    #expect(bench.writer.streams[0].counters.handled == handled)
    withExtendedLifetime(server) {}
  }

  @Test("a broken entry whose id is another letter's, which Redis lost, is a letter of its own, once")
  func doubtfulLetter() async throws {
    let (server, bench) = try await bench()
    try bench.add(EventMaker().event(du: 5, ts: 1_700_000_000), id: "4-0")
    try bench.add(["nonsense", "1"], id: "5-0")
    try bench.apply(0..<2)
    #expect(try bench.writer.discard([1], note: "") == 1)
    let handled = bench.writer.streams[0].counters.handled
    for (count, text) in ["2", "3"].enumerated() {
      try bench.replaceEnd(from: 1, with: ["nonsense", text])
      #expect(try bench.writer.apply([try bench.delivery(1..<2, .fresh)]).dead == 1)
      for _ in 0..<2 {
        #expect(try bench.writer.apply([try bench.delivery(1..<2, .fresh)]).redelivered == 1)
        #expect(try states(bench) == [.discarded] + Array(repeating: .dead, count: count + 1))
        try bench.restart()
      }
    }
    #expect(bench.writer.streams[0].counters.handled == handled)
    // Redis' state is noticed, and what it has is read again.
    let common = try #require(EntryID("4-0"))
    try bench.writer.make(.rollBack(to: common, restoredThrough: common), stream: 0)
    #expect(try bench.apply(1..<2).duplicates == 1)
    #expect(try states(bench) == [.discarded, .dead, .dead] && bench.faults() == [])
    withExtendedLifetime(server) {}
  }

  @Test(
    "a discarded letter of a version that could not decode it is not applied when it comes again, however new it is")
  func undecodableThen() async throws {
    let (server, bench) = try await bench()
    var event = EventMaker().event(du: 70, ts: 1_700_009_000)
    event.backwardSeconds = 5
    try bench.add(EventMaker().event(du: 5, ts: 1_700_000_000))
    try bench.add(["nonsense", "1"])
    try bench.apply(0..<2)
    let database = try SQLiteDatabase(path: bench.databasePath, access: .readWrite)
    let update = try database.prepare(
      """
      UPDATE dead_letters SET reason = 'malformed_value', detail = 'field dt is not a decimal number', content = NULL, fields = ?1
      """)
    try update.bind(EntryFields(items: event.encode().map { Array($0.utf8) }).stored, at: 1)
    try update.run()
    #expect(try bench.writer.discard([1], note: "") == 1)
    try database.execute("PRAGMA user_version = 10")
    try bench.restart()
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
    try bench.add(event)
    #expect(try bench.apply(2..<3).duplicates == 1)
    #expect(try bench.sums(of: EventMaker().passkey.text).uploaded == 5 && states(bench) == [.discarded])
    withExtendedLifetime(server) {}
  }

  @Test("... nor is one that the database refused")
  func refusedThen() async throws {
    let (server, bench) = try await bench()
    try bench.add(EventMaker().event(du: 5, ts: 1_700_000_000))
    try bench.apply(0..<1)
    let database = try SQLiteDatabase(path: bench.databasePath, access: .readWrite)
    try database.execute(
      "CREATE TRIGGER refuse BEFORE UPDATE ON users WHEN new.uploaded > 50 BEGIN SELECT RAISE(ABORT, 'no'); END")
    try bench.add(EventMaker().event(du: 70, ts: 1_700_009_000))
    #expect(try bench.apply(1..<2).dead == 1)
    #expect(try bench.writer.discard([1], note: "") == 1)
    try database.execute("DROP TRIGGER refuse")
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
    #expect(try bench.apply(0..<2).duplicates == 2)
    #expect(try bench.sums(of: EventMaker().passkey.text).uploaded == 5 && states(bench) == [.discarded])
    withExtendedLifetime(server) {}
  }

  @Test(
    "of an entry that is too large the letter has as much as is kept, and says what is missing", arguments: [0, 2])
  func tooLarge(items: Int) async throws {
    let (server, bench) = try await bench()
    let large = String(repeating: "x", count: EntryFields.maximumBytes - 100)
    let rest = Array(repeating: ["more", String(repeating: "y", count: 4000)], count: items).flatMap { $0 }
    try bench.add(EventMaker().event(du: 5, ts: 1_700_000_000))
    try bench.add(["nonsense", large] + rest)
    #expect(try bench.apply(0..<2).dead == 1)
    let letter = try #require(try DeadLetterTable.find(1, in: bench.reader()))
    let stored = letter.fields.stored.count
    #expect(stored <= EntryFields.maximumBytes + 100)
    #expect(letter.reason == (items == 0 ? "missing_field" : "too_large"))
    let whole = 8 + large.utf8.count + items * 4004
    let kept = letter.fields.items.reduce(0) { $0 + $1.count }
    if items > 0 {
      let missing = try #require(letter.fields.missingBytes)
      #expect(letter.fields.shown.last?.name == "bytes_not_kept" && letter.fields.shown.last?.value == String(missing))
      #expect(kept - 14 - String(missing).utf8.count + missing == whole)
    } else {
      #expect(kept == whole && letter.fields.missingBytes == nil)
    }
    // What was kept is what it is known by.
    #expect(try bench.writer.apply([try bench.delivery(0..<2, .fresh)]).redelivered == 2)
    #expect(try bench.writer.replay(1, repairs: [], isDryRun: false).outcome == .failed)
    withExtendedLifetime(server) {}
  }

  @Test("replaying keeps no more sessions in memory than applying does")
  func replayForgets() async throws {
    let (server, bench) = try await bench()
    try bench.add(EventMaker().event(du: 10).encode().map { $0 == "10" ? "x" : $0 })
    try bench.apply(0..<1)
    try bench.writer.transaction { () throws(SQLiteError) in
      var maker = EventMaker()
      for user in 0...SessionTable.maximumSessions {
        maker.passkey = Passkey("user\(user)")!
        _ = try bench.writer.sessionTable.session(of: maker.event())
      }
    }
    #expect(bench.writer.sessionTable.sessions.count > SessionTable.maximumSessions)
    #expect(try bench.writer.replay(1, repairs: [("du", "10")], isDryRun: false).outcome == .replayed)
    let kept = bench.writer.sessionTable.sessions.count
    #expect(kept == 0)
    withExtendedLifetime(server) {}
  }
}
