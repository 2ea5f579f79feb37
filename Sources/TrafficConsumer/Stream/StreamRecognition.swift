// StreamRecognition: whether the stream under a name is still the one whose entries were applied. Pure; called by the
// reader after each connection.

enum StreamRecognition: Equatable {
  case same
  /// The same stream up to an entry that both have; what was behind it is gone, or other entries have its ids: a failover,
  /// an older file, with a clock that is right or not.
  case rolledBack(to: EntryID)
  /// Nothing says that it has anything in common with ours: a file so old, or of another server.
  case another
  /// Another stream: deleted and made anew, or flushed. Nobody has read from it, so whatever it lacks is lost.
  case remade

  /// What became of a remembered entry.
  struct Witness: Equatable {
    enum State { case same, gone, changed }
    var id: EntryID
    var state: State
  }

  /// `witnesses`: remembered entries, in order. `counted`: entries of ours that Redis has counted, if it counts. `waiting`:
  /// entries that are there behind ours, as far as they were counted. `hasLossBehind`: some of ours are lost behind the
  /// newest that was applied.
  static func judge(
    _ witnesses: [Witness], lastApplied: EntryID, counted: Int64?, waiting: Int64, hasLossBehind: Bool,
    _ census: StreamCensus, isGroupNew: Bool
  ) -> StreamRecognition {
    let isUnread = isGroupNew || census.lastDeliveredID == .zero
    // An id is used once in the life of a stream.
    let unchanged = witnesses.prefix { $0.state != .changed }
    let common = unchanged.last { $0.state == .same }
    // A file that ends at the newest one has not counted what was lost behind it.
    if hasLossBehind, let newest = witnesses.last, newest.state == .same, unchanged.count == witnesses.count,
      let added = census.entriesAdded, let counted, added < counted
    {
      return .rolledBack(to: newest.id)
    }
    if unchanged.count == witnesses.count, census.lastGeneratedID >= lastApplied,
      goesOn(witnesses, common?.id, counted, waiting, census, isUnread)
    {
      return .same
    }
    // Without a common entry L2 and L3 decide, and nothing is passed over unread.
    return common.map { .rolledBack(to: $0.id) } ?? (isUnread ? .remade : .another)
  }

  /// The same where nothing was applied yet, so that no entry is remembered. `counted`: entries that were gone when it was
  /// looked at first, or are known to be lost. They stay gone, and the group that we made stays there; where it does not,
  /// that the stream was made anew is believed: more may be called lost than was, and never less.
  static func judge(nothingAppliedOf counted: Int64, _ census: StreamCensus, isGroupNew: Bool) -> StreamRecognition {
    if isGroupNew { return .remade }
    guard let gone = census.gone, gone < counted else { return .same }
    return census.lastDeliveredID == .zero ? .remade : .another
  }

  /// Whether a stream whose end is not behind ours, and in which no other entry has one of our ids, goes on from there.
  private static func goesOn(
    _ witnesses: [Witness], _ common: EntryID?, _ counted: Int64?, _ waiting: Int64, _ census: StreamCensus,
    _ isUnread: Bool
  ) -> Bool {
    // Without a witness to miss, nothing speaks against it.
    guard let newest = witnesses.last, newest.state != .same else { return true }
    let isTrimmed = census.firstEntryID.map { $0 > newest.id } ?? true
    guard let added = census.entriesAdded, let counted else {
      // Entries go from a stream's beginning: one that is gone above one that is there went with its end.
      return isTrimmed && common == nil && !isUnread
    }
    // The stream may be made anew, and its end be ahead of ours all the same. As many as were ours are gone, then.
    if isTrimmed { return added - census.length >= counted }
    // Somebody has deleted the newest entries: of ones that had never been there, Redis would not know or not count them.
    return added - waiting >= counted && census.maxDeletedID.map { $0 >= newest.id } ?? false
  }
}
