// SQLiteDatabase: one connection to one database file, owned. Belongs to one thread at a time (it is opened without
// SQLite's own mutex).

import CSQLite

/// An open connection; closed when the value goes away. Statements made from it may outlive it: SQLite keeps the
/// connection until the last one is finalized (sqlite3_close_v2).
public struct SQLiteDatabase: ~Copyable {
  /// How the file is opened.
  public enum Access: Sendable {
    case readOnly
    case readWrite
    /// Creates the file when it is not there.
    case readWriteCreate

    var flags: Int32 {
      switch self {
      case .readOnly: SQLITE_OPEN_READONLY
      case .readWrite: SQLITE_OPEN_READWRITE
      case .readWriteCreate: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
      }
    }
  }

  /// How a transaction takes the lock (https://sqlite.org/lang_transaction.html).
  public enum TransactionKind: String, Sendable {
    /// A read transaction that sees one state of the database.
    case deferred = "BEGIN DEFERRED"
    /// The write lock at once, so that it cannot fail half way for want of it.
    case immediate = "BEGIN IMMEDIATE"
  }

  let handle: OpaquePointer

  /// Opens `path` (not a URI). A lock held by another connection is waited for up to `busyTimeoutMilliseconds`.
  public init(path: String, access: Access, busyTimeoutMilliseconds: Int = 5000) throws(SQLiteError) {
    var opened: OpaquePointer?
    let flags = access.flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
    let code = sqlite3_open_v2(path, &opened, flags, nil)
    guard code == SQLITE_OK, let opened else {
      let message = opened.map { String(cString: sqlite3_errmsg($0)) } ?? String(cString: sqlite3_errstr(code))
      sqlite3_close_v2(opened)
      throw SQLiteError(extendedCode: code, message: message, context: path)
    }
    handle = opened
    sqlite3_busy_timeout(opened, Int32(clamping: busyTimeoutMilliseconds))
  }

  deinit { sqlite3_close_v2(handle) }

  /// What all connections of this process together should stay below: near it a page cache takes its next page from itself,
  /// whatever its own limit is, and changed pages go to the log early (https://sqlite.org/c3ref/hard_heap_limit64.html).
  public static func limitMemory(toBytes bytes: Int) { sqlite3_soft_heap_limit64(Int64(bytes)) }

  /// Runs one or more statements that take no values; rows are passed over.
  public func execute(_ sql: String) throws(SQLiteError) {
    let code = sqlite3_exec(handle, sql, nil, nil, nil)
    guard code == SQLITE_OK else { throw error(code, sql) }
  }

  /// Compiles one statement, to be stepped many times.
  public func prepare(_ sql: String) throws(SQLiteError) -> SQLiteStatement {
    var statement: OpaquePointer?
    let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
    guard code == SQLITE_OK, let statement else { throw error(code, sql) }
    return SQLiteStatement(owning: statement)
  }

  /// The first column of the first row as an integer; nil when there is no row or it is NULL.
  public func integer(_ sql: String) throws(SQLiteError) -> Int64? {
    let statement = try prepare(sql)
    guard try statement.step(), !statement.isNull(0) else { return nil }
    return statement.integer(0)
  }

  /// The first column of the first row as text; nil when there is no row or it is NULL.
  public func text(_ sql: String) throws(SQLiteError) -> String? {
    let statement = try prepare(sql)
    guard try statement.step(), !statement.isNull(0) else { return nil }
    return statement.text(0)
  }

  /// Runs `body` inside a transaction: committed when it returns, rolled back when it throws.
  public func transaction<Result, Failure: Error>(
    _ kind: TransactionKind, _ body: () throws(Failure) -> Result, mapError: (SQLiteError) -> Failure
  ) throws(Failure) -> Result {
    do throws(SQLiteError) { try execute(kind.rawValue) } catch { throw mapError(error) }
    let result: Result
    do throws(Failure) {
      result = try body()
    } catch {
      rollback()
      throw error
    }
    do throws(SQLiteError) {
      try execute("COMMIT")
    } catch {
      rollback()
      throw mapError(error)
    }
    return result
  }

