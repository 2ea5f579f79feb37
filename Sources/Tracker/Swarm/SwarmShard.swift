// SwarmShard: the torrents of one stripe of info hashes, with the lock that guards them. Called by every worker; the lock
// is held for the update and the copy of the peers, nothing else.

import CLinux
import Glibc
import Wire

/// An open-addressing table from info hash to torrent. Guarded by its shard's lock.
struct TorrentTable: ~Copyable {
  /// A slot keeps the hash beside the address, so that a probe reads one cache line until it hits.
  private struct Slot {
    var hash: UInt64
    var torrent: UnsafeMutablePointer<Torrent>?
  }
  private var slots: UnsafeMutablePointer<Slot>
  private var capacity = 16
  private(set) var count = 0
  /// Sums over the torrents, kept up to date with every change.
  var seeders = 0
  var leechers = 0

  init() { slots = Self.allocate(capacity) }

  private static func allocate(_ capacity: Int) -> UnsafeMutablePointer<Slot> {
    calloc(capacity, MemoryLayout<Slot>.stride)!.assumingMemoryBound(to: Slot.self)
  }

  deinit {
    for slot in 0..<capacity {
      guard let torrent = slots[slot].torrent else { continue }
      torrent.pointee.deallocate()
      free(torrent)
    }
    free(slots)
  }

  @inline(__always)
  func find(_ infoHash: InfoHash, hash: UInt64) -> UnsafeMutablePointer<Torrent>? {
    let mask = capacity - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    while let torrent = slots[slot].torrent {
      if slots[slot].hash == hash && torrent.pointee.infoHash == infoHash { return torrent }
      slot = (slot + 1) & mask
    }
    return nil
  }

  /// Asks for the cache line that `find` looks at first.
  @inline(__always)
  func prefetchSlot(_ hash: UInt64) { clinux_prefetch(slots + Int(truncatingIfNeeded: hash) & (capacity - 1)) }

  /// The torrent that `find` will most likely find, without a look at the torrent.
  @inline(__always)
  func candidate(_ hash: UInt64) -> UnsafeMutablePointer<Torrent>? {
    let mask = capacity - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    while let torrent = slots[slot].torrent {
      if slots[slot].hash == hash { return torrent }
      slot = (slot + 1) & mask
    }
    return nil
  }

  /// Adds a swarm that `find` did not find.
  mutating func insert(_ infoHash: InfoHash, hash: UInt64, snatches: UInt32) -> UnsafeMutablePointer<Torrent> {
    if (count + 1) * 4 > capacity * 3 { resize(to: capacity * 2) }
    let torrent = malloc(MemoryLayout<Torrent>.stride)!.assumingMemoryBound(to: Torrent.self)
    torrent.initialize(to: Torrent(infoHash: infoHash, snatches: snatches))
    link(torrent, hash: hash)
    count += 1
    return torrent
  }

  /// Frees a swarm whose last peer has gone.
  mutating func remove(_ torrent: UnsafeMutablePointer<Torrent>, hash: UInt64) {
    let mask = capacity - 1
    var gap = Int(truncatingIfNeeded: hash) & mask
    while slots[gap].torrent != torrent { gap = (gap + 1) & mask }
    var slot = gap
    while true {
      slot = (slot + 1) & mask
      guard slots[slot].torrent != nil else { break }
      let home = Int(truncatingIfNeeded: slots[slot].hash) & mask
      if (slot - home) & mask >= (slot - gap) & mask {
        slots[gap] = slots[slot]
        gap = slot
      }
    }
    slots[gap] = Slot(hash: 0, torrent: nil)
    count -= 1
    torrent.pointee.deallocate()
    free(torrent)
    if capacity > 16 && count * 8 < capacity { resize(to: capacity / 2) }
  }

  private mutating func link(_ torrent: UnsafeMutablePointer<Torrent>, hash: UInt64) {
    let mask = capacity - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    while slots[slot].torrent != nil { slot = (slot + 1) & mask }
    slots[slot] = Slot(hash: hash, torrent: torrent)
  }

  private mutating func resize(to new: Int) {
    let old = slots
    let oldCapacity = capacity
    slots = Self.allocate(new)
    capacity = new
    for slot in 0..<oldCapacity {
      if let torrent = old[slot].torrent { link(torrent, hash: old[slot].hash) }
    }
    free(old)
  }

  /// The slots, for sweeps: `body` may not change the table.
  func torrent(inSlot slot: Int) -> (torrent: UnsafeMutablePointer<Torrent>, hash: UInt64)? {
    guard slot < capacity, let torrent = slots[slot].torrent else { return nil }
    return (torrent, slots[slot].hash)
  }
  var slotCount: Int { capacity }
}

/// One stripe, at an address of its own two cache lines. `Mutex` does not let a reply's memory, which is no region of its
/// own, be written under the lock, so this holds a pthread mutex: it guards `table` and nothing else, is never held while
/// another lock is taken, and no I/O is done under it.
struct SwarmShard: ~Copyable {
  /// Two cache lines: neighbours that different workers hold do not share one.
  static let stride = 128

  private var mutex = pthread_mutex_t()
  private var table = TorrentTable()

  /// Makes `count` of them side by side, `stride` bytes apart.
  static func allocate(count: Int) -> UnsafeMutableRawPointer {
    precondition(MemoryLayout<SwarmShard>.size <= stride)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: count * stride, alignment: stride)
    for number in 0..<count {
      let shard = (memory + number * stride).bindMemory(to: SwarmShard.self, capacity: 1)
      shard.initialize(to: SwarmShard())
      pthread_mutex_init(&shard.pointee.mutex, nil)
    }
    return memory
  }

  /// The end of what `allocate` made.
  static func deallocate(_ memory: UnsafeMutableRawPointer, count: Int) {
    for number in 0..<count {
      let shard = (memory + number * stride).assumingMemoryBound(to: SwarmShard.self)
      pthread_mutex_destroy(&shard.pointee.mutex)
      shard.deinitialize(count: 1)
    }
    memory.deallocate()
  }

  /// Runs `body` with the table, alone.
  @inline(__always)
  mutating func withTable<Result>(_ body: (inout TorrentTable) -> Result) -> Result {
    pthread_mutex_lock(&mutex)
    defer { pthread_mutex_unlock(&mutex) }
    return body(&table)
  }
}
