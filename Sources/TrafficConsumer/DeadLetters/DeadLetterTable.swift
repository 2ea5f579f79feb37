// DeadLetterTable: the rows of dead letters: finding, listing, resolving. Writer thread and reading verbs.

import Linux
import SQLite

/// Which dead letters are meant.
struct DeadLetterFilter: Equatable, Sendable {
  var reason: String?
  /// Unix seconds: failed at this time or later.
  var since: Int64?
  var state: DeadLetterState?
  var limit: Int64?
}

enum DeadLetterTable {
  private static let columns = """
    id, stream_id, epoch, entry_id, reason, detail, state, deliveries, failed_at, resolved_at, fields, history
    """

  static func find(_ id: Int64, in database: borrowing SQLiteDatabase) throws(StoreError) -> DeadLetter? {
    let (isThere, letter) = try store { () throws(SQLiteError) -> (Bool, DeadLetter?) in
      let select = try database.prepare("SELECT \(columns) FROM dead_letters WHERE id = ?1")
      try select.bind(id, at: 1)
      return try select.step() ? (true, row(select)) : (false, nil)
    }
    if isThere && letter == nil { throw .damaged("dead letter \(id)") }
    return letter
  }

  /// The ids of dead letters, the oldest first: a list of a million is 8 MB.
  static func ids(_ filter: DeadLetterFilter, in database: borrowing SQLiteDatabase) throws(StoreError) -> [Int64] {
    try store { () throws(SQLiteError) in
      let select = try select("id", filter, in: database)
      var ids: [Int64] = []
      while try select.step() { ids.append(select.integer(0)) }
      return ids
    }
  }

  /// Dead letters, the oldest first.
  static func list(_ filter: DeadLetterFilter, in database: borrowing SQLiteDatabase) throws(StoreError)
    -> [DeadLetter]
  {
    var letters: [DeadLetter] = []
    try each(filter, in: database) { letters.append($0) }
    return letters
  }

  /// So many letters, or the first that are so large together, are read at once.
  static let pageLetters = 500
  private static let pageBytes = 1 << 20

  /// Dead letters, the oldest first, whenever `body` is ready for the next: nothing is being read meanwhile, because as long
  /// as a reader holds one moment of the database its write-ahead log grows.
  static func each(
    _ filter: DeadLetterFilter, in database: borrowing SQLiteDatabase, _ body: (DeadLetter) -> Void
  ) throws(StoreError) {
    var last: Int64 = 0
    var rest = filter.limit ?? .max
    while rest > 0 {
      var isWhole = true
      let letters = try store { () throws(SQLiteError) in
        try page(filter, after: last, limit: min(rest, Int64(pageLetters)), isWhole: &isWhole, in: database)
      }
      for letter in letters { body(letter) }
      guard isWhole else { throw .damaged("a dead letter's row") }
      guard let end = letters.last else { return }
      last = end.id
      rest -= Int64(letters.count)
    }
  }

  private static func page(
    _ filter: DeadLetterFilter, after id: Int64, limit: Int64, isWhole: inout Bool,
    in database: borrowing SQLiteDatabase
  ) throws(SQLiteError) -> [DeadLetter] {
    var part = filter
    part.limit = limit
    let select = try select(columns, part, after: id, in: database)
    var letters: [DeadLetter] = []
    var bytes = 0
    while bytes < pageBytes, try select.step() {
      bytes += select.bytes(10).count
      guard let letter = row(select) else {
        isWhole = false
        break
      }
      letters.append(letter)
    }
    return letters
  }

  private static func select(
    _ columns: String, _ filter: DeadLetterFilter, after id: Int64 = 0, in database: borrowing SQLiteDatabase
  ) throws(SQLiteError) -> SQLiteStatement {
    var conditions = ["id > ?5"]
    if filter.reason != nil { conditions.append("reason = ?1") }
    if filter.since != nil { conditions.append("failed_at >= ?2") }
    // By id, a page after the other: by the index on the state each page would sort all the rest.
    if filter.state != nil { conditions.append("+state = ?3") }
    let select = try database.prepare(
      "SELECT \(columns) FROM dead_letters WHERE \(conditions.joined(separator: " AND ")) ORDER BY id LIMIT ?4")
    if let reason = filter.reason { try select.bind(reason, at: 1) }
    if let since = filter.since { try select.bind(since, at: 2) }
    if let state = filter.state { try select.bind(state.rawValue, at: 3) }
    try select.bind(filter.limit ?? -1, at: 4)
    try select.bind(id, at: 5)
    return select
  }

  private static func row(_ row: borrowing SQLiteStatement) -> DeadLetter? {
    guard let entryID = EntryID(stored: row.bytes(3)), let state = DeadLetterState(rawValue: row.text(6)),
      let fields = EntryFields(stored: row.bytes(10))
    else { return nil }
    return DeadLetter(
      id: row.integer(0), streamID: row.integer(1), epoch: row.integer(2), entryID: entryID, reason: row.text(4),
      detail: row.text(5), state: state, deliveries: row.integer(7), failedAt: row.integer(8),
      resolvedAt: row.isNull(9) ? nil : row.integer(9), fields: fields, history: row.text(11))
  }

  /// How many there are in each state.
  static func counts(in database: borrowing SQLiteDatabase) throws(SQLiteError) -> [DeadLetterState: Int64] {
    let select = try database.prepare("SELECT state, count(*) FROM dead_letters GROUP BY state")
    var counts: [DeadLetterState: Int64] = [:]
    while try select.step() {
      if let state = DeadLetterState(rawValue: select.text(0)) { counts[state] = select.integer(1) }
    }
    return counts
  }

  /// Ends a dead letter that is still dead, and writes down how.
  static func resolve(
    _ id: Int64, as state: DeadLetterState, history: KeyValuePairs<String, String>,
    in database: borrowing SQLiteDatabase
  ) throws(SQLiteError) {
    let update = try database.prepare(
      """
      UPDATE dead_letters SET state = ?2, resolved_at = ?3, history = history || ?4 WHERE id = ?1 AND state = 'dead'
      """)
    try update.bind(id, at: 1)
    try update.bind(state.rawValue, at: 2)
    try update.bind(Clock.unixSeconds(), at: 3)
    try update.bind(line(history), at: 4)
    try update.run()
  }

  /// A replay that failed: the new reason, and the attempt in the history.
  static func note(
    _ id: Int64, history: KeyValuePairs<String, String>, reason: EntryFault, in database: borrowing SQLiteDatabase
  ) throws(SQLiteError) {
    let update = try database.prepare(
      "UPDATE dead_letters SET reason = ?2, detail = ?3, history = history || ?4 WHERE id = ?1")
    try update.bind(id, at: 1)
    try update.bind(reason.reason, at: 2)
    try update.bind(reason.detail, at: 3)
    try update.bind(line(history), at: 4)
    try update.run()
  }

  /// One JSON object with the time, and an end of line.
  private static func line(_ history: KeyValuePairs<String, String>) -> String {
    var text = "{\"at\":\(Clock.unixSeconds())"
    for (name, value) in history where !value.isEmpty {
      text += ",\(JSONText.quoted(name)):\(JSONText.quoted(value))"
    }
    return text + "}\n"
  }
}
