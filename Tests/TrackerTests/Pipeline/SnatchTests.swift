import Linux
import Synchronization
import Testing
import Wire

@testable import Tracker

/// Keeps what a pipeline hands over for the stream.
final class RecordKeeper: AnnounceRecordSink {
  private let kept = Mutex<[AnnounceRecord]>([])
  func enqueue(_ records: UnsafeBufferPointer<AnnounceRecord>) { kept.withLock { $0 += records } }
  var events: [AnnounceEvent] { kept.withLock { $0.map(\.event) } }
}

@Suite("snatches on the way of an announce")
struct SnatchTests {
  private let keeper = RecordKeeper()
  private let pipeline: AnnouncePipeline
  private let store: SwarmStore
  static let size: UInt64 = 1000

  init() throws {
    store = try SwarmStore(shardCount: 1, snatches: SnatchLedger(path: nil))
    pipeline = AnnouncePipeline(store: store, push: keeper, rules: PipelineRules(), mailbox: try EventLoopMailbox())
  }

  private func announce(
    _ event: AnnounceEvent = .none, downloaded: UInt64, left: UInt64, user: String = "user", peer: UInt64 = 1
  ) -> UInt32 {
    var request = AnnounceRequest()
    request.infoHash = InfoHash(words: (1, 2, 3))
    request.peerID = PeerID(words: (peer, 1, 1))
    request.passkey = Passkey(user)
    request.event = event
    request.downloaded = downloaded
    request.left = left
    request.port = 6881
    request.address = IPAddress(v4: UInt32(peer))
    var reply = AnnounceReply()
    let outcome = pipeline.announce(request, origin: .http(ticket: 0, form: 0), time: .now(), reply: &reply)
    guard case .accepted = outcome else {
      Issue.record("refused")
      return 0
    }
    pipeline.flushRecords()
    return reply.downloaded
  }

  @Test("what the client called completed is none in the stream when nothing was completed")
  func claims() {
    #expect(announce(.completed, downloaded: 0, left: 0) == 0)
    #expect(announce(.started, downloaded: 0, left: Self.size, peer: 2) == 0)
    #expect(announce(.completed, downloaded: 400, left: 600, peer: 2) == 0)
    #expect(keeper.events == [.none, .started, .none])
  }

  @Test("the announce that completes without the word is completed in the stream, counted at once")
  func silent() {
    _ = announce(.started, downloaded: 0, left: Self.size)
    #expect(announce(downloaded: Self.size, left: 0) == 1)
    #expect(announce(downloaded: Self.size, left: 0) == 1)
    #expect(keeper.events == [.started, .completed, .none])
    #expect(store.scrape(InfoHash(words: (1, 2, 3))).downloaded == 1)
  }

  @Test("a stopped that completes is completed and stopped in the stream")
  func stopsAtTheEnd() {
    _ = announce(.started, downloaded: 0, left: Self.size)
    #expect(announce(.stopped, downloaded: Self.size, left: 0) == 1)
    #expect(keeper.events == [.started, .completed, .stopped])
    #expect(store.scrape(InfoHash(words: (1, 2, 3))).downloaded == 1, "the swarm is gone, the snatch is not")
  }

  @Test("one snatch per user and torrent, whatever says so, by however many sessions")
  func oncePerUser() {
    for peer in [1, 2] as [UInt64] {
      _ = announce(.started, downloaded: 0, left: Self.size, peer: peer)
      #expect(announce(.completed, downloaded: Self.size, left: 0, peer: peer) == 1)
      #expect(announce(.completed, downloaded: Self.size, left: 0, peer: peer) == 1)
    }
    _ = announce(.started, downloaded: 0, left: Self.size, peer: 3)
    #expect(announce(.stopped, downloaded: Self.size, left: 0, peer: 3) == 1)
    _ = announce(.started, downloaded: 0, left: Self.size, user: "another", peer: 4)
    #expect(announce(downloaded: Self.size, left: 0, user: "another", peer: 4) == 2)
  }
}
