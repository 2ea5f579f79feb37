// StreamRecognition: whether the stream under a name is still the one whose entries were applied. Pure; called by the
// reader after each connection.

enum StreamRecognition: Equatable {
  case same
  /// The same stream up to an entry that both have; what was behind it is gone, or other entries have its ids: a failover,
  /// an older file, with a clock that is right or not.
  case rolledBack(to: EntryID)
  /// Another stream: deleted and made anew, or flushed.
  case another

  /// What became of a remembered entry.
  struct Witness: Equatable {
    enum State { case same, gone, changed }
    var id: EntryID
    var state: State
  }

  /// `witnesses`: remembered entries, in order. `isBegunAnew`: there are signs of another stream, if no entry says
  /// otherwise.
  static func judge(
    _ witnesses: [Witness], lastApplied: EntryID, lastGenerated: EntryID, first: EntryID?, isBegunAnew: Bool = false
  ) -> StreamRecognition {
    // An id is used once in the life of a stream.
    let unchanged = witnesses.prefix { $0.state != .changed }
    let common = unchanged.last { $0.state == .same }
    // Entries go from a stream's beginning: one that is gone above one that is there went with its end. (Or somebody
    // deleted just that one. Then what is above the common one is read again, and L2 and L3 recognise it.)
    let isEndGone =
      unchanged.count < witnesses.count || lastGenerated < lastApplied
      || common != nil && witnesses.last?.state == .gone
    // Without a witness it is taken for another stream: then L2 and L3 decide, and nothing is passed over unread.
    if isEndGone { return common.map { .rolledBack(to: $0.id) } ?? .another }
    // Without a witness to miss, an end that is ahead of ours says nothing against the stream.
    if common != nil || witnesses.isEmpty { return .same }
    if isBegunAnew { return .another }
    // All witnesses gone and the stream's end is ahead of ours: trimmed by another program, unless it has entries among ours.
    guard let first, first <= lastApplied else { return .same }
    return .another
  }
}
