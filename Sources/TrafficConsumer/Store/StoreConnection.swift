// StoreConnection: opens the consumer's database for its one writer or for a reader. Any thread; the connection then
// belongs to the thread that opened it.

import CLinux
import Glibc
import Linux
import SQLite
import Synchronization
import Wire

enum StoreConnection {
  /// Pages of the page cache in KiB, negative as PRAGMA cache_size wants it: 64 MB, the upper tree levels of some hundred
  /// million rows.
  private static let cacheKiB = -65_536
  /// The write-ahead log is cut back to this when a checkpoint has emptied it: 64 MB.
  private static let journalBytes = 64 << 20
  /// The file holds passkeys: for its owner and its group, as the lock file and the control socket.
  static let fileMode: mode_t = 0o640
  /// How long a lock of another connection is waited for. The only others are readers and backups.
  static let busyTimeoutMilliseconds = 5000

  /// For the process that holds the StoreLock: creates or migrates as needed.
  static func openForWriting(path: String, windowSeconds: Int64) throws(StoreError) -> SQLiteDatabase {
    // Before SQLite makes it; the log gets the same permissions. SQLite's name for a database in memory is no file's.
    let number = path == ":memory:" ? -1 : clinux_open(path, O_WRONLY | O_CREAT | O_EXCL, fileMode)
    if number >= 0 { _ = FileDescriptor(owning: number) } else { warnOfReaders(path) }
    let database = try store { () throws(SQLiteError) in
      try SQLiteDatabase(path: path, access: .readWriteCreate, busyTimeoutMilliseconds: busyTimeoutMilliseconds)
    }
    try refuseForeign(database)
    try store { () throws(SQLiteError) in
      // FULL: a commit is on the disk before its entries are acknowledged to Redis. The writer runs checkpoints itself.
      try database.execute(
        """
        PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
        PRAGMA cache_size = \(cacheKiB); PRAGMA journal_size_limit = \(journalBytes); PRAGMA wal_autocheckpoint = 0;
        PRAGMA temp_store = MEMORY
        """)
    }
    try StoreSchema.migrate(database)
    try settle(windowSeconds: windowSeconds, in: database)
    return database
  }

  /// While the database is in trouble it is opened again every few seconds.
  private static let readersLog = Mutex(RareLog(pauseNanoseconds: 3_600_000_000_000))

  /// An earlier version made the file as the umask had it. Whoever reads it by intention would be shut out by a change.
  private static func warnOfReaders(_ path: String) {
    var info = stat()
    guard stat(path, &info) == 0, info.st_mode & 0o007 != 0, readersLog.withLock({ $0.next() }) != nil else { return }
    Log.warning(
      "every user of this machine can read the passkeys in the database", ["path": path, "see": "chmod o= FILE"])
  }

  /// Refuses a file of another program before anything is written to it.
  private static func refuseForeign(_ database: borrowing SQLiteDatabase) throws(StoreError) {
    let isForeign = try store { () throws(SQLiteError) in
      try database.integer(
        """
        SELECT count(*) > 0 AND NOT (coalesce(sum(name = 'meta'), 0) AND coalesce(sum(name = 'applied_ranges'), 0))
        FROM sqlite_schema
        """) == 1
    }
    if isForeign { throw .empty }
  }

  /// For the verbs that read, beside a running writer or without one.
  static func openForReading(path: String) throws(StoreError) -> SQLiteDatabase {
    let database = try store { () throws(SQLiteError) in
      let database = try SQLiteDatabase(
        path: path, access: .readOnly, busyTimeoutMilliseconds: busyTimeoutMilliseconds)
      try database.execute("PRAGMA query_only = ON; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY")
      return database
    }
    try refuseForeign(database)
    try StoreSchema.requireCurrent(database)
    return database
  }

  /// Writes down on first use what belongs to the data, and compares it later.
  private static func settle(windowSeconds: Int64, in database: borrowing SQLiteDatabase) throws(StoreError) {
    try database.transaction(.immediate) { () throws(StoreError) in
      if let found = try MetaTable.integer("window_seconds", in: database) {
        guard found == windowSeconds else { throw .otherWindow(database: found, configured: windowSeconds) }
        return
      }
      try store { () throws(SQLiteError) in
        try MetaTable.set("window_seconds", windowSeconds, in: database)
        try MetaTable.set("instance", Hex.encode(randomBytes(16)), in: database)
        try MetaTable.set("hash_key", Hex.encode(randomBytes(16)), in: database)
      }
    } mapError: {
      .database($0)
    }
  }

  private static func randomBytes(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
  }
}
