// SQLiteError: what SQLite said, with its numbers. Thrown by everything in SQLite/. Any thread.

import CSQLite

/// A failed SQLite call (https://sqlite.org/rescode.html).
public struct SQLiteError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Whose fault it is, as far as the code tells: what decides between a dead letter and a retry.
  public enum Kind: Sendable {
    /// The values at hand: a constraint, a type, a size. Trying again gives the same.
    case values
    /// Another connection holds the lock; trying again helps.
    case busy
    /// The file is damaged or is no database.
    case corrupt
    /// The statement: the database has other tables than it wants. Trying again gives the same.
    case statement
    /// The disk, the file system, memory, permissions: trying again helps once that is repaired.
    case environment
  }

  /// The extended result code.
  public let extendedCode: Int32
  /// SQLite's text.
  public let message: String
  /// What was being done: an SQL text without values, or a path.
  public let context: String

  public init(extendedCode: Int32, message: String, context: String) {
    self.extendedCode = extendedCode
    self.message = message
    self.context = context
  }

  /// The primary result code, the low byte.
  public var code: Int32 { extendedCode & 0xff }

  public var kind: Kind {
    switch code {
    case SQLITE_CONSTRAINT, SQLITE_MISMATCH, SQLITE_TOOBIG, SQLITE_RANGE: .values
    case SQLITE_BUSY, SQLITE_LOCKED: .busy
    case SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_FORMAT: .corrupt
    case SQLITE_ERROR: .statement
    default: .environment
    }
  }

  /// `database or disk is full (13): INSERT INTO windows ...`.
  public var description: String {
    let head = context.prefix(80)
    return "\(message) (\(extendedCode)): \(head)\(head.count < context.count ? "..." : "")"
  }
}
