// SessionTable: the sessions the writer has met, with their users and torrents, as rows in memory, read from the database
// when first met and written back once per batch. Belongs to the writer thread. What it holds is what is committed, plus the changes
// of the open transaction: after a rollback it has to be `forget`-ten.

import SQLite
import Wire

final class SessionTable {
  struct Session {
    let id: Int64
    let user: Int
    let torrent: Int
    var sums: TrafficSums
    var ledger: SessionLedger
    var isTouched = false
  }
  private struct SessionKey: Hashable {
    let user: Int
    let torrent: Int
    let peerID: PeerID
  }

  /// Sessions kept in memory between batches: about 500 bytes each, so 12 MB of the daemon's 64.
  static let maximumSessions = 24_000

  private(set) var users: SumTable<Passkey>
  private(set) var torrents: SumTable<InfoHash>
  private(set) var sessions: [Session] = []
  private var sessionIndex: [SessionKey: Int] = [:]
  private var touchedSessions: [Int] = []

  private let selectSession: SQLiteStatement
  private let insertSession: SQLiteStatement
  private let updateSession: SQLiteStatement
  private let selectGeneration: SQLiteStatement
  private let upsertGeneration: SQLiteStatement
  private let selectClaimed: SQLiteStatement
  let withheld: WithheldTable
  private let selectFingerprints: SQLiteStatement
  private let insertFingerprints: SQLiteStatement
  private let insertSnatch: SQLiteStatement
  private let selectSnatch: SQLiteStatement

  init(_ database: borrowing SQLiteDatabase) throws(SQLiteError) {
    users = try SumTable("users", key: "passkey", database) { key, statement throws(SQLiteError) in
      try statement.bind(key.text, at: 1)
    }
    torrents = try SumTable("torrents", key: "infohash", database) { key, statement throws(SQLiteError) in
      try statement.bind(key.bytes, at: 1)
    }
    selectSession = try database.prepare(
      """
      SELECT id, \(StoreSchema.sumColumns), covered_from, covered_to, stopped, generation, credited_up, credited_down, gaps, fingerprints, latest,
        first_order, last_order, reached_order, others_order
      FROM sessions WHERE user_id = ?1 AND torrent_id = ?2 AND peer_id = ?3
      """)
    insertSession = try database.prepare(
      "INSERT INTO sessions(user_id, torrent_id, peer_id) VALUES (?1, ?2, ?3) RETURNING id")
    updateSession = try database.prepare(
      """
      UPDATE sessions SET \(StoreSchema.sumAssignments), covered_from = ?11, covered_to = ?12, stopped = ?13, generation = ?14,
        credited_up = ?15, credited_down = ?16, gaps = ?17, fingerprints = ?18, latest = ?19, first_order = ?20,
        last_order = ?21, reached_order = ?22, others_order = ?23 WHERE id = ?1
      """)
    selectGeneration = try database.prepare(
      """
      SELECT credited_up, credited_down, first_order, last_order, reached_order FROM generations
      WHERE session_id = ?1 AND generation = ?2
      """)
    selectClaimed = try database.prepare(
      """
      SELECT 1 FROM generations WHERE session_id = ?1 AND generation NOT IN (?2, ?5) AND first_order < last_order
        AND first_order < ?3 AND last_order > ?4 LIMIT 1
      """)
    upsertGeneration = try database.prepare(
      """
      INSERT INTO generations(session_id, generation, credited_up, credited_down, first_order, last_order, reached_order)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
      ON CONFLICT DO UPDATE SET credited_up = max(credited_up, excluded.credited_up),
        credited_down = max(credited_down, excluded.credited_down), first_order = excluded.first_order,
        last_order = excluded.last_order, reached_order = excluded.reached_order
      """)
    withheld = try WithheldTable(database)
    selectFingerprints = try database.prepare(
      "SELECT entries FROM fingerprints WHERE session_id = ?1 AND newest >= ?2 AND oldest <= ?3")
    insertFingerprints = try database.prepare(
      """
      INSERT INTO fingerprints(session_id, newest, oldest, entries) VALUES (?1, ?2, ?3, ?4)
      ON CONFLICT DO UPDATE SET entries = entries || excluded.entries
      """)
    insertSnatch = try database.prepare("INSERT INTO snatches(user_id, torrent_id, at) VALUES (?1, ?2, ?3)")
    selectSnatch = try database.prepare("SELECT 1 FROM snatches WHERE user_id = ?1 AND torrent_id = ?2")
  }

