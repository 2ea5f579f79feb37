// What the writer does beside its batches, and when it gives up.

import Foundation
import Glibc
import Linux
import SQLite
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("The writer's upkeep") struct MaintenanceTests {
  private func writer() throws -> (TemporaryDirectory, StoreWriter, StoreWriter.Settings) {
    let directory = try TemporaryDirectory()
    let settings = StoreWriter.Settings(
      databasePath: "\(directory.path)/traffic.db", streamNames: ["tracker:traffic"], windowSeconds: 3600,
      maximumDeliveries: 3)
    return (directory, try StoreWriter(settings: settings), settings)
  }

  @Test("a checkpoint is made for each 16 MB that were written, not at each turn since the first")
  func checkpoints() throws {
    let (directory, writer, settings) = try writer()
    let engine = EngineState(streams: 1)
    let metrics = ConsumerMetrics(registry: MetricRegistry(), engine: engine)
    var maintenance = Maintenance(settings: settings)
    func turn() { maintenance.run(writer, metrics: metrics, streams: engine.streams, deadLettersChanged: false) }
    turn()
    #expect(maintenance.checkpoints == 0)
    try writer.database.execute("CREATE TABLE large(x); INSERT INTO large VALUES (zeroblob(18000000))")
    turn()
    #expect(maintenance.checkpoints == 1)
    for _ in 0..<5 {
      try writer.database.execute("INSERT INTO large VALUES (1)")
      turn()
    }
    #expect(maintenance.checkpoints == 1)
    withExtendedLifetime(directory) {}
  }

  @Test("before the database is open nothing is said of its streams: what is then there is no change")
  func seriesBegin() throws {
    let registry = MetricRegistry()
    let engine = EngineState(streams: 1)
    let metrics = ConsumerMetrics(registry: registry, engine: engine)
    func line(_ name: String) -> Substring? {
      registry.render().split(separator: "\n").first { $0.hasPrefix("traffic_consumer_\(name) ") }
    }
    #expect(line("gone_before_entries") == nil)
    #expect(line("stream_epochs") == nil && line("left_behind_entries") == nil && line("ready") != nil)
    var state = StreamState(id: 1, name: "a")
    state.epoch = 4
    engine.publish([state])
    #expect(line("gone_before_entries") == nil)
    state.counters.addedBefore = 7
    engine.publish([state, StreamState(id: 2, name: "b")])
    #expect(line("gone_before_entries") == "traffic_consumer_gone_before_entries 7")
    engine.publish([state])
    engine.setLeftBehind(0)
    #expect(line("stream_epochs") == "traffic_consumer_stream_epochs 3")
    #expect(line("left_behind_entries") == "traffic_consumer_left_behind_entries 0")
    // A standby that never made a backup must not look like a site that never did.
    let stored = [
      "last_backup_timestamp_seconds", "database_free_bytes", "lost_entries", "dlq_oldest_timestamp_seconds",
      "withheld_entries", "entries_withheld_total",
    ]
    #expect(stored.allSatisfy { line($0) == nil })
    metrics.set(StoreGauges(oldestDeadLetter: 0, lastBackup: 5, lostEntries: 0, withheldEver: 7, freeBytes: nil))
    #expect(stored.map { line($0)?.split(separator: " ").last } == ["5", nil, "0", "0", "0", "7"])
    withExtendedLifetime(metrics) {}
  }

  @Test("a new database is for its owner and group, with its log")
  func permissions() throws {
    let (directory, writer, settings) = try writer()
    try writer.change(stream: 0) { $0.counters.applied += 1 }
    for suffix in ["", "-wal", "-shm"] {
      var info = stat()
      #expect(stat(settings.databasePath + suffix, &info) == 0 && info.st_mode & 0o007 == 0, "\(suffix)")
    }
    withExtendedLifetime(directory) {}
  }

  @Test("a damaged file is the end of the daemon, trouble with the disk is not")
  func corruption() throws {
    let (directory, writer, settings) = try writer()
    let engine = EngineState(streams: 1)
    let loop = WriterLoop(
      store: settings, streams: try ConsumerConfig().streamSettings(), queue: DeliveryQueue(streams: 1), engine: engine,
      metrics: ConsumerMetrics(registry: MetricRegistry(), engine: engine))
    func error(_ code: Int32) -> StoreError {
      .database(SQLiteError(extendedCode: code, message: "no", context: "here"))
    }
    // SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_BUSY; SQLITE_CORRUPT, SQLITE_CORRUPT_INDEX, SQLITE_NOTADB.
    for code: Int32 in [13, 778, 5] { #expect(!loop.isFatal(error(code), writer)) }
    #expect(engine.fatal == nil && !loop.queue.isStopping)
    for code: Int32 in [11, 779, 26] { #expect(loop.isFatal(error(code), writer)) }
    #expect(engine.fatal?.code == .inputOutput && loop.queue.isStopping && !engine.isReady)
    withExtendedLifetime(directory) {}
  }

  @Test("rows by time say what retention has taken out of them", arguments: ["window", "day"])
  func folded(grain: String) async throws {
    let directory = try TemporaryDirectory()
    let server = try await RedisServer.start(in: directory)
    let bench = try StreamBench(server: server, database: 0)
    for day in 0..<4 { try bench.add(EventMaker().event(du: 1024, ts: 1_699_920_000 + Int64(day) * 86_400)) }
    try bench.apply(0..<4)
    func ask() async throws -> CommandResult {
      try await CommandResult.run([
        Binaries.consumer, "query", "user", EventMaker().passkey.text, "--by", grain, "-o", "csv", "--database",
        bench.databasePath,
      ])
    }
    #expect(try await ask().errors == "")
    let times = RetentionTimes(windows: 2 * 86_400, days: 2 * 86_400, explanations: 86_400)
    while try bench.writer.maintainRetention(now: 1_800_000_000, times) {}
    let result = try await ask()
    #expect(
      result.exit == .code(0) && result.errors.contains("not in these rows: 2 announces with 2 KiB up"), "\(result)")
    withExtendedLifetime(server) {}
  }
}
