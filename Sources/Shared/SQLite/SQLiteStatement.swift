// SQLiteStatement: one compiled statement, owned. Belongs to the thread of its connection.

import CSQLite

/// A compiled statement; finalized when the value goes away. Bind, `step` until it returns false, `reset`, and again.
/// Parameters count from 1 (as in SQL), columns from 0.
public struct SQLiteStatement: ~Copyable {
  private let handle: OpaquePointer

  init(owning handle: OpaquePointer) { self.handle = handle }

  deinit { sqlite3_finalize(handle) }

  /// Asks SQLite to copy what is bound.
  private static var transient: sqlite3_destructor_type {
    unsafeBitCast(-1, to: sqlite3_destructor_type.self)
  }

  public func bind(_ value: Int64, at parameter: Int32) throws(SQLiteError) {
    try check(sqlite3_bind_int64(handle, parameter, value))
  }

  public func bind(_ value: Int, at parameter: Int32) throws(SQLiteError) { try bind(Int64(value), at: parameter) }

  public func bind(_ value: String, at parameter: Int32) throws(SQLiteError) {
    var value = value
    let result: Result<Void, SQLiteError> = value.withUTF8 { text in
      Result { () throws(SQLiteError) in try bindText(UnsafeRawBufferPointer(text), at: parameter) }
    }
    try result.get()
  }

  /// Text that is known to be UTF-8, copied by SQLite.
  public func bindText(_ bytes: UnsafeRawBufferPointer, at parameter: Int32) throws(SQLiteError) {
    guard let start = bytes.baseAddress else {
      // Without an address it would be NULL.
      return try check(sqlite3_bind_text(handle, parameter, "", 0, Self.transient))
    }
    let text = start.assumingMemoryBound(to: CChar.self)
    try check(sqlite3_bind_text(handle, parameter, text, Int32(clamping: bytes.count), Self.transient))
  }

  /// A blob, copied by SQLite.
  public func bind(_ bytes: UnsafeRawBufferPointer, at parameter: Int32) throws(SQLiteError) {
    let code =
      bytes.isEmpty
      ? sqlite3_bind_zeroblob(handle, parameter, 0)
      : sqlite3_bind_blob(handle, parameter, bytes.baseAddress, Int32(clamping: bytes.count), Self.transient)
    try check(code)
  }

  public func bind(_ bytes: [UInt8], at parameter: Int32) throws(SQLiteError) {
    let result: Result<Void, SQLiteError> = bytes.withUnsafeBytes { raw in
      Result { () throws(SQLiteError) in try bind(raw, at: parameter) }
    }
    try result.get()
  }

  public func bindNull(at parameter: Int32) throws(SQLiteError) { try check(sqlite3_bind_null(handle, parameter)) }

  /// Runs to the next row; false at the end.
  public func step() throws(SQLiteError) -> Bool {
    switch sqlite3_step(handle) {
    case SQLITE_ROW: return true
    case SQLITE_DONE: return false
    case let code: throw failure(code)
    }
  }

  /// Runs a statement without result rows and makes it ready for the next values.
  public func run() throws(SQLiteError) {
    let code = sqlite3_step(handle)
    guard code == SQLITE_DONE || code == SQLITE_ROW else {
      let error = failure(code)
      sqlite3_reset(handle)
      throw error
    }
    sqlite3_reset(handle)
  }

  /// Makes the statement ready for the next values; the bound ones stay until bound again. Column buffers end here.
  public func reset() { sqlite3_reset(handle) }

  public func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }
  public func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
  public func real(_ column: Int32) -> Double { sqlite3_column_double(handle, column) }

  /// A copy of a text column; NULL is empty.
  public func text(_ column: Int32) -> String { String(decoding: bytes(column), as: UTF8.self) }

  /// The bytes of a text or blob column in place: valid until the next `step` or `reset`.
  public func bytes(_ column: Int32) -> UnsafeRawBufferPointer {
    // The pointer first, then the size (https://sqlite.org/c3ref/column_blob.html).
    let start = sqlite3_column_blob(handle, column)
    return UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : Int(sqlite3_column_bytes(handle, column)))
  }

  private func check(_ code: Int32) throws(SQLiteError) {
    if code != SQLITE_OK { throw failure(code) }
  }

  private func failure(_ code: Int32) -> SQLiteError {
    SQLiteError(
      extendedCode: code, message: String(cString: sqlite3_errmsg(sqlite3_db_handle(handle))),
      context: sqlite3_sql(handle).map { String(cString: $0) } ?? "")
  }
}
