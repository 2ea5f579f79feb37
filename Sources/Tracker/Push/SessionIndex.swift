// SessionIndex: where in the queue the newest announce of a session waits. An open-addressing table that belongs to
// EventQueue and is used under its lock, only while the queue coalesces.

extension AnnounceRecord {
  /// Whether both are of one session: passkey, infohash and peer id.
  func isSameSession(as other: UnsafePointer<AnnounceRecord>) -> Bool {
    peerID == other.pointee.peerID && infoHash == other.pointee.infoHash && passkey == other.pointee.passkey
  }

  /// A hash of the session under a secret, from the user's: peer ids are chosen by strangers, who must not be able to make
  /// them collide.
  func sessionHash(secret: UInt64, user: UInt64) -> UInt64 {
    var hash = user
    func mix(_ word: UInt64) { hash = Self.fold(hash ^ word) }
    mix(peerID.words.0)
    mix(peerID.words.1 ^ secret)
    mix(UInt64(peerID.words.2) << 32 | UInt64(infoHash.words.2))
    mix(infoHash.words.0)
    mix(infoHash.words.1 ^ secret)
    return hash == 0 ? 1 : hash
  }
}

/// Hash to queue number. Numbers below the queue's head are stale and their places are taken again.
struct SessionIndex: ~Copyable {
  private struct Place {
    /// 0: free.
    var hash: UInt64
    var number: UInt64
  }
  /// At least this many places, when there are any.
  private static let firstCapacity = 1 << 14

  private var places: UnsafeMutablePointer<Place>?
  private var capacity = 0
  private var used = 0

  deinit { places?.deallocate() }

  /// Gives the memory back.
  mutating func removeAll() {
    places?.deallocate()
    places = nil
    capacity = 0
    used = 0
  }

  /// The number noted for a hash, if `matches` says that it is the session's; a hash is not enough.
  func find(_ hash: UInt64, matches: (UInt64) -> Bool) -> UInt64? {
    guard let places else { return nil }
    var at = Int(truncatingIfNeeded: hash) & (capacity - 1)
    while places[at].hash != 0 {
      if places[at].hash == hash, matches(places[at].number) { return places[at].number }
      at = (at + 1) & (capacity - 1)
    }
    return nil
  }

  /// Notes the newest number of a session in place of `previous`, or of a number below `head`, or in a new place.
  mutating func note(_ hash: UInt64, number: UInt64, insteadOf previous: UInt64?, head: UInt64) {
    if (used + 1) * 4 > capacity * 3 { grow(head: head) }
    let places = places!
    var at = Int(truncatingIfNeeded: hash) & (capacity - 1)
    while places[at].hash != 0 {
      if places[at].hash == hash, places[at].number < head || places[at].number == previous {
        places[at].number = number
        return
      }
      at = (at + 1) & (capacity - 1)
    }
    places[at] = Place(hash: hash, number: number)
    used += 1
  }

  /// Doubles the table unless most of it is stale, and leaves the stale behind.
  private mutating func grow(head: UInt64) {
    let old = places
    let oldCapacity = capacity
    var live = 0
    for at in 0..<oldCapacity where old![at].hash != 0 && old![at].number >= head { live += 1 }
    capacity = max(Self.firstCapacity, oldCapacity)
    while live * 2 >= capacity { capacity *= 2 }
    let new = UnsafeMutablePointer<Place>.allocate(capacity: capacity)
    new.initialize(repeating: Place(hash: 0, number: 0), count: capacity)
    for index in 0..<oldCapacity where old![index].hash != 0 && old![index].number >= head {
      var at = Int(truncatingIfNeeded: old![index].hash) & (capacity - 1)
      while new[at].hash != 0 { at = (at + 1) & (capacity - 1) }
      new[at] = old![index]
    }
    old?.deallocate()
    places = new
    used = live
  }
}
