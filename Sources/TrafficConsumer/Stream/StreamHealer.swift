// StreamHealer: reads streams again and applies what is missing, in one thread: `heal` without a daemon. Main thread of a
// verb that holds the lock.

enum StreamHealer {
  private static let readCount = 1000

  /// Reads from an id up to the group's position. Throws StoreError or RedisError.
  static func heal(from id: EntryID, _ writer: StoreWriter, _ settings: StreamSettings) throws -> StreamCounters {
    let before = writer.streams
    for index in settings.streams.indices {
      var commands = try StreamCommands(settings, stream: index)
      // Without a group nothing was ever delivered: the daemon will read it all.
      guard let end = try commands.censusIfAny()?.lastDeliveredID else { continue }
      var span = StreamSpan(after: id.predecessor, through: end, isClosed: true)
      while true {
        let delivery = try commands.range(span, count: readCount)
        guard let last = delivery.entries.last?.id else { break }
        _ = try writer.apply([delivery])
        try commands.acknowledge([delivery])
        span.after = last
      }
      for row in writer.streams[index].lost.rows {
        let lost = StreamSpan(after: row.first.predecessor, through: row.last, isClosed: true)
        guard try commands.count(lost).entries >= row.total else { continue }
        try writer.make(.found(first: row.first, last: row.last), stream: index)
      }
    }
    return StreamCounters.difference(from: before, to: writer.streams)
  }
}

extension StreamCounters {
  /// The answer to the request `heal`.
  var healWords: [String] { [applied, duplicates, dead, redelivered].map { String($0) } }
}
