// SwarmSnatches: how completed downloads get into the ledger, and from there into the counts of the swarms: one lock after the
// other, never two at once. On a worker's thread.

import Wire

extension SwarmStore {
  /// An announce where no swarm is. What the ledger knows of the torrent is read while no shard is locked, so the swarm may
  /// be there meanwhile, or a snatch be noted that is not in it: see `noteSnatch`.
  func announceFirst(
    _ announce: SwarmAnnounce, hash: UInt64, policy: SwarmPolicy, lottery: inout PeerLottery, into sink: inout PeerSink
  ) -> SwarmResult {
    let known = snatches.count(announce.infoHash)
    // A session that ends where no swarm is leaves none behind.
    if announce.event == .stopped { return SwarmResult(downloaded: known, isKnown: false) }
    let result = withTable(of: hash) { table in
      let torrent =
        table.find(announce.infoHash, hash: hash) ?? table.insert(announce.infoHash, hash: hash, snatches: known)
      return apply(announce, to: torrent, hash: hash, policy: policy, table: &table, lottery: &lottery, into: &sink)
    }
    let knownNow = snatches.count(announce.infoHash)
    if knownNow != known { setSnatches(of: announce.infoHash, atLeast: knownNow) }
    return result
  }

  /// Counts a completed download, `user` by `SnatchLedger.user`; returns those of the torrent, this one included.
  func noteSnatch(_ infoHash: InfoHash, user: UInt64, policy: SwarmPolicy) -> UInt32 {
    let (count, isNew) = snatches.record(infoHash, user: user, limit: policy.maxSnatchesPerUser)
    if isNew { setSnatches(of: infoHash, atLeast: count) }
    return count
  }

  /// Whoever reads the ledger for a swarm that is not there yet reads it again once it is: then what was noted in between
  /// is in the second reading, or the swarm was found here.
  private func setSnatches(of infoHash: InfoHash, atLeast count: UInt32) {
    let hash = hasher.hash(infoHash)
    withTable(of: hash) { table in
      guard let torrent = table.find(infoHash, hash: hash) else { return }
      torrent.pointee.snatches = max(torrent.pointee.snatches, count)
    }
  }
}
