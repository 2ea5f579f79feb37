// What a step of the schema did, undone, for tests of migrations.

enum EarlierSchema {
  static let seven: String = {
    let columns = ["sessions", "generations"].flatMap { table in
      ["first_order", "last_order", "reached_order"].map { "ALTER TABLE \(table) DROP COLUMN \($0);" }
    }
    return "DROP TABLE withheld; ALTER TABLE dead_letters DROP COLUMN returned_epoch; "
      + "ALTER TABLE sessions DROP COLUMN others_order; \(columns.joined(separator: " ")) PRAGMA user_version = 7"
  }()
}
