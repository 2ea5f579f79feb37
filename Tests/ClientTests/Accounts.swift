// Accounts: what a swarm's announces and the consumer say of each session, beside what its client reports. One test at
// a time.

import Foundation
import Redis
import Simulation
import Testing
import Wire

/// Three accounts of one session's bytes.
struct Account {
  let session: Swarm.Session
  /// Its entries on the stream, oldest first.
  let entries: [TrafficEvent]
  /// What the client said in its last announce.
  let announced: LastAnnounce
  /// What the consumer credited.
  let credited: TorrentTotals
  /// What the client shows its user.
  let reported: ClientReport

  /// All of it, for a failure.
  var text: String {
    let announces = entries.map { entry in
      "\(entry.event.text)(\(entry.addressFamily.text), +\(entry.uploadedDelta) up, +\(entry.downloadedDelta) down)"
    }
    return """
      \(session.description)
        reported: \(reported)
        last announce: uploaded \(announced.uploaded), downloaded \(announced.downloaded)
        credited: uploaded \(credited.uploaded), downloaded \(credited.downloaded)
        announces: \(announces.joined(separator: " "))
      """
  }
}

/// `query user PASSKEY --by torrent` (docs/contract.md, section 5).
struct TorrentTotals: Decodable {
  var infohash: String
  var uploaded: UInt64
  var downloaded: UInt64
  var completed: Int
}

extension Swarm {
  /// The accounts of all users, once each session has said `stopped` and the consumer, started now, has applied everything.
  /// `stops`: how often a client says it, once on each family.
  func accounts(stops: (any RealClient) -> Int = { _ in 1 }) async throws -> [Account] {
    let expected = sessions.reduce(0) { $0 + stops($1.client) }
    // The consumer trims the stream, so it starts when this has been read.
    let entries = try await eventually("every session says stopped", within: Self.transferSeconds, evidence: site.logs)
    {
      let entries = try self.entries()
      return entries.count { $0.event == .stopped } == expected ? entries : nil
    }
    try await site.startConsumer()
    var accounts: [Account] = []
    for client in clients {
      let own = entries.filter { $0.passkey.text == client.passkey }
      try await eventually("the consumer has applied \(client.name)'s entries", evidence: site.logs) {
        // Refused while the user is unknown.
        let report = try? await self.site.json(UserReport.self, ["query", "user", client.passkey])
        return report?.events == own.count
      }
      let torrents = try await site.json([TorrentTotals].self, ["query", "user", client.passkey, "--by", "torrent"])
      for session in sessions where session.client === client {
        let entries = own.filter { $0.infoHash.hex == session.file.infoHash }
        let last = try #require(entries.last)
        let credited = torrents.first { $0.infohash == session.file.infoHash }
        let announced = try lastAnnounce(last)
        accounts.append(
          Account(
            session: session, entries: entries, announced: announced, credited: try #require(credited),
            reported: try client.report(session.file.infoHash)))
      }
    }
    return accounts
  }

  /// The entries of one session on the stream, oldest first.
  func entries(of session: Session) throws -> [TrafficEvent] {
    try entries().filter { $0.passkey.text == session.client.passkey && $0.infoHash.hex == session.file.infoHash }
  }

  /// The entries on the stream, oldest first.
  func entries() throws -> [TrafficEvent] {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
    let reply = try connection.command(["XRANGE", "tracker:traffic", "-", "+"])
    return try (0..<reply.count).map { index in
      let fields = reply.view[index][1]
      return try TrafficEvent.decode((0..<fields.count).map { fields[$0].string ?? "" })
    }
  }

  /// The counters of a session's last announce as the client sent them, from the tracker's snapshot.
  func lastAnnounce(_ event: TrafficEvent) throws -> LastAnnounce {
    let key = "tracker:last:\(event.passkey.text):\(event.infoHash.hex):\(event.peerID.hex)"
    let numbers = try ["uploaded", "downloaded"].map { field in
      guard let number = UInt64(try site.redisText(["HGET", key, field])) else {
        throw HarnessError("\(key) \(field) is no number")
      }
      return number
    }
    return LastAnnounce(uploaded: numbers[0], downloaded: numbers[1])
  }
}

/// What a session's last announce said.
struct LastAnnounce: Equatable {
  var uploaded: UInt64
  var downloaded: UInt64
}
