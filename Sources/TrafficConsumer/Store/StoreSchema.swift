// StoreSchema: the tables, as steps from one schema version to the next. Run by the writer when it opens the database.

import SQLite

enum StoreSchema {
  /// What `user_version` says after the last step.
  static let version = Int64(steps.count)

  /// Sums as every table that adds up has them.
  private static let sums = """
    uploaded INTEGER NOT NULL DEFAULT 0 CHECK (uploaded >= 0),
    downloaded INTEGER NOT NULL DEFAULT 0 CHECK (downloaded >= 0),
    seed_seconds INTEGER NOT NULL DEFAULT 0, leech_seconds INTEGER NOT NULL DEFAULT 0,
    elapsed_seconds INTEGER NOT NULL DEFAULT 0, events INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0, first_seen INTEGER NOT NULL DEFAULT 0, last_seen INTEGER NOT NULL DEFAULT 0
    """

  /// The names of `sums`, for statements.
  static let sumColumns =
    "uploaded, downloaded, seed_seconds, leech_seconds, elapsed_seconds, events, completed, first_seen, last_seen"

  /// How an UPDATE sets them, from ?2 on.
  static let sumAssignments = """
    uploaded = ?2, downloaded = ?3, seed_seconds = ?4, leech_seconds = ?5, elapsed_seconds = ?6, events = ?7,
    completed = ?8, first_seen = ?9, last_seen = ?10
    """

  /// For step 3: where the first day begins that has all of its windows.
  private static let firstWholeDay =
    "(SELECT coalesce(max(value), 0) + 86399 FROM meta WHERE name = 'windows_floor') / 86400 * 86400"

