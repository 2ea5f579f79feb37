// Torrent: one swarm: its peers, where they can be reached, and its counts. Lives at a fixed address inside a SwarmShard,
// touched only under that shard's lock.
//
// A peer is one user's session: (user, peer id), with an address in either family or both. It is counted once.
//   peers    flat array, 40 bytes each; removal moves the last one into the gap
//   index    open addressing over `user`, at most 7/8 full, only from `indexThreshold` peers on; all sessions of a user
//            lie on one probe path, so that own sessions are found with the announcing one. Entry: tag (8 bits of the
//            hash) | peer + 1
//   lists    an EndpointList for each family

import CLinux
import Glibc
import Wire

/// One session in a swarm.
struct Peer {
  /// KeyedHash of the passkey, or of the peer id where there are no passkeys.
  var user: UInt64
  var id: PeerID
  /// Positions in the torrent's lists, by family; EndpointList.none without an address there.
  var positions = InlineArray<2, UInt32>(repeating: EndpointList.none)
  var progress = PeerProgress()
}

extension IPAddress.Family {
  /// Where the family's entry lies in what there is of each family.
  @inline(__always) var index: Int { self == .v4 ? 0 : 1 }
}

/// A swarm. Created and destroyed by its shard.
struct Torrent {
  /// Peers of one swarm: what the 24 bits of an index entry can name.
  static let maximumPeers = 1 << 24 - 2
  /// Below this the peers are searched in order: ten records are a few cache lines and need no index.
  private static let indexThreshold = 10

  let infoHash: InfoHash
  /// Completed downloads: one per user (BEP 48 `downloaded`).
  var snatches: UInt32
  /// By family.
  private(set) var lists: InlineArray<2, EndpointList> = [EndpointList(family: .v4), EndpointList(family: .v6)]
  private(set) var peerCount = 0
  private(set) var seederCount = 0
  private var peerCapacity = 0
  private var peers: UnsafeMutablePointer<Peer>?
  private var index: UnsafeMutablePointer<UInt32>?
  // 32 bits each: with another word a Torrent would take 16 bytes more of the allocator.
  private var indexSlots: UInt32 = 0
  /// Leechers that download nothing any more (BEP 21).
  private(set) var partialSeedCount: UInt32 = 0

  init(infoHash: InfoHash, snatches: UInt32) {
    self.infoHash = infoHash
    self.snatches = snatches
  }

  mutating func deallocate() {
    for family in lists.indices { lists[family].deallocate() }
    free(peers)
    free(index)
  }

  var leecherCount: Int { peerCount - seederCount }
  private var indexCapacity: Int { Int(indexSlots) }

  @inline(__always) func peer(at number: Int) -> Peer { peers.unsafelyUnwrapped[number] }

  /// The position of a peer's address in the list of a family, EndpointList.none without one.
  @inline(__always)
  func position(of number: Int, _ family: Int) -> UInt32 {
    peers.unsafelyUnwrapped[number].positions[unchecked: family]
  }

  /// Whether the peer is a seeder: both of its addresses lie in the same half of their lists.
  @inline(__always)
  func isSeeder(_ number: Int) -> Bool {
    let v4 = position(of: number, 0)
    return v4 != EndpointList.none
      ? lists[0].isSeeder(at: Int(v4)) : lists[1].isSeeder(at: Int(position(of: number, 1)))
  }

  /// Monotonic seconds of the peer's last announce in either family.
  func lastSeenSeconds(_ number: Int) -> UInt32 {
    var last: UInt32 = 0
    for family in lists.indices {
      let position = position(of: number, family)
      if position != EndpointList.none { last = max(last, lists[family].seenSeconds(at: Int(position))) }
    }
    return last
  }

  // MARK: finding

  /// The sessions of a user: the one with this peer id, and all others.
  @inline(__always)
  func forEachSession(of user: UInt64, _ body: (Int) -> Void) {
    guard let index else {
      for number in 0..<peerCount where peers.unsafelyUnwrapped[number].user == user { body(number) }
      return
    }
    let mask = indexCapacity - 1
    var slot = Int(truncatingIfNeeded: user) & mask
    let tag = Self.tag(user)
    while true {
      let entry = index[slot]
      if entry == 0 { return }
      if entry & 0xff00_0000 == tag {
        let number = Int(entry & 0x00ff_ffff) - 1
        if peers.unsafelyUnwrapped[number].user == user { body(number) }
      }
      slot = (slot + 1) & mask
    }
  }

