// StoreBackup: a verified copy of the database while it is in use, on a connection of its own: entries are committed
// meanwhile. A control thread of the daemon, or a verb that holds the lock; begun and ended on the writer thread.

import CLinux
import Glibc
import Linux
import SQLite

/// Up to where a copy has everything, by stream; for the epoch it has.
struct BackupFloors: Equatable, Sendable {
  var floors: [String: (epoch: Int64, id: EntryID)]
  var time: Int64

  static func == (left: Self, right: Self) -> Bool {
    left.time == right.time && left.floors.keys == right.floors.keys
      && left.floors.allSatisfy { name, floor in right.floors[name].map { $0 == floor } ?? false }
  }
}

/// A copy that is not in its place yet; it is removed with this value.
struct BackupCopy: ~Copyable {
  private let path: String
  fileprivate(set) var floors = BackupFloors(floors: [:], time: 0)
  fileprivate var partial: String { path + Self.suffix }
  fileprivate static let suffix = ".partial"

  /// Makes the file, which holds passkeys from its first byte on.
  fileprivate init(to path: String) throws(StoreError) {
    self.path = path
    unlink(path + Self.suffix)
    let number = clinux_open(path + Self.suffix, O_WRONLY | O_CREAT | O_EXCL, StoreConnection.fileMode)
    guard number >= 0 else { throw .copy(path, SystemError("open").description) }
    _ = FileDescriptor(owning: number)
  }

  deinit { unlink(path + Self.suffix) }

  /// Puts it in its place in one step, for good. Returns its bytes.
  borrowing func place() throws(StoreError) -> Int {
    guard rename(partial, path) == 0, StoreBackup.syncFolder(of: path) else {
      throw .copy(path, SystemError("rename").description)
    }
    var info = stat()
    return stat(path, &info) == 0 ? Int(info.st_size) : 0
  }
}

enum StoreBackup {
  /// 4 MB: a few milliseconds, after which it may be told to end.
  static let pagesPerStep: Int32 = 1024

  /// Copies a database to a new file beside `path`, checks the copy, and writes into it up to where it has everything.
  /// `goesOn` is asked again and again: with false it ends, and there is no copy.
  static func copy(
    of source: String, to path: String, pagesPerStep: Int32 = pagesPerStep, while goesOn: () -> Bool = { true }
  ) throws(StoreError) -> BackupCopy {
    try refuseOwnFiles(of: source, path)
    let database = try StoreConnection.openForReading(path: source)
    var copy = try BackupCopy(to: path)
    do throws(SQLiteError) {
      let target = try SQLiteDatabase(path: copy.partial, access: .readWrite)
      try database.backup(to: target, pages: pagesPerStep, while: goesOn)
      // The copy says of itself that it is one file: no write-ahead log that could be left behind.
      try target.execute("PRAGMA journal_mode = DELETE")
      guard goesOn() else { throw SQLiteError(extendedCode: 9, message: "interrupted", context: "backup") }
    } catch {
      throw .copy(path, error.description)
    }
    do throws(StoreError) {
      copy.floors = try complete(copy.partial)
    } catch {
      throw .copy(path, error.description)
    }
    guard sync(copy.partial) else { throw .copy(path, SystemError("fsync").description) }
    return copy
  }

  /// The same, put in its place at once. Returns also the bytes of the copy.
  static func make(
    of source: String, to path: String, pagesPerStep: Int32 = pagesPerStep, while goesOn: () -> Bool = { true }
  ) throws(StoreError) -> (floors: BackupFloors, bytes: Int) {
    let copy = try Self.copy(of: source, to: path, pagesPerStep: pagesPerStep, while: goesOn)
    return (copy.floors, try copy.place())
  }

  /// The copy must not take the place of what it is a copy of.
  private static func refuseOwnFiles(of source: String, _ path: String) throws(StoreError) {
    for suffix in ["", "-wal", "-shm", ".lock"] {
      let isSame = StoreFile(path: source + suffix).map {
        $0.isSame(as: path) || $0.isSame(as: path + BackupCopy.suffix)
      }
      guard isSame != true, path != source + suffix else { throw .ownFile(path) }
    }
  }

