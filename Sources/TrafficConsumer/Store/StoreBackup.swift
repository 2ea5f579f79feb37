// A verified copy of the database while it is in use. Writer thread, or a verb that holds the lock.

import Glibc
import Linux
import SQLite

extension StoreWriter {
  /// Copies the database to a new file, checks the copy, puts it in its place in one step, and remembers what it holds:
  /// from now on the stream is trimmed no further than this. Returns the bytes of the copy.
  func backup(to path: String) throws(StoreError) -> Int {
    let partial = path + ".partial"
    unlink(partial)
    defer { unlink(partial) }
    try store { () throws(SQLiteError) in
      let target = try SQLiteDatabase(path: partial, access: .readWriteCreate)
      try database.backup(to: target)
      // The copy says of itself that it is one file: no write-ahead log that could be left behind.
      try target.execute("PRAGMA journal_mode = DELETE")
    }
    let copied = try Self.verify(partial)
    try Self.makeDurable(partial, as: path)
    for index in streams.indices {
      guard let floor = copied[streams[index].name] else { continue }
      try change(stream: index) { $0.backupFloor = floor }
    }
    try transaction { () throws(SQLiteError) in
      try MetaTable.set(MetaTable.backupTime, Clock.unixSeconds(), in: database)
    }
    var info = stat()
    return stat(path, &info) == 0 ? Int(info.st_size) : 0
  }

  /// Checks a copy with SQLite's own means; returns for each stream up to where everything is in it, from its first range on.
  private static func verify(_ path: String) throws(StoreError) -> [String: EntryID] {
    let copy = try StoreConnection.openForReading(path: path)
    return try storeChecked(copy)
  }

  private static func storeChecked(_ copy: borrowing SQLiteDatabase) throws(StoreError) -> [String: EntryID] {
    let verdict = try store { () throws(SQLiteError) in try copy.text("PRAGMA integrity_check(1)") }
    guard verdict == "ok" else { throw .damaged("the copy: \(verdict ?? "no answer")") }
    return try store { () throws(SQLiteError) in
      var floors: [String: EntryID] = [:]
      for name in try StreamTable.names(in: copy) {
        guard let state = try StreamTable.read(name: name, from: copy) else { continue }
        floors[name] = state.applied.ranges.first.flatMap { state.settledEnd(from: $0.first) } ?? .zero
      }
      return floors
    }
  }

  private static func makeDurable(_ partial: String, as path: String) throws(StoreError) {
    let folder = path.contains("/") ? String(path[..<path.lastIndex(of: "/")!]) : "."
    let isMoved = Self.sync(partial) && rename(partial, path) == 0 && Self.sync(folder.isEmpty ? "/" : folder)
    guard isMoved else {
      let error = SystemError("rename", subject: path)
      throw .database(SQLiteError(extendedCode: 10, message: error.description, context: path))
    }
  }

  private static func sync(_ path: String) -> Bool {
    let number = open(path, O_RDONLY | O_CLOEXEC)
    guard number >= 0 else { return false }
    let file = FileDescriptor(owning: number)
    return fsync(file.number) == 0
  }
}
