// DeadLetterReplay: applies a dead letter after all, once, under the id it had; discards and purges. Writer thread, or the
// main thread of a verb that holds the lock.

import SQLite
import Wire

/// What replaying one dead letter came to.
struct ReplayResult: Equatable, Sendable {
  enum Outcome: String, Sendable {
    /// Applied now (or would be).
    case replayed
    /// Applied now, and it turned out that all it says had been credited.
    case duplicate
    /// Replayed earlier; nothing was changed.
    case alreadyReplayed = "already replayed"
    /// Discarded earlier; nothing was changed.
    case discarded
    /// Still not an event; it stays dead with the new reason.
    case failed
    case notFound = "not found"
  }
  var id: Int64
  var outcome: Outcome
  /// Bytes credited.
  var uploaded: Int64 = 0
  var downloaded: Int64 = 0
  /// What it was, or why it failed.
  var detail = ""

  static let wordCount = 5
  var words: [String] { [String(id), outcome.rawValue, String(uploaded), String(downloaded), detail] }

  init(id: Int64, outcome: Outcome, uploaded: Int64 = 0, downloaded: Int64 = 0, detail: String = "") {
    self.id = id
    self.outcome = outcome
    self.uploaded = uploaded
    self.downloaded = downloaded
    self.detail = detail
  }

  /// Reads `words`; nil when they are not that.
  init?(words: some Collection<String>) {
    let words = Array(words)
    guard words.count == Self.wordCount, let id = Int64(words[0]), let outcome = Outcome(rawValue: words[1]),
      let uploaded = Int64(words[2]), let downloaded = Int64(words[3])
    else { return nil }
    self.init(id: id, outcome: outcome, uploaded: uploaded, downloaded: downloaded, detail: words[4])
  }
}

extension StoreWriter {
  /// Replays one dead letter in a transaction of its own. With `isDryRun` everything happens but the commit.
  func replay(_ id: Int64, repairs: [(name: String, value: String)], isDryRun: Bool) throws(StoreError) -> ReplayResult
  {
    guard let letter = try DeadLetterTable.find(id, in: database) else {
      return ReplayResult(id: id, outcome: .notFound)
    }
    switch letter.state {
    case .replayed: return ReplayResult(id: id, outcome: .alreadyReplayed)
    case .discarded: return ReplayResult(id: id, outcome: .discarded)
    case .dead: break
    }
    var fields = letter.fields
    for repair in repairs { fields.set(repair.name, to: repair.value) }
    var dryResult: ReplayResult?
    do throws(StoreError) {
      let result = try transaction { () throws(SQLiteError) in
        let result = try apply(letter, fields, repairs)
        guard isDryRun else { return result }
        dryResult = result
        // An error of ours (SQLITE_ABORT): it rolls the transaction back.
        throw SQLiteError(extendedCode: 4, message: "dry run", context: "replay")
      }
      CrashPoint.reach(.afterReplay)
      sessionTable.forgetIfLarge()
      return result
    } catch {
      forgetUncommitted()
      if let dryResult { return dryResult }
      throw error
    }
  }

  private func apply(
    _ letter: DeadLetter, _ fields: EntryFields, _ repairs: [(name: String, value: String)]
  ) throws(SQLiteError) -> ReplayResult {
    let event: Result<TrafficEvent, TrafficDecodeError> = Result { () throws(TrafficDecodeError) in
      try TrafficEvent.decode(bytes: fields.items)
    }
    let result: Result<Credit, EntryFault>
    switch event {
    case .success(let event): result = try credit(event, id: letter.entryID)
    case .failure(let error): result = .failure(.undecodable(error))
    }
    let repaired = repairs.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
    switch result {
    case .failure(let fault):
      try DeadLetterTable.note(
        letter.id, history: ["attempt": fault.reason, "detail": fault.detail, "set": repaired], reason: fault,
        in: database)
      return ReplayResult(id: letter.id, outcome: .failed, detail: "\(fault.reason): \(fault.detail)")
    case .success(let credit):
      try flushRows()
      try DeadLetterTable.resolve(
        letter.id, as: .replayed, history: ["replayed": credit.rule.text, "set": repaired], in: database)
      return ReplayResult(
        id: letter.id, outcome: credit.rule == .duplicate ? .duplicate : .replayed, uploaded: credit.sums.uploaded,
        downloaded: credit.sums.downloaded, detail: credit.rule.text)
    }
  }

  /// Marks dead letters as not to be replayed; returns how many were dead until now.
  func discard(_ ids: [Int64], note: String) throws(StoreError) -> Int {
    try transaction { () throws(SQLiteError) in
      var count = 0
      for id in ids {
        try DeadLetterTable.resolve(id, as: .discarded, history: ["discarded": note], in: database)
        count += database.changes
      }
      return count
    }
  }

  /// Deletes dead letters that were replayed or discarded before a time (Unix seconds); returns how many.
  func purge(_ state: DeadLetterState, before time: Int64) throws(StoreError) -> Int {
    precondition(state != .dead, "dead letters that wait are never deleted")
    return try transaction { () throws(SQLiteError) in
      let remember = try database.prepare(
        """
        INSERT OR IGNORE INTO purged_letters(stream_id, entry_id, content)
          SELECT stream_id, iif(returned_epoch = streams.epoch, returned_id, entry_id), content
          FROM dead_letters JOIN streams ON streams.id = stream_id
          WHERE state = ?1 AND resolved_at < ?2 AND max(dead_letters.epoch, returned_epoch) = streams.epoch
        """)
      try remember.bind(state.rawValue, at: 1)
      try remember.bind(time, at: 2)
      try remember.run()
      let delete = try database.prepare("DELETE FROM dead_letters WHERE state = ?1 AND resolved_at < ?2")
      try delete.bind(state.rawValue, at: 1)
      try delete.bind(time, at: 2)
      try delete.run()
      return database.changes
    }
  }
}