  /// Empties the memory: after a rollback, or because it has grown.
  func forget() {
    users.forget()
    torrents.forget()
    sessions.removeAll(keepingCapacity: true)
    sessionIndex.removeAll(keepingCapacity: true)
    touchedSessions.removeAll(keepingCapacity: true)
  }

  func forgetIfLarge() {
    if sessions.count > Self.maximumSessions || users.count > Self.maximumSessions { forget() }
  }

  /// The place of an event's session in `sessions`; rows that do not exist are made.
  func session(of event: TrafficEvent) throws(SQLiteError) -> Int {
    let user = try users.place(of: event.passkey)
    let torrent = try torrents.place(of: event.infoHash)
    let key = SessionKey(user: user, torrent: torrent, peerID: event.peerID)
    if let found = sessionIndex[key] { return found }
    sessions.append(try loadSession(user, torrent, event.peerID))
    sessionIndex[key] = sessions.count - 1
    return sessions.count - 1
  }

  /// The counters credited for a generation of a session so far; nil for a generation never seen.
  func counters(of session: Int, generation: TrafficGeneration) throws(SQLiteError) -> CreditedCounters? {
    let found = sessions[session]
    if found.ledger.generation == generation { return found.ledger.credited }
    if found.ledger.generation == nil { return nil }
    try selectGeneration.bind(found.id, at: 1)
    try selectGeneration.bind(generation.text, at: 2)
    defer { selectGeneration.reset() }
    guard try selectGeneration.step() else { return nil }
    return CreditedCounters(
      uploaded: UInt64(selectGeneration.integer(0)), downloaded: UInt64(selectGeneration.integer(1)),
      time: CreditedTime(row: selectGeneration, from: 2))
  }

  /// Whether another generation of a session was credited in a time.
  func isCredited(_ claim: TimeClaim, of session: Int, besides generation: TrafficGeneration) throws(SQLiteError)
    -> Bool
  {
    let found = sessions[session]
    if let time = found.ledger.credited.time, found.ledger.generation != generation, claim.meets(time) { return true }
    guard claim.after < found.ledger.othersLast else { return false }
    try selectClaimed.bind(found.id, at: 1)
    try selectClaimed.bind(generation.text, at: 2)
    try selectClaimed.bind(Int64(claim.before), at: 3)
    try selectClaimed.bind(Int64(claim.after), at: 4)
    // The row of one that has become the latest again is of before that.
    try selectClaimed.bind(found.ledger.generation?.text ?? generation.text, at: 5)
    defer { selectClaimed.reset() }
    return try selectClaimed.step()
  }

  /// Whether an equal entry arrived within an hour of one, of those that left the session's ledger.
  func isRepeated(_ entry: EntryFingerprint, of session: Int) throws(SQLiteError) -> Bool {
    let reach = SessionLedger.fingerprintMilliseconds
    let (arrived, found) = (entry.arrivedMilliseconds, sessions[session])
    let (from, to) = (arrived - min(reach, arrived), arrived.addingReportingOverflow(reach).partialValue)
    func equals(_ other: EntryFingerprint) -> Bool {
      other.hash == entry.hash && from <= other.arrivedMilliseconds && other.arrivedMilliseconds <= to
    }
    if found.ledger.expired.contains(where: equals) { return true }
    try selectFingerprints.bind(found.id, at: 1)
    try selectFingerprints.bind(Int64(clamping: from), at: 2)
    try selectFingerprints.bind(Int64(clamping: to), at: 3)
    defer { selectFingerprints.reset() }
    while try selectFingerprints.step() {
      if SessionLedger.fingerprints(stored: selectFingerprints.bytes(0)).contains(where: equals) { return true }
    }
    return false
  }

  /// Whether this user has never completed this torrent.
  func isFirstSnatch(session: Int) throws(SQLiteError) -> Bool {
    try selectSnatch.bind(users[sessions[session].user].id, at: 1)
    try selectSnatch.bind(torrents[sessions[session].torrent].id, at: 2)
    defer { selectSnatch.reset() }
    return try !selectSnatch.step()
  }

  /// Adds a credit to the session, its user and its torrent.
  func add(_ credit: Credit, of event: TrafficEvent, ledger: SessionLedger, to session: Int) throws(SQLiteError) {
    try keepCounters(credit, event, ledger, session)
    if let bytes = credit.withheld, let generation = event.counters?.generation {
      try withheld.note(bytes, session: sessions[session].id, generation)
    }
    sessions[session].sums.add(credit.sums)
    if !sessions[session].isTouched {
      sessions[session].isTouched = true
      touchedSessions.append(session)
    }
    guard !credit.sums.isEmpty else { return }
    let (user, torrent) = (sessions[session].user, sessions[session].torrent)
    users.add(credit.sums, at: user)
    torrents.add(credit.sums, at: torrent)
    guard credit.sums.completed > 0 else { return }
    try insertSnatch.bind(users[user].id, at: 1)
    try insertSnatch.bind(torrents[torrent].id, at: 2)
    try insertSnatch.bind(event.timestamp, at: 3)
    try insertSnatch.run()
  }

