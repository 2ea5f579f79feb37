// ModelStream: a Redis 7 stream with its groups, as a value: what t_stream.c of Redis 7.0 does, in the order it does it.

/// An entry's id.
struct StreamID: Hashable, Comparable, CustomStringConvertible {
  var milliseconds: UInt64 = 0
  var sequence: UInt64 = 0

  static let zero = StreamID()
  static let maximum = StreamID(milliseconds: .max, sequence: .max)
  static func < (left: StreamID, right: StreamID) -> Bool {
    left.milliseconds != right.milliseconds
      ? left.milliseconds < right.milliseconds : left.sequence < right.sequence
  }
  var description: String { "\(milliseconds)-\(sequence)" }
  var next: StreamID {
    sequence == .max
      ? StreamID(milliseconds: milliseconds + 1) : StreamID(milliseconds: milliseconds, sequence: sequence + 1)
  }
  var previous: StreamID? {
    if sequence > 0 { return StreamID(milliseconds: milliseconds, sequence: sequence - 1) }
    return milliseconds > 0 ? StreamID(milliseconds: milliseconds - 1, sequence: .max) : nil
  }

  /// `missing` is the sequence of a text without one.
  init?(_ bytes: [UInt8], missing: UInt64 = 0) {
    let parts = String(decoding: bytes, as: UTF8.self).split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count <= 2, let first = UInt64(parts[0]) else { return nil }
    milliseconds = first
    sequence = missing
    if parts.count == 2 {
      guard let second = UInt64(parts[1]) else { return nil }
      sequence = second
    }
  }

  init(milliseconds: UInt64 = 0, sequence: UInt64 = 0) {
    self.milliseconds = milliseconds
    self.sequence = sequence
  }
}

struct ModelStream {
  struct Entry {
    var id: StreamID
    /// Names and values in turn.
    var fields: [[UInt8]]
    /// Which XADD of the whole simulation made it: what Redis does not know.
    var serial: Int
  }
  struct Pending {
    var id: StreamID
    var consumer: [UInt8]
    var deliveredAt: UInt64
    var count: Int64
  }
  struct Group {
    var last: StreamID
    /// Redis' `entries-read`; nil: not known.
    var read: Int64?
    /// In order of ids.
    var pending: [Pending] = []
    var consumers: Set<[UInt8]> = []

    func place(of id: StreamID) -> Int {
      var (low, high) = (0, pending.count)
      while low < high {
        let middle = (low + high) / 2
        if pending[middle].id < id { low = middle + 1 } else { high = middle }
      }
      return low
    }
    func isPending(_ id: StreamID) -> Bool {
      let place = place(of: id)
      return place < pending.count && pending[place].id == id
    }
  }

  /// In order of ids.
  var entries: [Entry] = []
  var lastID = StreamID.zero
  var maximumDeleted = StreamID.zero
  var added: Int64 = 0
  var groups: [[UInt8]: Group] = [:]

  var firstID: StreamID { entries.first?.id ?? .zero }

  // MARK: entries