  /// Step i brings version i to i + 1. A published step is never changed; a change is a new step.
  private static let steps: [String] = [
    """
    -- What is true of the whole database: its identity, the fingerprint key, the window, the retention floors.
    CREATE TABLE meta(name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

    CREATE TABLE users(id INTEGER PRIMARY KEY, passkey TEXT NOT NULL UNIQUE, \(sums)) STRICT;
    CREATE TABLE torrents(id INTEGER PRIMARY KEY, infohash BLOB NOT NULL UNIQUE CHECK (length(infohash) = 20), \(sums))
      STRICT;

    -- The session (passkey, infohash, peer_id): its sums, and what it takes to credit each of its entries once.
    CREATE TABLE sessions(
      id INTEGER PRIMARY KEY,
      user_id INTEGER NOT NULL REFERENCES users(id),
      torrent_id INTEGER NOT NULL REFERENCES torrents(id),
      peer_id BLOB NOT NULL CHECK (length(peer_id) = 20),
      \(sums),
      covered_from INTEGER NOT NULL DEFAULT 0, covered_to INTEGER NOT NULL DEFAULT 0,
      stopped INTEGER NOT NULL DEFAULT 0,
      generation TEXT, credited_up INTEGER NOT NULL DEFAULT 0, credited_down INTEGER NOT NULL DEFAULT 0,
      gaps BLOB, fingerprints BLOB,
      UNIQUE (user_id, torrent_id, peer_id)) STRICT;
    CREATE INDEX sessions_by_torrent ON sessions(torrent_id);

    -- L2 of generations that are not their session's latest.
    CREATE TABLE generations(
      session_id INTEGER NOT NULL REFERENCES sessions(id), generation TEXT NOT NULL,
      credited_up INTEGER NOT NULL, credited_down INTEGER NOT NULL,
      PRIMARY KEY (session_id, generation)) STRICT, WITHOUT ROWID;

    -- One row per session and window. The window comes first in the key: writes go to the end of the tree, and retention
    -- deletes a range from its beginning.
    CREATE TABLE windows(
      start INTEGER NOT NULL, session_id INTEGER NOT NULL REFERENCES sessions(id), \(sums),
      PRIMARY KEY (start, session_id)) STRICT, WITHOUT ROWID;
    CREATE TABLE days(
      start INTEGER NOT NULL, session_id INTEGER NOT NULL REFERENCES sessions(id), \(sums),
      PRIMARY KEY (start, session_id)) STRICT, WITHOUT ROWID;
    -- What retention took out of `days`, so that days and these still add up to the session.
    CREATE TABLE folded(session_id INTEGER PRIMARY KEY REFERENCES sessions(id), \(sums)) STRICT;

    CREATE TABLE snatches(
      user_id INTEGER NOT NULL REFERENCES users(id), torrent_id INTEGER NOT NULL REFERENCES torrents(id),
      at INTEGER NOT NULL, PRIMARY KEY (user_id, torrent_id)) STRICT, WITHOUT ROWID;

    -- One row per stream; an epoch begins when the stream turns out to be another one under the same name.
    CREATE TABLE streams(
      id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL DEFAULT 1,
      applied INTEGER NOT NULL DEFAULT 0, duplicates INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0,
      redelivered INTEGER NOT NULL DEFAULT 0, vanished INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0,
      rollbacks INTEGER NOT NULL DEFAULT 0,
      -- Within the epoch: entries dealt with, and Redis' entries-added that we never had a chance to see (NULL: not known
      -- yet).
      handled INTEGER NOT NULL DEFAULT 0, added_before INTEGER,
      -- Entries above this one are missing in the last verified backup.
      backup_floor BLOB) STRICT;
    -- Some of the latest entries and what they held: whether the stream is still the one they came from.
    CREATE TABLE anchors(
      stream_id INTEGER NOT NULL REFERENCES streams(id), entry_id BLOB NOT NULL, hash INTEGER NOT NULL,
      PRIMARY KEY (stream_id, entry_id)) STRICT, WITHOUT ROWID;
    -- L1: which entries were dealt with (AppliedRanges).
    CREATE TABLE applied_ranges(
      stream_id INTEGER NOT NULL REFERENCES streams(id), epoch INTEGER NOT NULL, first BLOB NOT NULL, last BLOB NOT NULL,
      PRIMARY KEY (stream_id, epoch, first)) STRICT, WITHOUT ROWID;

    CREATE TABLE dead_letters(
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      stream_id INTEGER NOT NULL REFERENCES streams(id), epoch INTEGER NOT NULL, entry_id BLOB NOT NULL,
      reason TEXT NOT NULL, detail TEXT NOT NULL,
      state TEXT NOT NULL DEFAULT 'dead' CHECK (state IN ('dead', 'replayed', 'discarded')),
      deliveries INTEGER NOT NULL, failed_at INTEGER NOT NULL, resolved_at INTEGER,
      -- Names and values as received, each with its length in front (EntryFields).
      fields BLOB NOT NULL,
      -- Later attempts and notes, one JSON object per line.
      history TEXT NOT NULL DEFAULT '',
      UNIQUE (stream_id, epoch, entry_id)) STRICT;
    CREATE INDEX dead_letters_by_state ON dead_letters(state, failed_at);

    -- Why entries were credited what they were: one row per batch (Explanation packs its entries), found by their times.
    CREATE TABLE explanations(
      id INTEGER PRIMARY KEY, first_ts INTEGER NOT NULL, last_ts INTEGER NOT NULL, entries BLOB NOT NULL) STRICT;
    CREATE INDEX explanations_by_time ON explanations(last_ts, first_ts);
    """,
    """
    -- Reports of self-update runs (UpdateReport), each file once by its name.
    CREATE TABLE tasks(
      id INTEGER PRIMARY KEY AUTOINCREMENT, report TEXT NOT NULL UNIQUE, type TEXT NOT NULL, dry_run INTEGER NOT NULL,
      started_at INTEGER NOT NULL, finished_at INTEGER NOT NULL, status TEXT NOT NULL, exit_code INTEGER NOT NULL,
      binary_path TEXT NOT NULL, release_tag TEXT, stderr_tail TEXT NOT NULL, runner_host TEXT NOT NULL,
      runner_pid INTEGER NOT NULL, imported_at INTEGER NOT NULL) STRICT;
    """,
    """
    -- Until now every entry was added to its day as well as to its window. From here on every entry is in one place:
    -- its window, then (retention) its day, then `folded`. The day in which the windows began is whole in `days`.
    DELETE FROM windows WHERE start < \(firstWholeDay);
    DELETE FROM days WHERE start >= \(firstWholeDay);
    UPDATE meta SET value = \(firstWholeDay) WHERE name = 'windows_floor';
    """,
    """
    -- Entries that are gone before they were dealt with (LostRanges): so many of the ids from first to last.
    CREATE TABLE lost_ranges(
      id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES streams(id), epoch INTEGER NOT NULL,
      first BLOB NOT NULL, last BLOB NOT NULL, entries INTEGER NOT NULL CHECK (entries > 0),
      -- How many entries ever had one of these ids.
      total INTEGER NOT NULL,
      found_at INTEGER NOT NULL, acknowledged INTEGER NOT NULL DEFAULT 0) STRICT;
    CREATE INDEX lost_ranges_by_stream ON lost_ranges(stream_id, epoch);
    -- Until now only their number was known, and their ids count as applied: no epoch's, so that nothing fills them.
    INSERT INTO lost_ranges(stream_id, epoch, first, last, entries, total, found_at)
      SELECT id, 0, zeroblob(16),
        coalesce((SELECT max(last) FROM applied_ranges WHERE stream_id = streams.id), zeroblob(16)), lost + vanished,
        applied + duplicates + dead + lost + vanished, CAST(strftime('%s', 'now') AS INTEGER)
      FROM streams WHERE lost + vanished > 0;
    ALTER TABLE streams DROP COLUMN lost;
    -- Up to this entry Redis' count came out, and what `handled` was then.
    ALTER TABLE streams ADD COLUMN accounted_to BLOB;
    ALTER TABLE streams ADD COLUMN accounted_handled INTEGER NOT NULL DEFAULT 0;
    """,
    """
    -- L3 of entries more than an hour behind their session's latest, some together: when they arrived (milliseconds of the
    -- id) and the hash of their fields, as in sessions.fingerprints. Kept as long as the entries may come back.
    CREATE TABLE fingerprints(
      session_id INTEGER NOT NULL REFERENCES sessions(id), newest INTEGER NOT NULL, oldest INTEGER NOT NULL,
      entries BLOB NOT NULL, PRIMARY KEY (session_id, newest, oldest)) STRICT, WITHOUT ROWID;
    -- Of entries that an earlier version applied there are those of the last hour only.
    INSERT INTO meta(name, value)
      SELECT 'fingerprints_from', 1000 * CAST(strftime('%s', 'now') AS INTEGER) WHERE EXISTS (SELECT 1 FROM sessions);
    """,
    """
    -- Entries of the epoch dealt with up to this one, itself among them (NULL: not known).
    ALTER TABLE anchors ADD COLUMN handled INTEGER;
    -- Up to here an older state of the stream had come back when the epoch began: what fills earlier epochs' losses.
    ALTER TABLE streams ADD COLUMN restored_through BLOB;
    -- Entries of the epoch 0 in `applied_ranges`: dealt with in earlier epochs.
    """,
    """
    -- The announces at `covered_to` that say nothing, as in `fingerprints`; NULL: not known.
    ALTER TABLE sessions ADD COLUMN latest BLOB;
    -- The hash of a dead letter's fields, by which it is known when its entry comes again in another epoch.
    ALTER TABLE dead_letters ADD COLUMN content INTEGER;
    CREATE INDEX dead_letters_by_content ON dead_letters(content);
    -- The time of the newest announce; and up to which time announces of an earlier epoch may come again.
    ALTER TABLE streams ADD COLUMN newest_announce INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE streams ADD COLUMN returns_through INTEGER NOT NULL DEFAULT 0;
    UPDATE streams SET newest_announce = CAST(strftime('%s', 'now') AS INTEGER) WHERE EXISTS (SELECT 1 FROM sessions);
    UPDATE streams SET returns_through = newest_announce WHERE epoch > 1;
    -- What was applied when a version came that keeps fingerprints: entries without counters that come again from before
    -- are not known by what they hold.
    ALTER TABLE streams ADD COLUMN upgraded_epoch INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE streams ADD COLUMN upgraded_through BLOB;
    UPDATE streams SET upgraded_epoch = epoch, upgraded_through =
      (SELECT max(last) FROM applied_ranges WHERE stream_id = streams.id AND epoch = streams.epoch)
      WHERE EXISTS (SELECT 1 FROM meta WHERE name = 'fingerprints_from');
    """,
    """
    -- The time in which a generation was credited (CreditedTime); NULL: its entries do not say. And up to when any other
    -- generation of the session was, at most.
    ALTER TABLE generations ADD COLUMN first_order INTEGER;
    ALTER TABLE generations ADD COLUMN last_order INTEGER;
    ALTER TABLE generations ADD COLUMN reached_order INTEGER;
    ALTER TABLE sessions ADD COLUMN first_order INTEGER;
    ALTER TABLE sessions ADD COLUMN last_order INTEGER;
    ALTER TABLE sessions ADD COLUMN reached_order INTEGER;
    ALTER TABLE sessions ADD COLUMN others_order INTEGER NOT NULL DEFAULT 0;
    -- Bytes that were not credited because their time was, under another generation.
    CREATE TABLE withheld(
      session_id INTEGER PRIMARY KEY REFERENCES sessions(id), entries INTEGER NOT NULL,
      uploaded INTEGER NOT NULL, downloaded INTEGER NOT NULL) STRICT;
    -- The latest epoch in which a letter's entry came again.
    ALTER TABLE dead_letters ADD COLUMN returned_epoch INTEGER NOT NULL DEFAULT 0;
    """,
    """
    -- Bytes that were not credited because their time was, under another generation: of which generation, and when they were
    -- moved at the earliest and at the latest. What was withheld until now is of none, and stays withheld.
    ALTER TABLE withheld RENAME TO withheld_sums;
    CREATE TABLE withheld(
      session_id INTEGER NOT NULL REFERENCES sessions(id), generation TEXT NOT NULL,
      after_order INTEGER NOT NULL, before_order INTEGER NOT NULL, entries INTEGER NOT NULL,
      uploaded INTEGER NOT NULL, downloaded INTEGER NOT NULL,
      PRIMARY KEY (session_id, generation)) STRICT, WITHOUT ROWID;
    INSERT INTO withheld SELECT session_id, '', 0, 0, entries, uploaded, downloaded FROM withheld_sums;
    DROP TABLE withheld_sums;
    INSERT INTO meta(name, value)
      SELECT 'withheld_ever', sum(entries) FROM withheld HAVING count(*) > 0;
    -- Generations that were credited before their beginning has come, and the order of the entry that came first.
    CREATE TABLE unbegun(
      session_id INTEGER NOT NULL REFERENCES sessions(id), generation TEXT NOT NULL, seen_order INTEGER NOT NULL,
      PRIMARY KEY (session_id, generation)) STRICT, WITHOUT ROWID;
    -- The id that a letter's entry has in the epoch `returned_epoch`.
    ALTER TABLE dead_letters ADD COLUMN returned_id BLOB;
    -- Which ids those that have come again have there is not known: they may come once more.
    UPDATE dead_letters SET returned_epoch = 0 WHERE returned_epoch > 0;
    -- Entries of the present epoch whose letter was purged: they may be delivered once more.
    CREATE TABLE purged_letters(
      stream_id INTEGER NOT NULL REFERENCES streams(id), entry_id BLOB NOT NULL, content INTEGER NOT NULL,
      PRIMARY KEY (stream_id, entry_id, content)) STRICT, WITHOUT ROWID;
    """,
    """
    -- Step 9 was shorter at first: what a database that was brought to it then has not.
    CREATE TABLE IF NOT EXISTS purged_letters(
      stream_id INTEGER NOT NULL REFERENCES streams(id), entry_id BLOB NOT NULL, content INTEGER NOT NULL,
      PRIMARY KEY (stream_id, entry_id, content)) STRICT, WITHOUT ROWID;
    UPDATE dead_letters SET returned_epoch = 0 WHERE returned_epoch > 0 AND returned_id IS NULL;
    INSERT OR IGNORE INTO meta(name, value)
      SELECT 'withheld_ever', sum(entries) FROM withheld HAVING count(*) > 0;
    """,
    """
    -- So were steps 1, 5, 7 and 8: SchemaCompletion has added to every database what it lacked of them.
    """,
    """
    -- A dt below zero was no number at first: of announces that are letters for it, the time is not among the streams'.
    INSERT INTO meta(name, value)
      SELECT 'letters_undated', 1 WHERE EXISTS (
        SELECT 1 FROM dead_letters WHERE reason = 'malformed_value' AND detail LIKE 'field dt %');
    """,
  ]

