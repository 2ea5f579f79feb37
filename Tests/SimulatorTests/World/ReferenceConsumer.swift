// ReferenceConsumer: the simplest consumer there can be: by entry identity, which only a simulation knows, each once, and of
// each generation the highest counters. One thread.

struct ReferenceConsumer {
  private struct Generation: Hashable {
    var session: SessionName
    var name: [UInt8]
  }
  private struct Snatch: Hashable {
    var user: Int
    var torrent: Int
  }
  private var seen: Set<Int> = []
  private var credited: [Generation: (up: Int64, down: Int64)] = [:]
  private var snatches: Set<Snatch> = []
  private(set) var users: [Int: Shown] = [:]
  private(set) var torrents: [Int: Shown] = [:]

  /// Takes what a stream holds.
  mutating func read(_ stream: ModelStream, _ name: (ModelStream.Entry) -> SessionName?) {
    for entry in stream.entries where seen.insert(entry.serial).inserted {
      guard let session = name(entry) else { continue }
      apply(entry, session)
    }
  }

  private mutating func apply(_ entry: ModelStream.Entry, _ session: SessionName) {
    func value(_ name: String) -> [UInt8] {
      let name = Array(name.utf8)
      for index in stride(from: 0, to: entry.fields.count, by: 2) where entry.fields[index] == name {
        return entry.fields[index + 1]
      }
      return []
    }
    func number(_ name: String) -> Int64 { Int64(String(decoding: value(name), as: UTF8.self)) ?? 0 }
    let generation = Generation(session: session, name: value("gen"))
    let before = credited[generation] ?? (0, 0)
    let after = (max(before.up, number("cu")), max(before.down, number("cd")))
    credited[generation] = after
    var shown = Shown(uploaded: after.0 - before.up, downloaded: after.1 - before.down)
    if value("event") == Array("completed".utf8),
      snatches.insert(Snatch(user: session.user, torrent: session.torrent)).inserted
    {
      shown.snatches = 1
    }
    users[session.user, default: Shown()] += shown
    torrents[session.torrent, default: Shown()] += shown
  }
}