  /// Asks for the cache line that leads to the user's sessions: of the index, or of the first peers.
  @inline(__always)
  func prefetchIndex(_ user: UInt64) {
    if let index {
      clinux_prefetch(index + Int(truncatingIfNeeded: user) & (indexCapacity - 1))
    } else if let peers {
      clinux_prefetch(peers)
      clinux_prefetch(UnsafeRawPointer(peers) + 64)
    }
  }

  /// Asks for the record of the user's first session, as far as the index tells.
  @inline(__always)
  func prefetchPeer(_ user: UInt64) {
    guard let index else { return }
    let entry = firstEntry(of: user, in: index)
    if entry != 0 { clinux_prefetch(peers.unsafelyUnwrapped + Int(entry & 0x00ff_ffff) - 1) }
  }

  /// Asks for what an announce of the user's first session renews, and for what its reply is copied from.
  @inline(__always)
  func prefetchAddresses(_ user: UInt64) {
    for family in lists.indices { lists[family].prefetchStart() }
    guard let index else { return }
    let entry = firstEntry(of: user, in: index)
    if entry == 0 { return }
    for family in lists.indices {
      let position = position(of: Int(entry & 0x00ff_ffff) - 1, family)
      if position != EndpointList.none { lists[family].prefetch(at: Int(position)) }
    }
  }

  /// The first index entry with the user's tag, 0 for none.
  @inline(__always)
  private func firstEntry(of user: UInt64, in index: UnsafeMutablePointer<UInt32>) -> UInt32 {
    let mask = indexCapacity - 1
    var slot = Int(truncatingIfNeeded: user) & mask
    let tag = Self.tag(user)
    while index[slot] != 0 && index[slot] & 0xff00_0000 != tag { slot = (slot + 1) & mask }
    return index[slot]
  }

