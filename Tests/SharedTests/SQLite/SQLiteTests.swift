// The owned SQLite database and statements, against real files.

import Foundation
import SQLite
import Testing

/// A directory of its own that goes away with the value.
private final class Folder {
  let path: String
  init() {
    path = NSTemporaryDirectory() + "/sqlite-" + UUID().uuidString
    try! FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }
  func file(_ name: String) -> String { path + "/" + name }
}

@Suite("SQLite") struct SQLiteTests {
  private let folder = Folder()

  @Test("integers, text and blobs come back as they were bound")
  func values() throws {
    let database = try SQLiteDatabase(path: folder.file("a.db"), access: .readWriteCreate)
    try database.execute("CREATE TABLE t(i INTEGER, s TEXT, b BLOB, n TEXT) STRICT")
    let insert = try database.prepare("INSERT INTO t VALUES (?1, ?2, ?3, ?4)")
    for (number, text, blob) in [(Int64.min, "", []), (Int64.max, "p\u{e9}\0x", [UInt8](0...255)), (0, "a", [0])] {
      try insert.bind(number, at: 1)
      try insert.bind(text, at: 2)
      try insert.bind(blob, at: 3)
      try insert.bindNull(at: 4)
      try insert.run()
    }
    let select = try database.prepare("SELECT i, s, b, n FROM t ORDER BY rowid")
    #expect(try select.step())
    #expect(select.integer(0) == .min && select.text(1) == "" && select.bytes(2).isEmpty && select.isNull(3))
    #expect(!select.isNull(1) && !select.isNull(2))
    #expect(try select.step())
    #expect(select.integer(0) == .max && select.text(1) == "p\u{e9}\0x" && Array(select.bytes(2)) == [UInt8](0...255))
    #expect(try select.step())
    #expect(try !select.step())
  }

  @Test("an error names its code, its message and the statement, and whose fault it is")
  func errors() throws {
    let database = try SQLiteDatabase(path: folder.file("a.db"), access: .readWriteCreate)
    try database.execute("CREATE TABLE t(i INTEGER PRIMARY KEY) STRICT; INSERT INTO t VALUES (1)")
    #expect {
      try database.execute("INSERT INTO t VALUES (1)")
    } throws: {
      let error = $0 as? SQLiteError
      return error?.kind == .values && error?.code == 19 && error?.extendedCode == 1555
        && error!.description.contains("INSERT INTO t")
    }
    #expect { _ = try database.prepare("SELEKT") } throws: { "\($0)".contains("syntax error") }
    #expect {
      _ = try SQLiteDatabase(path: folder.file("missing.db"), access: .readOnly)
    } throws: {
      ($0 as? SQLiteError)?.kind == .environment
    }
    try Data("this is no database, by far".utf8).write(to: URL(fileURLWithPath: folder.file("text.db")))
    let other = try SQLiteDatabase(path: folder.file("text.db"), access: .readOnly)
    #expect { _ = try other.integer("SELECT count(*) FROM sqlite_schema") } throws: {
      ($0 as? SQLiteError)?.kind == .corrupt
    }
  }

  @Test("a transaction that throws leaves nothing behind")
  func rollback() throws {
    struct Stop: Error {}
    let database = try SQLiteDatabase(path: folder.file("a.db"), access: .readWriteCreate)
    try database.execute("CREATE TABLE t(i INTEGER) STRICT")
    #expect(throws: Stop.self) {
      try database.transaction(.immediate) {
        try database.execute("INSERT INTO t VALUES (1)")
        throw Stop()
      } mapError: {
        $0
      }
    }
    #expect(try database.integer("SELECT count(*) FROM t") == 0)
    try database.transaction(.immediate) { () throws(SQLiteError) in
      try database.execute("INSERT INTO t VALUES (1)")
    }
    #expect(try database.integer("SELECT count(*) FROM t") == 1)
  }

  @Test("a second writer waits no longer than the busy timeout and is told so")
  func busy() throws {
    let first = try SQLiteDatabase(path: folder.file("a.db"), access: .readWriteCreate)
    try first.execute("PRAGMA journal_mode = WAL; CREATE TABLE t(i INTEGER) STRICT; BEGIN IMMEDIATE")
    let second = try SQLiteDatabase(path: folder.file("a.db"), access: .readWrite, busyTimeoutMilliseconds: 1)
    #expect { try second.execute("BEGIN IMMEDIATE") } throws: { ($0 as? SQLiteError)?.kind == .busy }
    first.rollback()
    try second.execute("BEGIN IMMEDIATE; ROLLBACK")
  }

  @Test("a read-only connection cannot write and sees committed rows while a writer works")
  func readOnly() throws {
    let writer = try SQLiteDatabase(path: folder.file("a.db"), access: .readWriteCreate)
    try writer.execute("PRAGMA journal_mode = WAL; CREATE TABLE t(i INTEGER) STRICT; INSERT INTO t VALUES (1)")
    try writer.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)")
    let reader = try SQLiteDatabase(path: folder.file("a.db"), access: .readOnly)
    #expect(try reader.integer("SELECT count(*) FROM t") == 1)
    #expect(throws: SQLiteError.self) { try reader.execute("INSERT INTO t VALUES (3)") }
    try writer.execute("COMMIT")
    #expect(try reader.integer("SELECT count(*) FROM t") == 2)
  }

  @Test("a backup is a whole database as of one moment")
  func backup() throws {
    let source = try SQLiteDatabase(path: folder.file("a.db"), access: .readWriteCreate)
    try source.execute("PRAGMA journal_mode = WAL; CREATE TABLE t(i INTEGER) STRICT; INSERT INTO t VALUES (1), (2)")
    do {
      let target = try SQLiteDatabase(path: folder.file("b.db"), access: .readWriteCreate)
      try source.backup(to: target)
    }
    let copy = try SQLiteDatabase(path: folder.file("b.db"), access: .readOnly)
    #expect(try copy.integer("SELECT sum(i) FROM t") == 3)
    #expect(try copy.text("PRAGMA integrity_check") == "ok")
  }

  @Test("a checkpoint moves the log into the database file")
  func checkpoint() throws {
    let database = try SQLiteDatabase(path: folder.file("a.db"), access: .readWriteCreate)
    try database.execute("PRAGMA journal_mode = WAL; CREATE TABLE t(i INTEGER) STRICT; INSERT INTO t VALUES (1)")
    #expect(try database.checkpoint(truncate: true) == 0)
    let size = try FileManager.default.attributesOfItem(atPath: folder.file("a.db-wal"))[.size] as? Int
    #expect(size == 0)
  }
}
