// SessionTable: the users, torrents and sessions the writer has met, as rows in memory, read from the database when first
// met and written back once per batch. Belongs to the writer thread. What it holds is what is committed, plus the changes
// of the open transaction: after a rollback it has to be `forget`-ten.

import SQLite
import Wire

final class SessionTable {
  struct Holder {
    let id: Int64
    var sums: TrafficSums
    var isTouched = false
  }
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

  private(set) var users: [Holder] = []
  private(set) var torrents: [Holder] = []
  private(set) var sessions: [Session] = []
  private var userIndex: [Passkey: Int] = [:]
  private var torrentIndex: [InfoHash: Int] = [:]
  private var sessionIndex: [SessionKey: Int] = [:]
  private var touchedUsers: [Int] = []
  private var touchedTorrents: [Int] = []
  private var touchedSessions: [Int] = []

  private let selectUser: SQLiteStatement
  private let insertUser: SQLiteStatement
  private let updateUser: SQLiteStatement
  private let selectTorrent: SQLiteStatement
  private let insertTorrent: SQLiteStatement
  private let updateTorrent: SQLiteStatement
  private let selectSession: SQLiteStatement
  private let insertSession: SQLiteStatement
  private let updateSession: SQLiteStatement
  private let selectGeneration: SQLiteStatement
  private let upsertGeneration: SQLiteStatement
  private let insertSnatch: SQLiteStatement
  private let selectSnatch: SQLiteStatement

  init(_ database: borrowing SQLiteDatabase) throws(SQLiteError) {
    let sums = StoreSchema.sumColumns
    let assignments = """
      uploaded = ?2, downloaded = ?3, seed_seconds = ?4, leech_seconds = ?5, elapsed_seconds = ?6, events = ?7,
      completed = ?8, first_seen = ?9, last_seen = ?10
      """
    selectUser = try database.prepare("SELECT id, \(sums) FROM users WHERE passkey = ?1")
    insertUser = try database.prepare("INSERT INTO users(passkey) VALUES (?1) RETURNING id")
    updateUser = try database.prepare("UPDATE users SET \(assignments) WHERE id = ?1")
    selectTorrent = try database.prepare("SELECT id, \(sums) FROM torrents WHERE infohash = ?1")
    insertTorrent = try database.prepare("INSERT INTO torrents(infohash) VALUES (?1) RETURNING id")
    updateTorrent = try database.prepare("UPDATE torrents SET \(assignments) WHERE id = ?1")
    selectSession = try database.prepare(
      """
      SELECT id, \(sums), covered_from, covered_to, stopped, generation, credited_up, credited_down, gaps, fingerprints
      FROM sessions WHERE user_id = ?1 AND torrent_id = ?2 AND peer_id = ?3
      """)
    insertSession = try database.prepare(
      "INSERT INTO sessions(user_id, torrent_id, peer_id) VALUES (?1, ?2, ?3) RETURNING id")
    updateSession = try database.prepare(
      """
      UPDATE sessions SET \(assignments), covered_from = ?11, covered_to = ?12, stopped = ?13, generation = ?14,
        credited_up = ?15, credited_down = ?16, gaps = ?17, fingerprints = ?18 WHERE id = ?1
      """)
    selectGeneration = try database.prepare(
      "SELECT credited_up, credited_down FROM generations WHERE session_id = ?1 AND generation = ?2")
    upsertGeneration = try database.prepare(
      """
      INSERT INTO generations(session_id, generation, credited_up, credited_down) VALUES (?1, ?2, ?3, ?4)
      ON CONFLICT DO UPDATE SET credited_up = max(credited_up, excluded.credited_up),
        credited_down = max(credited_down, excluded.credited_down)
      """)
    insertSnatch = try database.prepare("INSERT INTO snatches(user_id, torrent_id, at) VALUES (?1, ?2, ?3)")
    selectSnatch = try database.prepare("SELECT 1 FROM snatches WHERE user_id = ?1 AND torrent_id = ?2")
  }

  /// Empties the memory: after a rollback, or because it has grown.
  func forget() {
    users.removeAll(keepingCapacity: true)
    torrents.removeAll(keepingCapacity: true)
    sessions.removeAll(keepingCapacity: true)
    userIndex.removeAll(keepingCapacity: true)
    torrentIndex.removeAll(keepingCapacity: true)
    sessionIndex.removeAll(keepingCapacity: true)
    touchedUsers.removeAll(keepingCapacity: true)
    touchedTorrents.removeAll(keepingCapacity: true)
    touchedSessions.removeAll(keepingCapacity: true)
  }

  func forgetIfLarge() {
    if sessions.count > Self.maximumSessions || users.count > Self.maximumSessions { forget() }
  }

