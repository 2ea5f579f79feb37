// Events for tests, with everything but what a test is about filled in.

import Wire

@testable import TrafficConsumer

/// One session that announces; every call is one entry.
struct EventMaker {
  var passkey = Passkey("0123456789abcdef0123456789abcdef")!
  var infoHash = InfoHash(hex: "aa00000000000000000000000000000000000001")!
  var peerID = PeerID(hex: "2d5452333030302d00000000000000000000000b")!

  func event(
    du: UInt64 = 0, dd: UInt64 = 0, left: UInt64 = 0, event: AnnounceEvent = .none, ts: Int64 = 1_700_000_000,
    dt: UInt32 = 0, interval: UInt32 = 1800, gen: String? = nil, cu: UInt64 = 0, cd: UInt64 = 0, n: UInt32 = 1,
    order: UInt64? = nil
  ) -> TrafficEvent {
    TrafficEvent(
      passkey: passkey, infoHash: infoHash, peerID: peerID, port: 51413, address: IPAddress("192.0.2.7")!,
      uploadedDelta: du, downloadedDelta: dd, left: left, event: event, timestamp: ts, elapsedSeconds: dt,
      intervalSeconds: interval, minIntervalSeconds: 900,
      counters: gen.map {
        TrafficEvent.Counters(generation: TrafficGeneration($0)!, creditedUpload: cu, creditedDownload: cd)
      }, announces: n, order: order)
  }
}
