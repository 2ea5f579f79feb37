// ConsumerBooks: what the consumer's database shows: sums of users and torrents, what is reported as missing. Read-only.

import SQLite
import Wire

@testable import TrafficConsumer

struct ConsumerBooks {
  var users: [String: Shown] = [:]
  var torrents: [[UInt8]: Shown] = [:]
  /// Entries that are reported as never to be seen.
  var lost: Int64 = 0
  /// Entries of which nothing was credited, as their time had been.
  var withheld: Int64 = 0
  var waitingDeadLetters: Int64 = 0
  /// What does not add up.
  var faults: [String] = []

  init(_ database: borrowing SQLiteDatabase) throws {
    let columns = "uploaded, downloaded, completed, events, seed_seconds + leech_seconds"
    let users = try database.prepare("SELECT passkey, \(columns) FROM users")
    while try users.step() { self.users[users.text(0)] = Self.shown(users) }
    let torrents = try database.prepare("SELECT infohash, \(columns) FROM torrents")
    while try torrents.step() { self.torrents[Array(torrents.bytes(0))] = Self.shown(torrents) }
    lost = try database.integer("SELECT total(entries) FROM lost_ranges WHERE acknowledged = 0") ?? 0
    withheld = try database.integer("SELECT total(entries) FROM withheld") ?? 0
    waitingDeadLetters = try database.integer("SELECT count(*) FROM dead_letters WHERE state = 'dead'") ?? 0
  }

  private static func shown(_ row: borrowing SQLiteStatement) -> Shown {
    Shown(
      uploaded: row.integer(1), downloaded: row.integer(2), snatches: row.integer(3), announces: row.integer(4),
      seconds: row.integer(5))
  }
}
