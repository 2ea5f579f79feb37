// BurialTable: the rows of `dead_letters` as entries become them: each entry one letter, whatever becomes of the stream. Belongs
// to the writer thread.
//
// A letter is known by the id of its entry. When Redis loses the end of the stream or all of it, the entry may come back,
// under its id in another epoch or given back under another one: then what it holds tells, and the letter keeps its fate. Of
// one that was purged the id remains, for its epoch.

import Linux
import SQLite
import Wire

final class BurialTable {
  private let hash: EntryHash
  private let selectContent: SQLiteStatement
  private let selectSame: SQLiteStatement
  private let deliverAgain: SQLiteStatement
  private let insert: SQLiteStatement
  private let addReturn: SQLiteStatement
  private let keepReturns: SQLiteStatement
  private let forgetPurged: SQLiteStatement
  /// There is a letter, or was: most databases have none, and entries need not be looked for in it.
  private(set) var hasLetters: Bool

  init(_ database: borrowing SQLiteDatabase, hash: EntryHash) throws(SQLiteError) {
    self.hash = hash
    selectContent = try database.prepare(
      """
      SELECT id FROM dead_letters
      WHERE content = ?1 AND stream_id = ?2 AND max(epoch, returned_epoch) < ?3 AND fields = ?4 ORDER BY id LIMIT 1
      """)
    selectSame = try database.prepare(
      """
      SELECT id FROM dead_letters
      WHERE content = ?1 AND stream_id = ?2 AND (epoch = ?3 AND entry_id = ?5 OR returned_epoch = ?3 AND returned_id = ?5)
        AND fields = ?4
      UNION ALL SELECT 0 FROM purged_letters WHERE stream_id = ?2 AND entry_id = ?5 AND content = ?1
      """)
    deliverAgain = try database.prepare("UPDATE dead_letters SET deliveries = deliveries + ?2 WHERE id = ?1")
    // Where the id is another letter's (Redis lost that one, and its clock is behind) it is kept as one of an epoch before all,
    // of its own, that has come again in this one.
    insert = try database.prepare(
      """
      INSERT INTO dead_letters(
        stream_id, epoch, entry_id, returned_epoch, returned_id, reason, detail, deliveries, failed_at, fields, content)
      SELECT ?1, iif(taken, -1 - (SELECT seq FROM sqlite_sequence WHERE name = 'dead_letters'), ?2), ?3,
        iif(taken, ?2, 0), iif(taken, ?3, NULL), ?4, ?5, ?6, ?7, ?8, ?9
      FROM (SELECT EXISTS (SELECT 1 FROM dead_letters WHERE stream_id = ?1 AND epoch = ?2 AND entry_id = ?3) AS taken)
      """)
    addReturn = try database.prepare(
      "UPDATE dead_letters SET deliveries = deliveries + ?2, returned_epoch = ?3, returned_id = ?4 WHERE id = ?1")
    keepReturns = try database.prepare(
      """
      UPDATE dead_letters SET returned_epoch = ?2, returned_id = iif(returned_epoch = ?2 - 1, returned_id, entry_id)
      WHERE stream_id = ?1
        AND (epoch = ?2 - 1 AND entry_id <= ?3 OR returned_epoch = ?2 - 1 AND returned_id <= ?3)
      """)
    forgetPurged = try database.prepare("DELETE FROM purged_letters WHERE stream_id = ?1 AND entry_id > ?2")
    hasLetters =
      try database.integer("SELECT EXISTS (SELECT 1 FROM dead_letters) OR EXISTS (SELECT 1 FROM purged_letters)") == 1
  }

  /// The letter that an entry became in an earlier epoch of the stream, and that has not come again in this one: of equal
  /// entries beyond those each is a letter of its own.
  func earlierLetter(holding fields: EntryFields?, of stream: StreamState) throws(SQLiteError) -> Int64? {
    guard stream.epoch > 1 else { return nil }
    return try letter(selectContent, fields, stream)
  }

  /// The letter that this very entry became, in this epoch or in an earlier one; 0: one that was purged.
  func letter(_ id: EntryID, holding fields: EntryFields?, of stream: StreamState) throws(SQLiteError) -> Int64? {
    try selectSame.bind(id.bytes, at: 5)
    return try letter(selectSame, fields, stream)
  }

  /// Whether an entry of this epoch is a letter, and that has not been purged.
  func isLetter(_ id: EntryID, holding fields: EntryFields?, of stream: StreamState) throws(SQLiteError) -> Bool {
    try letter(id, holding: fields, of: stream) ?? 0 > 0
  }

