// MetaTable: the rows of `meta`: what is true of the whole database, a name and a value each. Writer thread; reading verbs.

import SQLite

enum MetaTable {
  /// The time of the last verified backup, Unix seconds.
  static let backupTime = "last_backup"
  /// Where a backup that was begun, and neither ended nor given up, will be.
  static let backupPath = "backup_begun"
  /// Entries that were ever withheld (WithheldTable), also those that are not any more; not there: none.
  static let withheldEver = "withheld_ever"
  /// What retention has taken: windows and days that begin below these are gone for good.
  static let windowsFloor = "windows_floor"
  static let daysFloor = "days_floor"

  static func integer(_ name: String, in database: borrowing SQLiteDatabase) throws(StoreError) -> Int64? {
    try value(name, in: database) { $0.integer(0) }
  }

  static func text(_ name: String, in database: borrowing SQLiteDatabase) throws(StoreError) -> String? {
    try value(name, in: database) { $0.text(0) }
  }

  private static func value<Value>(
    _ name: String, in database: borrowing SQLiteDatabase, _ read: (borrowing SQLiteStatement) -> Value
  ) throws(StoreError) -> Value? {
    try store { () throws(SQLiteError) in
      let select = try database.prepare("SELECT value FROM meta WHERE name = ?1")
      try select.bind(name, at: 1)
      return try select.step() ? read(select) : nil
    }
  }

  static func set(_ name: String, _ value: Int64, in database: borrowing SQLiteDatabase) throws(SQLiteError) {
    let write = try database.prepare(insert)
    try write.bind(name, at: 1)
    try write.bind(value, at: 2)
    try write.run()
  }

  static func set(_ name: String, _ value: String, in database: borrowing SQLiteDatabase) throws(SQLiteError) {
    let write = try database.prepare(insert)
    try write.bind(name, at: 1)
    try write.bind(value, at: 2)
    try write.run()
  }

  static func remove(_ name: String, in database: borrowing SQLiteDatabase) throws(SQLiteError) {
    let delete = try database.prepare("DELETE FROM meta WHERE name = ?1")
    try delete.bind(name, at: 1)
    try delete.run()
  }

  private static let insert = "INSERT OR REPLACE INTO meta(name, value) VALUES (?1, ?2)"
}