  /// The ledger after an entry; counters of a generation that is not the latest go to their own table.
  private func keepCounters(_ credit: Credit, _ event: TrafficEvent, _ ledger: SessionLedger, _ session: Int)
    throws(SQLiteError)
  {
    let before = sessions[session].ledger
    sessions[session].ledger = ledger
    guard let counters = credit.counters, let generation = event.counters?.generation else { return }
    if before.generation == nil || before.generation == generation {
      sessions[session].ledger.generation = generation
      sessions[session].ledger.credited = counters
    } else if before.isLatest(event), let earlier = before.generation {
      try writeGeneration(session, earlier, before.credited)
      sessions[session].ledger.generation = generation
      sessions[session].ledger.credited = counters
    } else {
      try writeGeneration(session, generation, counters)
    }
  }

  /// The counters of a generation that was met before.
  func keep(_ counters: CreditedCounters, of generation: TrafficGeneration, session: Int) throws(SQLiteError) {
    guard sessions[session].ledger.generation == generation else {
      return try writeGeneration(session, generation, counters)
    }
    sessions[session].ledger.credited = counters
  }

  private func writeGeneration(_ session: Int, _ generation: TrafficGeneration, _ counters: CreditedCounters)
    throws(SQLiteError)
  {
    try upsertGeneration.bind(sessions[session].id, at: 1)
    try upsertGeneration.bind(generation.text, at: 2)
    try upsertGeneration.bind(Int64(counters.uploaded), at: 3)
    try upsertGeneration.bind(Int64(counters.downloaded), at: 4)
    try counters.time.bind(to: upsertGeneration, from: 5)
    try upsertGeneration.run()
    guard let time = counters.time else { return }
    sessions[session].ledger.othersLast = max(sessions[session].ledger.othersLast, time.last)
  }

  /// Writes what has changed, in the order of the rows' keys.
  func flush() throws(SQLiteError) {
    try users.flush()
    try torrents.flush()
    for index in touchedSessions.sorted(by: { sessions[$0].id < sessions[$1].id }) {
      try writeSession(sessions[index])
      if !sessions[index].ledger.expired.isEmpty { try writeFingerprints(index) }
      sessions[index].isTouched = false
    }
    touchedSessions.removeAll(keepingCapacity: true)
  }

  private func writeFingerprints(_ session: Int) throws(SQLiteError) {
    let expired = sessions[session].ledger.expired
    let times = expired.map(\.arrivedMilliseconds)
    try insertFingerprints.bind(sessions[session].id, at: 1)
    try insertFingerprints.bind(Int64(clamping: times.max() ?? 0), at: 2)
    try insertFingerprints.bind(Int64(clamping: times.min() ?? 0), at: 3)
    try SessionLedger.bind(expired, to: insertFingerprints, at: 4)
    try insertFingerprints.run()
    sessions[session].ledger.expired = []
  }

  private func loadSession(_ user: Int, _ torrent: Int, _ peerID: PeerID) throws(SQLiteError) -> Session {
    try selectSession.bind(users[user].id, at: 1)
    try selectSession.bind(torrents[torrent].id, at: 2)
    try selectSession.bind(peerID.bytes, at: 3)
    defer { selectSession.reset() }
    if try selectSession.step() {
      return Session(
        id: selectSession.integer(0), user: user, torrent: torrent, sums: selectSession.sums(from: 1),
        ledger: SessionLedger(row: selectSession, from: 10))
    }
    try insertSession.bind(users[user].id, at: 1)
    try insertSession.bind(torrents[torrent].id, at: 2)
    try insertSession.bind(peerID.bytes, at: 3)
    defer { insertSession.reset() }
    _ = try insertSession.step()
    return Session(
      id: insertSession.integer(0), user: user, torrent: torrent, sums: TrafficSums(), ledger: SessionLedger())
  }

  private func writeSession(_ session: Session) throws(SQLiteError) {
    try updateSession.bind(session.id, at: 1)
    try updateSession.bind(session.sums, from: 2)
    try session.ledger.bind(to: updateSession, from: 11)
    try updateSession.run()
  }
}
