// RedisHistory: what Redis held before each of its latest writes, for failovers, and in a file that was put away. A value.

struct RedisHistory {
  struct Past {
    var at: UInt64
    var data: RedisData
  }
  private static let kept = 3000
  /// Before each write, the newest last.
  private var pasts: [Past] = []
  private(set) var file: Past?

  mutating func note(_ data: RedisData, at moment: UInt64) {
    pasts.append(Past(at: moment, data: data))
    if pasts.count > Self.kept { pasts.removeFirst() }
  }

  /// What there was before so many writes.
  func past(writes: Int) -> Past? {
    let place = max(0, pasts.count - writes)
    return place < pasts.count ? pasts[place] : nil
  }

  /// What came behind it has not been.
  mutating func goBack(to past: Past) { pasts.removeAll { $0.at >= past.at } }

  mutating func putAway(_ data: RedisData, at moment: UInt64) { file = Past(at: moment, data: data) }
}
