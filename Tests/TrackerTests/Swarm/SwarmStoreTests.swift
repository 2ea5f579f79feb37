import Testing
import Wire

@testable import Tracker

@Suite("swarms")
struct SwarmStoreTests {
  /// The peers of one reply, as compact bytes.
  struct Peers {
    var v4: [[UInt8]] = []
    var v6: [[UInt8]] = []
    var v4IDs: [PeerID] = []
  }

  static func announce(
    _ store: SwarmStore, _ announce: SwarmAnnounce, policy: SwarmPolicy = SwarmPolicy(), limit: Int = 50,
    lottery: inout PeerLottery
  ) -> (SwarmResult, Peers) {
    let v4 = UnsafeMutableRawPointer.allocate(byteCount: limit * 6 + PeerSink.slackBytes, alignment: 8)
    let v6 = UnsafeMutableRawPointer.allocate(byteCount: limit * 18 + PeerSink.slackBytes, alignment: 8)
    let ids = UnsafeMutableRawPointer.allocate(byteCount: limit * 20, alignment: 8)
    defer {
      v4.deallocate()
      v6.deallocate()
      ids.deallocate()
    }
    var sink = PeerSink(
      v4: PeerBuffer(peers: v4, ids: ids, limit: limit), v6: PeerBuffer(peers: v6, limit: limit))
    var result = store.announce(announce, policy: policy, lottery: &lottery, into: &sink)
    if result.completes { result.downloaded = store.noteSnatch(announce.infoHash, user: announce.user, policy: policy) }
    var peers = Peers()
    for index in 0..<sink.v4.count {
      peers.v4.append((0..<6).map { v4.load(fromByteOffset: index * 6 + $0, as: UInt8.self) })
      peers.v4IDs.append(PeerID(ids + index * 20))
    }
    for index in 0..<sink.v6.count {
      peers.v6.append((0..<18).map { v6.load(fromByteOffset: index * 18 + $0, as: UInt8.self) })
    }
    return (result, peers)
  }

  static func infoHash(_ number: UInt64) -> InfoHash { InfoHash(words: (number, ~number, 7)) }

  static func make(
    torrent: UInt64 = 1, user: UInt64, peer: UInt64? = nil, address: IPAddress? = nil, port: UInt16 = 6881,
    event: AnnounceEvent = .none, left: UInt64 = 100, downloaded: UInt64 = 0, now: UInt32 = 1000
  ) -> SwarmAnnounce {
    SwarmAnnounce(
      infoHash: infoHash(torrent), peerID: PeerID(words: (peer ?? user, 0, 0)), user: user,
      address: address ?? IPAddress(v4: UInt32(truncatingIfNeeded: user &* 7919)), port: port, event: event,
      left: left, downloaded: downloaded, nowSeconds: now)
  }

