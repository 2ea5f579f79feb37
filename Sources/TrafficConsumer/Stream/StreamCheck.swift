// StreamCheck: the arithmetic of `check`: every entry ever added to a stream is applied, a duplicate, a dead letter, lost,
// pending or undelivered. Main thread of a verb; reads the database and asks Redis.

import Glibc
import Redis
import SQLite

enum StreamCheck {
  /// The daemon works while this looks: a difference is believed when it stays.
  private static let attempts = 10
  private static let pauseMicroseconds: UInt32 = 300_000

  static func run(_ settings: StreamSettings, _ database: borrowing SQLiteDatabase) throws(StoreError)
    -> [StoreCheck.Result]
  {
    var results: [StoreCheck.Result] = []
    for index in settings.streams.indices { results.append(try check(index, settings, database)) }
    return results
  }

  private static func check(_ index: Int, _ settings: StreamSettings, _ database: borrowing SQLiteDatabase)
    throws(StoreError) -> StoreCheck.Result
  {
    let name = "entries of \(settings.streams[index])"
    func passed(_ why: String) -> StoreCheck.Result { StoreCheck.Result(name: name, isOK: true, detail: why) }
    var difference = ""
    for attempt in 1...attempts {
      let (handled, before) = try counters(of: settings.streams[index], in: database)
      let survey: StreamSurvey
      do throws(RedisError) {
        var commands = try StreamCommands(settings, stream: index)
        survey = try commands.survey()
      } catch {
        return passed("not compared with Redis: \(error)")
      }
      let census = survey.census
      guard let added = census.entriesAdded, let before else {
        return passed("not compared with Redis: no count yet")
      }
      let text =
        "\(handled) dealt with + \(before) gone before or lost + \(census.pending) pending "
        + "+ \(survey.undelivered) undelivered"
      if handled + before + survey.waiting == added { return passed("\(text) = \(added) added") }
      difference = "\(text) is not \(added) added"
      if attempt < attempts { usleep(pauseMicroseconds) }
    }
    return StoreCheck.Result(name: name, isOK: false, detail: difference)
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
}