  /// Checks a copy with SQLite's own means, and has it say itself from where on the stream must be kept for it: it may be
  /// restored more than once.
  private static func complete(_ path: String) throws(StoreError) -> BackupFloors {
    let copy = try store { () throws(SQLiteError) in try SQLiteDatabase(path: path, access: .readWrite) }
    let verdict = try store { () throws(SQLiteError) in try copy.text("PRAGMA integrity_check(1)") }
    guard verdict == "ok" else { throw .damaged("the copy: \(verdict ?? "no answer")") }
    return try store { () throws(SQLiteError) in
      try copy.transaction(.immediate) { () throws(SQLiteError) in
        var result = BackupFloors(floors: [:], time: Clock.unixSeconds())
        let update = try copy.prepare("UPDATE streams SET backup_floor = ?2 WHERE name = ?1")
        for name in try StreamTable.names(in: copy) {
          guard let state = try StreamTable.read(name: name, from: copy) else { continue }
          let floor = state.completeThrough
          result.floors[name] = (state.epoch, floor)
          try update.bind(name, at: 1)
          try update.bind(floor.bytes, at: 2)
          try update.run()
        }
        try MetaTable.remove(MetaTable.backupPath, in: copy)
        try MetaTable.set(MetaTable.backupTime, result.time, in: copy)
        return result
      }
    }
  }

  /// When a copy of a database was made; nil: there is no complete one.
  static func time(of path: String, instance: String?) -> Int64? {
    guard let copy = try? SQLiteDatabase(path: path, access: .readOnly),
      let found = try? MetaTable.text("instance", in: copy), found == instance,
      let isBegun = try? MetaTable.text(MetaTable.backupPath, in: copy) != nil, !isBegun
    else { return nil }
    return (try? MetaTable.integer(MetaTable.backupTime, in: copy)) ?? nil
  }

  /// Makes what was renamed in a file's folder durable.
  static func syncFolder(of path: String) -> Bool {
    let folder = path.contains("/") ? String(path[..<path.lastIndex(of: "/")!]) : "."
    return Self.sync(folder.isEmpty ? "/" : folder)
  }

  private static func sync(_ path: String) -> Bool {
    let number = open(path, O_RDONLY | O_CLOEXEC)
    guard number >= 0 else { return false }
    let file = FileDescriptor(owning: number)
    return fsync(file.number) == 0
  }
}

extension StoreWriter {
  /// A copy without a daemon. Returns its bytes.
  func backup(to path: String) throws(StoreError) -> Int {
    try beginBackup(to: path)
    do throws(StoreError) {
      let (floors, bytes) = try StoreBackup.make(of: settings.databasePath, to: path)
      try endBackup(floors)
      return bytes
    } catch {
      try? concludeBackup()
      throw error
    }
  }

  /// From here on it is noted what is dealt with below the place the copy will reach, and where no backup keeps the stream
  /// yet, this one does.
  func beginBackup(to path: String) throws(StoreError) {
    try transaction { () throws(SQLiteError) in try MetaTable.set(MetaTable.backupPath, path, in: database) }
    for index in streams.indices {
      streams[index].lowestSinceBackup = .maximum
      guard streams[index].backupFloor == nil else { continue }
      try change(stream: index) { $0.backupFloor = $0.completeThrough }
    }
  }

  /// Remembers what the copy holds: from now on the stream is trimmed no further than this.
  func endBackup(_ copied: BackupFloors) throws(StoreError) {
    for index in streams.indices {
      guard let (epoch, floor) = copied.floors[streams[index].name], epoch == streams[index].epoch,
        let lowest = streams[index].lowestSinceBackup
      else { continue }
      try change(stream: index) { $0.backupFloor = min(floor, lowest) }
    }
    try transaction { () throws(SQLiteError) in
      try MetaTable.set(MetaTable.backupTime, copied.time, in: database)
      try MetaTable.remove(MetaTable.backupPath, in: database)
    }
  }

  /// There is no copy: without an earlier one the stream is not kept for any.
  func giveUpBackup() throws(StoreError) {
    if try MetaTable.integer(MetaTable.backupTime, in: database) == nil {
      for index in streams.indices { try change(stream: index) { $0.backupFloor = nil } }
    }
    try transaction { () throws(SQLiteError) in try MetaTable.remove(MetaTable.backupPath, in: database) }
  }

  /// A backup was begun by a process that is gone, or failed. Its copy may be in its place all the same; then it counts, and
  /// what was kept for it from its beginning is.
  func concludeBackup() throws(StoreError) {
    guard let path = try MetaTable.text(MetaTable.backupPath, in: database) else { return }
    let earlier = try MetaTable.integer(MetaTable.backupTime, in: database) ?? 0
    guard let time = StoreBackup.time(of: path, instance: try MetaTable.text("instance", in: database)), time > earlier
    else { return try giveUpBackup() }
    try transaction { () throws(SQLiteError) in
      try MetaTable.set(MetaTable.backupTime, time, in: database)
      try MetaTable.remove(MetaTable.backupPath, in: database)
    }
  }
}