  /// The same for bodies that only SQLite can fail.
  public func transaction<Result>(
    _ kind: TransactionKind, _ body: () throws(SQLiteError) -> Result
  ) throws(SQLiteError) -> Result {
    try transaction(kind, body) { $0 }
  }

  /// Ends an open transaction without its changes. SQLite itself has rolled back after some errors (ENOSPC, EIO), so
  /// that there may be none (https://sqlite.org/lang_transaction.html, "Response To Errors").
  public func rollback() {
    if sqlite3_get_autocommit(handle) == 0 { sqlite3_exec(handle, "ROLLBACK", nil, nil, nil) }
  }

  /// The id of the latest inserted row.
  public var lastInsertedID: Int64 { sqlite3_last_insert_rowid(handle) }

  /// Rows changed by the latest INSERT, UPDATE or DELETE.
  public var changes: Int { Int(sqlite3_changes(handle)) }

  /// Pages this connection has written since the last call: by how much the write-ahead log has grown.
  public func takePagesWritten() -> Int {
    var (current, highest): (Int32, Int32) = (0, 0)
    sqlite3_db_status(handle, SQLITE_DBSTATUS_CACHE_WRITE, &current, &highest, 1)
    return Int(current)
  }

  /// Moves the write-ahead log into the database file as far as readers let it; with `truncate` waits for them and
  /// empties the log. Returns the frames left in the log.
  @discardableResult
  public func checkpoint(truncate: Bool) throws(SQLiteError) -> Int {
    var logFrames: Int32 = 0
    var movedFrames: Int32 = 0
    let mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE
    let code = sqlite3_wal_checkpoint_v2(handle, nil, mode, &logFrames, &movedFrames)
    guard code == SQLITE_OK || code == SQLITE_BUSY else { throw error(code, "checkpoint") }
    return Int(max(0, logFrames - movedFrames))
  }

  /// Copies the whole database, as of one moment, to another connection's file while this one and others stay in use.
  /// `goesOn` is asked between parts of `pages` pages; false ends it, and the copy is none.
  public func backup(
    to target: borrowing SQLiteDatabase, pages: Int32 = -1, while goesOn: () -> Bool = { true }
  ) throws(SQLiteError) {
    // A read transaction keeps the moment: without it the copy begins anew whenever another connection commits.
    let isOurs = sqlite3_get_autocommit(handle) != 0
    if isOurs { try execute("BEGIN DEFERRED; SELECT 1 FROM sqlite_schema LIMIT 1") }
    defer { if isOurs { rollback() } }
    guard let backup = sqlite3_backup_init(target.handle, "main", handle, "main") else {
      throw target.error(sqlite3_errcode(target.handle), "backup")
    }
    var code = sqlite3_backup_step(backup, pages)
    var attempts = 0
    // The busy timeout does not cover this call (https://sqlite.org/c3ref/backup_finish.html).
    while code == SQLITE_OK || code == SQLITE_BUSY || code == SQLITE_LOCKED, attempts < Self.backupAttempts {
      guard goesOn() else {
        sqlite3_backup_finish(backup)
        throw SQLiteError(extendedCode: SQLITE_INTERRUPT, message: "interrupted", context: "backup")
      }
      if code != SQLITE_OK {
        sqlite3_sleep(Self.backupPauseMilliseconds)
        attempts += 1
      }
      code = sqlite3_backup_step(backup, pages)
    }
    let end = sqlite3_backup_finish(backup)
    guard code == SQLITE_DONE, end == SQLITE_OK else { throw target.error(code == SQLITE_DONE ? end : code, "backup") }
  }

  /// Together five seconds, as long as the busy timeout of other calls.
  private static let backupAttempts = 100
  private static let backupPauseMilliseconds: Int32 = 50

  func error(_ code: Int32, _ context: String) -> SQLiteError {
    SQLiteError(
      extendedCode: code == SQLITE_OK ? SQLITE_ERROR : code, message: String(cString: sqlite3_errmsg(handle)),
      context: context)
  }
}
