// HonestReport: what honest users noticed. A value.

/// What they noticed.
struct HonestReport: Sendable {
  var announces = 0
  /// Times by reason; no answer is a refusal, too.
  var refusals: [String: Int] = [:]
  var latencies: [UInt64] = []

  var refusalCount: Int { refusals.values.reduce(0, +) }
  var longestMilliseconds: Double { Double(latencies.max() ?? 0) / 1e6 }
  var p99Milliseconds: Double {
    let sorted = latencies.sorted()
    return sorted.isEmpty ? 0 : Double(sorted[min(sorted.count - 1, sorted.count * 99 / 100)]) / 1e6
  }
}
