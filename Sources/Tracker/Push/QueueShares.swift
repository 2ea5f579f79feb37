// QueueShares: how many entries of each user wait in the queue. An open-addressing table that belongs to EventQueue and is used
// under its lock, only while the queue coalesces: it counts what enters and leaves from then on.

extension AnnounceRecord {
  /// A hash of the user under a secret: whoever may choose passkeys must not be able to make them collide.
  func userHash(secret: UInt64) -> UInt64 {
    var hash = secret
    func mix(_ word: UInt64) { hash = Self.fold(hash ^ word) }
    passkey.withBytes { bytes in
      var offset = 0
      while offset + 8 <= bytes.count {
        mix(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        offset += 8
      }
      var rest: UInt64 = UInt64(bytes.count)
      while offset < bytes.count {
        rest = rest << 8 | UInt64(bytes[offset])
        offset += 1
      }
      mix(rest)
      mix(secret)
    }
    return hash == 0 ? 1 : hash
  }

  @inline(__always)
  static func fold(_ word: UInt64) -> UInt64 {
    let product = word.multipliedFullWidth(by: 0x9fb2_1c65_1e98_df25)
    return product.high ^ product.low
  }
}

/// User hash to entries that wait.
struct QueueShares: ~Copyable {
  private struct Place {
    /// 0: free.
    var user: UInt64
    /// 0: the place is taken again when the table would grow.
    var waiting: UInt32
  }
  /// At least this many places, when there are any.
  private static let firstCapacity = 1 << 10

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

  /// Entries of a user.
  func waiting(_ user: UInt64) -> Int { place(of: user).map { Int($0.pointee.waiting) } ?? 0 }

  mutating func enter(_ user: UInt64) {
    if let place = place(of: user) {
      place.pointee.waiting += 1
      return
    }
    if (used + 1) * 4 > capacity * 3 { grow() }
    Self.link(Place(user: user, waiting: 1), in: places!, capacity)
    used += 1
  }

  mutating func leave(_ user: UInt64) {
    if let place = place(of: user), place.pointee.waiting > 0 { place.pointee.waiting -= 1 }
  }

  /// The most entries of one user, of `count` places from `at` on; nil where there are no more places.
  func most(from at: Int, count: Int) -> Int? {
    guard let places, at < capacity else { return nil }
    return (at..<min(capacity, at + count)).reduce(0) { max($0, Int(places[$1].waiting)) }
  }

  private func place(of user: UInt64) -> UnsafeMutablePointer<Place>? {
    guard let places else { return nil }
    var at = Int(truncatingIfNeeded: user) & (capacity - 1)
    while places[at].user != 0 {
      if places[at].user == user { return places + at }
      at = (at + 1) & (capacity - 1)
    }
    return nil
  }

  private static func link(_ place: Place, in places: UnsafeMutablePointer<Place>, _ capacity: Int) {
    var at = Int(truncatingIfNeeded: place.user) & (capacity - 1)
    while places[at].user != 0 { at = (at + 1) & (capacity - 1) }
    places[at] = place
  }

  /// Doubles the table unless most of its users have nothing waiting, and leaves those behind.
  private mutating func grow() {
    let old = UnsafeMutableBufferPointer(start: places, count: capacity)
    used = old.count { $0.waiting > 0 }
    var new = max(Self.firstCapacity, capacity)
    while used * 2 >= new { new *= 2 }
    let fresh = UnsafeMutablePointer<Place>.allocate(capacity: new)
    fresh.initialize(repeating: Place(user: 0, waiting: 0), count: new)
    for place in old where place.waiting > 0 { Self.link(place, in: fresh, new) }
    places?.deallocate()
    places = fresh
    capacity = new
  }
}
