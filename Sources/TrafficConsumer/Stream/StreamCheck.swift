// StreamCheck: the arithmetic of `check`: every entry ever added to a stream is applied, a duplicate, a dead letter, lost, or
// waits there. Main thread of a verb; reads the database and asks Redis.

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
    let abandoned = AbandonedStreams(settings, try AbandonedStreams.stored(in: database))
    do throws(RedisError) {
      for (stream, entries) in try abandoned.unread() {
        results.append(
          StoreCheck.Result(
            name: "entries of \(stream)", isOK: false,
            detail: "\(entries) or more unread in a stream that the configuration does not name any more"))
      }
    } catch {
      // Said of the streams that are named.
    }
    return results
  }

  private static func check(_ index: Int, _ settings: StreamSettings, _ database: borrowing SQLiteDatabase)
    throws(StoreError) -> StoreCheck.Result
  {
    let stream = settings.streams[index]
    let name = "entries of \(stream)"
    func passed(_ why: String) -> StoreCheck.Result { StoreCheck.Result(name: name, isOK: true, detail: why) }
    var difference = ""
    for attempt in 1...attempts {
      let found = try store { () throws(SQLiteError) in try StreamTable.snapshot(name: stream, from: database) }
      guard let state = found, let before = state.counters.addedBefore else {
        return passed("not compared with Redis: no count yet")
      }
      let (added, rest): (Int64?, (entries: Int64, isCut: Bool))
      do throws(RedisError) {
        var commands = try StreamCommands(settings, stream: index)
        let census = try commands.census()
        // What is added after the count is not in it.
        (added, rest) = (census.entriesAdded, try commands.unapplied(state.applied, through: census.lastGeneratedID))
      } catch {
        return passed("not compared with Redis: \(error)")
      }
      guard let added else {
        return passed("not compared with Redis, which does not count before version 7: what is lost is at least that")
      }
      if rest.isCut { return passed("not compared with Redis: more than \(rest.entries) are unread") }
      let text =
        "\(state.counters.handled) dealt with + \(before) gone before + \(state.lost.entries) lost "
        + "+ \(rest.entries) waiting"
      if state.missing(added: added, unread: rest.entries) == 0 { return passed("\(text) = \(added) added") }
      difference = "\(text) is not \(added) added"
      if attempt < attempts { usleep(pauseMicroseconds) }
    }
    return StoreCheck.Result(name: name, isOK: false, detail: difference)
  }
}
