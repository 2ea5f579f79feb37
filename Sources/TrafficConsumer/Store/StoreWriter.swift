// StoreWriter: the one writer of the database: its connection, its tables, and the fence around its transactions. Entries are
// applied in StoreBatch.swift. Belongs to the writer thread, whose process holds the StoreLock.

import Linux
import SQLite
import Wire

final class StoreWriter {
  /// What is fixed while a writer lives.
  struct Settings: Sendable {
    var databasePath: String
    var streamNames: [String]
    var windowSeconds: Int64
    /// Attempts that the database refuses, of one entry alone, after which it is a dead letter.
    var maximumDeliveries: Int
    var retention = RetentionTimes(windows: 30 * 86_400, days: 730 * 86_400, explanations: 48 * 3600)
    /// Where reports of self-update runs come from; nil: nowhere.
    var updateReportsPath: String?
    /// When a loss is found: announces of a later time are not what was lost.
    var unixSeconds: @Sendable () -> Int64 = { Clock.unixSeconds() }
  }

  let database: SQLiteDatabase
  let settings: Settings
  let aggregator: WindowAggregator
  let hash: EntryHash
  let sessionTable: SessionTable
  let streamTable: StreamTable
  var streams: [StreamState]
  let explanationTable: ExplanationTable
  /// Nil for a database without a file.
  let file: StoreFile?
  let windowTable: WindowTable
  /// The session from which on fingerprints are looked through next.
  var fingerprintCursor: Int64 = 0
  let burials: BurialTable
  private let selectFence: SQLiteStatement
  private let fence: String

  /// Opens the database as its only writer. Another one that is still open, in a process that was taken for dead, is
  /// fenced off from here on. `fence`: the same text when one owner opens it again after trouble, nil for a new owner.
  init(settings: Settings, fence earlier: String? = nil) throws(StoreError) {
    self.settings = settings
    fence = earlier ?? Hex.encode((0..<8).map { _ in UInt8.random(in: 0...255) })
    aggregator = WindowAggregator(windowSeconds: settings.windowSeconds)
    database = try StoreConnection.openForWriting(path: settings.databasePath, windowSeconds: settings.windowSeconds)
    file = StoreFile(path: settings.databasePath)
    guard let key = try MetaTable.text("hash_key", in: database).flatMap({ Hex.decode(Array($0.utf8)) }),
      key.count == 16
    else { throw .damaged("meta has no hash_key") }
    hash = key.withUnsafeBytes { bytes in
      EntryHash(key: (bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }
    do throws(SQLiteError) {
      sessionTable = try SessionTable(database)
      windowTable = try WindowTable(database)
      explanationTable = try ExplanationTable(database, unixSeconds: settings.unixSeconds)
      streamTable = try StreamTable(database)
      burials = try BurialTable(database, hash: hash)
      selectFence = try database.prepare("SELECT value FROM meta WHERE name = 'writer'")
      streams = []
    } catch {
      throw .database(error)
    }
    if earlier == nil { try store { () throws(SQLiteError) in try MetaTable.set("writer", fence, in: database) } }
    streams = try transaction { () throws(SQLiteError) in
      try burials.hashEarlierOnes(in: database)
      try burials.dateEarlierOnes(in: database)
      return try settings.streamNames.map { name throws(SQLiteError) in try StreamTable.load(name: name, from: database)
      }
    }
    if earlier == nil { try concludeBackup() }
  }

  /// What a later writer of the same owner is opened with.
  var fenceText: String { fence }

  /// A write transaction. Inside it no other process can write, so that the fence holds until its end.
  func transaction<Value>(_ body: () throws(SQLiteError) -> Value) throws(StoreError) -> Value {
    try database.transaction(.immediate) { () throws(StoreError) in
      let isOurs = try store { () throws(SQLiteError) in
        defer { selectFence.reset() }
        return try selectFence.step() && selectFence.text(0) == fence
      }
      guard isOurs else { throw .fenced }
      return try store(body)
    } mapError: {
      .database($0)
    }
  }
}
