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

  /// What there was before so many of the latest entries of a stream were added.
  func past(entries: Int, of key: String) -> Past? {
    func added(_ past: Past) -> Int64 { past.data.stream(key)?.added ?? 0 }
    guard let newest = pasts.last.map(added) else { return nil }
    return pasts.last { added($0) <= newest - Int64(entries) } ?? pasts.first
  }

  /// What came behind it has not been.
  mutating func goBack(to past: Past) { pasts.removeAll { $0.at >= past.at } }

  mutating func putAway(_ data: RedisData, at moment: UInt64) { file = Past(at: moment, data: data) }
}
