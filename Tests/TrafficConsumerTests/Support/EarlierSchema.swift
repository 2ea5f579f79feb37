// What a step of the schema did, undone, for tests of migrations.

enum EarlierSchema {
  /// As the first program left it that called it 9.
  static let nine = """
    DROP TABLE purged_letters; DELETE FROM meta WHERE name = 'withheld_ever'; UPDATE dead_letters SET returned_id = NULL;
    PRAGMA user_version = 9
    """
  static let eight = """
    DROP TABLE unbegun; DROP TABLE purged_letters; DELETE FROM meta WHERE name = 'withheld_ever'; ALTER TABLE dead_letters DROP COLUMN returned_id; CREATE TABLE sums(
      session_id INTEGER PRIMARY KEY REFERENCES sessions(id), entries INTEGER NOT NULL,
      uploaded INTEGER NOT NULL, downloaded INTEGER NOT NULL) STRICT;
    INSERT INTO sums SELECT session_id, sum(entries), sum(uploaded), sum(downloaded) FROM withheld GROUP BY session_id;
    DROP TABLE withheld; ALTER TABLE sums RENAME TO withheld; PRAGMA user_version = 8
    """
  static let seven: String = {
    let columns = ["sessions", "generations"].flatMap { table in
      ["first_order", "last_order", "reached_order"].map { "ALTER TABLE \(table) DROP COLUMN \($0);" }
    }
    return "DROP TABLE unbegun; DROP TABLE purged_letters; DROP TABLE withheld; "
      + "DELETE FROM meta WHERE name = 'withheld_ever'; "
      + "ALTER TABLE dead_letters DROP COLUMN returned_epoch; "
      + "ALTER TABLE dead_letters DROP COLUMN returned_id; "
      + "ALTER TABLE sessions DROP COLUMN others_order; \(columns.joined(separator: " ")) PRAGMA user_version = 7"
  }()
}
