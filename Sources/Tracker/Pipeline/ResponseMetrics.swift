// ResponseMetrics: the response-time histograms that Chihaya's dashboards read, for one worker and one transport.
// Observations are gathered during a batch and written at its end, with the time the batch took. On the worker's thread.

import Linux
import Wire

/// `chihaya_http_response_duration_milliseconds` or `chihaya_udp_response_duration_milliseconds`.
struct ResponseMetrics {
  /// The label `action`.
  enum Action: Int, CaseIterable {
    case connect
    case announce
    case scrape
    case unknown

    init(udpAction: UInt32) { self = udpAction < 3 ? Action(rawValue: Int(udpAction))! : .unknown }

    var text: String {
      switch self {
      case .connect: "connect"
      case .announce: "announce"
      case .scrape: "scrape"
      case .unknown: "unknown"
      }
    }
  }

  /// Chihaya's buckets: 9.375 milliseconds, doubled nine times; below them ours, because replies take microseconds.
  private static let upperBounds = [0.01, 0.1, 1, 9.375, 18.75, 37.5, 75, 150, 300, 600, 1200, 2400, 4800]
  private static let errorCount = Refusal.allCases.count + 1

  private let name: String
  private let registry: MetricRegistry
  private var histograms: [Histogram?]
  /// Answers of the current batch by series, and which series those are.
  private var counts: [UInt64]
  private var touched: [Int] = []

  init(name: String, registry: MetricRegistry) {
    self.name = name
    self.registry = registry
    let series = Action.allCases.count * 2 * Self.errorCount
    histograms = Array(repeating: nil, count: series)
    counts = Array(repeating: 0, count: series)
    touched.reserveCapacity(series)
  }

  /// One answer of the current batch.
  @inline(__always)
  mutating func count(_ action: Action, _ family: IPAddress.Family, _ refusal: Refusal?) {
    let error = refusal.map { Int($0.rawValue) + 1 } ?? 0
    let series = (action.rawValue * 2 + (family == .v4 ? 0 : 1)) * Self.errorCount + error
    if counts[series] == 0 { touched.append(series) }
    counts[series] += 1
  }

  /// Writes the batch down: every answer of it took as long as the batch did.
  mutating func endBatch(startNanoseconds: UInt64) {
    if touched.isEmpty { return }
    let milliseconds = Double(Clock.monotonicNanoseconds() &- startNanoseconds) / 1_000_000
    for series in touched {
      histogram(series).observe(milliseconds, times: counts[series])
      counts[series] = 0
    }
    touched.removeAll(keepingCapacity: true)
  }

  private mutating func histogram(_ series: Int) -> Histogram {
    if let known = histograms[series] { return known }
    let error = series % Self.errorCount
    let pair = series / Self.errorCount
    let histogram = registry.histogram(
      name, help: "The time it takes to answer, by action, address family and error.",
      labels: [
        ("action", Action(rawValue: pair / 2)!.text), ("address_family", pair % 2 == 0 ? "IPv4" : "IPv6"),
        ("error", error == 0 ? "" : "\(Refusal(rawValue: UInt8(error - 1))!.text)"),
      ], upperBounds: Self.upperBounds)
    histograms[series] = histogram
    return histogram
  }
}
