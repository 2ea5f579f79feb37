// SumTable: users, or torrents: rows of sums under a key, in memory since they were first met, written back once per batch.
// Belongs to a SessionTable, which says what a rollback means.

import SQLite

struct SumTable<Key: Hashable>: ~Copyable {
  struct Row {
    let id: Int64
    var sums: TrafficSums
    var isTouched = false
  }
  /// Binds a key to a statement's first parameter.
  typealias Bind = (Key, borrowing SQLiteStatement) throws(SQLiteError) -> Void

  private var rows: [Row] = []
  private var index: [Key: Int] = [:]
  private var touched: [Int] = []
  private let bind: Bind
  private let select: SQLiteStatement
  private let insert: SQLiteStatement
  private let update: SQLiteStatement

  init(_ table: String, key: String, _ database: borrowing SQLiteDatabase, bind: @escaping Bind) throws(SQLiteError) {
    let select = try database.prepare("SELECT id, \(StoreSchema.sumColumns) FROM \(table) WHERE \(key) = ?1")
    let insert = try database.prepare("INSERT INTO \(table)(\(key)) VALUES (?1) RETURNING id")
    let update = try database.prepare("UPDATE \(table) SET \(StoreSchema.sumAssignments) WHERE id = ?1")
    self.bind = bind
    self.select = select
    self.insert = insert
    self.update = update
  }

  var count: Int { rows.count }
  subscript(place: Int) -> Row { rows[place] }

  /// Where the row of a key is; it is made when there is none.
  mutating func place(of key: Key) throws(SQLiteError) -> Int {
    if let found = index[key] { return found }
    rows.append(try load(key))
    index[key] = rows.count - 1
    return rows.count - 1
  }

  private func load(_ key: Key) throws(SQLiteError) -> Row {
    try bind(key, select)
    defer { select.reset() }
    if try select.step() { return Row(id: select.integer(0), sums: select.sums(from: 1)) }
    try bind(key, insert)
    defer { insert.reset() }
    _ = try insert.step()
    return Row(id: insert.integer(0), sums: TrafficSums())
  }

  mutating func add(_ sums: TrafficSums, at place: Int) {
    rows[place].sums.add(sums)
    guard !rows[place].isTouched else { return }
    rows[place].isTouched = true
    touched.append(place)
  }

  /// Writes what has changed, in the order of the rows' ids.
  mutating func flush() throws(SQLiteError) {
    for place in touched.sorted(by: { rows[$0].id < rows[$1].id }) {
      try update.bind(rows[place].id, at: 1)
      try update.bind(rows[place].sums, from: 2)
      try update.run()
      rows[place].isTouched = false
    }
    touched.removeAll(keepingCapacity: true)
  }

  mutating func forget() {
    rows.removeAll(keepingCapacity: true)
    index.removeAll(keepingCapacity: true)
    touched.removeAll(keepingCapacity: true)
  }
}
