// StreamCommands: the Redis stream commands the consumer uses, as calls on one connection. Belongs to a reader thread, or to
// the main thread of a verb.

import Redis

/// One stream, read as one consumer of one group.
struct StreamCommands: ~Copyable {
  let index: Int
  let stream: String
  let group: String
  let consumer: String
  private var connection: RedisConnection
  private var acknowledgements = RedisCommandBuffer()
  /// The user may not run scripts.
  private var isScriptRefused = false
  /// Used again for every reply with new entries.
  private var newEntries = RedisReply()

  /// A reply with new entries that took more than this gives its memory back.
  private static let keptReplyBytes = 8 << 20

  /// Connects for one of the streams.
  init(_ settings: StreamSettings, stream index: Int) throws(RedisError) {
    self.index = index
    stream = settings.streams[index]
    group = settings.group
    consumer = settings.consumer
    connection = try RedisConnection(endpoint: settings.endpoint, timeouts: settings.timeouts, key: stream)
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

  /// Writes down which database this group's entries go to, if that is not written yet; returns what is written.
  mutating func claimGroup(for instance: String, replacing: Bool) throws(RedisError) -> String {
    let key = "\(stream):\(group):database"
    if replacing {
      _ = try connection.command(["SET", key, instance])
    } else {
      _ = try connection.command(["SET", key, instance, "NX"])
    }
    return try connection.command(["GET", key]).string ?? ""
  }

  /// Entries no consumer has had; waits for some up to `blockMilliseconds`. What is to be acknowledged goes along, ahead.
  mutating func readNew(count: Int, blockMilliseconds: Int, acknowledging done: [StreamDelivery]) throws(RedisError)
    -> StreamDelivery
  {
    let owed = sendAcknowledgements(done)
    connection.append([
      "XREADGROUP", "GROUP", group, consumer, "COUNT", String(count), "BLOCK", String(max(1, blockMilliseconds)),
      "STREAMS", stream, ">",
    ])
    try takeAcknowledgements(owed)
    try connection.nextReply(reusing: &newEntries, waitMilliseconds: blockMilliseconds)
    if let error = newEntries.error { throw .server(error) }
    defer { if newEntries.byteCount > Self.keptReplyBytes { newEntries = RedisReply() } }
    return delivery(ofRead: newEntries.view, .fresh)
  }

  /// Entries this consumer was given and has not acknowledged, after an id.
  mutating func readOwnPending(after id: EntryID, count: Int) throws(RedisError) -> StreamDelivery {
    let reply = try connection.command([
      "XREADGROUP", "GROUP", group, consumer, "COUNT", String(count), "STREAMS", stream, id.description,
    ])
    return delivery(ofRead: reply.view, .scattered)
  }

  /// XREADGROUP's reply is nil, or [[stream, [entry...]]].
  private func delivery(ofRead reply: RedisReplyView, _ source: StreamDelivery.Source) -> StreamDelivery {
    guard reply.count == 1 else { return StreamDelivery(streamIndex: index, source: source) }
    return StreamDelivery(streamIndex: index, source: source, entries: reply[0][1])
  }

  /// Takes over entries that other consumers have left alone for a time.
  mutating func claim(idleMilliseconds: Int, cursor: EntryID, count: Int) throws(RedisError) -> ClaimedEntries {
    // The reply is [next cursor, [entry...], [deleted id...]]; before Redis 7 without the last.
    let reply = try connection.command([
      "XAUTOCLAIM", stream, group, consumer, String(idleMilliseconds), cursor.description, "COUNT", String(count),
    ])
    guard reply.count >= 2 else { throw .protocolViolation("XAUTOCLAIM gave \(reply.count) parts") }
    var vanished: [EntryID] = []
    if reply.count > 2 {
      let list = reply.view[2]
      vanished = (0..<list.count).compactMap { list[$0].id }
    }
    return ClaimedEntries(
      delivery: StreamDelivery(streamIndex: index, source: .scattered, entries: reply.view[1]),
      cursor: reply.view[0].id ?? .zero, vanished: vanished)
  }

  /// Entries between two ids; `after` is exclusive, `through` inclusive or exclusive.
  mutating func range(_ span: StreamSpan, count: Int) throws(RedisError) -> StreamDelivery {
    let reply = try connection.command(rangeCommand(span, count: count))
    return StreamDelivery(streamIndex: index, source: .consecutive, entries: reply.view)
  }

  private func rangeCommand(_ span: StreamSpan, count: Int) -> [String] {
    let end = span.isClosed ? span.through.description : "(\(span.through)"
    return ["XRANGE", stream, span.after == .zero ? "-" : "(\(span.after)", end, "COUNT", String(count)]
  }

  /// Which of the gaps hold no entry.
  mutating func empty(of gaps: [AppliedRanges.Gap]) throws(RedisError) -> [AppliedRanges.Gap] {
    for gap in gaps {
      connection.append(
        rangeCommand(StreamSpan(after: gap.after, through: gap.before, isClosed: false), count: 1))
    }
    var empty: [AppliedRanges.Gap] = []
    for gap in gaps where try reply().count == 0 { empty.append(gap) }
    return empty
  }

  /// What entries of exactly these ids hold; nil for those that are not there.
  mutating func entries(_ ids: [EntryID]) throws(RedisError) -> [EntryFields?] {
    for id in ids { connection.append(["XRANGE", stream, id.description, id.description]) }
    var found: [EntryFields?] = []
    for _ in ids {
      let reply = try reply()
      found.append(reply.count == 1 ? EntryFields(reply.view[0][1]) : nil)
    }
    return found
  }

  /// Acknowledges what is settled of deliveries, whichever consumer it is pending for.
  mutating func acknowledge(_ done: [StreamDelivery]) throws(RedisError) {
    try takeAcknowledgements(sendAcknowledgements(done))
  }

  /// Puts the commands into the pipeline; returns how many replies they owe.
  private mutating func sendAcknowledgements(_ done: [StreamDelivery]) -> Int {
    for delivery in done {
      let ids = delivery.settled
      for start in stride(from: 0, to: ids.count, by: Self.idsPerCommand) {
        let part = ids[start..<min(start + Self.idsPerCommand, ids.count)]
        acknowledgements.begin(argumentCount: 3 + part.count)
        acknowledgements.append("XACK")
        acknowledgements.append(stream)
        acknowledgements.append(group)
        for id in part { id.withText { acknowledgements.append($0) } }
      }
    }
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

  /// What came of trimming.
  enum Trimming {
    case removed(Int64)
    /// Redis does not allow it.
    case refused(String)
  }

  /// Removes entries below an id, if the group still stands where the census saw it. In one step with the look: a stream
  /// that was deleted and made anew in between has a group that stands elsewhere, or none, and ids that say nothing about
  /// ours. Where scripts are not allowed the look is one round trip earlier.
  mutating func trim(below id: EntryID, ifDeliveredTo last: EntryID) throws(RedisError) -> Trimming {
    do throws(RedisError) {
      if !isScriptRefused {
        let script = ["EVAL", Self.trimScript, "1", stream, group, last.description, id.description]
        return .removed(try connection.command(script).integer ?? 0)
      }
    } catch {
      guard Self.isRefusal(error) else { throw error }
      isScriptRefused = true
    }
    guard try census().lastDeliveredID == last else { return .removed(0) }
    do throws(RedisError) {
      return .removed(try connection.command(["XTRIM", stream, "MINID", id.description]).integer ?? 0)
    } catch {
      guard Self.isRefusal(error) else { throw error }
      return .refused(error.description)
    }
  }

  /// NOPERM of a command, or of one inside a script.
  private static func isRefusal(_ error: RedisError) -> Bool {
    guard case .server(let refusal) = error else { return false }
    return refusal.code == .noPerm || refusal.message.contains("ACL failure in script")
  }

  private static let trimScript = """
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
  mutating func census() throws(RedisError) -> StreamCensus {
    connection.append(["MULTI"])
    connection.append(["XINFO", "STREAM", stream])
    connection.append(["XINFO", "GROUPS", stream])
    connection.append(["EXEC"])
    for _ in 0..<3 { _ = try reply() }
    let exec = try reply()
    guard exec.count == 2 else { throw .protocolViolation("EXEC gave \(exec.count) replies") }
    for index in 0..<2 { if let error = exec.view[index].error { throw .server(error) } }
    var census = StreamCensus(stream: exec.view[0])
    guard let others = census.add(groups: exec.view[1], own: group) else {
      throw .server(RedisServerError(code: .noGroup, message: "no group \(group)"))
    }
    for other in others {
      var needed = other.last
      if other.pending > 0 {
        let summary = try connection.command(["XPENDING", stream, other.name])
        if summary.count > 1, let lowest = summary.view[1].id { needed = min(needed, lowest) }
      }
      census.neededByOthers = min(census.neededByOthers ?? .maximum, needed)
    }
    return census
  }

  /// The same; nil when there is no stream or no group yet.
  mutating func censusIfAny() throws(RedisError) -> StreamCensus? {
    do throws(RedisError) {
      return try census()
    } catch {
      guard error.code == .noGroup || error.code == .err else { throw error }
      return nil
    }
  }

  /// The census, and what waits behind the group's position or the last entry dealt with; exactly, up to `countLimit`, or
  /// only when it is little.
  mutating func survey(beyond dealtWith: EntryID, isExact: Bool = true) throws(RedisError) -> StreamSurvey {
    let census = try census()
    let position = max(census.lastDeliveredID, dealtWith)
    // Up to the end that the census saw: what comes meanwhile is not in its count.
    let rest = StreamSpan(after: position, through: census.lastGeneratedID, isClosed: true)
    var (unread, isCut) = (census.unread(beyond: position) ?? 0, false)
    if census.unread(beyond: position) == nil {
      (unread, isCut) = try count(rest, limit: isExact ? Self.countLimit : Int64(Self.idsPerCommand))
    }
    let oldest = try connection.command(rangeCommand(rest, count: 1))
    return StreamSurvey(
      census: census, position: position, unread: unread, isUnreadCut: isCut,
      oldestWaitingMilliseconds: oldest.count == 0 ? nil : oldest.view[0][0].id?.milliseconds)
  }

  /// Entries in the stream, up to one, that were not dealt with.
  mutating func unapplied(_ applied: AppliedRanges, through end: EntryID = .maximum) throws(RedisError)
    -> (entries: Int64, isCut: Bool)
  {
    var spans = applied.gaps.map { StreamSpan(after: $0.after, through: $0.before, isClosed: false) }
    spans.append(StreamSpan(after: applied.last ?? .zero, through: end, isClosed: true))
    var sum: Int64 = 0
    for span in spans {
      let (entries, isCut) = try count(span)
      sum += entries
      if isCut { return (sum, true) }
    }
    return (sum, false)
  }

  /// How many entries a part of the stream has, or that there are too many to count.
  mutating func count(_ span: StreamSpan, limit: Int64 = Self.countLimit) throws(RedisError)
    -> (entries: Int64, isCut: Bool)
  {
    var rest = span
    var count: Int64 = 0
    while rest.after < rest.through {
      guard count < limit else { return (count, true) }
      let reply = try connection.command(rangeCommand(rest, count: Self.idsPerCommand))
      guard reply.count > 0, let last = reply.view[reply.count - 1][0].id else { break }
      count += Int64(reply.count)
      if reply.count < Self.idsPerCommand { break }
      rest.after = last
    }
    return (count, false)
  }

  /// Counting is reading: 6 MB and twenty calls. A reader that is further behind will be there within a second, or has
  /// other troubles than entries that are missing.
  static let countLimit: Int64 = 20_000

  private mutating func reply() throws(RedisError) -> RedisReply {
    let reply = try connection.nextReply()
    if let error = reply.error { throw .server(error) }
    return reply
  }
}

extension RedisReplyView {
  /// The id an element's text is.
  var id: EntryID? { bytes.flatMap { EntryID($0) } }
}
