// SwarmPrefetch: has the processor fetch what a batch of announces is going to touch, level by level, so that the cache
// misses of different announces overlap instead of following one another. Changes nothing. On a worker's thread.

import CLinux

/// Where an announce is going to look.
struct SwarmKey {
  /// KeyedHash of the info hash.
  var torrent: UInt64
  /// KeyedHash of the passkey (or of the peer id).
  var user: UInt64
}

extension SwarmStore {
  /// Below this many announces there is little to overlap, and the extra passes cost more than they save.
  private static let minimumBatch = 4

  /// To be called before the announces of a batch are applied.
  func prefetch(_ keys: UnsafeBufferPointer<SwarmKey>) {
    guard keys.count >= Self.minimumBatch else { return }
    for key in keys { prefetchShard(of: key.torrent) }
    for key in keys { withTable(of: key.torrent) { $0.prefetchSlot(key.torrent) } }
    for key in keys {
      withTable(of: key.torrent) { table in
        guard let torrent = table.candidate(key.torrent) else { return }
        let address = UnsafeRawPointer(torrent)
        for offset in stride(from: 0, to: MemoryLayout<Torrent>.size, by: 64) { clinux_prefetch(address + offset) }
      }
    }
    for key in keys { withTable(of: key.torrent) { $0.candidate(key.torrent)?.pointee.prefetchIndex(key.user) } }
    for key in keys { withTable(of: key.torrent) { $0.candidate(key.torrent)?.pointee.prefetchPeer(key.user) } }
    for key in keys { withTable(of: key.torrent) { $0.candidate(key.torrent)?.pointee.prefetchAddresses(key.user) } }
  }
}
