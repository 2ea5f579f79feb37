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

  /// SQLite's, unless a database was made with another.
  private static let pageBytes = 4096

  private let databasePath: String
  private let updateReportsPath: String?
  private let retention: RetentionTimes
  private var writtenPages = 0
  private(set) var checkpoints = 0
  private var lastGauges: UInt64 = 0
  private var lastRetention: UInt64 = 0

  init(settings: StoreWriter.Settings) {
    databasePath = settings.databasePath
    updateReportsPath = settings.updateReportsPath
    retention = settings.retention
  }

  /// One turn. Returns what went wrong with the database.
  @discardableResult
  mutating func run(
    _ writer: StoreWriter, metrics: ConsumerMetrics, streams: [StreamProgress], deadLettersChanged: Bool
  ) -> StoreError? {
    let now = Clock.monotonicNanoseconds()
    do throws(StoreError) {
      try checkpointIfDue(writer.database)
      if deadLettersChanged || lastGauges == 0 || now &- lastGauges >= Self.gaugeNanoseconds {
        lastGauges = now
        metrics.setDeadLetters(try store { () throws(SQLiteError) in try DeadLetterTable.counts(in: writer.database) })
        metrics.set(try StoreGauges.read(writer.database, path: databasePath))
        if let updateReportsPath { try writer.importUpdateReports(from: updateReportsPath, now: Clock.unixSeconds()) }
      }
      if lastRetention == 0 || now &- lastRetention >= Self.retentionNanoseconds {
        let hasMore = try writer.maintainRetention(now: Clock.unixSeconds(), retention)
        guard !hasMore else { return nil }
        lastRetention = now
        let oldest = streams.compactMap(\.oldestMilliseconds)
        guard oldest.count == streams.count, let oldest = oldest.min() else { return nil }
        try writer.forgetFingerprints(now: Clock.unixSeconds(), retention, oldestMilliseconds: oldest)
      }
    } catch {
      Log.warning("maintenance failed, it will be tried again", ["error": error.description])
      return error
    }
    return nil
  }

  /// By what was written since the last one, not by the size of the log's file, which stays when the log begins anew.
  private mutating func checkpointIfDue(_ database: borrowing SQLiteDatabase) throws(StoreError) {
    writtenPages += database.takePagesWritten()
    guard writtenPages * Self.pageBytes >= WriterLoop.checkpointBytes else { return }
    writtenPages = 0
    checkpoints += 1
    try store { () throws(SQLiteError) in _ = try database.checkpoint(truncate: false) }
  }
}
