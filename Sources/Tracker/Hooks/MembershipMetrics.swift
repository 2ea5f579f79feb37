// MembershipMetrics: what a MembershipResolver counts. Any thread.

import Linux

/// The numbers of one resolver.
final class MembershipMetrics: Sendable {
  let lookups: Counter
  let failures: Counter
  let invalidations: Counter
  let originCalls: Counter
  let originFailures: Counter
  let unchecked: Counter
  let overBudget: Counter

  /// `waiting`: look-ups of what the cache does not know, until they are answered.
  init(
    _ name: String, cache: ApprovalCache, _ metrics: MetricRegistry, waiting: @escaping @Sendable () -> Int
  ) {
    let labels: MetricRegistry.Labels = [("set", name)]
    lookups = metrics.counter("tracker_approval_lookups_total", help: "Questions put to Redis.", labels: labels)
    failures = metrics.counter(
      "tracker_approval_lookup_failures_total", help: "Questions without an answer: Redis was away.", labels: labels)
    invalidations = metrics.counter(
      "tracker_approval_invalidations_total", help: "Changes of the set that Redis reported.", labels: labels)
    originCalls = metrics.counter("tracker_approval_origin_calls_total", help: "Calls to the origin.", labels: labels)
    originFailures = metrics.counter(
      "tracker_approval_origin_failures_total", help: "Calls to the origin without an answer.", labels: labels)
    unchecked = metrics.counter(
      "tracker_approval_unchecked_total",
      help:
        "Answers to users known to be approved whose approval was out of date: the check runs behind, or nobody answers it.",
      labels: labels)
    overBudget = metrics.counter(
      "tracker_approval_over_budget_total",
      help: "Requests refused because too many look-ups of their address were waiting.", labels: labels)
    metrics.gauge("tracker_approval_cache_entries", help: "Remembered approvals and refusals.", labels: labels) {
      Double(cache.count)
    }
    metrics.gauge(
      "tracker_approval_waiting", help: "Look-ups of what is not remembered that wait for an answer.", labels: labels
    ) { Double(waiting()) }
  }
}
