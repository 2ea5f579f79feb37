import Foundation
import Testing
import Wire

@testable import Tracker

@Suite("memory of swarms")
struct SwarmMemoryTests {
  /// Resident bytes of this process (proc(5), statm).
  static func residentBytes() -> Int {
    let statm = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    let pages = Int(statm.split(separator: " ").dropFirst().first ?? "") ?? 0
    return pages * sysconf(Int32(_SC_PAGESIZE))
  }

  @Test("a session is 40 bytes and a swarm what the allocator gives in one piece of 192")
  func records() {
    #expect(MemoryLayout<Peer>.stride == 40)
    #expect(MemoryLayout<Torrent>.size <= 184)
  }

  /// In a process of its own: other tests' memory would be counted too.
  @Test("a million IPv4 peers in 10,000 swarms take at most 80 bytes each")
  func million() async {
    await #expect(processExitsWith: .success) {
      let store = try SwarmStore(shardCount: 1024, snatches: SnatchLedger(path: nil))
      var lottery = PeerLottery(seed: 1)
      var sink = PeerSink()
      let before = SwarmMemoryTests.residentBytes()
      for number in 0..<1_000_000 as Range<UInt64> {
        let announce = SwarmAnnounce(
          infoHash: InfoHash(words: (number % 10_000, 1, 1)), peerID: PeerID(words: (number, 1, 1)),
          user: number &* 0x9e37_79b9_7f4a_7c15, address: IPAddress(v4: UInt32(number)), port: 6881, event: .started,
          left: number % 2, nowSeconds: 1000)
        _ = store.announce(announce, policy: SwarmPolicy(), lottery: &lottery, into: &sink)
      }
      let perPeer = Double(SwarmMemoryTests.residentBytes() - before) / 1_000_000
      let counts = store.counts()
      precondition(counts.infoHashes == 10_000 && counts.seeders + counts.leechers == 1_000_000)
      precondition(perPeer <= 80, "\(perPeer) bytes a peer")
    }
  }
}
