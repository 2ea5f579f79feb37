// SchemaCompletion: what databases lack that were made by a program between two changes of the same schema step: some steps
// were added to after a database could have been made with them. Looked for in the tables themselves, because the number
// of the version does not tell. Inside the writer's migration.

import SQLite

enum SchemaCompletion {
  /// Something that a step makes today, and did not at first.
  private struct Part {
    /// Databases of this version and later have it.
    let version: Int64
    let table: String
    /// The column that tells; nil: the table.
    var column: String?
    let sql: String
  }

  private static let parts: [Part] = [
    Part(
      version: 1, table: "explanations",
      sql: """
        CREATE TABLE explanations(
          id INTEGER PRIMARY KEY, first_ts INTEGER NOT NULL, last_ts INTEGER NOT NULL, entries BLOB NOT NULL) STRICT;
        CREATE INDEX explanations_by_time ON explanations(last_ts, first_ts)
        """),
    // Had a row for each. What such a program applied is known by its id, as if it had kept none.
    Part(
      version: 5, table: "fingerprints", column: "newest",
      sql: """
        DROP TABLE fingerprints;
        CREATE TABLE fingerprints(
          session_id INTEGER NOT NULL REFERENCES sessions(id), newest INTEGER NOT NULL, oldest INTEGER NOT NULL,
          entries BLOB NOT NULL, PRIMARY KEY (session_id, newest, oldest)) STRICT, WITHOUT ROWID;
        INSERT OR IGNORE INTO meta(name, value)
          SELECT 'fingerprints_from', 1000 * CAST(strftime('%s', 'now') AS INTEGER) WHERE EXISTS (SELECT 1 FROM sessions)
        """),
    Part(
      version: 7, table: "dead_letters", column: "content",
      sql: """
        ALTER TABLE dead_letters ADD COLUMN content INTEGER;
        CREATE INDEX dead_letters_by_content ON dead_letters(content)
        """),
    Part(
      version: 7, table: "streams", column: "upgraded_epoch",
      sql: """
        ALTER TABLE streams ADD COLUMN upgraded_epoch INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE streams ADD COLUMN upgraded_through BLOB
        """),
    Part(
      version: 8, table: "dead_letters", column: "returned_epoch",
      sql: "ALTER TABLE dead_letters ADD COLUMN returned_epoch INTEGER NOT NULL DEFAULT 0"),
    // Step 10 forgets the returns of which the id is not known.
    Part(
      version: 9, table: "dead_letters", column: "returned_id",
      sql: "ALTER TABLE dead_letters ADD COLUMN returned_id BLOB"),
  ]

  /// Of databases from 7 on: step 7 does it for earlier ones.
  private static let noteUpgrade = """
    UPDATE streams SET upgraded_epoch = epoch, upgraded_through =
      (SELECT max(last) FROM applied_ranges WHERE stream_id = streams.id AND epoch = streams.epoch)
      WHERE upgraded_epoch = 0 AND EXISTS (SELECT 1 FROM meta WHERE name = 'fingerprints_from')
    """

  /// Gives a database of a version what every database of that version should have.
  static func complete(_ database: borrowing SQLiteDatabase, version: Int64) throws(SQLiteError) {
    var isUpgradeOpen = false
    for part in parts where part.version <= version {
      let column = part.column.map { "name = '\($0)'" } ?? "true"
      let isThere =
        try database.integer("SELECT EXISTS (SELECT 1 FROM pragma_table_info('\(part.table)') WHERE \(column))") == 1
      guard !isThere else { continue }
      try database.execute(part.sql)
      isUpgradeOpen = isUpgradeOpen || part.version == 5 || part.column == "upgraded_epoch"
    }
    if isUpgradeOpen && version >= 7 { try database.execute(noteUpgrade) }
  }

  /// What of `steps`, run on nothing, a database has not: tables with their columns, and indexes.
  static func missing(in database: borrowing SQLiteDatabase, after steps: [String]) throws(SQLiteError) -> [String] {
    let whole = try SQLiteDatabase(path: ":memory:", access: .readWriteCreate)
    for step in steps { try whole.execute(step) }
    return try names(in: whole).subtracting(names(in: database)).sorted()
  }

  private static func names(in database: borrowing SQLiteDatabase) throws(SQLiteError) -> Set<String> {
    let select = try database.prepare(
      """
      SELECT tables.name || '.' || columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table'
      UNION ALL SELECT name FROM sqlite_schema WHERE type = 'index'
      """)
    var names: Set<String> = []
    while try select.step() { names.insert(select.text(0)) }
    return names
  }
}
