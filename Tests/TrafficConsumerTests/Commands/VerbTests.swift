// Verbs as an operator meets them: what they read while others write, what they say when something is wrong.

import Foundation
import Glibc
import Redis
import SQLite
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("Verbs") struct VerbTests {
  private static let other = ["--database", "/tmp/a.db", "--database", "/tmp/b.db"]

  @Test(
    "a verb that works on one database refuses two",
    arguments: [
      ["heal"], ["backup", "--to", "/tmp/x.db"], ["restore", "/tmp/x.db", "--yes"], ["run"],
      ["dlq", "discard", "1", "--note", "x"], ["lost", "acknowledge", "--all"],
    ])
  func oneDatabase(arguments: [String]) async throws {
    let result = try await CommandResult.run([Binaries.consumer] + arguments + Self.other)
    #expect(result.exit == .code(64) && result.errors.contains("one --database"), "\(result)")
  }

  @Test("a list of dead letters holds no moment of the database while it is written")
  func pagesOfLetters() async throws {
    let directory = try TemporaryDirectory()
    let server = try await RedisServer.start(in: directory)
    let bench = try StreamBench(server: server, database: 0)
    let count = DeadLetterTable.pageLetters + 20
    for _ in 0..<count { try bench.add(["x", String(repeating: "y", count: 500)]) }
    try bench.apply(0..<count)
    try bench.add(EventMaker().event(du: 1))
    let reader = try bench.reader()
    var ids: [Int64] = []
    try DeadLetterTable.each(DeadLetterFilter(limit: Int64(count - 5)), in: reader) { letter in
      ids.append(letter.id)
      guard letter.id == 3 || letter.id == Int64(count - 10) else { return }
      #expect((try? bench.apply(count..<count + 1)) != nil)
      #expect((try? bench.writer.database.checkpoint(truncate: true)) == 0)
    }
    #expect(ids == Array(1...Int64(count - 5)))
    // Large ones come few at a time.
    for _ in 0..<5 { try bench.add(["x", String(repeating: "y", count: 700_000)]) }
    try bench.apply(count + 1..<count + 6)
    let large = try DeadLetterTable.list(DeadLetterFilter(), in: reader)
    #expect(large.count == count + 5 && large.map(\.id) == large.map(\.id).sorted())
    withExtendedLifetime(server) {}
  }

  @Test("a damaged letter ends a list that is whole as far as it goes", arguments: ["json", "jsonl", "csv"])
  func damagedLetter(format: String) async throws {
    let bench = try await ConsumerBench()
    for _ in 0..<6 { try bench.add(["passkey", "x", "bad", "1"]) }
    try bench.start()
    try await bench.waitUntilReady()
    try await eventually("they are dead letters", evidence: bench.log) {
      (try await bench.json(["dlq", "list"]) as? [Any])?.count == 6
    }
    try await bench.stop()
    let database = try SQLiteDatabase(path: bench.databasePath, access: .readWrite)
    try database.execute("UPDATE dead_letters SET fields = x'0102' WHERE id = 4")
    for verb in [["dlq", "list"], ["dlq", "replay", "--all", "--dry-run"]] {
      let result = try await bench.verb(verb + ["-o", format])
      #expect(result.exit == .code(74) && result.errors.contains("damaged"), "\(result)")
      // A replay fails as a whole portion; then nothing was said.
      guard !result.output.isEmpty, format == "json" else { continue }
      let rows = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [Any]
      #expect(rows?.count == 3)
    }
    let first = try await bench.verb(["dlq", "list", "--limit", "3", "-o", format])
    #expect(first.exit == .code(0))
  }

  @Test("check adds up while entries come faster than it counts")
  func checkOfABusyStream() async throws {
    let directory = try TemporaryDirectory()
    let server = try await RedisServer.start(in: directory)
    let bench = try StreamBench(server: server, database: 0)
    let endpoint = try RedisEndpoint(url: server.url)
    var connection = try RedisConnection(endpoint: endpoint)
    let entry = EventMaker().event(du: 1).encode()
    for _ in 0..<10 { try bench.add(entry) }
    for _ in 0..<12_000 { connection.append(["XADD", StreamBench.stream, "*"] + entry) }
    for _ in 0..<12_000 { _ = try connection.nextReply() }
    try bench.apply(0..<10)
    try bench.writer.make(.goneBefore(0), stream: 0)
    let settings = StreamSettings(
      endpoint: endpoint, timeouts: RedisTimeouts(), streams: [StreamBench.stream], group: "group-pt", consumer: "c")
    var commands = try StreamCommands(settings, stream: 0)
    _ = try commands.createGroup()
    // Some hundred a second, far below what counting ends at.
    let isOver = Monitor(false)
    let fed = Monitor(0)
    Thread {
      guard var connection = try? RedisConnection(endpoint: endpoint) else { return }
      while isOver.wait(milliseconds: 2, until: { $0 ? true : nil }) == nil {
        guard (try? connection.command(["XADD", StreamBench.stream, "*"] + entry)) != nil else { return }
        fed.withLock { $0 += 1 }
      }
    }.start()
    // On this thread: after a turn of other tests more entries would wait than `check` counts.
    try #require(fed.wait(milliseconds: 240_000) { $0 > 3 ? true : nil } != nil)
    let results = try StreamCheck.run(settings, bench.reader())
    let during = fed.read { $0 }
    isOver.withLock { $0 = true }
    #expect(results.count == 1 && results[0].isOK && results[0].detail.contains("waiting ="), "\(results) \(during)")
    withExtendedLifetime(server) {}
  }

  @Test("a stream's row and what belongs to it are read of one moment")
  func snapshotOfAStream() throws {
    let directory = try TemporaryDirectory()
    let settings = StoreWriter.Settings(
      databasePath: "\(directory.path)/traffic.db", streamNames: ["a"], windowSeconds: 3600, maximumDeliveries: 3)
    _ = try StoreWriter(settings: settings)
    let isOver = Monitor(false)
    let written = Monitor(0)
    Thread {
      guard let writer = try? StoreWriter(settings: settings) else { return }
      for number in 1... {
        if isOver.read({ $0 }) { break }
        try? writer.change(stream: 0) { state in
          state.counters.handled = Int64(number)
          state.anchors = [StreamState.Anchor(id: EntryID(milliseconds: UInt64(number), sequence: 0), hash: 0)]
        }
        written.withLock { $0 = number }
      }
      written.withLock { $0 = -1 }
    }.start()
    let database = try StoreConnection.openForReading(path: settings.databasePath)
    // As long as it takes for the two to meet.
    var states: Set<Int64> = []
    while states.count < 200 {
      let state = try #require(try StreamTable.snapshot(name: "a", from: database))
      states.insert(state.counters.handled)
      let isOneMoment = state.counters.handled == Int64(state.anchors.last?.id.milliseconds ?? 0)
      if !isOneMoment {
        Issue.record("\(state.counters.handled) handled, \(state.anchors)")
        break
      }
    }
    isOver.withLock { $0 = true }
    #expect(written.wait(milliseconds: 60_000) { $0 == -1 ? true : nil } == true)
  }

  @Test("what is left behind the daemon has said: status asks no Redis that stands still")
  func statusWithoutRedis() async throws {
    let bench = try await ConsumerBench(redisSettings: ["partitions: 2"])
    for part in 0..<2 {
      try bench.add(
        EventMaker().event(du: 10, ts: 1_700_000_000 + Int64(part)).encode(), stream: "tracker:traffic:{p\(part)}")
    }
    try bench.start()
    try await bench.awaitCredited(20)
    try await bench.stop()
    try bench.add(EventMaker().event(du: 7).encode(), stream: "tracker:traffic:{p1}")
    let text = TemporaryDirectory.read(bench.configPath)
    _ = try bench.directory.write(text.replacing("partitions: 2", with: "partitions: 1"), as: "consumer.yaml")
    try bench.start()
    try await bench.waitUntilReady()
    try await eventually("it is known", evidence: bench.log) {
      (try await bench.json(["status"]) as? [String: Any])?["left_behind"] as? Int == 1
    }
    let redis = try #require(bench.redis.pid)
    kill(redis, SIGSTOP)
    defer { kill(redis, SIGCONT) }
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["left_behind"] as? Int == 1 && status["applied"] as? Int == 2)
    kill(redis, SIGCONT)
    try await bench.stop()
  }

  @Test("a copy has no more permissions than the umask leaves, and what is wrong with its place names that")
  func copies() async throws {
    let bench = try await ConsumerBench()
    try bench.start()
    try await bench.waitUntilReady()
    let nowhere = "\(bench.directory.path)/nowhere/copy.db"
    for isRunning in [true, false] {
      if !isRunning { try await bench.stop() }
      let refused = try await bench.verb(["backup", "--to", nowhere])
      #expect(refused.exit == .code(74) && refused.errors.contains("\(nowhere): "), "\(refused)")
      #expect(!refused.errors.contains(bench.databasePath) && !refused.errors.contains("run"), "\(refused)")
    }
    let copy = "\(bench.directory.path)/copy.db"
    let script = "umask 077; exec '\(Binaries.consumer)' backup --to '\(copy)' --config '\(bench.configPath)'"
    let result = try await CommandResult.run(["sh", "-c", script])
    #expect(result.exit == .code(0), "\(result)")
    var info = stat()
    #expect(stat(copy, &info) == 0 && info.st_mode & 0o777 == 0o600)
    let restored = try await bench.verb(["restore", nowhere, "--yes"])
    #expect(restored.exit == .code(74) && restored.errors.contains("\(nowhere): no such file"), "\(restored)")
  }

  @Test("a database in memory leaves no file of that name")
  func inMemory() throws {
    let writer = try StoreWriter(
      settings: StoreWriter.Settings(
        databasePath: ":memory:", streamNames: ["a"], windowSeconds: 3600, maximumDeliveries: 3))
    #expect(!FileManager.default.fileExists(atPath: ":memory:"))
    withExtendedLifetime(writer) {}
  }
}
