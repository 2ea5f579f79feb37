// ApprovalAttacks: passkeys that nobody knows, as many as one address can invent, while the site's origin is slow and while Redis
// hangs.

import Foundation
import Linux
import Simulation
import Wire

extension AttackScenario {
  static let approvalAttacks = [origin, parkingLot]

  /// The origin takes 20 ms for each passkey; one address invents them; new users of other addresses come meanwhile.
  private static let origin = AttackScenario(name: "unknown passkeys at a slow origin", hasSlowOrigin: true) { attack in
    let origin = try SlowOrigin(port: attack.originPort, milliseconds: 20)
    let (deadline, endpoints) = (attack.deadline, attack.site.endpoints)
    let waits = LongestWait()
    let newcomers = AttackThread("newcomers") { round in
      let begin = Clock.monotonicNanoseconds()
      var client = HTTPAnnounceClient(.v4(endpoints.httpPort))
      let announcement = Announcement(
        passkey: "\(SlowOrigin.valid)\(round)", infoHash: InfoHash(words: (3, 3, 3)),
        peerID: PeerID(words: (3, 3, UInt32(round))), left: 0, event: .started)
      do {
        _ = try client.announce(announcement).reply()
        waits.note(Clock.monotonicNanoseconds() - begin, nil)
      } catch {
        waits.note(Clock.monotonicNanoseconds() - begin, "\(error)")
      }
      usleep(100_000)
    }
    let flood = UDPFlood(
      source: "127.0.0.2", port: endpoints.udpPort, passkey: { $0.hex(digits: 32) }, pauseMicroseconds: 1000)
    let count = try await flood.run(until: deadline, threads: 1)
    try await newcomers.end()
    attack.wrongs += waits.failures.map { "a new user: \($0)" }
    withExtendedLifetime(origin) {}
    return "\(count) invented passkeys; \(waits.count) new users waited \(waits.milliseconds) ms at most"
  }

  /// Redis hangs, and requests that wait for it are more than may wait.
  private static let parkingLot = AttackScenario(name: "unknown passkeys while Redis hangs") { attack in
    let flood = UDPFlood(
      source: "127.0.0.2", port: attack.site.endpoints.udpPort, passkey: { $0.hex(digits: 32) })
    var count = 0
    try await attack.whileRedisHangs { count = try await flood.run(until: attack.deadline, threads: 1) }
    return "\(count) announces with invented passkeys"
  }
}
