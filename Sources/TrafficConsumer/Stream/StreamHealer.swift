// StreamHealer: reads streams again and applies what is missing, in one thread: `heal` without a daemon. Main thread of a
// verb that holds the lock.

import Redis

enum StreamHealer {
  private static let readCount = 1000

  /// Reads from an id up to the group's position. Returns numbers: applied, duplicates, dead, recognised.
  static func heal(from id: EntryID, _ writer: StoreWriter, _ settings: StreamSettings) throws -> [String] {
    let before = writer.streams.map(\.counters)
    for (index, stream) in settings.streams.enumerated() {
      var commands = try StreamCommands(
        stream: stream, group: settings.group, consumer: settings.consumer, endpoint: settings.endpoint,
        timeouts: settings.timeouts)
      let end: EntryID
      do throws(RedisError) {
        end = try commands.census().lastDeliveredID
      } catch {
        guard error.code == .noGroup || error.code == .err else { throw error }
        // Nothing was ever delivered: the daemon will read it all.
        continue
      }
      var after = id == .zero ? EntryID.zero : id.predecessor
      while true {
        let reply = try commands.range(after: after, through: end, isClosed: true, count: readCount)
        guard reply.count > 0 else { break }
        let delivery = StreamDelivery(streamIndex: index, source: .consecutive, entries: reply.view)
        guard let last = delivery.entries.last?.id else { break }
        _ = try writer.apply([delivery])
        try commands.acknowledge(delivery.settled)
        after = last
      }
    }
    return ControlVerbs.healWords(before, writer.streams.map(\.counters))
  }
}
