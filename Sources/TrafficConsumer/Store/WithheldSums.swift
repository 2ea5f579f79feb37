// WithheldSums: what was not credited because another generation had been credited of the same time (CreditedTime), of all
// sessions together. Writer thread, every few seconds; reading verbs.

import SQLite

struct WithheldSums: Equatable, Sendable {
  var entries: Int64 = 0
  var uploaded: Int64 = 0
  var downloaded: Int64 = 0

  static func read(_ database: borrowing SQLiteDatabase) throws(SQLiteError) -> WithheldSums {
    let select = try database.prepare("SELECT total(entries), total(uploaded), total(downloaded) FROM withheld")
    guard try select.step() else { return WithheldSums() }
    return WithheldSums(entries: select.integer(0), uploaded: select.integer(1), downloaded: select.integer(2))
  }

  /// Adds those of another database. What would not fit is as much as fits.
  mutating func add(_ other: Self) {
    entries = Self.sum(entries, other.entries)
    uploaded = Self.sum(uploaded, other.uploaded)
    downloaded = Self.sum(downloaded, other.downloaded)
  }

  private static func sum(_ one: Int64, _ other: Int64) -> Int64 {
    let (sum, overflow) = one.addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
