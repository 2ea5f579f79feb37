// EntryBook: all entries that ever were in the stream, by serial from 1: which are in the database, which somebody deleted
// before they were. A value.

import Wire

struct EntryBook {
  /// What each entry says.
  private var added: [EntryOrigin] = []
  /// The entry that last had an id.
  private var serials: [StreamID: Int] = [:]
  private var committed: Set<Int> = []
  private var committedInBackup: Set<Int> = []
  /// Entries that somebody deleted, applied or not.
  private var deleted: Set<Int> = []
  /// Of those the number need not be known: they came and went before a new database looked first, or went with the whole
  /// stream.
  private(set) var uncounted: Set<Int> = []
  /// Of those too: a new database has read past their places. Should a file bring them back, they are there unread.
  private(set) var unseen: Set<Int> = []
  /// Redis lost them with its end, or with all it had.
  private var forgotten: Set<Int> = []
  /// Reported as lost when the stream was last deleted: that stays.
  private(set) var reportedBefore = 0
  /// Deleted of the stream that was last made anew; the epoch until that was seen.
  private var deletedOfNewStream: Set<Int> = []
  private var epochBefore: Int64?

  /// The serial of the next entry.
  var nextSerial: Int { added.count + 1 }

  subscript(serial: Int) -> EntryOrigin { added[serial - 1] }

  /// A new entry; gives its serial.
  mutating func add(_ id: StreamID, _ fields: [[UInt8]]) -> Int {
    added.append(EntryOrigin(fields))
    serials[id] = added.count
    return added.count
  }

  /// What an id holds is in the database; `serial` when the stream still has it.
  mutating func commit(_ id: StreamID, serial: Int?) {
    if let serial = serial ?? serials[id] { committed.insert(serial) }
  }

  /// Whether an entry is in the database, or could be: only faults take entries away that are not.
  func isSure(_ serial: Int) -> Bool {
    guard !unseen.contains(serial) else { return false }
    return committed.contains(serial) || !deleted.contains(serial) && !forgotten.contains(serial)
  }

  mutating func backUp() { committedInBackup = committed }
  /// `hasLooked`: that database has seen the stream before.
  mutating func restoreBackup(hasLooked: Bool) {
    committed = committedInBackup
    // It has not seen what was deleted before it looks first.
    if !hasLooked {
      uncounted.formUnion(deleted)
      unseen.formUnion(deleted)
    }
  }

  /// Redis has entries of another time: some came back.
  mutating func redisForgot(before: Set<Int>, after: Set<Int>) {
    forgotten.formUnion(before.subtracting(after))
    forgotten.subtract(after)
    deleted.subtract(after)
  }

  /// Deleted entries that nobody has seen, and nobody will.
  func gone(present: Set<Int>) -> Set<Int> { deleted.subtracting(committed).subtracting(present) }

  /// What the database says of the stream.
  struct Count {
    var epoch: Int64?
    /// Gone when it looked first; nil: it has not.
    var before: Int64?
    /// Dealt with or gone before.
    var known: Int64?
    /// Reported as lost.
    var lost: Int
  }

  /// Somebody deleted these; `isWhole`: with the stream. `left` is how many the stream has, and `ever` ever had.
  mutating func delete(_ serials: Set<Int>, isWhole: Bool, left: Int, ever: Int64, _ count: Count) {
    deleted.formUnion(serials)
    deletedOfNewStream.formUnion(serials)
    if isWhole {
      // The count goes with the stream: what it has not shown by then it never will.
      uncounted.formUnion(deleted)
      reportedBefore = count.lost
      deletedOfNewStream = []
      epochBefore = count.epoch
    }
    if count.before == nil { unseen.formUnion(serials) }
    if isWhole || count.before == nil {
      uncounted.formUnion(serials)
    } else if epochBefore == count.epoch, ever - Int64(left) >= count.known ?? 0 {
      // A stream that was made anew looks like the one before, trimmed.
      uncounted.formUnion(deletedOfNewStream)
    }
  }
}

/// What an entry says of where it came from.
struct EntryOrigin {
  var name: SessionName?
  var second: UInt64
  var announces: Int

  init(_ fields: [[UInt8]]) {
    func value(_ name: String) -> String {
      let name = Array(name.utf8)
      for index in stride(from: 0, to: fields.count - 1, by: 2) where fields[index] == name {
        return String(decoding: fields[index + 1], as: UTF8.self)
      }
      return ""
    }
    second = UInt64(value("ts")) ?? 0
    announces = Int(value("n")) ?? 1
    if let user = Int(value("passkey").dropFirst(4)), let torrent = InfoHash(hex: value("infohash")),
      let peer = PeerID(hex: value("peer_id"))
    {
      name = SessionName(user: user, torrent: Int(torrent.words.0), peer: Int(peer.words.0))
    }
  }
}
