// A consumer that finds entries it was given before it died.

import Redis
import Simulation
import Testing

@Suite("Pending entries")
struct PendingEntriesTests {
  @Test("entries that were read and never applied are applied once; later starts still know the stream")
  func ownPending() async throws {
    let site = try Site()
    try await site.redis.start()
    let passkey = "00112233445566778899aabbccddeeff"
    for session in 1...10 {
      try site.addToStream(StreamEntry.legal(passkey: passkey, session: session, uploaded: 1 << 20))
    }
    // The consumer of an earlier life has read them all.
    var redis = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
    _ = try redis.command(["XGROUP", "CREATE", "tracker:traffic", "group-pt", "0"])
    _ = try redis.command(
      ["XREADGROUP", "GROUP", "group-pt", "consumer-1", "COUNT", "100", "STREAMS", "tracker:traffic", ">"])
    for start in 1...3 {
      try await site.startConsumer()
      let report = try await eventually("the entries are applied", evidence: site.logs) {
        try? await site.json(UserReport.self, ["query", "user", passkey])
      }
      #expect(report.uploaded == 10 << 20)
      #expect(report.events == 10, "start \(start)")
      // After the first start nothing was ever read but pending entries; the stream is no stranger for that.
      #expect(!site.logs.contains("another stream"), "\(site.logs)")
      site.consumer?.kill9()
    }
  }
}
