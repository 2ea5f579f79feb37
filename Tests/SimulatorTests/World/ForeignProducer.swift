// Another producer: entries of the first fourteen fields, some of them dead letters until they are repaired.

import Wire

@testable import TrafficConsumer

extension World {
  /// Adds an entry of the first fourteen fields. A bad one has a number that is none, until it is repaired.
  func addForeign(client: Int, isBad: Bool) {
    guard !isRedisDown, !isRedisHung, !redis.isReadOnly, !redis.isOutOfMemory, redis.refusal == nil else { return }
    let user = 500 + client % 2
    let second = max(Self.wall(now) / 1_000_000_000, (foreign.last?.second ?? 0) + 1)
    let entry = ForeignEntry(
      name: SessionName(user: user, torrent: 500, peer: 500 + client % 3), uploaded: Int64(random.bytes(100_000)),
      downloaded: Int64(random.bytes(1000)), second: second, isBad: isBad, serial: entries.nextSerial)
    var session = RedisModel.Session()
    let fields = [
      "passkey", Self.passkey(user), "infohash", Self.infoHash(500).hex, "peer_id", Self.peerID(entry.name.peer).hex,
      "port", "6881", "ip", "192.0.2.99", "af", "IPv4", "du", isBad ? "x\(entry.uploaded)" : "\(entry.uploaded)", "dd",
      "\(entry.downloaded)", "left", "5", "event", "none", "ts", "\(second)", "dt", "0", "interval", "1800",
      "min_interval", "900",
    ]
    let reply = executeOnRedis((["XADD", Self.streamKey, "*"] + fields).map { Array($0.utf8) }, &session)
    guard reply.error == nil else { return }
    foreign.append(entry)
    trace { "another producer adds \(entry)" }
  }

  /// Of what another producer added, what a failover took before it was read is nobody's fault.
  func addForeign(to bounds: inout Truth.Bounds) {
    let nothing = Shown()
    for entry in foreign {
      let shown = Shown(uploaded: entry.uploaded, downloaded: entry.downloaded, announces: 1)
      // Which of two entries with one id was read is not known here.
      let isSure = entries.isSure(entry.serial)
      if !isSure || trouble.hasForgotten { isForeignUnsure = true }
      bounds.add(entry.name, isSure ? shown : nothing, isSure ? shown : nothing, shown)
    }
  }

  /// Repairs and replays what waits.
  func replayDeadLetters() {
    guard let consumer = consumers.first(where: \.isLeading) else { return }
    consumer.withWriter { [foreign] writer throws(StoreError) in
      let letters = try DeadLetterTable.list(DeadLetterFilter(state: .dead), in: writer.database)
      for letter in letters {
        guard let second = letter.fields.value("ts"), let entry = foreign.first(where: { "\($0.second)" == second })
        else {
          continue
        }
        let result = try writer.replay(letter.id, repairs: [("du", "\(entry.uploaded)")], isDryRun: false)
        trace { "replayed \(entry): \(result.outcome)" }
      }
    }
  }
}

/// What another producer said once, and will not say again.
struct ForeignEntry: CustomStringConvertible {
  var name: SessionName
  var uploaded: Int64
  var downloaded: Int64
  var second: UInt64
  var isBad: Bool
  var serial: Int
  var description: String { "\(name) up \(uploaded) down \(downloaded)\(isBad ? ", bad" : "")" }
}

extension EntryFields {
  fileprivate func value(_ name: String) -> String? {
    for index in stride(from: 0, to: items.count - 1, by: 2) where items[index] == Array(name.utf8) {
      return String(decoding: items[index + 1], as: UTF8.self)
    }
    return nil
  }
}