  /// Brings a database up to date in one transaction; refuses one that a newer program wrote.
  static func migrate(_ database: borrowing SQLiteDatabase) throws(StoreError) {
    let found = try store { () throws(SQLiteError) in try database.integer("PRAGMA user_version") ?? 0 }
    guard found != version else { return }
    guard found < version else { throw .newerSchema(found: found, known: version) }
    try database.transaction(.immediate) { () throws(StoreError) in
      // Another process may have been quicker.
      let found = try store { () throws(SQLiteError) in try database.integer("PRAGMA user_version") ?? 0 }
      guard found < version else { return }
      let missing = try store { () throws(SQLiteError) in
        if found > 0 { try SchemaCompletion.complete(database, version: found) }
        for step in steps[Int(found)...] { try database.execute(step) }
        try database.execute("PRAGMA user_version = \(version)")
        return found > 0 ? try SchemaCompletion.missing(in: database, after: steps) : []
      }
      guard missing.isEmpty else { throw .otherSchema(found: found, lacks: missing.joined(separator: ", ")) }
    } mapError: {
      .database($0)
    }
  }

  /// Refuses a database that this program cannot read: an older or newer schema, or none.
  static func requireCurrent(_ database: borrowing SQLiteDatabase) throws(StoreError) {
    let found = try store { () throws(SQLiteError) in try database.integer("PRAGMA user_version") ?? 0 }
    if found == 0 { throw .empty }
    if found > version { throw .newerSchema(found: found, known: version) }
    if found < version { throw .olderSchema(found: found, known: version) }
  }
}
