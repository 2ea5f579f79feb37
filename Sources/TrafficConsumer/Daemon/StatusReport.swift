// StatusReport: the numbers of `status`, from the running daemon or put together by the verb itself. A value.

import SQLite

struct StatusReport: Equatable, Sendable {
  var isReady = false
  /// nil: not known (Redis cannot be asked).
  var lagEntries: Int64?
  var lagSeconds: Double?
  var pendingEntries: Int64?
  var applied: Int64 = 0
  var duplicates: Int64 = 0
  var deadLetters: Int64 = 0
  var lost: Int64 = 0
  var withheld = WithheldSums()
  var redelivered: Int64 = 0
  /// The highest epoch of a stream: 1 until one was recreated.
  var epoch: Int64 = 1
  var rollbacks: Int64 = 0
  /// Entries unread in streams that are not read any more; nil: not known.
  var leftBehind: Int64?

  init() {}

  /// What the daemon knows of its streams; the rest is read from the database.
  init(_ engine: EngineState) {
    let streams = engine.streams
    isReady = engine.isReady
    leftBehind = engine.leftBehind
    if streams.allSatisfy(\.isConnected) {
      lagEntries = streams.reduce(0) { $0 + $1.undeliveredEntries }
      pendingEntries = streams.reduce(0) { $0 + $1.pendingEntries }
      lagSeconds = StreamProgress.lagSeconds(streams)
    }
  }

  /// Lag entries, lag milliseconds, pending entries, entries left behind; empty words for what is not known.
  var words: [String] {
    [
      lagEntries.map { String($0) } ?? "", lagSeconds.map { String(Int64($0 * 1000)) } ?? "",
      pendingEntries.map { String($0) } ?? "", leftBehind.map { String($0) } ?? "",
    ]
  }

  /// Takes over the words of a daemon's answer, readiness first; an earlier version's lacks the last.
  mutating func read(_ words: [String]) {
    guard words.count >= 4 else { return }
    isReady = words[0] == "ready"
    lagEntries = Int64(words[1])
    lagSeconds = Int64(words[2]).map { Double($0) / 1000 }
    pendingEntries = Int64(words[3])
    leftBehind = words.count > 4 ? Int64(words[4]) : nil
  }

  /// Adds what a database says.
  mutating func add(_ database: borrowing SQLiteDatabase) throws(StoreError) {
    let sums = try store { () throws(SQLiteError) in
      let select = try database.prepare(
        """
        SELECT total(applied), total(duplicates), (SELECT total(entries) FROM lost_ranges WHERE acknowledged = 0),
          (SELECT count(*) FROM dead_letters WHERE state = 'dead'), total(redelivered), max(epoch), total(rollbacks)
        FROM streams
        """)
      _ = try select.step()
      return (0..<7).map { select.integer(Int32($0)) }
    }
    withheld.add(try store { () throws(SQLiteError) in try WithheldSums.read(database) })
    applied += sums[0]
    duplicates += sums[1]
    lost += sums[2]
    deadLetters += sums[3]
    redelivered += sums[4]
    epoch = max(epoch, sums[5])
    rollbacks += sums[6]
  }
}
