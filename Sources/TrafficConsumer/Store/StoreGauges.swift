// StoreGauges: what the metrics tell of the database that only a look at it shows. Writer thread, every few seconds.

import Glibc
import SQLite

struct StoreGauges: Equatable, Sendable {
  /// Unix seconds at which the oldest dead letter that waits failed; 0 when none waits.
  var oldestDeadLetter: Int64
  /// Unix seconds of the last verified backup; 0 when there was none.
  var lastBackup: Int64
  /// Entries missing that nobody acknowledged, of whatever stream: also of one that is not read any more.
  var lostEntries: Int64
  var withheld = WithheldSums()
  /// Entries that were ever withheld, credited since or not.
  var withheldEver: Int64 = 0
  /// Bytes the daemon may still write on the database's disk; nil when the system does not say.
  var freeBytes: Int64?

  static func read(_ database: borrowing SQLiteDatabase, path: String) throws(StoreError) -> StoreGauges {
    let oldest = try store { () throws(SQLiteError) in
      try database.integer("SELECT min(failed_at) FROM dead_letters WHERE state = 'dead'")
    }
    var disk = statvfs()
    let hasDisk = statvfs(path, &disk) == 0
    return StoreGauges(
      oldestDeadLetter: oldest ?? 0, lastBackup: try MetaTable.integer(MetaTable.backupTime, in: database) ?? 0,
      lostEntries: try store { () throws(SQLiteError) in try LostRangeTable.entries(in: database).open },
      withheld: try store { () throws(SQLiteError) in try WithheldSums.read(database) },
      withheldEver: try MetaTable.integer(MetaTable.withheldEver, in: database) ?? 0,
      freeBytes: hasDisk ? Int64(clamping: UInt64(disk.f_bavail) &* UInt64(disk.f_frsize)) : nil)
  }
}
