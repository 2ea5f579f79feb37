// PushTestSite: what the push tests share: records, the stream as events, a script caller. On the test's thread.

import Redis
import Simulation
import Wire

@testable import Tracker

/// Builds records of sessions that are numbered.
func makeRecord(
  user: Int = 1, torrent: Int = 1, peer: Int = 1, uploaded: UInt64, downloaded: UInt64 = 0, left: UInt64 = 0,
  event: AnnounceEvent = .none, at timestamp: Int64 = 1_700_000_000, port: UInt16 = 51413,
  address: String = "192.0.2.7"
) -> AnnounceRecord {
  AnnounceRecord(
    passkey: Passkey("passkey\(user)")!,
    infoHash: InfoHash(words: (UInt64(torrent), 0, 0)), peerID: PeerID(words: (UInt64(peer), 7, 7)),
    address: IPAddress(address)!, port: port, event: event, uploaded: uploaded, downloaded: downloaded, left: left,
    timestamp: timestamp, intervalSeconds: 1800, minIntervalSeconds: 900)
}

extension QueuedAnnounce {
  /// Ordered by the second of the record.
  init(record: AnnounceRecord, announces: UInt32 = 1) {
    self.init(record: record, order: UInt64(record.timestamp) * 1_000_000, announces: announces)
  }
}

extension TrafficPush {
  /// As a worker does it, one batch.
  func enqueue(_ records: [AnnounceRecord]) { records.withUnsafeBufferPointer { enqueue($0) } }
}

extension RedisConnection {
  /// Every entry of a stream, decoded.
  mutating func events(of stream: String) throws -> [TrafficEvent] {
    try entries(of: stream).map { try TrafficEvent.decode($0) }
  }

  /// Every entry of a stream: names and values in turn. Read in pages.
  mutating func entries(of stream: String) throws -> [[String]] {
    var entries: [[String]] = []
    var start = "-"
    while true {
      let reply = try command(["XRANGE", stream, start, "+", "COUNT", "5000"])
      let view = reply.view
      if view.count == 0 { return entries }
      for index in 0..<view.count {
        let fields = view[index][1]
        entries.append((0..<fields.count).map { fields[$0].string ?? "" })
      }
      start = "(" + view[view.count - 1][0].string!
    }
  }

  mutating func integer(_ arguments: [String]) throws -> Int64 {
    let reply = try command(arguments)
    guard let integer = reply.integer else { throw HarnessError("\(arguments) gave no integer") }
    return integer
  }
}
