// SchemaCompletionTests: databases of programs that were built in the midst of a schema step are brought up to date, or
// refused in so many words.

import SQLite
import Simulation
import Testing
import Wire

@testable import TrafficConsumer

@Suite("Databases of programs in the midst of a schema step") struct SchemaCompletionTests {
  private func bench() async throws -> ([AnyObject], StreamBench) {
    let directory = try TemporaryDirectory()
    let server = try await RedisServer.start(in: directory, extra: ["--appendonly", "no"])
    return ([directory, server], try StreamBench(server: server, database: 0))
  }

  @Test(
    "a database of a program in the midst of a step is completed, and knows what it had applied",
    arguments: EarlierSchema.unfinished.map { $0 })
  func completed(commit: String, schema: String) async throws {
    let (server, bench) = try await bench()
    let start: Int64 = 1_700_000_000
    try bench.add(EventMaker().event(du: 1000, ts: start, gen: "a", cu: 1000))
    var foreign = EventMaker()
    foreign.passkey = Passkey("foreign")!
    try bench.add(foreign.event(du: 30, ts: start))
    try bench.add(["nonsense", "1"])
    try bench.apply(0..<3)
    #expect(try bench.writer.discard([1], note: "") == 1)
    try SQLiteDatabase(path: bench.databasePath, access: .readWrite).execute(schema)
    try bench.restart()
    // What came before is known, though it is given out as new.
    #expect(try bench.writer.apply([try bench.delivery(0..<3, .fresh)]).redelivered == 3)
    try bench.add(EventMaker().event(du: 5, ts: start + 600, dt: 600, gen: "a", cu: 1005))
    try bench.add(["nonsense", "2"])
    let next = try bench.apply(3..<5)
    #expect(next.applied == 1 && next.dead == 1)
    // In another epoch as well.
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: bench.ids[4]), stream: 0)
    let again = try bench.apply(0..<5)
    #expect(again.duplicates == 5)
    #expect(try bench.sums(of: EventMaker().passkey.text).uploaded == 1005)
    #expect(try bench.sums(of: "foreign").uploaded == 30 && bench.faults() == [])
    try bench.writer.maintainRetention(now: start + 86_400 * 1000, bench.writer.settings.retention)
    #expect(try bench.writer.purge(.discarded, before: .max) == 1 && bench.faults() == [])
    withExtendedLifetime(server) {}
  }

  @Test("one that lacks anything else is refused, says what, and stays as it is")
  func refused() async throws {
    let (server, bench) = try await bench()
    let database = try SQLiteDatabase(path: bench.databasePath, access: .readWrite)
    try database.execute(
      "DROP INDEX sessions_by_torrent; ALTER TABLE sessions DROP COLUMN gaps; PRAGMA user_version = 10")
    #expect(throws: StoreError.otherSchema(found: 10, lacks: "sessions.gaps, sessions_by_torrent")) {
      try bench.restart()
    }
    #expect(try database.integer("PRAGMA user_version") == 10)
    withExtendedLifetime(server) {}
  }

  @Test(
    "the daemon ends with 78 where no waiting makes the tables what they should be",
    arguments: [
      "ALTER TABLE sessions DROP COLUMN gaps; PRAGMA user_version = 10", "DROP TABLE withheld; PRAGMA user_version = 8",
      "DROP TABLE withheld",
    ])
  func ends(schema: String) async throws {
    let bench = try await ConsumerBench()
    _ = try StoreWriter(
      settings: StoreWriter.Settings(
        databasePath: bench.databasePath, streamNames: [], windowSeconds: 3600, maximumDeliveries: 3))
    try SQLiteDatabase(path: bench.databasePath, access: .readWrite).execute(schema)
    #expect(try await bench.start().waitForExit() == .code(78), "\(bench.log)")
    #expect(bench.log.contains("sessions.gaps") || bench.log.contains("no such table: withheld"), "\(bench.log)")
  }
}
