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

  /// What steps 6 and 7 did.
  private static let five = """
    \(seven); DROP INDEX dead_letters_by_content; ALTER TABLE dead_letters DROP COLUMN content;
    ALTER TABLE sessions DROP COLUMN latest; ALTER TABLE streams DROP COLUMN newest_announce;
    ALTER TABLE streams DROP COLUMN returns_through; ALTER TABLE streams DROP COLUMN upgraded_epoch;
    ALTER TABLE streams DROP COLUMN upgraded_through; ALTER TABLE streams DROP COLUMN restored_through;
    ALTER TABLE anchors DROP COLUMN handled; PRAGMA user_version = 5
    """
  static let three = """
    \(five); DROP TABLE fingerprints; DROP TABLE lost_ranges; ALTER TABLE streams ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE streams DROP COLUMN accounted_to; ALTER TABLE streams DROP COLUMN accounted_handled;
    DELETE FROM meta WHERE name = 'fingerprints_from'; PRAGMA user_version = 3
    """

  /// As programs left it that were built in the midst of a step, by the commit.
  static let unfinished: KeyValuePairs = [
    "4909a87": "\(nine); ALTER TABLE dead_letters DROP COLUMN returned_id",
    "211e4a2": "\(eight); ALTER TABLE dead_letters DROP COLUMN returned_epoch",
    "12e776a": "\(seven); \(withoutUpgrade)",
    "d0c50ff": "\(seven); \(withoutUpgrade); \(withoutContent)",
    "3f8809c": "\(five); \(fingerprintRows)",
    "f05fd28": """
    \(three); \(withoutExplanations); DROP TABLE tasks;
    INSERT INTO days SELECT * FROM windows; UPDATE days SET start = start / 86400 * 86400; PRAGMA user_version = 1
    """,
    "12e776a, then 10": "\(withoutUpgrade); PRAGMA user_version = 10",
    "d0c50ff, then 10": "\(withoutUpgrade); \(withoutContent); PRAGMA user_version = 10",
    "3f8809c, then 10": "\(fingerprintRows); PRAGMA user_version = 10",
    "f05fd28, then 10": "\(withoutExplanations); PRAGMA user_version = 10",
  ]

  private static let withoutUpgrade =
    "ALTER TABLE streams DROP COLUMN upgraded_epoch; ALTER TABLE streams DROP COLUMN upgraded_through"
  private static let withoutContent =
    "DROP INDEX dead_letters_by_content; ALTER TABLE dead_letters DROP COLUMN content"
  private static let withoutExplanations = "DROP TABLE explanations"
  private static let fingerprintRows = """
    DROP TABLE fingerprints; CREATE TABLE fingerprints(
      session_id INTEGER NOT NULL REFERENCES sessions(id), arrived INTEGER NOT NULL, hash INTEGER NOT NULL,
      PRIMARY KEY (session_id, arrived, hash)) STRICT, WITHOUT ROWID;
    INSERT INTO fingerprints SELECT id, 1, 2 FROM sessions; UPDATE sessions SET fingerprints = NULL
    """
}
