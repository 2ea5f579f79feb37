// SwarmStore: all swarms. Announce, scrape and expiry by info hash; picks the shard. Shared by all workers and the
// expiry thread.

import CLinux
import Linux
import Wire

/// What the swarm needs to know of an accepted announce.
struct SwarmAnnounce {
  var infoHash: InfoHash
  var peerID: PeerID
  /// KeyedHash of the passkey (or of the peer id).
  var user: UInt64
  /// Only then there is a user who has a budget.
  var hasPasskey = false
  var address: IPAddress
  var otherAddress: IPAddress?
  var port: UInt16
  var event: AnnounceEvent
  /// Bytes missing; 0 for a seeder, and only for one.
  var left: UInt64
  /// As the client counts them.
  var downloaded: UInt64 = 0
  /// It downloads nothing any more, although something is missing (BEP 21).
  var isPartialSeed = false
  /// The least time between two regular announces.
  var minIntervalSeconds: UInt32 = 0
  var nowSeconds: UInt32

  var isSeeder: Bool { left == 0 }
}

/// What the operator decided about swarms.
struct SwarmPolicy: Sendable {
  /// Whether other sessions of the announcing user are left out of the replies.
  var excludeOwnPeers = true
  /// Sessions of one user in one swarm; 0 for no limit.
  var maxPeersPerUser = 3
  /// A session silent for longer than this may be replaced by a new one of the same user.
  var overdueSeconds: UInt32 = 3600
  /// What one user may have in all swarms.
  var limits = SessionLimits()
  /// Snatches of one user that are counted, ever; 0: no limit.
  var maxSnatchesPerUser = 100_000
}

/// What the swarm said.
struct SwarmResult {
  var complete: UInt32 = 0
  var incomplete: UInt32 = 0
  var downloaded: UInt32 = 0
  /// The session has completed its download with this announce: the caller tells `noteSnatch` of it.
  var completes = false
  /// It has announced before its time too often in a row.
  var announcesTooOften = false
  /// Whether the session was in the swarm, or is now.
  var isKnown = true
  /// The session may not join; nothing was changed.
  var limit: SessionLimit?
  /// Sessions of the user that left with this announce.
  var left = 0
  var joined = false
  /// Nothing was done: the session is new, and whether it may join is another's to say. See `SwarmStore.join`.
  var awaitsBudget = false
  /// It takes the place of one with the same address then.
  var replaces = false
}

/// Swarm counts of a scrape (BEP 48, BEP 15).
struct ScrapeCounts: Equatable {
  var complete: UInt32 = 0
  var downloaded: UInt32 = 0
  /// Of `incomplete` those that are no partial seeds (BEP 21).
  var downloaders: UInt32 = 0
  var incomplete: UInt32 = 0
}

/// The swarms of the tracker.
final class SwarmStore: Sendable {
  /// What SwarmShard.allocate made: every access goes through a shard's lock.
  private nonisolated(unsafe) let shards: UnsafeMutableRawPointer
  let shardCount: Int
  private let shardShift: UInt64
  let hasher: KeyedHash
  let snatches: SnatchLedger
  let budgets = UserBudgets()
  let refusals: SessionRefusals

  /// `shardCount` is rounded up to a power of two.
  init(
    shardCount: Int, snatches: SnatchLedger, hasher: KeyedHash = KeyedHash(),
    metrics: MetricRegistry = MetricRegistry()
  ) {
    self.snatches = snatches
    refusals = SessionRefusals(metrics)
    var bits: UInt64 = 0
    while 1 << bits < shardCount { bits += 1 }
    self.shardCount = 1 << Int(bits)
    shards = SwarmShard.allocate(count: self.shardCount)
    shardShift = 64 - bits
    self.hasher = hasher
  }

  deinit { SwarmShard.deallocate(shards, count: shardCount) }

  /// Asks for the cache lines of the shard itself. High bits choose the shard, low bits the slot in it.
  @inline(__always)
  func prefetchShard(of hash: UInt64) {
    let shard = shards + Int(truncatingIfNeeded: hash >> shardShift) * SwarmShard.stride
    clinux_prefetch(shard)
    clinux_prefetch(shard + 64)
  }

