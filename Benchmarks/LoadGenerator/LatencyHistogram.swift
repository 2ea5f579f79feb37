// LatencyHistogram: how long replies took, in buckets of 3 % width; memory is taken once. Used by the load loops.

/// Counts durations of 1 ns to many hours.
struct LatencyHistogram: ~Copyable {
  /// Buckets per power of two: 2^5, so a bucket is 3 % wide.
  private static let subdivisionBits = 5
  private static let bucketCount = 64 << subdivisionBits
  private let buckets: UnsafeMutablePointer<UInt64>
  private(set) var count: UInt64 = 0
  private(set) var maximumNanoseconds: UInt64 = 0

  init() {
    buckets = .allocate(capacity: Self.bucketCount)
    buckets.initialize(repeating: 0, count: Self.bucketCount)
  }

  deinit { buckets.deallocate() }

  @inline(__always)
  mutating func record(_ nanoseconds: UInt64) {
    let value = nanoseconds | 1 << UInt64(Self.subdivisionBits)
    let exponent = 63 - value.leadingZeroBitCount - Self.subdivisionBits
    buckets[exponent << Self.subdivisionBits + Int(value >> UInt64(exponent))] += 1
    count += 1
    if nanoseconds > maximumNanoseconds { maximumNanoseconds = nanoseconds }
  }

  mutating func reset() {
    buckets.update(repeating: 0, count: Self.bucketCount)
    count = 0
    maximumNanoseconds = 0
  }

  /// The upper edge of the bucket in which the given share (0 to 1) of all durations ends.
  func quantile(_ share: Double) -> UInt64 {
    guard count > 0 else { return 0 }
    let wanted = max(1, UInt64((Double(count) * share).rounded(.up)))
    var seen: UInt64 = 0
    for bucket in 0..<Self.bucketCount where buckets[bucket] > 0 {
      seen += buckets[bucket]
      if seen >= wanted { return min(Self.upperEdge(bucket), maximumNanoseconds) }
    }
    return maximumNanoseconds
  }

  /// The largest value `record` puts into a bucket: bucket = exponent * 32 + (value >> exponent), the latter 32...63.
  private static func upperEdge(_ bucket: Int) -> UInt64 {
    let exponent = max(0, (bucket >> subdivisionBits) - 1)
    let mantissa = bucket - exponent << subdivisionBits
    return UInt64(mantissa + 1) << UInt64(exponent) - 1
  }
}
