// EndpointList: the addresses of one swarm in one family, in the compact form that replies carry, leechers before
// seeders. Belongs to a Torrent, under its shard's lock.
//
// Parallel arrays, position by position:
//   endpoints  6 or 18 bytes   address and port in network order (BEP 23, BEP 7): a reply is a copy of stretches of it
//   owners     4 bytes         index of the peer in the torrent's peer array
//   seen       4 bytes         monotonic seconds of the last announce that came with this address

import CLinux
import Glibc
import Wire

/// Addresses of a swarm, partitioned: positions below `leecherCount` are leechers.
struct EndpointList {
  /// Marks a peer that has no address in this family.
  static let none: UInt32 = .max

  /// 6 for IPv4, 18 for IPv6.
  let stride: Int
  private(set) var count = 0
  private(set) var leecherCount = 0
  private var capacity = 0
  private var endpoints: UnsafeMutableRawPointer?
  private var owners: UnsafeMutablePointer<UInt32>?
  private var seen: UnsafeMutablePointer<UInt32>?

  init(family: IPAddress.Family) { stride = family.compactBytes }

  /// Frees the memory; the list is not used afterwards.
  mutating func deallocate() {
    free(endpoints)
    free(owners)
    free(seen)
  }

  @inline(__always) func owner(at position: Int) -> Int { Int(owners.unsafelyUnwrapped[position]) }
  @inline(__always) func seenSeconds(at position: Int) -> UInt32 { seen.unsafelyUnwrapped[position] }
  @inline(__always) func isSeeder(at position: Int) -> Bool { position >= leecherCount }

  /// Cache lines of a small swarm's addresses that are asked for; a large one is read in stretches from all over.
  private static let prefetchedLines = 10

  /// Asks for the addresses of a small swarm, out of which a reply is copied.
  @inline(__always)
  func prefetchStart() {
    guard let endpoints else { return }
    for offset in Swift.stride(from: 0, to: min(count * stride, Self.prefetchedLines * 64), by: 64) {
      clinux_prefetch(endpoints + offset)
    }
  }

  /// Asks for the cache lines that `refresh` writes.
  @inline(__always)
  func prefetch(at position: Int) {
    clinux_prefetch(endpoints.unsafelyUnwrapped + position * stride)
    clinux_prefetch(seen.unsafelyUnwrapped + position)
  }

  /// Whether the position holds this address and port.
  func holds(_ address: IPAddress, port: UInt16, at position: Int) -> Bool {
    var wanted: (UInt64, UInt64, UInt64) = (0, 0, 0)
    return withUnsafeMutableBytes(of: &wanted) { wanted in
      Self.write(address, port, to: wanted.baseAddress!)
      return memcmp(wanted.baseAddress!, endpoints! + position * stride, stride) == 0
    }
  }

  @inline(__always)
  private static func write(_ address: IPAddress, _ port: UInt16, to target: UnsafeMutableRawPointer) {
    address.store(to: target)
    target.storeBytes(of: port.bigEndian, toByteOffset: address.byteCount, as: UInt16.self)
  }

  /// Renews the address, port and time at a position.
  @inline(__always)
  mutating func refresh(at position: Int, _ address: IPAddress, port: UInt16, nowSeconds: UInt32) {
    Self.write(address, port, to: endpoints.unsafelyUnwrapped + position * stride)
    seen.unsafelyUnwrapped[position] = nowSeconds
  }

  /// The peer at a position now has another index.
  @inline(__always)
  mutating func setOwner(_ owner: Int, at position: Int) { owners.unsafelyUnwrapped[position] = UInt32(owner) }

  /// Adds an address; returns its position. `moved(owner, position)` is told of every other entry that changes place.
  mutating func insert(
    _ address: IPAddress, port: UInt16, owner: Int, isSeeder: Bool, nowSeconds: UInt32, moved: (Int, Int) -> Void
  ) -> Int {
    if count == capacity { grow() }
    var position = count
    if !isSeeder {
      if leecherCount < count { move(from: leecherCount, to: count, moved) }
      position = leecherCount
      leecherCount += 1
    }
    count += 1
    owners![position] = UInt32(owner)
    refresh(at: position, address, port: port, nowSeconds: nowSeconds)
    return position
  }

  mutating func remove(at position: Int, moved: (Int, Int) -> Void) {
    var hole = position
    if hole < leecherCount {
      leecherCount -= 1
      if hole != leecherCount { move(from: leecherCount, to: hole, moved) }
      hole = leecherCount
    }
    count -= 1
    if hole != count { move(from: count, to: hole, moved) }
    shrink()
  }

  /// Moves an entry between the halves; returns its new position.
  mutating func setSeeder(_ isSeeder: Bool, at position: Int, moved: (Int, Int) -> Void) -> Int {
    guard isSeeder != self.isSeeder(at: position) else { return position }
    if isSeeder { leecherCount -= 1 }
    let boundary = leecherCount
    if !isSeeder { leecherCount += 1 }
    if boundary != position { swap(position, boundary, moved) }
    return boundary
  }

  private mutating func move(from: Int, to: Int, _ moved: (Int, Int) -> Void) {
    memcpy(endpoints! + to * stride, endpoints! + from * stride, stride)
    owners![to] = owners![from]
    seen![to] = seen![from]
    moved(Int(owners![to]), to)
  }

