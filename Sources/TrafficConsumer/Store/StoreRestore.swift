// StoreRestore: puts a copy of the database in its place; what was there is kept beside it. Main thread of `restore`, which
// holds the lock.

import Glibc
import Linux
import SQLite

enum StoreRestore {
  /// What is wrong with a copy as a replacement for a database; nil: nothing.
  static func objection(to copy: String, for path: String) throws(StoreError) -> String? {
    if StoreFile(path: path)?.isSame(as: copy) == true { return "that is the database itself" }
    var failed: StoreCheck.Result?
    do throws(StoreError) {
      failed = try StoreCheck.run(StoreConnection.openForReading(path: copy)).first { !$0.isOK && $0.name != "entries" }
    } catch {
      // An older program's; the writer brings it up to date.
      guard case .olderSchema = error else { throw error }
      failed = try StoreCheck.integrity(path: copy)
    }
    if let failed { return "\(failed.name): \(failed.detail)" }
    // What is damaged or gone has no say.
    guard let mine = (try? instance(of: path)) ?? nil else { return nil }
    return try instance(of: copy) == mine ? nil : "it is a copy of another database"
  }

  private static func instance(of path: String) throws(StoreError) -> String? {
    let database = try store { () throws(SQLiteError) in try SQLiteDatabase(path: path, access: .readOnly) }
    return try MetaTable.text("instance", in: database)
  }

  /// Replaces the database by a copy of the copy; returns where what was there is now, or nil when there was nothing.
  static func replace(_ path: String, with copy: String) throws(SystemError) -> String? {
    let partial = path + ".partial"
    defer { unlink(partial) }
    try duplicate(copy, to: partial)
    var kept: String?
    if access(path, F_OK) == 0 {
      let aside = "\(path).before-restore-\(Clock.unixSeconds())"
      // The log first: a database without its log is an older one, a log without its database is nothing.
      for suffix in ["-wal", "-shm", ""] where access(path + suffix, F_OK) == 0 {
        guard rename(path + suffix, aside + suffix) == 0 else { throw SystemError("rename", subject: path + suffix) }
      }
      kept = aside
    }
    guard rename(partial, path) == 0, StoreBackup.syncFolder(of: path) else {
      throw SystemError("rename", subject: path)
    }
    return kept
  }

  private static func duplicate(_ source: String, to target: String) throws(SystemError) {
    let input = FileDescriptor(owning: open(source, O_RDONLY | O_CLOEXEC))
    guard input.number >= 0 else { throw SystemError("open", subject: source) }
    let output = FileDescriptor(
      owning: open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, StoreConnection.fileMode))
    guard output.number >= 0 else { throw SystemError("open", subject: target) }
    var part = [UInt8](repeating: 0, count: 1 << 20)
    while true {
      let count = retryingInterrupts { part.withUnsafeMutableBytes { read(input.number, $0.baseAddress, $0.count) } }
      guard count >= 0 else { throw SystemError("read", subject: source) }
      if count == 0 { break }
      var rest = part[..<count]
      while !rest.isEmpty {
        let written = retryingInterrupts { rest.withUnsafeBytes { write(output.number, $0.baseAddress, $0.count) } }
        guard written > 0 else { throw SystemError("write", subject: target) }
        rest = rest.dropFirst(written)
      }
    }
    guard fsync(output.number) == 0 else { throw SystemError("fsync", subject: target) }
  }
}
