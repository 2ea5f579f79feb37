// LoadReport: what a run found out, as one JSON object on one line.

/// Counters of a run, reset when the counted part begins, and what is derived from them.
struct LoadReport {
  var announces: UInt64 = 0
  var scrapes: UInt64 = 0
  /// Refusals, replies of the wrong shape or length, and for HTTP connections that ended without a reply.
  var errors: UInt64 = 0
  /// Requests without a reply for `lostAfterNanoseconds`.
  var lost: UInt64 = 0
  /// UDP replies to nothing that is waited for: too late, or twice.
  var unexpected: UInt64 = 0
  /// Peers in all announce replies.
  var peers: UInt64 = 0
  var bytes: UInt64 = 0
  var connectionsOpened: UInt64 = 0
  /// Sent and answered announces from the first to the last, what is not counted included.
  var announcesSentEver: UInt64 = 0
  var announcesAnsweredEver: UInt64 = 0
  var startNanoseconds: UInt64 = 0
  var endNanoseconds: UInt64 = 0
  var startProcessorNanoseconds: UInt64?
  var endProcessorNanoseconds: UInt64?

  /// When a request counts as lost.
  static let lostAfterNanoseconds: UInt64 = 250_000_000

  /// Begins the counted part.
  mutating func startCounting(_ process: ProcessorTime, latency: inout LatencyHistogram) {
    let (sent, answered) = (announcesSentEver, announcesAnsweredEver)
    self = LoadReport()
    (announcesSentEver, announcesAnsweredEver) = (sent, answered)
    latency.reset()
    startProcessorNanoseconds = process.nanoseconds()
    startNanoseconds = LoadClock.now()
  }

  mutating func stopCounting(_ process: ProcessorTime) {
    endProcessorNanoseconds = process.nanoseconds()
    endNanoseconds = LoadClock.now()
  }

  func json(_ latency: borrowing LatencyHistogram) -> String {
    let seconds = Double(endNanoseconds - startNanoseconds) / 1e9
    let replies = announces + scrapes
    var fields: [(String, String)] = [
      ("seconds", Self.text(seconds)), ("replies", "\(replies)"),
      ("replies_per_second", Self.text(Double(replies) / seconds)), ("announces", "\(announces)"),
      ("scrapes", "\(scrapes)"), ("errors", "\(errors)"), ("lost", "\(lost)"), ("unexpected", "\(unexpected)"),
      ("peers_per_reply", Self.text(announces > 0 ? Double(peers) / Double(announces) : 0)),
      ("bytes_per_reply", Self.text(replies > 0 ? Double(bytes) / Double(replies) : 0)),
      ("connections_opened", "\(connectionsOpened)"), ("announces_sent_ever", "\(announcesSentEver)"),
      ("announces_answered_ever", "\(announcesAnsweredEver)"),
    ]
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
      fields.append(("latency_\(name)_us", Self.text(Double(latency.quantile(share)) / 1000)))
    }
    fields.append(("latency_max_us", Self.text(Double(latency.maximumNanoseconds) / 1000)))
    if let start = startProcessorNanoseconds, let end = endProcessorNanoseconds, replies > 0 {
      fields.append(("cpu_us_per_reply", Self.text(Double(end - start) / 1000 / Double(replies))))
      fields.append(("cpu_share", Self.text(Double(end - start) / 1e9 / seconds)))
    }
    return "{" + fields.map { "\"\($0.0)\": \($0.1)" }.joined(separator: ", ") + "}"
  }

  private static func text(_ value: Double) -> String { "\((value * 1000).rounded() / 1000)" }
}
