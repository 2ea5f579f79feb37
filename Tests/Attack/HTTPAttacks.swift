// HTTPAttacks: connections that say nothing or go away, and one request with two identities.

import Foundation
import Glibc
import Linux
import Simulation
import Synchronization
import Wire

extension AttackScenario {
  static let httpAttacks = [connections, vanishing, twoPasskeys]

  /// Three addresses hold more connections than there are descriptors for, half of them in the middle of a request.
  private static let connections = AttackScenario(name: "http connections", connections: 1000) { attack in
    let port = attack.site.endpoints.httpPort
    let (deadline, opened) = (attack.deadline, Counter())
    let threads = (2...4).map { host in
      let crowd = Mutex(Crowd())
      return AttackThread("crowd-\(host)") { round in
        crowd.withLock {
          if $0.join(from: "127.0.0.\(host)", port: port, says: round.isMultiple(of: 2)) { opened.add(1) }
        }
        usleep(100)
      }
    }
    while Clock.monotonicNanoseconds() < deadline { try await attack.pause(0.02) }
    let open = try attack.metric("tracker_http_connections_open")
    for thread in threads { try await thread.end() }
    let evicted = try attack.metric("tracker_http_connections_evicted_total")
    return "\(opened.value) connections that ask nothing, \(Int(open)) are open of 1000, \(Int(evicted)) made room"
  }

  /// Connections of one address: the newest seven hundred are open.
  private struct Crowd: ~Copyable {
    private final class Member {
      let socket: AttackSocket
      init(_ socket: consuming AttackSocket) { self.socket = socket }
    }
    private var members: [Member?] = Array(repeating: nil, count: 700)
    private var next = 0

    /// One more, in the middle of a request or without a word.
    mutating func join(from source: String, port: UInt16, says: Bool) -> Bool {
      guard let socket = AttackSocket(from: source, to: .v4(port), udp: false) else { return false }
      if says { socket.send(Array("GET /announce/half-a-request?info_hash=".utf8)) }
      members[next] = Member(socket)
      next = (next + 1) % members.count
      return true
    }
  }

  /// Users whom the tracker must look up announce while Redis hangs, and their connections are reset. They had a session
  /// with an earlier process.
  private static let vanishing: AttackScenario = {
    let passkeys = (0..<20).map { "van15h\($0)" }
    let prepare: @Sendable (Attack) async throws -> Void = { attack in
      try attack.site.approve(passkeys)
      for passkey in passkeys {
        let reply = try Site.get(port: attack.site.endpoints.httpPort, vanishingTarget(passkey, 0))
        _ = try HTTPAnnounceClient.outcome(reply.body).reply()
      }
      try await attack.stopTracker()
      try await attack.startTracker()
    }
    return AttackScenario(name: "clients that reset while they wait", prepare: prepare) { attack in
      try await attack.whileRedisHangs {
        for passkey in passkeys {
          guard let socket = AttackSocket(from: "127.0.0.2", to: .v4(attack.site.endpoints.httpPort), udp: false) else {
            throw HarnessError("no connection")
          }
          socket.send(Array("GET \(vanishingTarget(passkey, 1_000_000)) HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
          // Read, and waiting for Redis.
          _ = socket.receive(withinMilliseconds: 50)
          socket.reset()
          attack.owed[passkey] = 1_000_000
        }
      }
      try await attack.pause(1)
      return "\(passkeys.count) announces whose connections were reset before the answer"
    }
  }()

  private static func vanishingTarget(_ passkey: String, _ uploaded: Int) -> String {
    "/announce/\(passkey)?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=cccccccccccccccccccc&port=6881&left=0&downloaded=0"
      + "&uploaded=\(uploaded)"
  }

  /// The path says one user and the query another, or the query says two: whoever it is, he is the same over HTTP and UDP.
  private static let twoPasskeys = AttackScenario(name: "two passkeys in one announce") { attack in
    let (site, users) = (attack.site, ["7w0a", "7w0b"])
    try site.approve(users)
    let targets = ["/announce/7w0a?passkey=7w0b", "/announce?passkey=7w0a&passkey=7w0b"]
    for (number, target) in targets.enumerated() {
      for uploaded in [0, 1000] as [UInt64] {
        let announcement = Announcement(
          passkey: "", infoHash: InfoHash(words: (1, 1, 1)), peerID: PeerID(words: (1, 1, UInt32(number))),
          uploaded: uploaded)
        let query = HTTPAnnounceClient.target(announcement, route: .query).split(separator: "passkey=&")[1]
        let reply = try Site.get(port: site.endpoints.httpPort, "\(target)&\(query)")
        let overHTTP = reason(try HTTPAnnounceClient.outcome(reply.body))
        var client = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
        var other = announcement
        other.infoHash = InfoHash(words: (2, 2, 2))
        let options = UDPAnnounceClient.urlOptions(Array(target.utf8))
        let overUDP = reason(try client.announce(other, options: options))
        if overHTTP != overUDP { attack.wrongs.append("\(target): \(overHTTP) over HTTP, \(overUDP) over UDP") }
      }
    }
    // All of it is credited: a thousand bytes over each transport for each form.
    let credited = try await eventually("four thousand bytes are credited") {
      let credited = try attack.creditedBytes()
      let bytes = users.map { credited[$0, default: 0] }
      return bytes[0] + bytes[1] == 4000 ? bytes : nil
    }
    let isOneRule = credited.allSatisfy { $0.isMultiple(of: 2000) }
    if !isOneRule { attack.wrongs.append("HTTP credits one, UDP the other") }
    return "of 4000 bytes the first passkey was credited \(credited[0]), the second \(credited[1])"
  }

  private static func reason(_ outcome: AnnounceOutcome) -> String {
    if case .failure(let reason) = outcome { reason } else { "answered" }
  }
}
