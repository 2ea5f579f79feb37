// ExplainQuery: the entries behind a user's sums. Main thread of a verb, read-only connection.

import SQLite
import Wire

/// One entry of a user, and what became of it.
struct ExplainedEntry: Equatable, Sendable {
  var infoHash: String
  var peerID: String
  var explanation: Explanation
}

enum ExplainQuery {
  /// Entries of a user whose announces lie in a range, in the order of their ids. Those that retention has taken are
  /// missing; `heldFrom` is the time of the oldest that is kept, nil when there is none.
  static func entries(of passkey: String, in range: QueryRange, from database: borrowing SQLiteDatabase)
    throws(StoreError) -> (entries: [ExplainedEntry], heldFrom: Int64?)
  {
    let sessions = try store { () throws(SQLiteError) in
      let select = try database.prepare(
        """
        SELECT s.id, t.infohash, s.peer_id FROM sessions s JOIN torrents t ON t.id = s.torrent_id
        WHERE s.user_id = (SELECT id FROM users WHERE passkey = ?1)
        """)
      try select.bind(passkey, at: 1)
      var sessions: [Int64: (String, String)] = [:]
      while try select.step() {
        sessions[select.integer(0)] = (Hex.encode(select.bytes(1)), Hex.encode(select.bytes(2)))
      }
      return sessions
    }
    let heldFrom = try store { () throws(SQLiteError) in try database.integer("SELECT min(last_ts) FROM explanations") }
    guard !sessions.isEmpty else { return ([], heldFrom) }
    let wanted = Set(sessions.keys)
    var found: [ExplainedEntry] = []
    let isWhole = try store { () throws(SQLiteError) in
      // A row of entries that were ahead of the writer's clock says when that was.
      let select = try database.prepare(
        "SELECT entries FROM explanations WHERE (last_ts >= ?1 OR last_ts < first_ts) AND first_ts < ?2")
      try select.bind(range.from ?? 0, at: 1)
      try select.bind(range.to ?? Int64.max, at: 2)
      while try select.step() {
        guard let batch = Explanation.unpack(select.bytes(0), sessions: wanted) else { return false }
        for explanation in batch
        where explanation.timestamp >= range.from ?? 0 && explanation.timestamp < range.to ?? Int64.max {
          let (infoHash, peerID) = sessions[explanation.session]!
          found.append(ExplainedEntry(infoHash: infoHash, peerID: peerID, explanation: explanation))
        }
      }
      return true
    }
    guard isWhole else { throw .damaged("a row of explanations") }
    return (found.sorted { $0.explanation.entryID < $1.explanation.entryID }, heldFrom)
  }
}
