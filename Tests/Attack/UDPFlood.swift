// UDPFlood: announces over UDP as fast as a thread sends them, without a look at the answers. A value; its threads end by the
// deadline.

import Glibc
import Linux
import Simulation
import Wire

/// Each announce has another info hash and peer id, and the passkey that the flood says.
struct UDPFlood: Sendable {
  var source: String
  var port: UInt16
  var passkey: @Sendable (inout SeededRandom) -> String
  /// BEP 15: 1 completed, 2 started.
  var event: UInt8 = 2
  var pauseMicroseconds: UInt32 = 0

  /// Sends until the deadline; how many.
  func run(until deadline: UInt64, seed: UInt64) -> Int {
    guard let socket = AttackSocket(from: source, to: .v4(port), udp: true), let id = socket.connectionID() else {
      return 0
    }
    var random = SeededRandom(seed: seed)
    var count = 0
    while Clock.monotonicNanoseconds() < deadline {
      let infoHash: InfoHash = random.bytes20()
      let peerID: PeerID = random.bytes20()
      let url = Array("/announce/\(passkey(&random))".utf8)
      // After the connection id: action 1, transaction, info hash, peer id, downloaded, left, uploaded, event, IP, key,
      // num_want, port (BEP 15); URL data (BEP 41).
      var datagram = id + [0, 0, 0, 1, 0, 0, 0, 9] + infoHash.bytes + peerID.bytes
      datagram += [0, 0, 0, 0, 0, 0, 0, 1] + [UInt8](repeating: 0, count: 16) + [0, 0, 0, event]
      datagram += [UInt8](repeating: 0, count: 8) + [0, 0, 0, 0, 0x1a, 0xe1, 2, UInt8(url.count)] + url
      if socket.send(datagram) { count += 1 }
      if pauseMicroseconds > 0 { usleep(pauseMicroseconds) }
    }
    return count
  }

  /// The same by several threads.
  func run(until deadline: UInt64, threads: Int) async throws -> Int {
    let total = Counter()
    let running = (0..<threads).map { number in
      AttackThread("flood-\(number)") { round in
        if round == 0 { total.add(run(until: deadline, seed: UInt64(number) << 32 | deadline & 0xffff_ffff)) }
        usleep(1000)
      }
    }
    while Clock.monotonicNanoseconds() < deadline { try await Task.sleep(nanoseconds: 20_000_000) }
    for thread in running { try await thread.end() }
    return total.value
  }
}
