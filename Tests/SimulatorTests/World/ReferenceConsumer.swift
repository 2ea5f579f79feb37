// ReferenceConsumer: the simplest consumer there can be: by entry identity, which only a simulation knows, each once, of each
// generation the highest counters, and no time of a session under two generations. One thread.

struct ReferenceConsumer {
  /// What was credited of a generation, up to when, and the times for which it was.
  private struct Credited {
    var up: Int64 = 0
    var down: Int64 = 0
    var reached: Int64
    var times: [(after: Int64, before: Int64)] = []
  }
  private struct Snatch: Hashable {
    var user: Int
    var torrent: Int
  }
  private var seen: Set<Int> = []
  private var credited: [SessionName: [[UInt8]: Credited]] = [:]
  /// Entries whose time was credited before, under another generation.
  private(set) var withheld = 0
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
    let (name, order) = (value("gen"), number("order"))
    let known = credited[session]?[name]
    var now = known ?? Credited(reached: order)
    var shown = Shown(uploaded: max(0, number("cu") - now.up), downloaded: max(0, number("cd") - now.down))
    if shown.uploaded > 0 || shown.downloaded > 0 {
      // When it was moved: since the highest counters; of a generation not seen before since the announce before, unless
      // that is not all.
      var time = (after: now.reached, before: order)
      let own = order - (number("dt") + 1) * 62_500
      let isAll = number("cu") <= number("du") && number("cd") <= number("dd")
      if known == nil {
        time.after = isAll && number("dt") > 0 ? own : 0
      } else if order <= now.reached {
        time = (min(order, now.times.map(\.after).min() ?? order), now.reached)
      }
      let others = (credited[session] ?? [:]).filter { $0.key != name }.flatMap(\.value.times)
      func meetsOthers() -> Bool { others.contains { $0.after < time.before && time.after < $0.before } }
      var isTaken = meetsOthers()
      if isTaken, known == nil, !isAll, number("dt") > 0 || number("du") > 0 || number("dd") > 0 {
        // What is missing before it may be the others'. Of its own it is known.
        withheld += 1
        now.up = max(0, number("cu") - number("du"))
        now.down = max(0, number("cd") - number("dd"))
        shown = Shown(uploaded: number("cu") - now.up, downloaded: number("cd") - now.down)
        time.after = own
        isTaken = meetsOthers() && shown != Shown()
      }
      // One that brings nothing of its own is of another time than its counters.
      let isPassedOver = isTaken && number("du") == 0 && number("dd") == 0
      if !isPassedOver {
        now.up += shown.uploaded
        now.down += shown.downloaded
        now.reached = max(now.reached, order)
      }
      if isTaken {
        shown = Shown()
        withheld += isPassedOver ? 0 : 1
      } else if shown != Shown() {
        now.times.append(time)
      }
      if !isPassedOver { credited[session, default: [:]][name] = now }
    } else {
      credited[session, default: [:]][name] = now
    }
    if value("event") == Array("completed".utf8),
      snatches.insert(Snatch(user: session.user, torrent: session.torrent)).inserted
    {
      shown.snatches = 1
    }
    users[session.user, default: Shown()] += shown
    torrents[session.torrent, default: Shown()] += shown
  }
}
