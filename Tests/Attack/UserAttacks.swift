// UserAttacks: what one approved passkey can take from the others: memory, the push queue, bytes that nobody moved.

import Linux
import Simulation
import Wire

extension AttackScenario {
  static let userAttacks = [torrents, queue, stops]

  /// Torrents that nobody has, each `completed` at once.
  private static let torrents = AttackScenario(name: "one passkey, a million torrents") { attack in
    let before = attack.trackerMegabytes
    var flood = UDPFlood(
      source: "127.0.0.2", port: attack.site.endpoints.udpPort, passkey: { _ in Attack.hostilePasskey })
    flood.event = 1
    let count = try await flood.run(until: attack.deadline, threads: 2)
    try await attack.pause(1)
    let swarms = Int(try attack.metric("chihaya_storage_infohashes_count"))
    return "\(count) announces: \(swarms) swarms, the tracker has \(attack.trackerMegabytes) MB (before: \(before))"
  }

  /// The same while Redis hangs: all of it waits in the push queue.
  private static let queue = AttackScenario(name: "one passkey and the push queue") { attack in
    let flood = UDPFlood(
      source: "127.0.0.2", port: attack.site.endpoints.udpPort, passkey: { _ in Attack.hostilePasskey })
    var count = 0
    var depth = 0
    try await attack.whileRedisHangs {
      count = try await flood.run(until: attack.deadline, threads: 2)
      depth = Int(try attack.metric("tracker_push_queue_depth"))
    }
    return "\(count) announces, \(depth) in the queue, the tracker has \(attack.trackerMegabytes) MB"
  }

  /// `stopped` of sessions that never were, ten gigabytes each.
  private static let stops = AttackScenario(name: "stopped of sessions that never were") { attack in
    var random = SeededRandom(seed: 37)
    for _ in 0..<37 {
      let peerID: PeerID = random.bytes20()
      for uploaded in [0, 10_000_000_000] as [UInt64] {
        var client = HTTPAnnounceClient(.v4(attack.site.endpoints.httpPort))
        let announcement = Announcement(
          passkey: Attack.hostilePasskey, infoHash: InfoHash(words: (9, 9, 9)), peerID: peerID, uploaded: uploaded,
          event: .stopped)
        _ = try client.announce(announcement)
      }
    }
    return "370 GB claimed by 37 invented peer ids"
  }
}
