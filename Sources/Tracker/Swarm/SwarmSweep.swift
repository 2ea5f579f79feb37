// SwarmSweep: takes sessions out of the swarms that have announced no more. On the expiry thread.

extension SwarmStore {
  /// Addresses looked at under one hold of a shard's lock: about a tenth of a millisecond.
  private static let expirySliceLength = 16_384

  /// Takes out every address last seen before `cutoffSeconds`, and with their last address sessions and swarms. Holds a
  /// lock only for a slice at a time, so that no announce waits long. Returns how many sessions went.
  func expire(before cutoffSeconds: UInt32) -> Int {
    var expired = 0
    var users: [UInt64] = []
    for number in 0..<shardCount {
      var cursor = ExpiryCursor()
      var isDone = false
      while !isDone {
        isDone = withTable(ofShard: number) { table in
          Self.expireSlice(&table, &cursor, before: cutoffSeconds, expired: &users)
        }
        for user in users { budgets.leave(user) }
        expired += users.count
        users.removeAll(keepingCapacity: true)
      }
    }
    return expired
  }

  /// Where a sweep of one shard goes on. Positions are visited downwards: a removal moves only visited ones down.
  private struct ExpiryCursor {
    var slot = 0
    var family = 0
    var position = Int.max
  }

  /// Returns whether the shard is done.
  private static func expireSlice(
    _ table: inout TorrentTable, _ cursor: inout ExpiryCursor, before cutoffSeconds: UInt32,
    expired users: inout [UInt64]
  ) -> Bool {
    var budget = expirySliceLength
    while cursor.slot < table.slotCount {
      guard let (torrent, hash) = table.torrent(inSlot: cursor.slot) else {
        cursor = ExpiryCursor(slot: cursor.slot + 1)
        continue
      }
      let seedersBefore = torrent.pointee.seederCount
      let leechersBefore = torrent.pointee.leecherCount
      expireAddresses(of: torrent, &cursor, before: cutoffSeconds, budget: &budget, &users)
      table.seeders += torrent.pointee.seederCount - seedersBefore
      table.leechers += torrent.pointee.leecherCount - leechersBefore
      if torrent.pointee.peerCount == 0 {
        // Another torrent may move into this slot, or the table shrink: look at it again, or from the start.
        let slotCount = table.slotCount
        table.remove(torrent, hash: hash)
        cursor = ExpiryCursor(slot: table.slotCount == slotCount ? cursor.slot : 0)
      } else if budget > 0 {
        cursor = ExpiryCursor(slot: cursor.slot + 1)
      }
      if budget <= 0 { return false }
      budget -= 1
    }
    return true
  }

  private static func expireAddresses(
    of torrent: UnsafeMutablePointer<Torrent>, _ cursor: inout ExpiryCursor, before cutoffSeconds: UInt32,
    budget: inout Int, _ users: inout [UInt64]
  ) {
    while true {
      cursor.position = min(cursor.position, torrent.pointee.lists[cursor.family].count)
      while cursor.position > 0 && budget > 0 {
        cursor.position -= 1
        budget -= 1
        // An expired session may have taken more than one entry with it.
        if cursor.position >= torrent.pointee.lists[cursor.family].count { continue }
        let seen = torrent.pointee.lists[cursor.family].seenSeconds(at: cursor.position)
        if Int32(bitPattern: seen &- cutoffSeconds) < 0 {
          if let user = torrent.pointee.expireAddress(at: cursor.position, cursor.family) { users.append(user) }
        }
      }
      if cursor.position > 0 || cursor.family == 1 { return }
      cursor.family = 1
      cursor.position = Int.max
    }
  }
}
