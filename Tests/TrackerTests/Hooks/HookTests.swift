import Testing
import Wire

@testable import Tracker

@Suite("hooks")
struct HookTests {
  static func context(unixSeconds: Int64 = 1_700_000_000) -> AnnounceContext {
    AnnounceContext(
      time: BatchTime(monotonicNanoseconds: 1_000_000_000_000, unixSeconds: unixSeconds), user: nil,
      hasher: KeyedHash(seed: 1), intervalSeconds: 1800, minIntervalSeconds: 900)
  }

  static func request(peerID: String = "-TR3000-abcdefghijkl", infoHash: UInt64 = 1, port: UInt16 = 6881)
    -> AnnounceRequest
  {
    var request = AnnounceRequest()
    request.peerID = Array(peerID.utf8).withUnsafeBytes { PeerID($0.baseAddress!) }
    request.infoHash = InfoHash(words: (infoHash, 0, 0))
    request.port = port
    return request
  }

  static func passes(_ hook: any AnnounceHook, _ request: AnnounceRequest) -> Bool {
    var context = context()
    if case .proceed = hook.check(request, &context) { return true }
    return false
  }

  @Test(
    "client lists compare the beginning of the peer id, with or without its dash",
    arguments: ["TR3000", "-TR3000", "TR30", "-TR3", "-TR3000-abcdefghijkl"])
  func clientPrefixes(entry: String) {
    let white = ClientApproval(ClientApprovalOptions(whitelist: [entry]))
    let black = ClientApproval(ClientApprovalOptions(blacklist: [entry]))
    #expect(Self.passes(white, Self.request()))
    #expect(!Self.passes(black, Self.request()))
    #expect(!Self.passes(white, Self.request(peerID: "-qB4500-abcdefghijkl")))
    #expect(Self.passes(black, Self.request(peerID: "-qB4500-abcdefghijkl")))
  }

  @Test("Shadow-style ids without a dash are compared from their first byte")
  func shadowStyle() {
    let white = ClientApproval(ClientApprovalOptions(whitelist: ["M7-9-2"]))
    #expect(Self.passes(white, Self.request(peerID: "M7-9-2--abcdefghijkl")))
  }

  @Test("torrent lists")
  func torrents() {
    let one = InfoHash(words: (1, 0, 0))
    let white = TorrentApproval(TorrentApprovalOptions(whitelist: [one]), resolver: nil)
    let black = TorrentApproval(TorrentApprovalOptions(blacklist: [one]), resolver: nil)
    #expect(Self.passes(white, Self.request(infoHash: 1)))
    #expect(!Self.passes(white, Self.request(infoHash: 2)))
    #expect(!Self.passes(black, Self.request(infoHash: 1)))
    #expect(Self.passes(black, Self.request(infoHash: 2)))
  }

  @Test("ports in a refused range are refused, its neighbours are not")
  func ports() {
    let hook = PortApproval(PortApprovalOptions(blacklist: [1...1023, 6881...6889, 65535...65535]))
    for port in [1, 1023, 6881, 6889, 65535] as [UInt16] { #expect(!Self.passes(hook, Self.request(port: port))) }
    for port in [1024, 6880, 6890, 65534] as [UInt16] { #expect(Self.passes(hook, Self.request(port: port))) }
  }

  @Test("interval variation adds 1 to the configured seconds to about the configured part of the replies")
  func variation() {
    var options = IntervalVariationOptions(modifyResponseProbability: 0.25, maxIncreaseDeltaSeconds: 60)
    options.modifyMinInterval = true
    let hook = IntervalVariation(options)
    var changed = 0
    var deltas: Set<UInt32> = []
    for number in 0..<4000 as Range<UInt64> {
      var context = Self.context()
      _ = hook.check(Self.request(infoHash: number), &context)
      let delta = context.intervalSeconds - 1800
      #expect(context.minIntervalSeconds - 900 == delta)
      #expect(delta <= 60)
      if delta > 0 {
        changed += 1
        deltas.insert(delta)
      }
    }
    // 1000 expected with a deviation of 27: six of those either way.
    #expect((840...1160).contains(changed))
    #expect(deltas.contains(1) && deltas.contains(60))
  }
}