  /// The place of the first entry at or above an id.
  func place(of id: StreamID) -> Int {
    var (low, high) = (0, entries.count)
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].id < id { low = middle + 1 } else { high = middle }
    }
    return low
  }

  func entry(_ id: StreamID) -> Entry? {
    let place = place(of: id)
    return place < entries.count && entries[place].id == id ? entries[place] : nil
  }

  /// XADD with `*`.
  mutating func add(_ fields: [[UInt8]], now: UInt64, serial: Int) -> StreamID {
    let id = now > lastID.milliseconds ? StreamID(milliseconds: now) : lastID.next
    append(id, fields, serial: serial)
    return id
  }

  mutating func append(_ id: StreamID, _ fields: [[UInt8]], serial: Int) {
    entries.append(Entry(id: id, fields: fields, serial: serial))
    lastID = id
    added += 1
  }

  mutating func delete(_ ids: [StreamID]) -> Int64 {
    var count: Int64 = 0
    for id in ids {
      let place = place(of: id)
      guard place < entries.count, entries[place].id == id else { continue }
      entries.remove(at: place)
      maximumDeleted = max(maximumDeleted, id)
      count += 1
    }
    return count
  }

  /// XTRIM MINID.
  mutating func trim(below id: StreamID) -> Int64 {
    let count = place(of: id)
    entries.removeFirst(count)
    return Int64(count)
  }

  // MARK: counting

  /// streamRangeHasTombstones: from an id to the end.
  private func hasTombstones(from id: StreamID) -> Bool {
    guard !entries.isEmpty, maximumDeleted != .zero else { return false }
    return id <= maximumDeleted
  }

  /// streamEstimateDistanceFromFirstEverEntry; nil: not known.
  private func distance(of id: StreamID) -> Int64? {
    if added == 0 { return 0 }
    if entries.isEmpty, id <= lastID { return added }
    if id == lastID { return added }
    if id > lastID { return nil }
    if maximumDeleted == .zero || maximumDeleted < firstID {
      if id < firstID { return added - Int64(entries.count) }
      if id == firstID { return added - Int64(entries.count) + 1 }
    }
    return nil
  }

  /// The `lag` of XINFO GROUPS.
  func lag(of group: Group) -> Int64? {
    if added == 0 { return 0 }
    if let read = group.read, !hasTombstones(from: group.last) { return added - read }
    return distance(of: group.last).map { added - $0 }
  }

  // MARK: groups

  /// XREADGROUP with `>`: entries no consumer has had; nil: none.
  mutating func readNew(_ name: [UInt8], _ consumer: [UInt8], count: Int, now: UInt64) -> [Entry]? {
    let start = place(of: groups[name]!.last.next)
    guard start < entries.count else { return nil }
    groups[name]!.consumers.insert(consumer)
    let found = Array(entries[start..<min(entries.count, start + count)])
    var group = groups[name]!
    for entry in found {
      if group.read != nil, !hasTombstones(from: entry.id) {
        group.read! += 1
      } else if added > 0 {
        group.read = distance(of: entry.id)
      }
      group.last = entry.id
      let place = group.place(of: entry.id)
      let pending = Pending(id: entry.id, consumer: consumer, deliveredAt: now, count: 1)
      if place < group.pending.count, group.pending[place].id == entry.id {
        group.pending[place] = pending
      } else {
        group.pending.insert(pending, at: place)
      }
    }
    groups[name] = group
    return found
  }

  /// XREADGROUP with an id: what is pending for the consumer behind it; an entry that is gone is nil.
  mutating func readPending(_ name: [UInt8], _ consumer: [UInt8], after id: StreamID, count: Int, now: UInt64)
    -> [(StreamID, Entry?)]
  {
    groups[name]!.consumers.insert(consumer)
    var found: [(StreamID, Entry?)] = []
    var group = groups[name]!
    for index in group.pending.indices where group.pending[index].id > id && group.pending[index].consumer == consumer {
      guard found.count < count else { break }
      let entry = entry(group.pending[index].id)
      if entry != nil {
        group.pending[index].deliveredAt = now
        group.pending[index].count += 1
      }
      found.append((group.pending[index].id, entry))
    }
    groups[name] = group
    return found
  }

  mutating func acknowledge(_ name: [UInt8], _ ids: [StreamID]) -> Int64 {
    guard var group = groups[name] else { return 0 }
    var count: Int64 = 0
    for id in ids {
      let place = group.place(of: id)
      guard place < group.pending.count, group.pending[place].id == id else { continue }
      group.pending.remove(at: place)
      count += 1
    }
    groups[name] = group
    return count
  }

  /// XAUTOCLAIM.
  mutating func claim(_ name: [UInt8], _ consumer: [UInt8], idle: UInt64, from start: StreamID, count: Int, now: UInt64)
    -> (next: StreamID, entries: [Entry], deleted: [StreamID])
  {
    var group = groups[name]!
    var (claimed, deleted): ([Entry], [StreamID]) = ([], [])
    var (left, attempts) = (count, count * 10)
    var place = group.place(of: start)
    while attempts > 0, left > 0, place < group.pending.count {
      attempts -= 1
      guard let entry = entry(group.pending[place].id) else {
        deleted.append(group.pending[place].id)
        group.pending.remove(at: place)
        left -= 1
        continue
      }
      if now < group.pending[place].deliveredAt + idle {
        place += 1
        continue
      }
      group.pending[place].consumer = consumer
      group.pending[place].deliveredAt = now
      group.pending[place].count += 1
      claimed.append(entry)
      left -= 1
      place += 1
    }
    if !claimed.isEmpty { group.consumers.insert(consumer) }
    groups[name] = group
    return (place < group.pending.count ? group.pending[place].id : .zero, claimed, deleted)
  }
}
