// StormSpread: after a restart all clients come back within minutes, and without care they would come back together every
// interval from then on (rakshasa/libtorrent#167). While that lasts, replies spread the next announces over a quarter of
// the interval more. One per worker, on its thread.

/// Decides which replies are told a longer interval.
struct StormSpread {
  /// Announces within one second that make a storm, per worker: what 900,000 peers at 30 minutes bring on average, and
  /// far above what a small site has on a quiet day.
  static let stormPerSecond = 500
  /// The longest addition is the interval divided by this.
  static let divisor: UInt32 = 4

  private let untilSeconds: UInt32
  private var second: UInt32 = 0
  private var count = 0

  /// Storms are looked for during the first interval after the start.
  init(startSeconds: UInt32, intervalSeconds: UInt32) { untilSeconds = startSeconds &+ intervalSeconds }

  /// Seconds to add to this reply's interval; 0 when there is no storm.
  @inline(__always)
  mutating func addition(nowSeconds: UInt32, intervalSeconds: UInt32, lottery: inout PeerLottery) -> UInt32 {
    if Int32(bitPattern: nowSeconds &- untilSeconds) >= 0 { return 0 }
    if nowSeconds != second {
      second = nowSeconds
      count = 0
    }
    count += 1
    guard count > Self.stormPerSecond, intervalSeconds >= Self.divisor else { return 0 }
    return UInt32(lottery.below(Int(intervalSeconds / Self.divisor) + 1))
  }
}