  private func letter(_ select: borrowing SQLiteStatement, _ fields: EntryFields?, _ stream: StreamState)
    throws(SQLiteError) -> Int64?
  {
    guard hasLetters, let fields else { return nil }
    try select.bind(Int64(bitPattern: hash.raw(of: fields)), at: 1)
    try select.bind(stream.id, at: 2)
    try select.bind(stream.epoch, at: 3)
    try select.bind(fields.stored, at: 4)
    defer { select.reset() }
    return try select.step() ? select.integer(0) : nil
  }

  /// Notes that a letter's entry came again, under an id of this epoch.
  func noteReturn(of letter: Int64, as id: EntryID, deliveries: Int, in stream: StreamState) throws(SQLiteError) {
    try addReturn.bind(letter, at: 1)
    try addReturn.bind(deliveries, at: 2)
    try addReturn.bind(stream.epoch, at: 3)
    try addReturn.bind(id.bytes, at: 4)
    try addReturn.run()
  }

  /// The epoch has begun, and the stream has what it had up to an id: those letters' entries are known in it and do not come.
  /// Behind it ids will be given to other entries.
  func keepReturns(through end: EntryID, in stream: StreamState) throws(SQLiteError) {
    guard hasLetters else { return }
    try keepReturns.bind(stream.id, at: 1)
    try keepReturns.bind(stream.epoch, at: 2)
    try keepReturns.bind(end.bytes, at: 3)
    try keepReturns.run()
    try forgetPurged.bind(stream.id, at: 1)
    try forgetPurged.bind(end.bytes, at: 2)
    try forgetPurged.run()
  }

  /// Puts an entry into the dead letters; one that is there is delivered once more.
  func bury(_ id: EntryID, _ fields: EntryFields?, _ fault: EntryFault, deliveries: Int, of stream: StreamState)
    throws(SQLiteError)
  {
    let fields = fields ?? EntryFields(items: [])
    if let known = try letter(id, holding: fields, of: stream), known > 0 {
      try deliverAgain.bind(known, at: 1)
      try deliverAgain.bind(deliveries, at: 2)
      return try deliverAgain.run()
    }
    let fault = fields.missingBytes.map { .tooLarge(missingBytes: $0, fault) } ?? fault
    try insert.bind(stream.id, at: 1)
    try insert.bind(stream.epoch, at: 2)
    try insert.bind(id.bytes, at: 3)
    try insert.bind(fault.reason, at: 4)
    try insert.bind(fault.detail, at: 5)
    try insert.bind(deliveries, at: 6)
    try insert.bind(Clock.unixSeconds(), at: 7)
    try insert.bind(fields.stored, at: 8)
    try insert.bind(Int64(bitPattern: hash.raw(of: fields)), at: 9)
    try insert.run()
    hasLetters = true
  }

  /// Announces that an earlier version could not decode, and this one can, are looked for among the letters when they come
  /// again, whatever their time; inside a transaction, before the streams are read.
  func dateEarlierOnes(in database: borrowing SQLiteDatabase) throws(SQLiteError) {
    let select = try database.prepare(
      """
      SELECT stream_id, epoch, fields FROM dead_letters
      WHERE reason = 'malformed_value' AND detail LIKE 'field dt %' AND EXISTS (SELECT 1 FROM meta WHERE name = 'letters_undated')
      """)
    let update = try database.prepare(
      """
      UPDATE streams SET newest_announce = max(newest_announce, ?3),
        returns_through = iif(epoch > ?2, max(returns_through, ?3), returns_through) WHERE id = ?1
      """)
    while try select.step() {
      guard let fields = EntryFields(stored: select.bytes(2)), let event = try? TrafficEvent.decode(bytes: fields.items)
      else { continue }
      try update.bind(select.integer(0), at: 1)
      try update.bind(select.integer(1), at: 2)
      try update.bind(event.timestamp, at: 3)
      try update.run()
    }
    try database.execute("DELETE FROM meta WHERE name = 'letters_undated'")
  }

  /// Hashes what letters of an earlier version hold; inside a transaction.
  func hashEarlierOnes(in database: borrowing SQLiteDatabase) throws(SQLiteError) {
    let select = try database.prepare("SELECT id, fields FROM dead_letters WHERE content IS NULL ORDER BY id LIMIT 1")
    let update = try database.prepare("UPDATE dead_letters SET content = ?2 WHERE id = ?1")
    while try select.step() {
      let (letter, fields) = (select.integer(0), EntryFields(stored: select.bytes(1)) ?? EntryFields(items: []))
      select.reset()
      try update.bind(letter, at: 1)
      try update.bind(Int64(bitPattern: hash.raw(of: fields)), at: 2)
      try update.run()
    }
  }
}
