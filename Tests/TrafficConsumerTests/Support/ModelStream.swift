// ModelStream: a Redis stream with one group of interest, as far as a ReaderSession asks about it. No server, no socket.

import Redis

@testable import TrafficConsumer

struct ModelStream {
  private struct Pending {
    var consumer: String
    var deliveredAt: UInt64
  }

  private(set) var entries: [(id: EntryID, fields: EntryFields)] = []
  private var lastGenerated = EntryID.zero
  private var maxDeleted = EntryID.zero
  private var added: Int64 = 0
  private var hasGroup = false
  private(set) var lastDelivered = EntryID.zero
  private var pending: [EntryID: Pending] = [:]
  private var owner: String?
  /// The lowest id another group needs.
  var neededByOthers: EntryID?

  var pendingIDs: [EntryID] { pending.keys.sorted() }

  @discardableResult
  mutating func add(_ fields: [String], at milliseconds: UInt64) -> EntryID {
    let id =
      milliseconds > lastGenerated.milliseconds
      ? EntryID(milliseconds: milliseconds, sequence: 0)
      : EntryID(milliseconds: lastGenerated.milliseconds, sequence: lastGenerated.sequence + 1)
    entries.append((id, EntryFields(items: fields.map { Array($0.utf8) })))
    (lastGenerated, added) = (id, added + 1)
    return id
  }

  /// Another consumer of the group takes entries and does nothing with them.
  mutating func takeAway(_ count: Int, now: UInt64) {
    for entry in deliver(count, to: "another", now: now) { pending[entry.id]?.consumer = "another" }
  }

  /// The group is gone, as after a FLUSHALL and a restored dump without it.
  mutating func deleteGroup() {
    (hasGroup, lastDelivered) = (false, .zero)
    pending = [:]
  }

  /// The consumer that has entries pending is from now on another one.
  mutating func renameConsumer() { for id in pending.keys { pending[id]?.consumer = "another" } }

  mutating func acknowledgeAll() { pending = [:] }

  /// Entries that were deleted are there again; nothing else changes.
  mutating func putBack(_ entries: [(id: EntryID, fields: EntryFields)]) {
    let missing = entries.filter { entry in !self.entries.contains { $0.id == entry.id } }
    self.entries = (self.entries + missing).sorted { $0.id < $1.id }
  }

  /// XTRIM of one entry, which is the first.
  mutating func trim(_ id: EntryID) { entries.removeAll { $0.id == id } }

  mutating func delete(_ id: EntryID) {
    entries.removeAll { $0.id == id }
    maxDeleted = max(maxDeleted, id)
  }

  // MARK: answers

  mutating func answer(_ question: StreamQuestion, now: UInt64) throws(RedisError) -> ReaderEvent {
    if case .createGroup = question {
      defer { hasGroup = true }
      return .groupCreated(isNew: !hasGroup)
    }
    guard hasGroup else { throw .server(RedisServerError(code: .noGroup, message: "no group")) }
    switch question {
    case .createGroup: return .done
    case .claimGroup(let instance, let isReplacing):
      if owner == nil || isReplacing { owner = instance }
      return .groupOwner(owner ?? "")
    case .census: return .census(census)
    case .survey(let dealtWith, let isExact):
      let position = max(lastDelivered, dealtWith)
      let rest = entries.filter { $0.id > position }
      return .survey(
        StreamSurvey(
          census: census, position: position, unread: Int64(rest.count),
          isUnreadCut: !isExact && !rest.isEmpty,
          oldestWaitingMilliseconds: rest.first?.id.milliseconds))
    case .entries(let ids): return .found(ids.map { id in entries.first { $0.id == id }?.fields })
    case .ownPending(let after, let count):
      let ids = pendingIDs.filter { $0 > after && pending[$0]?.consumer == "consumer-1" }.prefix(count)
      return .entries(scattered(ids))
    case .range(let span, let count):
      let part = entries.filter {
        $0.id > span.after && ($0.id < span.through || span.isClosed && $0.id == span.through)
      }
      return .entries(consecutive(part.prefix(count)))
    case .new(let count, _, let done):
      acknowledge(done)
      let fresh = deliver(count, to: "consumer-1", now: now).map { ($0.id, Optional($0.fields)) }
      return .entries(StreamDelivery(streamIndex: 0, source: .fresh, entries: fresh))
    case .acknowledge(let done):
      acknowledge(done)
      return .done
    case .claim(let idle, let cursor, let count): return .claimed(claim(idle, cursor, count, now: now))
    case .empty(let gaps):
      return .empty(gaps.filter { gap in !entries.contains { gap.after < $0.id && $0.id < gap.before } })
    case .trim(let floor, let last):
      guard last == lastDelivered else { return .trimmed(0, below: floor) }
      let before = entries.count
      entries.removeAll { $0.id < floor }
      return .trimmed(Int64(before - entries.count), below: floor)
    }
  }

  private var census: StreamCensus {
    var census = StreamCensus()
    census.length = Int64(entries.count)
    census.lastGeneratedID = lastGenerated
    (census.entriesAdded, census.maxDeletedID) = (added, maxDeleted)
    census.firstEntryID = entries.first?.id
    census.lastDeliveredID = lastDelivered
    census.pending = Int64(pending.count)
    census.neededByOthers = neededByOthers
    return census
  }

  private mutating func deliver(_ count: Int, to consumer: String, now: UInt64) -> [(id: EntryID, fields: EntryFields)]
  {
    let fresh = Array(entries.filter { $0.id > lastDelivered }.prefix(count))
    for entry in fresh { pending[entry.id] = Pending(consumer: consumer, deliveredAt: now) }
    if let last = fresh.last { lastDelivered = last.id }
    return fresh
  }

  private mutating func claim(_ idle: Int, _ cursor: EntryID, _ count: Int, now: UInt64) -> ClaimedEntries {
    let ids = pendingIDs.filter { id in
      id >= cursor && pending[id].map { now >= $0.deliveredAt + UInt64(idle) * 1_000_000 } ?? false
    }
    let (taken, rest) = (ids.prefix(count), ids.dropFirst(count))
    let vanished = taken.filter { id in !entries.contains { $0.id == id } }
    for id in vanished { pending[id] = nil }
    let there = taken.filter { !vanished.contains($0) }
    for id in there { pending[id] = Pending(consumer: "consumer-1", deliveredAt: now) }
    return ClaimedEntries(delivery: scattered(there[...]), cursor: rest.first ?? .zero, vanished: Array(vanished))
  }

  mutating func acknowledge(_ done: [StreamDelivery]) { for id in done.flatMap(\.settled) { pending[id] = nil } }

  private func consecutive(_ part: ArraySlice<(id: EntryID, fields: EntryFields)>) -> StreamDelivery {
    StreamDelivery(streamIndex: 0, source: .consecutive, entries: part.map { ($0.id, $0.fields) })
  }

  private func scattered(_ ids: some Sequence<EntryID>) -> StreamDelivery {
    StreamDelivery(
      streamIndex: 0, source: .scattered, entries: ids.map { id in (id, entries.first { $0.id == id }?.fields) })
  }
}