  @inline(__always)
  func withTable<Result>(of hash: UInt64, _ body: (inout TorrentTable) -> Result) -> Result {
    withTable(ofShard: Int(truncatingIfNeeded: hash >> shardShift), body)
  }

  @inline(__always)
  func withTable<Result>(ofShard number: Int, _ body: (inout TorrentTable) -> Result) -> Result {
    (shards + number * SwarmShard.stride).assumingMemoryBound(to: SwarmShard.self).pointee.withTable(body)
  }

  /// Applies an announce and copies peers for the reply into `sink`.
  func announce(
    _ announce: SwarmAnnounce, policy: SwarmPolicy, lottery: inout PeerLottery,
    into sink: inout PeerSink
  ) -> SwarmResult {
    let hash = hasher.hash(announce.infoHash)
    let known = applyIfThere(
      announce, hash: hash, policy: policy, mayJoin: !announce.hasPasskey, lottery: &lottery, into: &sink)
    if let known, !known.awaitsBudget {
      if known.left > 0 { budgets.leave(announce.user, count: known.left) }
      return known
    }
    guard announce.hasPasskey && announce.event != .stopped else {
      return announceFirst(announce, hash: hash, policy: policy, lottery: &lottery, into: &sink)
    }
    return join(
      announce, hash: hash, policy: policy, replaces: known?.replaces ?? false, lottery: &lottery, into: &sink)
  }

  /// Nil where no swarm is.
  @inline(__always)
  func applyIfThere(
    _ announce: SwarmAnnounce, hash: UInt64, policy: SwarmPolicy, mayJoin: Bool, lottery: inout PeerLottery,
    into sink: inout PeerSink
  ) -> SwarmResult? {
    withTable(of: hash) { table in
      guard let torrent = table.find(announce.infoHash, hash: hash) else { return nil }
      return apply(
        announce, to: torrent, hash: hash, policy: policy, mayJoin: mayJoin, table: &table, lottery: &lottery,
        into: &sink)
    }
  }

  @inline(__always)
  func apply(
    _ announce: SwarmAnnounce, to torrent: UnsafeMutablePointer<Torrent>, hash: UInt64,
    policy: SwarmPolicy, mayJoin: Bool = true, table: inout TorrentTable, lottery: inout PeerLottery,
    into sink: inout PeerSink
  ) -> SwarmResult {
    let seedersBefore = torrent.pointee.seederCount
    let leechersBefore = torrent.pointee.leecherCount
    var result = SwarmResult()
    var sessions = UserSessions(of: announce.user, peerID: announce.peerID, in: torrent)
    if announce.event == .stopped {
      if let own = sessions.own {
        result.completes = torrent.pointee.note(announce, of: own, isNew: false)
        torrent.pointee.remove(own)
        result.left = 1
      } else {
        result.isKnown = false
      }
    } else {
      if sessions.own == nil && !mayJoin {
        result.replaces = sessions.hasGhost(of: announce, in: torrent)
        result.awaitsBudget = true
        return result
      }
      update(announce, torrent, &sessions, policy: policy, &result)
      if result.limit == nil {
        copyPeers(announce, torrent, sessions, policy: policy, lottery: &lottery, into: &sink)
      }
    }
    table.seeders += torrent.pointee.seederCount - seedersBefore
    table.leechers += torrent.pointee.leecherCount - leechersBefore
    result.complete = UInt32(torrent.pointee.seederCount)
    result.incomplete = UInt32(torrent.pointee.leecherCount)
    result.downloaded = torrent.pointee.snatches
    if torrent.pointee.peerCount == 0 { table.remove(torrent, hash: hash) }
    return result
  }

