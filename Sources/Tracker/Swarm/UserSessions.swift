// UserSessions: the sessions one user has in one swarm, found once per announce. Under the shard's lock.

import Wire

/// The announcing session and its user's others.
struct UserSessions {
  /// Other sessions of a user that are looked at; a user with more is at the limit anyway.
  private static let maximumOthers = OwnPositions.maximum - 1

  let user: UInt64
  /// The number of the announcing session in the torrent; nil when it is new.
  var own: Int?
  private var others = InlineArray<8, UInt32>(repeating: 0)
  private var otherCount = 0
  private var total = 0
  /// Sessions that had to make room.
  private(set) var removed = 0

  init(of user: UInt64, peerID: PeerID, in torrent: UnsafeMutablePointer<Torrent>) {
    self.user = user
    torrent.pointee.forEachSession(of: user) { number in
      total += 1
      if torrent.pointee.peer(at: number).id == peerID {
        own = number
      } else if otherCount < Self.maximumOthers {
        others[otherCount] = UInt32(number)
        otherCount += 1
      }
    }
  }

  /// Calls `body` with every session that the announcing one is not shown.
  @inline(__always)
  func forEachLeftOut(_ policy: SwarmPolicy, _ body: (Int) -> Void) {
    if let own { body(own) }
    guard policy.excludeOwnPeers else { return }
    for index in 0..<otherCount { body(Int(others[index])) }
  }

  /// Decides whether a new session may join. A client that crashed and came back takes the place of its ghost: the
  /// session with the same address and port or, at the limit, the longest silent one that is overdue.
  mutating func makeRoom(
    for announce: SwarmAnnounce, in torrent: UnsafeMutablePointer<Torrent>, policy: SwarmPolicy
  ) -> Bool {
    if let ghost = ghost(of: announce, in: torrent) {
      remove(ghost, from: torrent)
    } else if policy.maxPeersPerUser > 0 && total >= policy.maxPeersPerUser {
      guard let silent = longestSilent(in: torrent),
        announce.nowSeconds &- torrent.pointee.lastSeenSeconds(silent) > policy.overdueSeconds
      else { return false }
      remove(silent, from: torrent)
    }
    return torrent.pointee.peerCount < Torrent.maximumPeers
  }

  /// Whether a new session takes the place of one with the same address and port.
  func hasGhost(of announce: SwarmAnnounce, in torrent: UnsafeMutablePointer<Torrent>) -> Bool {
    ghost(of: announce, in: torrent) != nil
  }

  private func ghost(of announce: SwarmAnnounce, in torrent: UnsafeMutablePointer<Torrent>) -> Int? {
    let family = announce.address.family.index
    for index in 0..<otherCount {
      let number = Int(others[index])
      let position = torrent.pointee.position(of: number, family)
      if position != EndpointList.none,
        torrent.pointee.lists[family].holds(announce.address, port: announce.port, at: Int(position))
      {
        return number
      }
    }
    return nil
  }

  private func longestSilent(in torrent: UnsafeMutablePointer<Torrent>) -> Int? {
    (0..<otherCount).map { Int(others[$0]) }.min {
      torrent.pointee.lastSeenSeconds($0) < torrent.pointee.lastSeenSeconds($1)
    }
  }

  /// Removal renumbers, so the sessions are looked up again.
  private mutating func remove(_ number: Int, from torrent: UnsafeMutablePointer<Torrent>) {
    torrent.pointee.remove(number)
    let removed = removed + 1
    self = UserSessions(of: user, in: torrent)
    self.removed = removed
  }

  private init(of user: UInt64, in torrent: UnsafeMutablePointer<Torrent>) {
    self.user = user
    torrent.pointee.forEachSession(of: user) { number in
      total += 1
      if otherCount < Self.maximumOthers {
        others[otherCount] = UInt32(number)
        otherCount += 1
      }
    }
  }
}
