// PeerLottery: the random numbers by which peers are chosen. A plain value, one per worker, on its thread.

/// xorshift64*: the choice of peers must be spread, not unpredictable. One per worker.
struct PeerLottery {
  private var state: UInt64

  init(seed: UInt64) { state = seed | 1 }

  /// A number below `bound` (> 0), without a division.
  @inline(__always)
  mutating func below(_ bound: Int) -> Int {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    let high = UInt32(truncatingIfNeeded: (state &* 0x2545_f491_4f6c_dd1d) >> 32)
    return Int((UInt64(high) &* UInt64(bound)) >> 32)
  }
}