  /// Random announces, stops, role changes, second addresses and expiries, compared with the model after every step.
  @Test("counts and lists follow the model", arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
  func followsModel(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let store = try SwarmStore(shardCount: 4, snatches: SnatchLedger(path: nil), hasher: KeyedHash(seed: seed))
    let policy = SwarmPolicy(excludeOwnPeers: seed % 2 == 0, maxPeersPerUser: 3, overdueSeconds: 100)
    var model = SwarmModel()
    var lottery = PeerLottery(seed: seed)
    var now: UInt32 = 1000
    // Some seeds crowd one swarm so that its index grows and shrinks, others spread over many small ones.
    let torrents: UInt64 = seed % 3 == 0 ? 200 : 3
    for step in 0..<4000 {
      // Never the same second twice: which of two equally silent sessions is replaced does not matter.
      now += UInt32.random(in: 1...2, using: &random)
      if Int.random(in: 0..<200, using: &random) == 0 {
        let cutoff = now - UInt32.random(in: 5...300, using: &random)
        _ = store.expire(before: cutoff)
        model.expire(before: cutoff)
      }
      let user = UInt64.random(in: 1...60, using: &random)
      let session = UInt64.random(in: 0...3, using: &random)
      let isV6 = Int.random(in: 0..<4, using: &random) == 0
      let host = UInt8(user)
      let address =
        isV6
        ? IPAddress("2001:db8::\(String(user, radix: 16)):\(session)")! : IPAddress("10.0.\(session).\(host)")!
      let announce = SwarmAnnounce(
        infoHash: Self.infoHash(UInt64.random(in: 0..<torrents, using: &random)),
        peerID: PeerID(words: (user, session, 0)), user: user &* 0x9e37_79b9_7f4a_7c15,
        hasPasskey: seed % 3 != 0, address: address, port: UInt16(1000 + session),
        event: [.none, .none, .none, .started, .completed, .stopped].randomElement(using: &random)!,
        left: Bool.random(using: &random) ? 0 : 100, downloaded: [0, 50, 51].randomElement(using: &random)!,
        isPartialSeed: Int.random(in: 0..<3, using: &random) == 0, nowSeconds: now)
      let limit = Int.random(in: 0...60, using: &random)
      let accepted = model.announce(announce, policy: policy)
      let (result, peers) = Self.announce(store, announce, policy: policy, limit: limit, lottery: &lottery)
      #expect((result.limit == .clientsOnTorrent) == !accepted, "seed \(seed) step \(step)")
      let counts = model.counts(announce.infoHash)
      #expect(store.scrape(announce.infoHash) == counts, "seed \(seed) step \(step)")
      if seed % 3 != 0, step % 50 == 0 {
        var sessions: [UInt64: Int] = [:]
        for key in model.swarms.values.flatMap(\.keys) { sessions[key.user, default: 0] += 1 }
        let summary = store.budgets.summary(nowSeconds: now)
        #expect(summary.users == sessions.count, "seed \(seed) step \(step)")
        #expect(summary.mostSessions == sessions.values.max() ?? 0, "seed \(seed) step \(step)")
      }
      guard accepted && announce.event != .stopped else { continue }
      #expect((result.complete, result.incomplete) == (counts.complete, counts.incomplete))
      #expect(result.downloaded == counts.downloaded, "seed \(seed) step \(step)")
      for (family, list) in [(IPAddress.Family.v4, peers.v4), (.v6, peers.v6)] {
        let allowed = model.listed(for: announce, family, policy: policy)
        #expect(Set(list).count == list.count, "a peer was listed twice, seed \(seed) step \(step)")
        #expect(Set(list).isSubset(of: allowed), "seed \(seed) step \(step)")
        #expect(list.count == min(limit, allowed.count), "seed \(seed) step \(step)")
      }
    }
    let sum = model.swarms.keys.map { model.counts($0) }
    let counts = store.counts()
    #expect(counts.infoHashes == model.swarms.count)
    #expect(counts.seeders == sum.reduce(0) { $0 + Int($1.complete) })
    #expect(counts.leechers == sum.reduce(0) { $0 + Int($1.incomplete) })
  }

  @Test("a large swarm hands out every peer about equally often")
  func spreadsLoad() throws {
    let store = try SwarmStore(shardCount: 1, snatches: SnatchLedger(path: nil), hasher: KeyedHash(seed: 9))
    var lottery = PeerLottery(seed: 9)
    let population = 2000
    for user in 1...UInt64(population) { _ = Self.announce(store, Self.make(user: user), limit: 0, lottery: &lottery) }
    var given: [[UInt8]: Int] = [:]
    let rounds = 4000
    for _ in 0..<rounds {
      let (_, peers) = Self.announce(store, Self.make(user: 1), limit: 50, lottery: &lottery)
      #expect(peers.v4.count == 50)
      for peer in peers.v4 { given[peer, default: 0] += 1 }
    }
    // Each is expected 100 times, with a deviation near 10: six of those either way.
    #expect(given.count == population - 1)
    #expect(given.values.allSatisfy { (40...160).contains($0) })
  }

  @Test("a dual-stack client is one peer with two addresses")
  func dualStack() throws {
    let store = try SwarmStore(shardCount: 1, snatches: SnatchLedger(path: nil))
    var lottery = PeerLottery(seed: 1)
    _ = Self.announce(store, Self.make(user: 1, address: IPAddress("192.0.2.1")!), lottery: &lottery)
    _ = Self.announce(store, Self.make(user: 1, address: IPAddress("2001:db8::1")!), lottery: &lottery)
    #expect(store.scrape(Self.infoHash(1)) == ScrapeCounts(downloaders: 1, incomplete: 1))
    let (_, peers) = Self.announce(store, Self.make(user: 2), lottery: &lottery)
    #expect(peers.v4 == [SwarmModel.compact(IPAddress("192.0.2.1")!, 6881)])
    #expect(peers.v6 == [SwarmModel.compact(IPAddress("2001:db8::1")!, 6881)])
    #expect(peers.v4IDs == [PeerID(words: (1, 0, 0))])
  }

  @Test("a swarm without peers disappears and keeps its snatches")
  func emptySwarmsGo() throws {
    let store = try SwarmStore(shardCount: 1, snatches: SnatchLedger(path: nil))
    var lottery = PeerLottery(seed: 1)
    _ = Self.announce(store, Self.make(user: 1, event: .completed, left: 0, downloaded: 1), lottery: &lottery)
    _ = Self.announce(store, Self.make(user: 1, event: .stopped), lottery: &lottery)
    #expect(store.counts().infoHashes == 0)
    #expect(store.scrape(Self.infoHash(1)) == ScrapeCounts(downloaded: 1))
  }

  @Test("a client that came back takes its ghost's place, by address or when the ghost is overdue")
  func replacesGhosts() throws {
    let store = try SwarmStore(shardCount: 1, snatches: SnatchLedger(path: nil))
    var lottery = PeerLottery(seed: 1)
    let policy = SwarmPolicy(maxPeersPerUser: 2, overdueSeconds: 100)
    func join(_ peer: UInt64, _ address: String, now: UInt32) -> SwarmResult {
      Self.announce(
        store, Self.make(user: 1, peer: peer, address: IPAddress(address)!, now: now), policy: policy,
        lottery: &lottery
      ).0
    }
    #expect(join(1, "192.0.2.1", now: 1000).incomplete == 1)
    #expect(join(2, "192.0.2.1", now: 1001).incomplete == 1, "the same address and port: the old session is a ghost")
    #expect(join(3, "192.0.2.3", now: 1002).incomplete == 2)
    #expect(join(4, "192.0.2.4", now: 1003).limit == .clientsOnTorrent)
    #expect(join(3, "192.0.2.3", now: 1050).incomplete == 2, "a known session goes on at the limit")
    #expect(join(4, "192.0.2.4", now: 1101).limit == .clientsOnTorrent, "silent for exactly the tolerance")
    #expect(join(4, "192.0.2.4", now: 1102).incomplete == 2, "one second more: session 2 is overdue and goes")
    #expect(join(2, "192.0.2.1", now: 1103).limit == .clientsOnTorrent)
  }

  @Test("a stopped announce of an unknown session leaves no swarm behind")
  func unknownStopped() throws {
    let store = try SwarmStore(shardCount: 1, snatches: SnatchLedger(path: nil))
    var lottery = PeerLottery(seed: 1)
    _ = Self.announce(store, Self.make(user: 1, event: .stopped), lottery: &lottery)
    #expect(store.counts().infoHashes == 0)
  }
}
