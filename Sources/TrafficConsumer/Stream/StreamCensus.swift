// StreamCensus: a stream as Redis describes it at one moment: its ends, its count, and where the group stands. Values, read
// from the replies of XINFO; any thread.

import Redis

struct StreamCensus: Sendable, Equatable {
  /// Entries in the stream.
  var length: Int64 = 0
  var lastGeneratedID = EntryID.zero
  /// Entries ever added; nil on servers before Redis 7.
  var entriesAdded: Int64?
  var firstEntryID: EntryID?
  /// The highest entry that XDEL has removed; trimming does not count. Nil on servers before Redis 7.
  var maxDeletedID: EntryID?
  var lastDeliveredID = EntryID.zero
  /// Delivered and not acknowledged, by all consumers of the group.
  var pending: Int64 = 0
  /// What Redis believes is not delivered, for showing only: it counts entries that were trimmed or deleted unread. Nil when
  /// it cannot tell.
  var lag: Int64?
  /// The lowest id that another group of the stream still needs.
  var neededByOthers: EntryID?

  init() {}

  /// Reads the reply of XINFO STREAM.
  init(stream info: RedisReplyView) {
    length = info[named: "length"]?.integer ?? 0
    lastGeneratedID = info[named: "last-generated-id"]?.id ?? .zero
    entriesAdded = info[named: "entries-added"]?.integer
    maxDeletedID = info[named: "max-deleted-entry-id"]?.id
    if let first = info[named: "first-entry"], first.count > 0 { firstEntryID = first[0].id }
  }

  /// Takes in the reply of XINFO GROUPS. Returns the other groups; nil when the own group is not there.
  mutating func add(groups list: RedisReplyView, own name: String) -> [(name: String, last: EntryID, pending: Int64)]? {
    var others: [(name: String, last: EntryID, pending: Int64)] = []
    var isFound = false
    for index in 0..<list.count {
      let group = list[index]
      let last = group[named: "last-delivered-id"]?.id ?? .zero
      let pending = group[named: "pending"]?.integer ?? 0
      if group[named: "name"]?.string == name {
        isFound = true
        (lastDeliveredID, self.pending, lag) = (last, pending, group[named: "lag"]?.integer)
      } else {
        others.append((group[named: "name"]?.string ?? "", last, pending))
      }
    }
    return isFound ? others : nil
  }

  /// Entries that were added and are not there any more.
  var gone: Int64? { entriesAdded.map { $0 - length } }

  /// Entries in the stream behind an id; nil when only reading them tells.
  func unread(beyond id: EntryID) -> Int64? {
    guard let firstEntryID, lastGeneratedID > id else { return 0 }
    return firstEntryID > id ? length : nil
  }
}

/// A census, and what waits behind the position: the group's, or the last entry dealt with if that is further.
struct StreamSurvey: Sendable, Equatable {
  var census: StreamCensus
  var position: EntryID
  /// Entries that wait there, counted.
  var unread: Int64
  /// Counting ended before the stream did: there are more.
  var isUnreadCut = false
  /// Unix milliseconds of the oldest entry that was not delivered yet, by its id.
  var oldestWaitingMilliseconds: UInt64?

  /// What waits, for showing: exact, or about so many when there are many.
  var shownUnread: Int64 { isUnreadCut ? max(unread, min(census.length, census.lag ?? census.length)) : unread }
}

/// A part of a stream: behind `after`, up to `through` with it (closed) or without it.
struct StreamSpan: Hashable, Sendable {
  var after: EntryID
  var through: EntryID
  var isClosed: Bool
}

/// What XAUTOCLAIM gave.
struct ClaimedEntries {
  var delivery: StreamDelivery
  /// Where the next call goes on; zero: from the beginning.
  var cursor: EntryID
  /// Ids that were pending and whose entries are gone from the stream.
  var vanished: [EntryID]
}

extension RedisReplyView {
  /// The value behind a name in a flat list of names and values.
  subscript(named name: String) -> RedisReplyView? {
    for index in stride(from: 0, to: count - 1, by: 2) where self[index].string == name { return self[index + 1] }
    return nil
  }
}
