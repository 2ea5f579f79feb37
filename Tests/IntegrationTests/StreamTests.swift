// What the tracker puts on the stream, read without the consumer.

import Redis
import Simulation
import Testing
import Wire

@Suite("The tracker's stream")
struct StreamTests {
  @Test("a client whose announces reach different workers in turn is credited its bytes, none twice")
  func workersInTurn() async throws {
    let site = try Site()
    try await site.redis.start()
    try await site.startTracker()
    var random = SeededRandom(seed: 1)
    let passkey = random.hex(digits: 32)
    try site.approve([passkey])
    // A reply may be answered by the next announce on another worker at once: four connections, two families.
    var tcp4 = HTTPAnnounceClient(.v4(site.endpoints.httpPort))
    var udp4 = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
    var udp4b = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
    let family6 = LoopbackEndpoint.hasIPv6
    var tcp6 = HTTPAnnounceClient(family6 ? .v6(site.endpoints.httpPort) : .v4(site.endpoints.httpPort))
    var announcement = Announcement(passkey: passkey, infoHash: random.bytes20(), peerID: random.bytes20())
    let rounds = 400
    for round in 0..<rounds {
      announcement.uploaded += 1 << 20
      switch round % 4 {
      case 0: _ = try udp4.announce(announcement).reply()
      case 1: _ = try tcp4.announce(announcement).reply()
      case 2: _ = try udp4b.announce(announcement).reply()
      default: _ = try tcp6.announce(announcement).reply()
      }
    }
    let tracker = try #require(site.tracker)
    #expect(try await tracker.terminate() == .code(0))
    #expect(try site.redisInteger(["XLEN", "tracker:traffic"]) == Int64(rounds), "\(tracker.log)")
    #expect(try uploadedOnStream(site) == UInt64(rounds - 1) << 20)
  }

  /// The sum of `du`.
  private func uploadedOnStream(_ site: Site) throws -> UInt64 {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
    let reply = try connection.command(["XRANGE", "tracker:traffic", "-", "+"])
    var sum: UInt64 = 0
    for entry in 0..<reply.count {
      let fields = reply.view[entry][1]
      for index in stride(from: 0, to: fields.count, by: 2)
      where fields[index].string == TrafficField.uploadedDelta.name {
        sum += fields[index + 1].string.flatMap { UInt64($0) } ?? 0
      }
    }
    return sum
  }
}
