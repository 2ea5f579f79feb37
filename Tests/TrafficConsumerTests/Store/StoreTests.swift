// The database: schema, retention, explanations, backups, against a real Redis' entries.

import Foundation
import Glibc
import Linux
import SQLite
import Simulation
import Testing
import Wire

@testable import TrafficConsumer

@Suite("The store") struct StoreTests {
  private func bench(windowSeconds: Int64 = 3600) async throws -> ([AnyObject], StreamBench) {
    let directory = try TemporaryDirectory()
    let server = try await RedisServer.start(in: directory, extra: ["--appendonly", "no"])
    return ([directory, server], try StreamBench(server: server, database: 0, windowSeconds: windowSeconds))
  }

  @Test("a newer database is refused, and so is another window length")
  func versions() async throws {
    let folder = try TemporaryDirectory()
    let path = "\(folder.path)/a.db"
    _ = try StoreConnection.openForWriting(path: path, windowSeconds: 3600)
    #expect(throws: StoreError.otherWindow(database: 3600, configured: 1800)) {
      _ = try StoreConnection.openForWriting(path: path, windowSeconds: 1800)
    }
    try SQLiteDatabase(path: path, access: .readWrite).execute("PRAGMA user_version = 99")
    #expect(throws: StoreError.newerSchema(found: 99, known: StoreSchema.version)) {
      _ = try StoreConnection.openForWriting(path: path, windowSeconds: 3600)
    }
    try SQLiteDatabase(path: "\(folder.path)/empty.db", access: .readWriteCreate).execute("CREATE TABLE x(y)")
    #expect(throws: StoreError.empty) { _ = try StoreConnection.openForReading(path: "\(folder.path)/empty.db") }
  }

  @Test("the writer's connection is durable, bounded and checks references")
  func pragmas() async throws {
    let folder = try TemporaryDirectory()
    let database = try StoreConnection.openForWriting(path: "\(folder.path)/a.db", windowSeconds: 3600)
    #expect(try database.text("PRAGMA journal_mode") == "wal")
    #expect(try database.integer("PRAGMA synchronous") == 2)
    #expect(try database.integer("PRAGMA foreign_keys") == 1)
    #expect(try database.integer("PRAGMA cache_size") == -65_536)
    #expect(try database.integer("PRAGMA journal_size_limit") == 64 << 20)
    #expect(
      try database.integer(
        "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND NOT strict AND name NOT LIKE 'sqlite_%'") == 0
    )
  }

  @Test("retention takes windows, then days, and no sum changes; late entries still count")
  func retention() async throws {
    let (server, bench) = try await bench()
    let maker = EventMaker()
    let day: Int64 = 86_400
    for index in 0..<40 { try bench.add(maker.event(du: 10, ts: 1_700_000_000 + Int64(index) * day / 4, dt: 60)) }
    try bench.apply(0..<40)
    let times = RetentionTimes(windows: 2 * day, days: 5 * day, explanations: day)
    while try bench.writer.maintainRetention(now: 1_800_000_000, times) {}
    let reader = try bench.reader()
    #expect(try reader.integer("SELECT count(*) FROM windows") ?? 0 < 16)
    #expect(try reader.integer("SELECT count(*) FROM folded") == 1)
    #expect(try bench.faults() == [])
    #expect(try bench.sums(of: maker.passkey.text).uploaded == 400)
    // Older than every window that is left.
    try bench.add(maker.event(du: 7, ts: 1_700_000_001, dt: 60))
    try bench.apply(40..<41)
    #expect(try bench.sums(of: maker.passkey.text).uploaded == 407)
    while try bench.writer.maintainRetention(now: 1_800_000_000, times) {}
    #expect(try bench.faults() == [])
    let byDay = try TrafficQuery.rows(
      of: .user(maker.passkey.text), by: .total, in: QueryRange(from: 1_700_000_000 + 6 * day), from: reader)
    #expect(byDay.first.map { $0.sums.uploaded > 0 && $0.sums.uploaded < 400 } == true)
    withExtendedLifetime(server) {}
  }

  @Test("a day of which some windows have expired is counted once, whatever it is added up by")
  func partlyExpiredDay() async throws {
    let (server, bench) = try await bench()
    let day: Int64 = 86_400
    let first: Int64 = 1_699_920_000
    for index in 0..<16 {
      try bench.add(EventMaker().event(du: 1 << UInt64(index), ts: first + Int64(index) * day / 8, dt: 5))
    }
    try bench.apply(0..<16)
    let subjects = [TrafficQuery.Subject.user(EventMaker().passkey.text), .torrent(EventMaker().infoHash)]
    let ranges = [
      QueryRange(from: first), QueryRange(from: first, to: first + day), QueryRange(from: first, to: first + 2 * day),
    ]
    func answers() throws -> [[QueryRow]] {
      let reader = try bench.reader()
      var answers = try ranges.map { try TrafficQuery.top(.up, limit: 9, in: $0, from: reader) }
      for subject in subjects {
        for grain in [QueryGrain.total, .day, .torrent, .user, .peer] {
          for range in ranges { answers.append(try TrafficQuery.rows(of: subject, by: grain, in: range, from: reader)) }
        }
      }
      return answers
    }
    let before = try answers()
    #expect(before.allSatisfy { $0.count == 1 || $0.count == 2 })
    #expect(before[1].map(\.sums.uploaded) == [255] && before[0].map(\.sums.uploaded) == [65_535])
    // Up to the noon of the first day.
    let times = RetentionTimes(windows: day + day / 2, days: 100 * day, explanations: day)
    while try bench.writer.maintainRetention(now: 1_800_000_000, times) {}
    #expect(try bench.reader().integer("SELECT min(start) FROM windows") == first + day / 2)
    #expect(try bench.reader().integer("SELECT uploaded FROM days") == 15)
    #expect(try answers() == before)
    #expect(try bench.faults() == [])
    withExtendedLifetime(server) {}
  }

  @Test("an empty database has no history to give up: old data that comes later is kept")
  func retentionOfNothing() async throws {
    let (server, bench) = try await bench()
    let times = RetentionTimes(windows: 3600, days: 86_400, explanations: 3600)
    #expect(try bench.writer.maintainRetention(now: 1_800_000_000, times) == false)
    try bench.add(EventMaker().event(du: 10, ts: 1_700_000_000))
    try bench.apply(0..<1)
    let passkey = EventMaker().passkey.text
    #expect(try TrafficQuery.rows(of: .user(passkey), by: .window, in: QueryRange(), from: bench.reader()).count == 1)
    withExtendedLifetime(server) {}
  }

  @Test("a torrent completed with two clients, twice each, is one snatch of its user")
  func snatches() async throws {
    let (server, bench) = try await bench()
    for index in 0..<4 {
      var maker = EventMaker()
      maker.peerID = PeerID(words: (UInt64(index % 2), 0, 0))
      try bench.add(maker.event(dd: 1, event: .completed, ts: 1_700_000_000 + Int64(index), dt: 1))
    }
    try bench.apply(0..<2)
    try bench.restart()
    try bench.apply(2..<4)
    #expect(try bench.sums(of: EventMaker().passkey.text).completed == 1)
    #expect(bench.writer.streams[0].counters.dead == 0 && bench.writer.streams[0].counters.applied == 4)
    #expect(try bench.faults() == [])
    withExtendedLifetime(server) {}
  }

  @Test("an entry of a clock that was set back is applied, counted, and no dead letter")
  func backwardClock() async throws {
    let (server, bench) = try await bench()
    var event = EventMaker().event(du: 10, ts: 1_700_000_000)
    event.backwardSeconds = 3
    try bench.add(event)
    try bench.add(event)
    try bench.apply(0..<2)
    #expect(try bench.sums(of: EventMaker().passkey.text).uploaded == 10)
    let counters = bench.writer.streams[0].counters
    #expect(counters.applied == 1 && counters.duplicates == 1 && counters.backward == 1 && counters.dead == 0)
    withExtendedLifetime(server) {}
  }

  @Test("explanations say for each entry what it reported, what was credited, and why")
  func explanations() async throws {
    let (server, bench) = try await bench()
    let maker = EventMaker()
    try bench.add(maker.event(ts: 1_700_000_000, gen: "1"))
    try bench.add(maker.event(du: 50, ts: 1_700_000_060, dt: 60, gen: "1", cu: 50))
    try bench.add(maker.event(du: 50, ts: 1_700_000_060, dt: 60, gen: "1", cu: 50))
    try bench.add(maker.event(du: 10, ts: 1_700_000_180, dt: 60, gen: "1", cu: 90))
    try bench.apply(0..<4)
    let found = try ExplainQuery.entries(of: maker.passkey.text, in: QueryRange(), from: bench.reader()).entries
    #expect(found.map(\.explanation.rule) == [.baseline, .delta, .duplicate, .healed])
    #expect(found.map(\.explanation.reportedUpload) == [0, 50, 50, 10])
    #expect(found.map(\.explanation.creditedUpload) == [0, 50, 0, 40])
    #expect(found.map(\.explanation.entryID) == bench.ids)
    let some = QueryRange(from: 1_700_000_060, to: 1_700_000_061)
    #expect(try ExplainQuery.entries(of: maker.passkey.text, in: some, from: bench.reader()).entries.count == 2)
    #expect(try ExplainQuery.entries(of: "nobody", in: QueryRange(), from: bench.reader()).entries.isEmpty)
    withExtendedLifetime(server) {}
  }

  @Test("an announce from far ahead is explained as long as the others of its batch, and does not keep them")
  func explanationsAhead() async throws {
    let (server, bench) = try await bench()
    let (start, now, year): (Int64, Int64, Int64) = (1_700_000_000, Clock.unixSeconds(), 365 * 86_400)
    let maker = EventMaker()
    try bench.add(maker.event(du: 1, ts: start))
    try bench.add(maker.event(du: 2, ts: now + year))
    try bench.apply(0..<2)
    func explained(_ range: QueryRange = QueryRange()) throws -> [UInt64] {
      try ExplainQuery.entries(of: maker.passkey.text, in: range, from: bench.reader()).entries.map(
        \.explanation.reportedUpload)
    }
    #expect(try explained() == [1, 2] && explained(QueryRange(from: now + year, to: now + year + 1)) == [2])
    #expect(try explained(QueryRange(from: start, to: start + 1)) == [1])
    #expect(try explained(QueryRange(from: start + 1, to: now)).isEmpty)
    let times = RetentionTimes(windows: .max / 4, days: .max / 4, explanations: 48 * 3600)
    try bench.writer.maintainRetention(now: now, times)
    #expect(try explained() == [2])
    try bench.writer.maintainRetention(now: now + 49 * 3600, times)
    #expect(try explained().isEmpty)
    withExtendedLifetime(server) {}
  }

  @Test("windows, days, torrents, peers and ranges add up to the same")
  func grains() async throws {
    let (server, bench) = try await bench(windowSeconds: 1800)
    var total: Int64 = 0
    for index in 0..<60 {
      var maker = EventMaker()
      maker.infoHash = InfoHash(words: (UInt64(index % 3), 0, 0))
      maker.peerID = PeerID(words: (UInt64(index % 5), 0, 0))
      try bench.add(maker.event(du: UInt64(index), ts: 1_700_000_000 + Int64(index) * 1000, dt: 5))
      total += Int64(index)
    }
    try bench.apply(0..<60)
    let passkey = EventMaker().passkey.text
    for grain in [QueryGrain.total, .window, .day, .torrent, .peer] {
      for range in [QueryRange(), QueryRange(from: 1_600_000_000), QueryRange(from: 0, to: 1_800_000_000)] {
        let rows = try TrafficQuery.rows(of: .user(passkey), by: grain, in: range, from: bench.reader())
        #expect(rows.reduce(0) { $0 + $1.sums.uploaded } == total, "\(grain) \(range)")
        #expect(rows.reduce(0) { $0 + $1.sums.events } == 60, "\(grain) \(range)")
      }
    }
    let half = QueryRange(from: 1_700_029_800)
    let rows = try TrafficQuery.rows(of: .user(passkey), by: .window, in: half, from: bench.reader())
    #expect(rows.allSatisfy { $0.windowStart! >= 1_700_029_800 && $0.windowStart! % 1800 == 0 } && !rows.isEmpty)
    #expect(
      try TrafficQuery.rows(of: .torrent(InfoHash(words: (1, 0, 0))), by: .user, in: QueryRange(), from: bench.reader())
        .count == 1)
    withExtendedLifetime(server) {}
  }

  @Test("a total of two databases is their sum")
  func merging() {
    let row = QueryRow(passkey: "a", sums: TrafficSums(uploaded: 5, firstSeen: 3, lastSeen: 4))
    let other = QueryRow(passkey: "a", sums: TrafficSums(uploaded: 7, firstSeen: 2, lastSeen: 3))
    let merged = TrafficQuery.merged([[row], [other, QueryRow(passkey: "b", sums: TrafficSums(uploaded: 1))]])
    #expect(merged.map(\.sums.uploaded) == [12, 1] && merged[0].sums.firstSeen == 2 && merged[0].sums.lastSeen == 4)
  }

  @Test("more than a user may have are dead letters, not a crash; what others move on the torrent counts")
  func overflow() async throws {
    let (server, bench) = try await bench()
    var maker = EventMaker()
    for index in 0..<20 { try bench.add(maker.event(du: 1 << 53, ts: 1_700_000_000 + Int64(index), dt: 1)) }
    maker.passkey = Passkey("other")!
    try bench.add(maker.event(du: 5))
    let outcome = try bench.apply(0..<21)
    #expect(outcome.applied == 17 && outcome.dead == 4)
    #expect(try bench.sums(of: "other").uploaded == 5)
    let letters = try DeadLetterTable.list(DeadLetterFilter(), in: bench.reader())
    #expect(letters.allSatisfy { $0.reason == "total_overflow" })
    #expect(try bench.faults() == [])
    withExtendedLifetime(server) {}
  }

  @Test("a dry run changes nothing; a failed replay keeps the letter and its history")
  func replays() async throws {
    let (server, bench) = try await bench()
    var fields = EventMaker().event(du: 5).encode()
    fields[13] = "x"
    try bench.add(fields)
    try bench.apply(0..<1)
    func letter() throws -> DeadLetter { try #require(try DeadLetterTable.find(1, in: bench.reader())) }
    let dry = try bench.writer.replay(1, repairs: [("du", "9")], isDryRun: true)
    #expect(dry.outcome == .replayed && dry.uploaded == 9)
    #expect(try letter().state == .dead && letter().history == "")
    #expect(try bench.sums(of: EventMaker().passkey.text).events == 0)
    #expect(try bench.writer.replay(1, repairs: [("du", "5"), ("af", "IPv5")], isDryRun: false).outcome == .failed)
    #expect(try letter().state == .dead && letter().history.contains("malformed_value"))
    #expect(try bench.writer.replay(1, repairs: [("du", "5")], isDryRun: false).outcome == .replayed)
    #expect(try bench.writer.replay(1, repairs: [], isDryRun: false).outcome == .alreadyReplayed)
    #expect(try bench.sums(of: EventMaker().passkey.text).uploaded == 5)
    // Delivered once more: it is known.
    #expect(try bench.apply(0..<1).redelivered == 1)
    #expect(try bench.faults() == [])
    withExtendedLifetime(server) {}
  }

  @Test("announces that Redis lost and was given back are counted once, under whatever id", arguments: [false, true])
  func announcesAgain(isAnother: Bool) async throws {
    let (server, bench) = try await bench()
    let start: Int64 = 1_700_000_000
    let entries = [
      EventMaker().event(event: .started, ts: start, gen: "1"), EventMaker().event(ts: start, gen: "1"),
      EventMaker().event(event: .stopped, ts: start + 60, dt: 60, gen: "1"),
      EventMaker().event(event: .started, ts: start + 90, gen: "2"),
      EventMaker().event(left: 1, ts: start + 90, gen: "2"),
    ]
    for entry in entries { try bench.add(entry) }
    // The last one was not read when it happened.
    try bench.apply(0..<4)
    for _ in 0..<2 {
      if isAnother {
        try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
      } else {
        try bench.loseEnd(from: 1)
      }
      let first = bench.ids.count
      for entry in entries { try bench.add(entry) }
      try bench.restart()
      try bench.apply(first..<first + 5)
    }
    #expect(try bench.sums(of: EventMaker().passkey.text).events == 5)
    #expect(bench.writer.streams[0].counters.applied == 5)
    withExtendedLifetime(server) {}
  }

  @Test("a database of schema 2, whose days held everything, becomes one whose sums and days are the same")
  func migrationOfDays() async throws {
    let (server, bench) = try await bench()
    let day: Int64 = 86_400
    let first: Int64 = 1_699_920_000
    for index in 0..<40 {
      try bench.add(EventMaker().event(du: UInt64(index), ts: first + Int64(index) * day / 8, dt: 5))
    }
    try bench.apply(0..<40)
    let passkey = EventMaker().passkey.text
    func days() throws -> [QueryRow] {
      try TrafficQuery.rows(of: .user(passkey), by: .day, in: QueryRange(), from: bench.reader())
    }
    let before = try days()
    #expect(before.count == 5)
    // As version 2 left it: days of everything, windows from the middle of the second day on, one not deleted yet.
    let floor = first + day + day / 2
    do {
      let database = try SQLiteDatabase(path: bench.databasePath, access: .readWrite)
      try database.execute(
        """
        INSERT INTO days SELECT start / 86400 * 86400, session_id, sum(uploaded), sum(downloaded), sum(seed_seconds),
          sum(leech_seconds), sum(elapsed_seconds), sum(events), sum(completed), min(first_seen), max(last_seen)
          FROM windows GROUP BY start / 86400, session_id;
        DELETE FROM windows WHERE start < \(floor - day / 8);
        INSERT INTO meta(name, value) VALUES ('windows_floor', \(floor));
        \(EarlierSchema.three); PRAGMA user_version = 2
        """)
    }
    try bench.restart()
    #expect(try bench.faults() == [])
    #expect(try days() == before)
    #expect(try bench.reader().integer("SELECT min(start) FROM windows") == first + 2 * day)
    #expect(try bench.reader().integer("SELECT count(*) FROM days") == 2)
    withExtendedLifetime(server) {}
  }

  @Test("what recognises an entry without counters stays as long as the entry can come back, and no longer")
  func fingerprints() async throws {
    let (server, bench) = try await bench()
    let hour: UInt64 = 3_600_000
    // Two hours between them: sixteen together leave the session's row three times, two are still in it.
    for index in 0..<50 {
      let time = hour * UInt64(200 + 2 * index)
      try bench.add(EventMaker().event(du: 5, ts: Int64(time / 1000)), id: "\(time)-0")
    }
    for index in 0..<50 { try bench.apply(index..<index + 1) }
    // Another epoch: only what they say is known of them.
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
    let again = try bench.apply(0..<50)
    #expect(again.duplicates == 50 && again.applied == 0)
    let times = RetentionTimes(windows: .max / 4, days: .max / 4, explanations: 48 * 3600)
    let now = Int64(298 + 480) * 3600
    func count() throws -> Int64? { try bench.reader().integer("SELECT count(*) FROM fingerprints") }
    #expect(try count() == 3)
    // The stream has them, the last backup lacks them, a dead letter waits: each keeps them.
    try bench.writer.forgetFingerprints(now: now, times, oldestMilliseconds: 201 * hour)
    #expect(try count() == 3)
    try bench.writer.change(stream: 0) { $0.backupFloor = EntryID(milliseconds: 240 * hour, sequence: 0) }
    try bench.writer.forgetFingerprints(now: now, times, oldestMilliseconds: 290 * hour)
    #expect(try count() == 2)
    try bench.writer.change(stream: 0) { $0.backupFloor = nil }
    try bench.writer.forgetFingerprints(now: now, times, oldestMilliseconds: .max)
    #expect(try count() == 0)
    withExtendedLifetime(server) {}
  }

  @Test("what a database of schema 3 counted as lost is a row of the list; without a loss there is none")
  func migrationOfLoss() async throws {
    let (server, bench) = try await bench()
    for _ in 0..<3 { try bench.add(EventMaker().event(du: 5)) }
    try bench.apply(0..<3)
    try SQLiteDatabase(path: bench.databasePath, access: .readWrite).execute(EarlierSchema.three)
    try bench.restart()
    #expect(try LostRangeTable.list(in: bench.reader()).isEmpty && bench.faults() == [])
    try SQLiteDatabase(path: bench.databasePath, access: .readWrite).execute(
      "\(EarlierSchema.three); UPDATE streams SET lost = 4, vanished = 2")
    try bench.restart()
    let rows = try LostRangeTable.list(in: bench.reader())
    #expect(rows.map(\.range.entries) == [6] && rows.map(\.range.last) == [bench.ids[2]])
    #expect(bench.writer.streams[0].lost.unacknowledged == 6)
    #expect(
      try bench.writer.acknowledgeLoss([
        LostRangeTable.Beginning(stream: StreamBench.stream, epoch: 0, first: .zero)
      ]) == 1)
    #expect(try bench.writer.streams[0].lost.unacknowledged == 0 && bench.faults() == [])
    withExtendedLifetime(server) {}
  }

  @Test(
    "what an earlier version applied, without counters, is known by its id, whatever the clocks say: its fingerprints are gone",
    arguments: [1_700_000_000, 1_700_000_000 + 2_500_000_000])
  func migrationOfFingerprints(begin: Int64) async throws {
    let (server, bench) = try await bench()
    for index in 0..<12 {
      let seconds = begin + 1200 * Int64(index)
      try bench.add(EventMaker().event(du: 1000, ts: seconds, dt: 1200), id: "\(seconds * 1000)-0")
    }
    try bench.apply(0..<12)
    try SQLiteDatabase(path: bench.databasePath, access: .readWrite).execute(
      "\(EarlierSchema.three); UPDATE sessions SET fingerprints = NULL")
    try bench.restart()
    // The group was set back: all of them are given out as new.
    let counters = try bench.writer.apply([try bench.delivery(0..<12, .fresh)])
    #expect(counters.redelivered == 12 && counters.applied == 0)
    #expect(try bench.reader().integer("SELECT uploaded FROM users") == 12_000)
    // Others are lost, and where is known no better than between the first and the last: the past is read again.
    try bench.writer.make(
      .lost(
        MissingEntries(
          entries: 5, through: bench.ids[11], counted: 17, since: Accounted(through: .zero, counted: 0))), stream: 0)
    #expect(try bench.apply(0..<12).redelivered == 12)
    #expect(try bench.reader().integer("SELECT uploaded FROM users") == 12_000)
    #expect(bench.writer.streams[0].lost.entries == 5)
    // Redis has an older file, in which nothing is known any more. What was not read before the upgrade is new.
    let unread = begin + 1200 * 12
    try bench.add(EventMaker().event(du: 1000, ts: unread, dt: 1200), id: "\(unread * 1000)-0")
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: bench.ids[12]), stream: 0)
    let again = try bench.apply(0..<13)
    #expect(again.duplicates == 12 && again.applied == 1)
    #expect(try bench.reader().integer("SELECT uploaded FROM users") == 13_000)
    withExtendedLifetime(server) {}
  }

  @Test("a database that every user can read is said so at the start, and stays as it is")
  func readers() async throws {
    let bench = try await ConsumerBench()
    _ = try StoreWriter(
      settings: StoreWriter.Settings(
        databasePath: bench.databasePath, streamNames: [], windowSeconds: 3600, maximumDeliveries: 3))
    let warning = "every user of this machine can read the passkeys"
    for (mode, isSaid) in [(0o640, false), (0o644, true)] as [(mode_t, Bool)] {
      #expect(chmod(bench.databasePath, mode) == 0)
      try bench.start()
      try await bench.waitUntilReady()
      #expect(bench.log.contains(warning) == isSaid)
      try await bench.stop()
      let attributes = try FileManager.default.attributesOfItem(atPath: bench.databasePath)
      #expect(attributes[.posixPermissions] as? Int == Int(mode))
    }
  }

  @Test("a database of another program is refused, and stays as it is to the byte")
  func foreign() async throws {
    let bench = try await ConsumerBench()
    do {
      let database = try SQLiteDatabase(path: bench.databasePath, access: .readWriteCreate)
      try database.execute(
        "CREATE TABLE customers(name TEXT); INSERT INTO customers VALUES ('a'); PRAGMA user_version = 3")
    }
    let before = try Data(contentsOf: URL(fileURLWithPath: bench.databasePath))
    let child = try bench.start()
    let exit = try await child.waitForExit()
    #expect(exit == .code(78))
    #expect(bench.log.contains("no traffic tables: is this the right file?"), "\(bench.log)")
    for verb in [["query", "top"], ["check"], ["status"]] {
      #expect(try await bench.verb(verb).exit == .code(74), "\(verb)")
    }
    #expect(try Data(contentsOf: URL(fileURLWithPath: bench.databasePath)) == before)
  }
}