  /// Exchanges `position` with `boundary`; only the entry that was at the boundary is reported.
  private mutating func swap(_ position: Int, _ boundary: Int, _ moved: (Int, Int) -> Void) {
    withUnsafeTemporaryAllocation(byteCount: 24, alignment: 8) { saved in
      memcpy(saved.baseAddress!, endpoints! + position * stride, stride)
      let owner = owners![position]
      let time = seen![position]
      move(from: boundary, to: position, moved)
      memcpy(endpoints! + boundary * stride, saved.baseAddress!, stride)
      owners![boundary] = owner
      seen![boundary] = time
    }
  }

  private mutating func grow() { resize(to: max(4, capacity + capacity / 8 + 1)) }

  /// Gives memory back when three quarters of it are unused.
  private mutating func shrink() {
    if capacity > 16 && count < capacity / 4 { resize(to: max(4, count + count / 4)) }
  }

  private mutating func resize(to new: Int) {
    // Readers copy whole words: see PeerSink.slackBytes.
    endpoints = realloc(endpoints, new * stride + PeerSink.slackBytes)!
    owners = realloc(owners, new * 4)!.assumingMemoryBound(to: UInt32.self)
    seen = realloc(seen, new * 4)!.assumingMemoryBound(to: UInt32.self)
    capacity = new
  }
}

extension EndpointList {
  /// At most this many positions of a reply lie side by side when the swarm is large: few enough that a popular swarm
  /// spreads its load, enough that one cache line serves several peers.
  private static let stretchLength = 8

  /// Copies up to `limit` different entries to `target`, chosen at random from the leechers or from all, without the
  /// positions in `excluded`. `each(owner, index)` is called for every copied entry when owners matter. Returns how many.
  @inline(__always)
  func copyRandom(
    limit: Int, leechersOnly: Bool, excluded: OwnPositions, to target: UnsafeMutableRawPointer,
    lottery: inout PeerLottery, each: ((Int, Int) -> Void)?
  ) -> Int {
    let population = leechersOnly ? leecherCount : count
    let available = population - excluded.count(below: population)
    let wanted = min(limit, available)
    guard wanted > 0, let endpoints else { return 0 }
    var copy = PeerCopy(
      endpoints: endpoints, owners: owners.unsafelyUnwrapped, stride: stride, target: target, wanted: wanted,
      excluded: excluded)
    if population <= 4 * (wanted + OwnPositions.maximum) {
      // A small swarm: one stretch from a random start, around the end.
      let start = lottery.below(population)
      copy.append(start..<population, each)
      copy.append(0..<start, each)
      return copy.copied
    }
    // A large one: as many strata as stretches, in each a stretch from a random start, around its end.
    let strata = (wanted + excluded.count + Self.stretchLength - 1) / Self.stretchLength
    // The last of them gives less than a whole stretch: which one that is, is drawn too.
    let first = lottery.below(strata)
    for turn in 0..<strata {
      let stratum = first + turn < strata ? first + turn : first + turn - strata
      let lower = population * stratum / strata
      let upper = population * (stratum + 1) / strata
      let start = lower + lottery.below(upper - lower)
      let end = start + Self.stretchLength
      copy.append(start..<min(end, upper), each)
      if end > upper { copy.append(lower..<lower + (end - upper), each) }
    }
    return copy.copied
  }
}

/// The positions of the announcing user's own sessions, which a reply leaves out. Single words, not a vector: there is
/// nearly always one, and a vector that was just filled word by word cannot be loaded before the stores have retired.
struct OwnPositions {
  /// More own sessions than this are not all left out; `max_peers_per_user` is far below it.
  static let maximum = 8
  private var positions = InlineArray<8, UInt32>(repeating: .max)
  private(set) var count = 0

  @inline(__always)
  mutating func insert(_ position: UInt32) {
    guard count < Self.maximum, position != EndpointList.none else { return }
    positions[count] = position
    count += 1
  }
  @inline(__always)
  func contains(_ position: Int) -> Bool {
    for index in 0..<count where positions[index] == UInt32(truncatingIfNeeded: position) { return true }
    return false
  }
  @inline(__always)
  func intersects(_ range: Range<Int>) -> Bool {
    for index in 0..<count where range.contains(Int(positions[index])) { return true }
    return false
  }
  @inline(__always)
  func count(below bound: Int) -> Int {
    var result = 0
    for index in 0..<count where positions[index] < UInt32(truncatingIfNeeded: bound) { result += 1 }
    return result
  }
}

/// The state of one copy out of an EndpointList.
private struct PeerCopy {
  let endpoints: UnsafeMutableRawPointer
  let owners: UnsafeMutablePointer<UInt32>
  let stride: Int
  let target: UnsafeMutableRawPointer
  let wanted: Int
  let excluded: OwnPositions
  var copied = 0

  @inline(__always)
  mutating func append(_ range: Range<Int>, _ each: ((Int, Int) -> Void)?) {
    var range = range
    if range.count > wanted - copied && !excluded.intersects(range) {
      range = range.lowerBound..<range.lowerBound + (wanted - copied)
    }
    if range.isEmpty { return }
    if each == nil && !excluded.intersects(range) {
      memcpy(target + copied * stride, endpoints + range.lowerBound * stride, range.count * stride)
      copied += range.count
      return
    }
    for position in range where copied < wanted && !excluded.contains(position) {
      memcpy(target + copied * stride, endpoints + position * stride, stride)
      each?(Int(owners[position]), copied)
      copied += 1
    }
  }
}
