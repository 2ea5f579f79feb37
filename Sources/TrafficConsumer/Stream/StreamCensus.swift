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
  var lastDeliveredID = EntryID.zero
  /// Delivered and not acknowledged, by all consumers of the group.
  var pending: Int64 = 0
  /// Not delivered; nil when Redis cannot tell.
  var lag: Int64?
  /// The lowest id that another group of the stream still needs.
  var neededByOthers: EntryID?

  init() {}

  /// Reads the reply of XINFO STREAM.
  init(stream info: RedisReplyView) {
    length = info[named: "length"]?.integer ?? 0
    lastGeneratedID = info[named: "last-generated-id"]?.id ?? .zero
    entriesAdded = info[named: "entries-added"]?.integer
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

  /// Entries in the stream behind the group's position; nil when only reading them tells. Redis' own `lag` counts entries
  /// that were trimmed unread.
  var undelivered: Int64? {
    guard let firstEntryID else { return 0 }
    return firstEntryID > lastDeliveredID ? length : lag
  }
}

/// A census, and what waits behind the group's position.
struct StreamSurvey: Sendable, Equatable {
  var census: StreamCensus
  var undelivered: Int64
  /// Unix milliseconds of the oldest entry that was not delivered yet, by its id.
  var oldestWaitingMilliseconds: UInt64?

  /// Pending and undelivered.
  var waiting: Int64 { census.pending + undelivered }
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
