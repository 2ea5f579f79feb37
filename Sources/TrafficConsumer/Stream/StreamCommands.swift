// StreamCommands: the Redis stream commands the consumer uses, as calls on one connection. Belongs to a reader thread.

import Redis

/// One stream, read as one consumer of one group.
struct StreamCommands: ~Copyable {
  /// What XINFO, XPENDING and the group say at one moment.
  struct Census: Sendable, Equatable {
    /// Entries in the stream.
    var length: Int64
    var lastGeneratedID: EntryID
    /// Entries ever added; nil on servers before Redis 7.
    var entriesAdded: Int64?
    var firstEntryID: EntryID?
    var lastDeliveredID: EntryID
    /// Delivered and not acknowledged, by all consumers of the group.
    var pending: Int64
    /// Not delivered; nil when Redis cannot tell.
    var lag: Int64?
    /// The lowest id that another group of the stream still needs.
    var neededByOthers: EntryID?
  }

  let stream: String
  let group: String
  let consumer: String
  private var connection: RedisConnection
  private var acknowledgements = RedisCommandBuffer()

  init(stream: String, group: String, consumer: String, endpoint: RedisEndpoint, timeouts: RedisTimeouts)
    throws(RedisError)
  {
    connection = try RedisConnection(endpoint: endpoint, timeouts: timeouts, key: stream)
    self.stream = stream
    self.group = group
    self.consumer = consumer
  }

  /// Creates the group at the stream's beginning, and an empty stream if there is none. True when it was not there.
  mutating func createGroup() throws(RedisError) -> Bool {
    do {
      _ = try connection.command(["XGROUP", "CREATE", stream, group, "0", "MKSTREAM"])
      return true
    } catch {
      if error.code == .busyGroup { return false }
      throw error
    }
  }

  /// Writes down which database this group's entries go to, if nobody has; returns what is written.
  mutating func claimGroup(for instance: String, replacing: Bool) throws(RedisError) -> String {
    let key = "\(stream):\(group):database"
    if replacing {
      _ = try connection.command(["SET", key, instance])
    } else {
      _ = try connection.command(["SET", key, instance, "NX"])
    }
    return try connection.command(["GET", key]).string ?? ""
  }

  /// Entries nobody has had; waits for some up to `milliseconds`. The reply is nil, or [[stream, [entry...]]]. What is to
  /// be acknowledged goes along, ahead of it.
  mutating func readNew(count: Int, blockMilliseconds: Int, into reply: inout RedisReply) throws(RedisError) {
    let owed = sendAcknowledgements()
    connection.append([
      "XREADGROUP", "GROUP", group, consumer, "COUNT", String(count), "BLOCK", String(max(1, blockMilliseconds)),
      "STREAMS", stream, ">",
    ])
    try takeAcknowledgements(owed)
    try connection.nextReply(reusing: &reply, waitMilliseconds: blockMilliseconds)
    if let error = reply.error { throw .server(error) }
  }

  /// Entries this consumer was given and has not acknowledged, after an id.
  mutating func readOwnPending(after id: EntryID, count: Int) throws(RedisError) -> RedisReply {
    try connection.command([
      "XREADGROUP", "GROUP", group, consumer, "COUNT", String(count), "STREAMS", stream, id.description,
    ])
  }

  /// Takes over entries that others have left alone for so long. The reply is [next cursor, [entry...], [deleted id...]].
  mutating func claim(idleMilliseconds: Int, cursor: EntryID, count: Int) throws(RedisError) -> RedisReply {
    try connection.command([
      "XAUTOCLAIM", stream, group, consumer, String(idleMilliseconds), cursor.description, "COUNT", String(count),
    ])
  }

  /// Entries between two ids; `after` is exclusive, `through` inclusive or exclusive.
  mutating func range(after: EntryID, through: EntryID, isClosed: Bool, count: Int) throws(RedisError) -> RedisReply {
    let end = isClosed ? through.description : "(\(through)"
    return try connection.command([
      "XRANGE", stream, after == .zero ? "-" : "(\(after)", end, "COUNT", String(count),
    ])
  }

  /// Which of the spaces hold no entry.
  mutating func empty(of gaps: [(after: EntryID, before: EntryID)]) throws(RedisError)
    -> [(after: EntryID, before: EntryID)]
  {
    for gap in gaps { connection.append(["XRANGE", stream, "(\(gap.after)", "(\(gap.before)", "COUNT", "1"]) }
    var empty: [(after: EntryID, before: EntryID)] = []
    for gap in gaps where try reply().count == 0 { empty.append(gap) }
    return empty
  }

  /// The entry of exactly this id. The reply is [] or [[id, fields]].
  mutating func entry(_ id: EntryID) throws(RedisError) -> RedisReply {
    try connection.command(["XRANGE", stream, id.description, id.description])
  }

  /// Acknowledges entries, whoever they are pending for: with the next `readNew` or `acknowledge`.
  mutating func acknowledgeLater(_ ids: [EntryID]) {
    for start in stride(from: 0, to: ids.count, by: Self.idsPerCommand) {
      let part = ids[start..<min(start + Self.idsPerCommand, ids.count)]
      acknowledgements.begin(argumentCount: 3 + part.count)
      acknowledgements.append("XACK")
      acknowledgements.append(stream)
      acknowledgements.append(group)
      for id in part { id.withText { acknowledgements.append($0) } }
    }
  }

