// StoreError: what can be wrong with the consumer's database. Thrown by Store/ and Query/.

import SQLite

enum StoreError: Error, Equatable, Sendable, CustomStringConvertible {
  case database(SQLiteError)
  /// Written by a newer program.
  case newerSchema(found: Int64, known: Int64)
  /// Written by an older program; `run` brings it up to date.
  case olderSchema(found: Int64, known: Int64)
  /// Written by a program whose version of the schema was none of ours.
  case otherSchema(found: Int64, lacks: String)
  /// A database without our tables.
  case empty
  /// A setting that is part of the data differs from what the database was made with.
  case otherWindow(database: Int64, configured: Int64)
  /// Another process took this one for dead and writes now.
  case fenced
  /// Something in it cannot be what this program wrote.
  case damaged(String)
  /// A copy was to take the place of the database or of a file beside it.
  case ownFile(String)
  /// A copy at a path could not be made, and why.
  case copy(String, String)
  /// The file was removed or replaced while it was open.
  case replaced

  /// The file is damaged: trying again gives the same, or worse.
  var isCorruption: Bool {
    switch self {
    case .database(let error): error.kind == .corrupt
    case .damaged: true
    default: false
    }
  }

  var description: String {
    switch self {
    case .database(let error): error.description
    case .newerSchema(let found, let known):
      "the database has schema version \(found), this program knows \(known): use the newer program"
    case .olderSchema(let found, let known):
      "the database has schema version \(found), this program wants \(known): start `traffic-consumer run` once"
    case .otherSchema(let found, let lacks):
      "the database says it has schema version \(found), and lacks \(lacks): a build between two versions wrote it, which this "
        + "program cannot bring up to date; restore a backup, or begin a new database"
    case .empty: "the database has no traffic tables: is this the right file?"
    case .otherWindow(let database, let configured):
      "the database has windows of \(database) s, the configuration says \(configured) s: rows of two lengths do not add "
        + "up; set `window` back, or begin a new database"
    case .fenced: "another process has taken over the database while this one stood still"
    case .damaged(let what): "damaged: \(what)"
    case .copy(let path, let why): "\(path): \(why)"
    case .ownFile(let path): "\(path): that is the database itself, or a file of its own"
    case .replaced:
      "the database file was removed or replaced while the consumer ran; put it back, or start again with what is there"
    }
  }
}

/// Runs a body that only SQLite can fail, as one that throws StoreError.
@inline(__always)
func store<Result: ~Copyable>(_ body: () throws(SQLiteError) -> Result) throws(StoreError) -> Result {
  do throws(SQLiteError) { return try body() } catch { throw .database(error) }
}