  @inline(__always) private static func tag(_ user: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: user >> 32) & 0xff00_0000
  }

  // MARK: changing

  /// Adds a session with one address. The caller has checked that it is not there and that there is room.
  mutating func insert(
    user: UInt64, id: PeerID, _ address: IPAddress, port: UInt16, isSeeder: Bool, nowSeconds: UInt32
  ) -> Int {
    if peerCount == peerCapacity {
      peerCapacity = max(2, peerCapacity + peerCapacity / 8 + 1)
      peers = realloc(peers, peerCapacity * MemoryLayout<Peer>.stride)!.assumingMemoryBound(to: Peer.self)
    }
    let number = peerCount
    peers![number] = Peer(user: user, id: id)
    peerCount += 1
    if isSeeder { seederCount += 1 }
    addToIndex(number)
    setAddress(of: number, address, port: port, isSeeder: isSeeder, nowSeconds: nowSeconds)
    return number
  }

  /// Sets or renews the session's address in that address' family.
  mutating func setAddress(
    of number: Int, _ address: IPAddress, port: UInt16, isSeeder: Bool, nowSeconds: UInt32
  ) {
    let peers = peers.unsafelyUnwrapped
    let family = address.family.index
    let position = position(of: number, family)
    if position != EndpointList.none {
      lists[unchecked: family].refresh(at: Int(position), address, port: port, nowSeconds: nowSeconds)
    } else {
      let position = lists[unchecked: family].insert(
        address, port: port, owner: number, isSeeder: isSeeder, nowSeconds: nowSeconds,
        moved: { peers[$0].positions[unchecked: family] = UInt32($1) })
      peers[number].positions[unchecked: family] = UInt32(position)
    }
  }

  mutating func setSeeder(_ isSeeder: Bool, of number: Int) {
    guard self.isSeeder(number) != isSeeder else { return }
    let peers = peers.unsafelyUnwrapped
    seederCount += isSeeder ? 1 : -1
    for family in lists.indices {
      let position = position(of: number, family)
      if position == EndpointList.none { continue }
      let new = lists[family].setSeeder(
        isSeeder, at: Int(position), moved: { peers[$0].positions[family] = UInt32($1) })
      peers[number].positions[family] = UInt32(new)
    }
  }

  /// Takes in what an announce says of the session's download; returns whether it completes one.
  @inline(__always)
  mutating func note(_ announce: SwarmAnnounce, of number: Int, isNew: Bool) -> Bool {
    let peer = peers.unsafelyUnwrapped + number
    let wasPartialSeed = peer.pointee.progress.isPartialSeed
    let completes = peer.pointee.progress.take(announce, isNew: isNew)
    if peer.pointee.progress.isPartialSeed != wasPartialSeed {
      partialSeedCount = wasPartialSeed ? partialSeedCount - 1 : partialSeedCount + 1
    }
    return completes
  }

  /// Takes in how long ago the session's announce before was; returns whether it announces too often.
  @inline(__always)
  func noteInterval(_ seconds: UInt32, _ announce: SwarmAnnounce, of number: Int) -> Bool {
    peers.unsafelyUnwrapped[number].progress.takeInterval(seconds, of: announce)
  }

  /// Takes a session out with all its addresses. Another session may take its number.
  mutating func remove(_ number: Int) {
    if isSeeder(number) { seederCount -= 1 }
    if peer(at: number).progress.isPartialSeed { partialSeedCount -= 1 }
    for family in lists.indices { removeAddress(of: number, family) }
    removeFromIndex(number)
    peerCount -= 1
    if number != peerCount { renumber(peerCount, to: number) }
    shrink()
  }

  /// Forgets one address of a session that has two; with its only one the session goes, and its user is returned.
  mutating func expireAddress(at position: Int, _ family: Int) -> UInt64? {
    let number = lists[family].owner(at: position)
    let isOnly = self.position(of: number, 1 - family) == EndpointList.none
    let user = isOnly ? peer(at: number).user : nil
    if isOnly { remove(number) } else { removeAddress(of: number, family) }
    return user
  }

  private mutating func removeAddress(of number: Int, _ family: Int) {
    let peers = peers.unsafelyUnwrapped
    let position = position(of: number, family)
    if position == EndpointList.none { return }
    lists[family].remove(at: Int(position), moved: { peers[$0].positions[family] = UInt32($1) })
    peers[number].positions[family] = EndpointList.none
  }

  /// Moves a session's record and tells everything that names it.
  private mutating func renumber(_ old: Int, to new: Int) {
    let peers = peers.unsafelyUnwrapped
    if let index { index[indexSlot(of: old)] = Self.tag(peers[old].user) | UInt32(new + 1) }
    peers[new] = peers[old]
    for family in lists.indices {
      let position = position(of: new, family)
      if position != EndpointList.none { lists[family].setOwner(new, at: Int(position)) }
    }
  }

  private mutating func shrink() {
    guard peerCapacity > 16 && peerCount < peerCapacity / 4 else { return }
    peerCapacity = peerCount + peerCount / 8 + 1
    peers = realloc(peers, peerCapacity * MemoryLayout<Peer>.stride)!.assumingMemoryBound(to: Peer.self)
    rebuildIndex()
  }

  // MARK: the index

  private mutating func addToIndex(_ number: Int) {
    if index != nil && peerCount * 8 <= indexCapacity * 7 {
      link(number)
    } else if index != nil || peerCount >= Self.indexThreshold {
      rebuildIndex()
    }
  }

  private func link(_ number: Int) {
    let user = peers![number].user
    let mask = indexCapacity - 1
    var slot = Int(truncatingIfNeeded: user) & mask
    while index![slot] != 0 { slot = (slot + 1) & mask }
    index![slot] = Self.tag(user) | UInt32(number + 1)
  }

  private mutating func rebuildIndex() {
    free(index)
    index = nil
    indexSlots = 0
    guard peerCount >= Self.indexThreshold else { return }
    indexSlots = 16
    while peerCount * 8 > indexCapacity * 7 { indexSlots *= 2 }
    index = calloc(indexCapacity, 4)!.assumingMemoryBound(to: UInt32.self)
    for number in 0..<peerCount { link(number) }
  }

  private func indexSlot(of number: Int) -> Int {
    let mask = indexCapacity - 1
    var slot = Int(truncatingIfNeeded: peers![number].user) & mask
    while index![slot] & 0x00ff_ffff != UInt32(number + 1) { slot = (slot + 1) & mask }
    return slot
  }

  /// Linear probing without tombstones: later entries of the run move up (Knuth, volume 3, 6.4, algorithm R).
  private func removeFromIndex(_ number: Int) {
    guard let index else { return }
    let mask = indexCapacity - 1
    var gap = indexSlot(of: number)
    var slot = gap
    while true {
      slot = (slot + 1) & mask
      let entry = index[slot]
      if entry == 0 { break }
      let home = Int(truncatingIfNeeded: peers![Int(entry & 0x00ff_ffff) - 1].user) & mask
      if (slot - home) & mask >= (slot - gap) & mask {
        index[gap] = entry
        gap = slot
      }
    }
    index[gap] = 0
  }
}
