// AbandonedStreams: streams that this database was fed from and that the configuration does not name any more, as after a
// change of `partitions`: what is still unread in them. Reader thread 0 at its start; main thread of a verb.

import Redis
import SQLite

struct AbandonedStreams: Sendable {
  private let settings: StreamSettings
  private let states: [StreamState]

  /// `stored`: every stream the database knows.
  init(_ settings: StreamSettings, _ stored: [StreamState]) {
    states = stored.filter { !settings.streams.contains($0.name) }
    self.settings = settings
  }

  static func stored(in database: borrowing SQLiteDatabase) throws(StoreError) -> [StreamState] {
    try store { () throws(SQLiteError) in
      var states: [StreamState] = []
      for name in try StreamTable.names(in: database) {
        if let state = try StreamTable.read(name: name, from: database) { states.append(state) }
      }
      return states
    }
  }

  /// The streams with entries that were not dealt with, and at least how many.
  func unread() throws(RedisError) -> [(stream: String, entries: Int64)] {
    var found: [(stream: String, entries: Int64)] = []
    for state in states {
      var own = settings
      own.streams = [state.name]
      var commands = try StreamCommands(own, stream: 0)
      let entries = try commands.unapplied(state.applied).entries
      if entries > 0 { found.append((state.name, entries)) }
    }
    return found
  }
}
