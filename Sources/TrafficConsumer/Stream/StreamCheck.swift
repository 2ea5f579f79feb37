// StreamCheck: the arithmetic of `check`: every entry ever added to a stream is applied, a duplicate, a dead letter, lost,
// pending or undelivered. Main thread of a verb; reads the database and asks Redis.

import Glibc
import SQLite

enum StreamCheck {
  /// The daemon works while this looks: a difference is believed when it stays.
  private static let attempts = 10
  private static let pauseMicroseconds: UInt32 = 300_000

  static func run(_ config: ConsumerConfig, _ database: borrowing SQLiteDatabase) throws(StoreError)
    -> [StoreCheck.Result]
  {
    var results: [StoreCheck.Result] = []
    for stream in config.streamNames { results.append(try check(stream, config, database)) }
    return results
  }

  private static func check(_ stream: String, _ config: ConsumerConfig, _ database: borrowing SQLiteDatabase)
    throws(StoreError) -> StoreCheck.Result
  {
    let name = "entries of \(stream)"
    var result = StoreCheck.Result(name: name, isOK: true, detail: "")
    for attempt in 1...attempts {
      let (handled, before) = try counters(of: stream, in: database)
      let waiting: (added: Int64?, pending: Int64, undelivered: Int64)
      do {
        waiting = try ask(stream, config)
      } catch {
        return StoreCheck.Result(name: name, isOK: true, detail: "not compared with Redis: \(error)")
      }
      guard let added = waiting.added, let before else {
        return StoreCheck.Result(name: name, isOK: true, detail: "not compared with Redis: no count yet")
      }
      let sum = handled + before + waiting.pending + waiting.undelivered
      let text =
        "\(handled) dealt with + \(before) gone before or lost + \(waiting.pending) pending "
        + "+ \(waiting.undelivered) undelivered"
      result = StoreCheck.Result(
        name: name, isOK: sum == added, detail: "\(text) \(sum == added ? "=" : "is not") \(added) added")
      if sum == added { return result }
      if attempt < attempts { usleep(pauseMicroseconds) }
    }
    return result
  }

  private static func counters(of stream: String, in database: borrowing SQLiteDatabase) throws(StoreError)
    -> (handled: Int64, before: Int64?)
  {
    try store { () throws(SQLiteError) in
      let select = try database.prepare("SELECT handled, added_before FROM streams WHERE name = ?1")
      try select.bind(stream, at: 1)
      guard try select.step() else { return (0, nil) }
      return (select.integer(0), select.isNull(1) ? nil : select.integer(1))
    }
  }

  private static func ask(_ stream: String, _ config: ConsumerConfig) throws -> (
    added: Int64?, pending: Int64, undelivered: Int64
  ) {
    let settings = try config.streamSettings(adoptsGroup: false)
    var commands = try StreamCommands(
      stream: stream, group: settings.group, consumer: settings.consumer, endpoint: settings.endpoint,
      timeouts: settings.timeouts)
    let census = try commands.census()
    return (census.entriesAdded, census.pending, try commands.undelivered(census))
  }
}
