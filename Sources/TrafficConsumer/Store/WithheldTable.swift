// WithheldTable: what was not credited because its time was, under another generation (CreditedTime), and which generations were
// credited before their beginning has come: what was withheld for one of those is looked at again when it does. Belongs to
// the writer thread.

import SQLite
import Wire

final class WithheldTable {
  private let upsert: SQLiteStatement
  private let countEver: SQLiteStatement
  private let select: SQLiteStatement
  private let delete: SQLiteStatement
  private let begin: SQLiteStatement
  private let insertUnbegun: SQLiteStatement
  private let deleteUnbegun: SQLiteStatement

  init(_ database: borrowing SQLiteDatabase) throws(SQLiteError) {
    // Bytes are below 2^53 an entry; what would not fit is as much as fits.
    upsert = try database.prepare(
      """
      INSERT INTO withheld(session_id, generation, after_order, before_order, entries, uploaded, downloaded)
        VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6)
      ON CONFLICT DO UPDATE SET entries = entries + 1, after_order = min(after_order, excluded.after_order),
        before_order = max(before_order, excluded.before_order),
        uploaded = min(uploaded, 1 << 62) + excluded.uploaded, downloaded = min(downloaded, 1 << 62) + excluded.downloaded
      """)
    countEver = try database.prepare(
      """
      INSERT INTO meta(name, value) VALUES ('\(MetaTable.withheldEver)', 1)
      ON CONFLICT DO UPDATE SET value = value + 1
      """)
    // Of what did not fit it is not known how much it was. What an earlier version withheld has no generation's name.
    select = try database.prepare(
      """
      SELECT generation, after_order, before_order, uploaded, downloaded FROM withheld
      WHERE session_id = ?1 AND uploaded < 1 << 62 AND downloaded < 1 << 62
      ORDER BY before_order
      """)
    delete = try database.prepare("DELETE FROM withheld WHERE session_id = ?1 AND generation = ?2")
    begin = try database.prepare(
      "UPDATE withheld SET after_order = max(after_order, ?3) WHERE session_id = ?1 AND generation = ?2")
    insertUnbegun = try database.prepare(
      "INSERT OR IGNORE INTO unbegun(session_id, generation, seen_order) VALUES (?1, ?2, ?3)")
    deleteUnbegun = try database.prepare(
      "DELETE FROM unbegun WHERE session_id = ?1 AND generation = ?2 AND seen_order > ?3 RETURNING 1")
  }

  /// What was not credited is counted at once, whoever asks.
  func note(_ withheld: Withheld, session: Int64, _ generation: TrafficGeneration) throws(SQLiteError) {
    try upsert.bind(session, at: 1)
    try upsert.bind(generation.text, at: 2)
    try upsert.bind(Int64(withheld.claim.after), at: 3)
    try upsert.bind(Int64(withheld.claim.before), at: 4)
    try upsert.bind(withheld.uploaded, at: 5)
    try upsert.bind(withheld.downloaded, at: 6)
    try upsert.run()
    try countEver.run()
  }

  /// What was withheld of a session, the earlier first.
  func rows(of session: Int64) throws(SQLiteError) -> [(generation: TrafficGeneration, withheld: Withheld)] {
    try select.bind(session, at: 1)
    defer { select.reset() }
    var rows: [(TrafficGeneration, Withheld)] = []
    while try select.step() {
      guard let generation = TrafficGeneration(select.bytes(0)) else { continue }
      let claim = TimeClaim(after: UInt64(select.integer(1)), before: UInt64(select.integer(2)))
      rows.append((generation, Withheld(claim: claim, uploaded: select.integer(3), downloaded: select.integer(4))))
    }
    return rows
  }

  func remove(session: Int64, _ generation: TrafficGeneration) throws(SQLiteError) {
    try delete.bind(session, at: 1)
    try delete.bind(generation.text, at: 2)
    try delete.run()
  }

  /// An entry of a generation of which none was known, with bytes.
  func noteUnbegun(session: Int64, _ generation: TrafficGeneration, seen order: UInt64) throws(SQLiteError) {
    try insertUnbegun.bind(session, at: 1)
    try insertUnbegun.bind(generation.text, at: 2)
    try insertUnbegun.bind(Int64(order), at: 3)
    try insertUnbegun.run()
  }

  /// A generation began at an order; what was withheld of it was moved after that. False when that was known.
  func begin(session: Int64, _ generation: TrafficGeneration, at order: UInt64) throws(SQLiteError) -> Bool {
    guard try forgetUnbegun(session: session, generation, seenAfter: order) else { return false }
    try begin.bind(session, at: 1)
    try begin.bind(generation.text, at: 2)
    try begin.bind(Int64(order), at: 3)
    try begin.run()
    return true
  }

  /// False when its beginning is known, or it was not seen after an order.
  func forgetUnbegun(session: Int64, _ generation: TrafficGeneration, seenAfter order: UInt64 = 0) throws(SQLiteError)
    -> Bool
  {
    try deleteUnbegun.bind(session, at: 1)
    try deleteUnbegun.bind(generation.text, at: 2)
    try deleteUnbegun.bind(Int64(order), at: 3)
    defer { deleteUnbegun.reset() }
    return try deleteUnbegun.step()
  }
}

extension SessionTable {
  /// A generation of a session turns out to have begun later than it might have: what was withheld and meets no other
  /// generation's time any more is credited. Returns how much that is.
  func release(session: Int) throws(SQLiteError) -> TrafficSums {
    var released = TrafficSums()
    let found = sessions[session]
    for (generation, bytes) in try withheld.rows(of: found.id) {
      guard var counters = try counters(of: session, generation: generation),
        try !isCredited(bytes.claim, of: session, besides: generation)
      else { continue }
      var sums = TrafficSums(uploaded: bytes.uploaded, downloaded: bytes.downloaded)
      guard sums.hasRoom(for: released) else { continue }
      sums.add(released)
      guard users[found.user].sums.userHasRoom(for: sums), torrents[found.torrent].sums.hasRoom(for: sums) else {
        continue
      }
      released = sums
      counters.time?.take(bytes.claim, order: bytes.claim.before, isCredited: true)
      try keep(counters, of: generation, session: session)
      try withheld.remove(session: found.id, generation)
    }
    return released
  }
}