  /// The place of an event's session in `sessions`; rows that do not exist are made.
  func session(of event: TrafficEvent) throws(SQLiteError) -> Int {
    let user = try user(event.passkey)
    let torrent = try torrent(event.infoHash)
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
      uploaded: UInt64(selectGeneration.integer(0)), downloaded: UInt64(selectGeneration.integer(1)))
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
    sessions[session].sums.add(credit.sums)
    if !sessions[session].isTouched {
      sessions[session].isTouched = true
      touchedSessions.append(session)
    }
    guard !credit.sums.isEmpty else { return }
    let (user, torrent) = (sessions[session].user, sessions[session].torrent)
    users[user].sums.add(credit.sums)
    if !users[user].isTouched {
      users[user].isTouched = true
      touchedUsers.append(user)
    }
    torrents[torrent].sums.add(credit.sums)
    if !torrents[torrent].isTouched {
      torrents[torrent].isTouched = true
      touchedTorrents.append(torrent)
    }
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
    } else if event.timestamp >= before.coveredTo, let earlier = before.generation {
      try writeGeneration(session, earlier, before.credited)
      sessions[session].ledger.generation = generation
      sessions[session].ledger.credited = counters
    } else {
      try writeGeneration(session, generation, counters)
    }
  }

  private func writeGeneration(_ session: Int, _ generation: TrafficGeneration, _ counters: CreditedCounters)
    throws(SQLiteError)
  {
    try upsertGeneration.bind(sessions[session].id, at: 1)
    try upsertGeneration.bind(generation.text, at: 2)
    try upsertGeneration.bind(Int64(counters.uploaded), at: 3)
    try upsertGeneration.bind(Int64(counters.downloaded), at: 4)
    try upsertGeneration.run()
  }

  /// Writes what has changed, in the order of the rows' keys.
  func flush() throws(SQLiteError) {
    for index in touchedUsers.sorted(by: { users[$0].id < users[$1].id }) {
      try write(users[index], with: updateUser)
      users[index].isTouched = false
    }
    for index in touchedTorrents.sorted(by: { torrents[$0].id < torrents[$1].id }) {
      try write(torrents[index], with: updateTorrent)
      torrents[index].isTouched = false
    }
    for index in touchedSessions.sorted(by: { sessions[$0].id < sessions[$1].id }) {
      try writeSession(sessions[index])
      sessions[index].isTouched = false
    }
    touchedUsers.removeAll(keepingCapacity: true)
    touchedTorrents.removeAll(keepingCapacity: true)
    touchedSessions.removeAll(keepingCapacity: true)
  }

  private func user(_ passkey: Passkey) throws(SQLiteError) -> Int {
    if let found = userIndex[passkey] { return found }
    try bind(passkey, to: selectUser)
    defer { selectUser.reset() }
    if try selectUser.step() {
      users.append(Holder(id: selectUser.integer(0), sums: selectUser.sums(from: 1)))
    } else {
      try bind(passkey, to: insertUser)
      defer { insertUser.reset() }
      _ = try insertUser.step()
      users.append(Holder(id: insertUser.integer(0), sums: TrafficSums()))
    }
    userIndex[passkey] = users.count - 1
    return users.count - 1
  }

  private func bind(_ passkey: Passkey, to statement: borrowing SQLiteStatement) throws(SQLiteError) {
    try statement.bind(passkey.text, at: 1)
  }

  private func torrent(_ infoHash: InfoHash) throws(SQLiteError) -> Int {
    if let found = torrentIndex[infoHash] { return found }
    try selectTorrent.bind(infoHash.bytes, at: 1)
    defer { selectTorrent.reset() }
    if try selectTorrent.step() {
      torrents.append(Holder(id: selectTorrent.integer(0), sums: selectTorrent.sums(from: 1)))
    } else {
      try insertTorrent.bind(infoHash.bytes, at: 1)
      defer { insertTorrent.reset() }
      _ = try insertTorrent.step()
      torrents.append(Holder(id: insertTorrent.integer(0), sums: TrafficSums()))
    }
    torrentIndex[infoHash] = torrents.count - 1
    return torrents.count - 1
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

  private func write(_ holder: Holder, with statement: borrowing SQLiteStatement) throws(SQLiteError) {
    try statement.bind(holder.id, at: 1)
    try statement.bind(holder.sums, from: 2)
    try statement.run()
  }

  private func writeSession(_ session: Session) throws(SQLiteError) {
    try updateSession.bind(session.id, at: 1)
    try updateSession.bind(session.sums, from: 2)
    try session.ledger.bind(to: updateSession, from: 11)
    try updateSession.run()
  }
}