  /// Acknowledges entries, and those of `acknowledgeLater`.
  mutating func acknowledge(_ ids: [EntryID] = []) throws(RedisError) {
    acknowledgeLater(ids)
    try takeAcknowledgements(sendAcknowledgements())
  }

  private mutating func sendAcknowledgements() -> Int {
    let owed = acknowledgements.commandCount
    guard owed > 0 else { return 0 }
    CrashPoint.reach(.beforeAck)
    connection.append(acknowledgements)
    acknowledgements.removeAll()
    return owed
  }

  private mutating func takeAcknowledgements(_ owed: Int) throws(RedisError) {
    for _ in 0..<owed { _ = try reply() }
    if owed > 0 { CrashPoint.reach(.afterAck) }
  }

  private static let idsPerCommand = 1000

  /// Removes entries below an id, if the group still stands where the census saw it; returns how many. In one step with
  /// the look: a stream that was deleted and made anew in between has a group that stands elsewhere, or none, and ids that
  /// say nothing about ours.
  mutating func trim(below id: EntryID, ifDeliveredTo last: EntryID) throws(RedisError) -> Int64 {
    try connection.command(["EVAL", Self.trimScript, "1", stream, group, last.description, id.description]).integer ?? 0
  }

  private static let trimScript = """
    if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
      local group = {}
      for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
      if group['name'] == ARGV[1] and group['last-delivered-id'] == ARGV[2] then
        return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[3])
      end
    end
    return 0
    """

  /// The stream's state, all of one moment (MULTI/EXEC).
  mutating func census() throws(RedisError) -> Census {
    connection.append(["MULTI"])
    connection.append(["XINFO", "STREAM", stream])
    connection.append(["XINFO", "GROUPS", stream])
    connection.append(["EXEC"])
    for _ in 0..<3 { _ = try reply() }
    let exec = try reply()
    guard exec.count == 2 else { throw .protocolViolation("EXEC gave \(exec.count) replies") }
    for index in 0..<2 { if let error = exec.view[index].error { throw .server(error) } }
    let info = exec.view[0]
    var census = Census(
      length: info[named: "length"]?.integer ?? 0, lastGeneratedID: info.id(named: "last-generated-id") ?? .zero,
      entriesAdded: info[named: "entries-added"]?.integer, firstEntryID: nil, lastDeliveredID: .zero, pending: 0,
      lag: nil, neededByOthers: nil)
    if let first = info[named: "first-entry"], first.count > 0 {
      census.firstEntryID = first[0].bytes.flatMap { EntryID($0) }
    }
    var others: [(group: String, last: EntryID, pending: Int64)] = []
    var isFound = false
    for index in 0..<exec.view[1].count {
      let entry = exec.view[1][index]
      let last = entry.id(named: "last-delivered-id") ?? .zero
      let pending = entry[named: "pending"]?.integer ?? 0
      if entry[named: "name"]?.string == group {
        isFound = true
        census.lastDeliveredID = last
        census.pending = pending
        census.lag = entry[named: "lag"]?.integer
      } else {
        others.append((entry[named: "name"]?.string ?? "", last, pending))
      }
    }
    guard isFound else { throw .server(RedisServerError(code: .noGroup, message: "no group \(group)")) }
    for other in others {
      var needed = other.last
      if other.pending > 0 {
        let summary = try connection.command(["XPENDING", stream, other.group])
        if summary.count > 1, let lowest = summary.view[1].bytes.flatMap({ EntryID($0) }) {
          needed = min(needed, lowest)
        }
      }
      census.neededByOthers = min(census.neededByOthers ?? .maximum, needed)
    }
    return census
  }

  /// Entries in the stream behind the group's position. Redis' own `lag` counts entries that were trimmed unread.
  mutating func undelivered(_ census: StreamCommands.Census) throws(RedisError) -> Int64 {
    guard let first = census.firstEntryID else { return 0 }
    if first > census.lastDeliveredID { return census.length }
    if let lag = census.lag { return lag }
    return try countBeyond(census.lastDeliveredID)
  }

  private mutating func countBeyond(_ id: EntryID) throws(RedisError) -> Int64 {
    var after = id
    var count: Int64 = 0
    while count < Self.countLimit {
      let reply = try range(after: after, through: .maximum, isClosed: true, count: Self.idsPerCommand)
      guard reply.count > 0, let last = reply.view[reply.count - 1][0].bytes.flatMap({ EntryID($0) }) else { break }
      count += Int64(reply.count)
      after = last
    }
    return count
  }

  /// Counting by reading is for streams whose lag Redis does not know; beyond this the exact number matters to nobody.
  private static let countLimit: Int64 = 100_000

  private mutating func reply(waitMilliseconds: Int = 0) throws(RedisError) -> RedisReply {
    let reply = try connection.nextReply(waitMilliseconds: waitMilliseconds)
    if let error = reply.error { throw .server(error) }
    return reply
  }
}

extension RedisReplyView {
  /// The value behind a name in a flat list of names and values.
  subscript(named name: String) -> RedisReplyView? {
    for index in stride(from: 0, to: count - 1, by: 2) where self[index].string == name { return self[index + 1] }
    return nil
  }

  func id(named name: String) -> EntryID? { self[named: name]?.bytes.flatMap { EntryID($0) } }
}