  @inline(__always)
  private func update(
    _ announce: SwarmAnnounce, _ torrent: UnsafeMutablePointer<Torrent>, _ sessions: inout UserSessions,
    policy: SwarmPolicy, _ result: inout SwarmResult
  ) {
    let number: Int
    let isNew = sessions.own == nil
    if let own = sessions.own {
      number = own
      let family = announce.address.family.index
      let position = torrent.pointee.position(of: own, family)
      if position != EndpointList.none {
        let seen = torrent.pointee.lists[unchecked: family].seenSeconds(at: Int(position))
        result.announcesTooOften = torrent.pointee.noteInterval(announce.nowSeconds &- seen, announce, of: own)
      }
      torrent.pointee.setSeeder(announce.isSeeder, of: own)
      torrent.pointee.setAddress(
        of: own, announce.address, port: announce.port, isSeeder: announce.isSeeder, nowSeconds: announce.nowSeconds)
    } else {
      let hasRoom = sessions.makeRoom(for: announce, in: torrent, policy: policy)
      result.left = sessions.removed
      guard hasRoom else {
        result.limit = .clientsOnTorrent
        return
      }
      number = torrent.pointee.insert(
        user: announce.user, id: announce.peerID, announce.address, port: announce.port, isSeeder: announce.isSeeder,
        nowSeconds: announce.nowSeconds)
      sessions.own = number
      result.joined = true
    }
    if let other = announce.otherAddress {
      torrent.pointee.setAddress(
        of: number, other, port: announce.port, isSeeder: announce.isSeeder, nowSeconds: announce.nowSeconds)
    }
    result.completes = torrent.pointee.note(announce, of: number, isNew: isNew)
  }

  @inline(__always)
  private func copyPeers(
    _ announce: SwarmAnnounce, _ torrent: UnsafeMutablePointer<Torrent>, _ sessions: UserSessions,
    policy: SwarmPolicy, lottery: inout PeerLottery, into sink: inout PeerSink
  ) {
    @inline(__always)
    func copy(_ family: IPAddress.Family, into buffer: inout PeerBuffer) {
      guard let peers = buffer.peers else { return }
      var own = OwnPositions()
      sessions.forEachLeftOut(policy) { own.insert(torrent.pointee.position(of: $0, family.index)) }
      buffer.count = torrent.pointee.lists[family.index].copyRandom(
        limit: buffer.limit, leechersOnly: announce.isSeeder, excluded: own, to: peers, lottery: &lottery,
        each: Self.copyID(of: torrent, to: buffer.ids))
    }
    copy(.v4, into: &sink.v4)
    copy(.v6, into: &sink.v6)
  }

  /// Collects peer ids beside the addresses, for dictionary replies only.
  private static func copyID(
    of torrent: UnsafeMutablePointer<Torrent>, to ids: UnsafeMutableRawPointer?
  ) -> ((Int, Int) -> Void)? {
    guard let ids else { return nil }
    return { owner, index in torrent.pointee.peer(at: owner).id.store(to: ids + index * PeerID.byteCount) }
  }

  /// The counts of a torrent; zeros for one that is not known. Changes nothing.
  func scrape(_ infoHash: InfoHash) -> ScrapeCounts {
    let hash = hasher.hash(infoHash)
    let counts: ScrapeCounts? = withTable(of: hash) { table in
      guard let torrent = table.find(infoHash, hash: hash) else { return nil }
      let leechers = UInt32(torrent.pointee.leecherCount)
      return ScrapeCounts(
        complete: UInt32(torrent.pointee.seederCount), downloaded: torrent.pointee.snatches,
        downloaders: leechers - torrent.pointee.partialSeedCount, incomplete: leechers)
    }
    return counts ?? ScrapeCounts(downloaded: snatches.count(infoHash))
  }

  /// Sums over all swarms, for the metrics. Takes the shards one after the other.
  func counts() -> (infoHashes: Int, seeders: Int, leechers: Int) {
    var sum = (infoHashes: 0, seeders: 0, leechers: 0)
    for number in 0..<shardCount {
      withTable(ofShard: number) { table in
        sum.infoHashes += table.count
        sum.seeders += table.seeders
        sum.leechers += table.leechers
      }
    }
    return sum
  }
}
