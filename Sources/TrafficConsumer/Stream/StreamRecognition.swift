// StreamRecognition: whether the stream under a name is still the one whose entries were applied. Pure; called by the
// reader after each connection.

enum StreamRecognition: Equatable {
  case same
  /// The same stream, but the end of it is gone: a failover, or a restart from an older dump.
  case rolledBack
  /// The end was gone, and other entries have its ids already: the same stream up to the last entry known again.
  case forked
  /// Another stream: deleted and made anew, or flushed.
  case another

  /// `anchorsKnown`: remembered entries; `anchorsPresent` and `anchorsChanged`: those that are in the stream with the same
  /// content, and with other content under the same id. `isCommonBelowChange`: the lowest one known is below all changed.
  /// `isBegunAnew`: there are signs of another stream, if no entry says otherwise.
  static func judge(
    lastApplied: EntryID, lastGenerated: EntryID, first: EntryID?, anchorsKnown: Int, anchorsPresent: Int,
    anchorsChanged: Int, isCommonBelowChange: Bool = false, isBegunAnew: Bool = false
  ) -> StreamRecognition {
    // An id is used once in the life of a stream.
    if anchorsChanged > 0 { return isCommonBelowChange ? .forked : .another }
    if lastGenerated < lastApplied {
      // Without a witness it is taken for another stream: then L2 and L3 decide, and nothing is passed over unread.
      return anchorsPresent > 0 ? .rolledBack : .another
    }
    // Without a witness to miss, an end that is ahead of ours says nothing against the stream.
    if anchorsPresent > 0 || anchorsKnown == 0 { return .same }
    if isBegunAnew { return .another }
    // All witnesses gone and the stream's end is ahead of ours: trimmed by another program, unless it has entries among ours.
    guard let first, first <= lastApplied else { return .same }
    return .another
  }
}
