// TrafficQuery: sums of users and torrents, from one database or several. Main thread of a verb, read-only connection.

import SQLite
import Wire

/// What rows are added up by.
enum QueryGrain: String, CaseIterable, Sendable {
  case total, day, window, torrent, user, peer
}

/// What the sums are ordered by in `query top`.
enum TopMetric: String, CaseIterable, Sendable {
  case up, down, ratio, seedtime
}

/// Unix seconds; nil is open. `to` is exclusive. Windows and days belong to a range when they begin in it.
struct QueryRange: Equatable, Sendable {
  var from: Int64?
  var to: Int64?
  var isOpen: Bool { from == nil && to == nil }
}

/// One row of an answer; what is not asked for is nil.
struct QueryRow: Hashable, Sendable {
  var passkey: String?
  var infoHash: String?
  var peerID: String?
  var windowStart: Int64?
  var day: Int64?
  var sums: TrafficSums
}

enum TrafficQuery {
  /// Whose sums.
  enum Subject: Equatable, Sendable {
    case user(String)
    case torrent(InfoHash)
  }

  /// Rows of one user or torrent, in order; empty when the database has never met it.
  static func rows(
    of subject: Subject, by grain: QueryGrain, in range: QueryRange, from database: borrowing SQLiteDatabase
  ) throws(StoreError) -> [QueryRow] {
    try store { () throws(SQLiteError) in
      guard let id = try id(of: subject, in: database) else { return [] }
      if grain == .total && range.isOpen { return [try grandTotal(subject, id, in: database)] }
      if range.isOpen && (grain == .torrent || grain == .user || grain == .peer) {
        return try read(wholeSessions(subject, grain), subject, grain, id, range, database)
      }
      return try read(ranged(subject, grain), subject, grain, id, range, database)
    }
  }

  private static func id(of subject: Subject, in database: borrowing SQLiteDatabase) throws(SQLiteError) -> Int64? {
    let select: SQLiteStatement
    switch subject {
    case .user(let passkey):
      select = try database.prepare("SELECT id FROM users WHERE passkey = ?1")
      try select.bind(passkey, at: 1)
    case .torrent(let infoHash):
      select = try database.prepare("SELECT id FROM torrents WHERE infohash = ?1")
      try select.bind(infoHash.bytes, at: 1)
    }
    return try select.step() ? select.integer(0) : nil
  }

  private static func grandTotal(_ subject: Subject, _ id: Int64, in database: borrowing SQLiteDatabase)
    throws(SQLiteError) -> QueryRow
  {
    let table: String
    if case .user = subject { table = "users" } else { table = "torrents" }
    let select = try database.prepare("SELECT \(StoreSchema.sumColumns) FROM \(table) WHERE id = ?1")
    try select.bind(id, at: 1)
    _ = try select.step()
    return row(subject, .total, sums: select.sums(from: 0))
  }

  // MARK: statements

  /// What a grain groups by, as SQL over the tables s (sessions), t (torrents), u (users) and r (rows).
  private static func key(_ grain: QueryGrain) -> String {
    switch grain {
    case .total: "NULL"
    case .window: "r.start"
    case .day: "r.start / 86400 * 86400"
    case .torrent: "t.infohash"
    case .user: "u.passkey"
    case .peer: "s.peer_id"
    }
  }

  private static let added = """
    sum(r.uploaded), sum(r.downloaded), sum(r.seed_seconds), sum(r.leech_seconds), sum(r.elapsed_seconds), sum(r.events),
    sum(r.completed), min(nullif(r.first_seen, 0)), max(r.last_seen)
    """

  /// A peer is one client of one torrent.
  private static func columns(_ grain: QueryGrain) -> String {
    "\(key(grain)), t.infohash, \(added)"
  }

  private static func owner(_ subject: Subject) -> String {
    if case .user = subject { "s.user_id" } else { "s.torrent_id" }
  }

  private static func grouping(_ grain: QueryGrain) -> String {
    switch grain {
    case .total: "HAVING count(*) > 0"
    case .peer: "GROUP BY s.peer_id, t.infohash ORDER BY t.infohash, s.peer_id"
    default: "GROUP BY \(key(grain)) ORDER BY \(key(grain))"
    }
  }

  /// The sessions' own sums: no range.
  private static func wholeSessions(_ subject: Subject, _ grain: QueryGrain) -> String {
    """
    SELECT \(columns(grain)) FROM (SELECT *, id AS session_id FROM sessions) r
      JOIN sessions s ON s.id = r.session_id JOIN torrents t ON t.id = s.torrent_id JOIN users u ON u.id = s.user_id
    WHERE \(owner(subject)) = ?1 AND ?2 <= ?3 \(grouping(grain))
    """
  }

  /// Windows, and the days that retention has made of them. The key begins with the time, so that each window there is
  /// is looked up once per session, rather than all sessions' rows being read.
  private static func ranged(_ subject: Subject, _ grain: QueryGrain) -> String {
    func source(_ table: String) -> String {
      """
      SELECT s.id AS session, w.* FROM (
        WITH RECURSIVE starts(at) AS (
          SELECT min(start) FROM \(table) WHERE start >= ?2
          UNION ALL SELECT (SELECT min(start) FROM \(table) WHERE start > at) FROM starts WHERE at < ?3)
        SELECT at FROM starts WHERE at < ?3) starts
      CROSS JOIN sessions s CROSS JOIN \(table) w ON w.start = starts.at AND w.session_id = s.id
      WHERE \(owner(subject)) = ?1
      """
    }
    let rows = grain == .window ? source("windows") : "\(source("windows")) UNION ALL \(source("days"))"
    return """
      SELECT \(columns(grain)) FROM (\(rows)) r JOIN sessions s ON s.id = r.session
        JOIN torrents t ON t.id = s.torrent_id JOIN users u ON u.id = s.user_id \(grouping(grain))
      """
  }

