// HTTPServerMetrics: the counters of one HTTP server, written by its loop's thread only.

import Linux

/// What an HTTPServer counts.
public struct HTTPServerMetrics: Sendable {
  let accepted: Counter
  let refused: Counter
  let evictedForTable: Counter
  let evictedForAddress: Counter
  let descriptorsExhausted: Counter
  let badRequests: Counter
  let readTimeouts: Counter
  let writeTimeouts: Counter
  let idleTimeouts: Counter
  let open: Gauge

  /// Registers `<prefix>_connections_total` and so on; one instance for each server, the registry adds them up.
  /// `prefix` is `tracker_http`, `tracker_admin` or `traffic_consumer_admin`.
  public init(registry: MetricRegistry, prefix: String) {
    accepted = registry.counter("\(prefix)_connections_total", help: "Connections accepted.")
    refused = registry.counter(
      "\(prefix)_connections_refused_total", help: "Connections closed at once because a limit was reached.")
    let evicted = "\(prefix)_connections_evicted_total"
    let evictedHelp = "Waiting connections closed to make room for new ones, by the limit that was reached."
    evictedForTable = registry.counter(evicted, help: evictedHelp, labels: [("limit", "all")])
    evictedForAddress = registry.counter(evicted, help: evictedHelp, labels: [("limit", "address")])
    descriptorsExhausted = registry.counter(
      "\(prefix)_descriptors_exhausted_total", help: "Pauses of accepting because no descriptor was left.")
    badRequests = registry.counter("\(prefix)_bad_requests_total", help: "Requests that were no valid HTTP.")
    let timeouts = "\(prefix)_timeouts_total"
    let help = "Connections closed by a timeout, by its kind."
    readTimeouts = registry.counter(timeouts, help: help, labels: [("kind", "read")])
    writeTimeouts = registry.counter(timeouts, help: help, labels: [("kind", "write")])
    idleTimeouts = registry.counter(timeouts, help: help, labels: [("kind", "idle")])
    open = registry.gauge("\(prefix)_connections_open", help: "Connections open now.")
  }
}
