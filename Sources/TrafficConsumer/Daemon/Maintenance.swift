// Maintenance: what the writer does between batches: checkpoints, retention, counts for the metrics, reports of tasks.
// Writer thread.

import Glibc
import Linux
import SQLite

struct Maintenance {
  /// Gauges are refreshed this often.
  private static let gaugeNanoseconds: UInt64 = 5_000_000_000

  /// Retention looks this often; while there is more to do, at every turn.
  private static let retentionNanoseconds: UInt64 = 60_000_000_000

  private let logPath: String
  private let databasePath: String
  private let updateReportsPath: String?
  private let retention: RetentionTimes
  private var lastGauges: UInt64 = 0
  private var lastRetention: UInt64 = 0

  init(settings: StoreWriter.Settings) {
    databasePath = settings.databasePath
    updateReportsPath = settings.updateReportsPath
    logPath = settings.databasePath + "-wal"
    retention = settings.retention
  }

  /// One turn.
  mutating func run(
    _ writer: StoreWriter, metrics: ConsumerMetrics, streams: [StreamProgress], deadLettersChanged: Bool
  ) {
    let now = Clock.monotonicNanoseconds()
    do throws(StoreError) {
      try store { () throws(SQLiteError) in
        if logBytes() >= WriterLoop.checkpointBytes { try writer.database.checkpoint(truncate: false) }
      }
      if deadLettersChanged || lastGauges == 0 || now &- lastGauges >= Self.gaugeNanoseconds {
        lastGauges = now
        metrics.setDeadLetters(try store { () throws(SQLiteError) in try DeadLetterTable.counts(in: writer.database) })
        metrics.set(try StoreGauges.read(writer.database, path: databasePath))
        if let updateReportsPath { try writer.importUpdateReports(from: updateReportsPath, now: Clock.unixSeconds()) }
      }
      if lastRetention == 0 || now &- lastRetention >= Self.retentionNanoseconds {
        let hasMore = try writer.maintainRetention(now: Clock.unixSeconds(), retention)
        guard !hasMore else { return }
        lastRetention = now
        let oldest = streams.compactMap(\.oldestMilliseconds)
        guard oldest.count == streams.count, let oldest = oldest.min() else { return }
        try writer.forgetFingerprints(now: Clock.unixSeconds(), retention, oldestMilliseconds: oldest)
      }
    } catch {
      Log.warning("maintenance failed, it will be tried again", ["error": error.description])
    }
  }

  private func logBytes() -> Int {
    var info = stat()
    return stat(logPath, &info) == 0 ? Int(info.st_size) : 0
  }
}