  private static func read(
    _ sql: String, _ subject: Subject, _ grain: QueryGrain, _ id: Int64, _ range: QueryRange,
    _ database: borrowing SQLiteDatabase
  ) throws(SQLiteError) -> [QueryRow] {
    let select = try database.prepare(sql)
    try select.bind(id, at: 1)
    try select.bind(range.from ?? 0, at: 2)
    try select.bind(range.to ?? Int64.max, at: 3)
    var rows: [QueryRow] = []
    while try select.step() {
      var row = row(subject, grain, sums: select.sums(from: 2))
      switch grain {
      case .total: break
      case .window: row.windowStart = select.integer(0)
      case .day: row.day = select.integer(0)
      case .torrent: row.infoHash = Hex.encode(select.bytes(0))
      case .user: row.passkey = select.text(0)
      case .peer:
        row.peerID = Hex.encode(select.bytes(0))
        row.infoHash = Hex.encode(select.bytes(1))
      }
      rows.append(row)
    }
    return rows
  }

  private static func row(_ subject: Subject, _ grain: QueryGrain, sums: TrafficSums) -> QueryRow {
    switch subject {
    case .user(let passkey): QueryRow(passkey: passkey, sums: sums)
    case .torrent(let infoHash): QueryRow(infoHash: infoHash.hex, sums: sums)
    }
  }

  // MARK: top

  /// The users with the highest sums.
  static func top(
    _ metric: TopMetric, limit: Int64, in range: QueryRange, from database: borrowing SQLiteDatabase
  ) throws(StoreError) -> [QueryRow] {
    try store { () throws(SQLiteError) in
      let select = try database.prepare(range.isOpen ? topOfAll(metric) : topOfRange(metric))
      try select.bind(limit, at: 1)
      if !range.isOpen {
        try select.bind(range.from ?? 0, at: 2)
        try select.bind(range.to ?? Int64.max, at: 3)
      }
      var rows: [QueryRow] = []
      while try select.step() { rows.append(QueryRow(passkey: select.text(0), sums: select.sums(from: 1))) }
      return rows
    }
  }

  /// A user without downloads has the ratio of one byte down: above every user who has any.
  private static func order(_ metric: TopMetric, of table: String) -> String {
    switch metric {
    case .up: "\(table).uploaded"
    case .down: "\(table).downloaded"
    case .ratio: "\(table).uploaded * 1.0 / max(\(table).downloaded, 1)"
    case .seedtime: "\(table).seed_seconds"
    }
  }

  private static func topOfAll(_ metric: TopMetric) -> String {
    // The ids first: sorting whole rows of a million users costs more than looking up the few that are shown.
    """
    SELECT passkey, \(StoreSchema.sumColumns) FROM users
    WHERE id IN (SELECT id FROM users ORDER BY \(order(metric, of: "users")) DESC, id LIMIT ?1)
    ORDER BY \(order(metric, of: "users")) DESC, id
    """
  }

  private static func topOfRange(_ metric: TopMetric) -> String {
    """
    WITH r AS (
      SELECT session_id, \(StoreSchema.sumColumns) FROM windows WHERE start >= ?2 AND start < ?3
      UNION ALL SELECT session_id, \(StoreSchema.sumColumns) FROM days WHERE start >= ?2 AND start < ?3),
    sums AS (
      SELECT s.user_id AS user_id, sum(r.uploaded) AS uploaded, sum(r.downloaded) AS downloaded,
        sum(r.seed_seconds) AS seed_seconds, sum(r.leech_seconds) AS leech_seconds,
        sum(r.elapsed_seconds) AS elapsed_seconds, sum(r.events) AS events, sum(r.completed) AS completed,
        min(nullif(r.first_seen, 0)) AS first_seen, max(r.last_seen) AS last_seen
      FROM r JOIN sessions s ON s.id = r.session_id GROUP BY s.user_id)
    SELECT u.passkey, \(StoreSchema.sumColumns.split(separator: ", ").map { "sums.\($0)" }.joined(separator: ", "))
    FROM sums JOIN users u ON u.id = sums.user_id ORDER BY \(order(metric, of: "sums")) DESC, u.id LIMIT ?1
    """
  }

  /// Adds up rows of several databases that have the same key, and keeps the order of first appearance.
  static func merged(_ lists: [[QueryRow]]) -> [QueryRow] {
    guard lists.count > 1 else { return lists.first ?? [] }
    var rows: [QueryRow] = []
    var places: [QueryRow: Int] = [:]
    for row in lists.joined() {
      var key = row
      key.sums = TrafficSums()
      if let place = places[key] {
        rows[place].sums.add(row.sums)
      } else {
        places[key] = rows.count
        rows.append(row)
      }
    }
    return rows
  }
}
