// ConsumerMetrics: the daemon's `traffic_consumer_*` series (docs/contract.md, section 6). Made once; updated by the writer and
// the readers, read by the admin thread.

import Linux
import Synchronization

struct ConsumerMetrics: Sendable {
  private let applied: Counter
  private let duplicates: Counter
  let dead: Counter
  private let redelivered: Counter
  private let vanished: Counter
  private let backward: Counter
  private let batches: Counter
  let batchFailures: Counter
  let redisErrors: Counter
  private let commitSeconds: Histogram
  private let batchEntries: Histogram
  private let deadLetters: [DeadLetterState: Gauge]
  private let stored: StoredGauges

  init(registry: MetricRegistry, engine: EngineState) {
    func entries(_ result: String) -> Counter {
      registry.counter(
        "traffic_consumer_entries_total", help: "Stream entries by what became of them.",
        labels: [("result", result)])
    }
    applied = entries("applied")
    duplicates = entries("duplicate")
    dead = entries("dead")
    redelivered = entries("redelivered")
    vanished = entries("vanished")
    backward = registry.counter(
      "traffic_consumer_backward_entries_total",
      help: "Applied entries with a dt below zero (a producer's clock was set back): bytes count, time does not.")
    batches = registry.counter("traffic_consumer_batches_total", help: "Committed transactions with entries.")
    batchFailures = registry.counter(
      "traffic_consumer_batch_failures_total", help: "Transactions that failed and were or will be tried again.")
    redisErrors = registry.counter(
      "traffic_consumer_redis_errors_total", help: "Connections to Redis that failed or broke.")
    commitSeconds = registry.histogram(
      "traffic_consumer_commit_duration_seconds", help: "From the first entry of a batch to its durable commit.",
      upperBounds: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])
    batchEntries = registry.histogram(
      "traffic_consumer_batch_entries", help: "Entries per committed batch.",
      upperBounds: [1, 10, 100, 1000, 2500, 5000, 10_000, 20_000])
    var gauges: [DeadLetterState: Gauge] = [:]
    for state in DeadLetterState.allCases {
      gauges[state] = registry.gauge(
        "traffic_consumer_dlq_entries", help: "Dead letters by state.", labels: [("state", state.rawValue)])
    }
    deadLetters = gauges
    let stored = StoredGauges()
    self.stored = stored
    func gauge(
      _ name: String, labels: MetricRegistry.Labels = [], _ value: @escaping @Sendable (StoreGauges) -> Int64?,
      help: String
    ) {
      registry.gauge("traffic_consumer_\(name)", help: help, labels: labels) {
        stored.latest.flatMap(value).map { Double($0) }
      }
    }
    gauge(
      "dlq_oldest_timestamp_seconds", { $0.oldestDeadLetter },
      help: "When the oldest dead letter that waits failed; 0: none.")
    gauge(
      "last_backup_timestamp_seconds", { $0.lastBackup }, help: "When the last verified backup was made; 0: never.")
    gauge("lost_entries", { $0.lostEntries }, help: "Entries missing from the stream that nobody acknowledged.")
    let withheld = "not credited because their time was, under another generation."
    registry.counter(
      "traffic_consumer_entries_withheld_total", help: "Entries \(withheld) Also those that were credited since."
    ) { stored.latest.map { Double($0.withheldEver) } }
    gauge("withheld_entries", { $0.withheld.entries }, help: "Entries \(withheld)")
    gauge("withheld_bytes", labels: [("direction", "up")], { $0.withheld.uploaded }, help: "Bytes \(withheld)")
    gauge("withheld_bytes", labels: [("direction", "down")], { $0.withheld.downloaded }, help: "Bytes \(withheld)")
    gauge("database_free_bytes", { $0.freeBytes }, help: "Bytes left on the disk of the database.")
    Self.follow(engine, registry)
  }

  /// The gauges that are read when they are asked for.
  private static func follow(_ engine: EngineState, _ registry: MetricRegistry) {
    registry.gauge("traffic_consumer_lag_entries", help: "Entries not yet delivered to this group.") {
      Double(engine.streams.reduce(0) { $0 + $1.undeliveredEntries })
    }
    registry.gauge("traffic_consumer_pending_entries", help: "Entries delivered and not acknowledged.") {
      Double(engine.streams.reduce(0) { $0 + $1.pendingEntries })
    }
    registry.gauge("traffic_consumer_lag_seconds", help: "Age of the oldest undelivered entry.") {
      StreamProgress.lagSeconds(engine.streams)
    }
    registry.gauge(
      "traffic_consumer_stream_epochs", help: "Times a stream came back older, or was another one."
    ) {
      // Not known before the database is open: a standby that takes over, or a start, is no change of the stream.
      let streams = engine.committed
      return streams.isEmpty ? nil : Double(streams.reduce(0) { $0 + $1.epoch - 1 })
    }
    registry.gauge(
      "traffic_consumer_gone_before_entries",
      help: "Entries that Redis had counted and did not have any more when a stream was looked at first."
    ) {
      let counts = engine.committed.compactMap(\.counters.addedBefore)
      return counts.isEmpty ? nil : Double(counts.reduce(0) { $0 + max(0, $1) })
    }
    registry.gauge(
      "traffic_consumer_left_behind_entries", help: "Entries unread in streams that are not read any more."
    ) { engine.leftBehind.map { Double($0) } }
    registry.gauge("traffic_consumer_ready", help: "1 when the writer writes and every stream is read.") {
      engine.isReady ? 1 : 0
    }
    registry.gauge("traffic_consumer_standby", help: "1 while another process holds the database.") {
      engine.isStandby ? 1 : 0
    }
  }

  func count(_ outcome: StreamCounters) {
    applied.add(UInt64(outcome.applied))
    duplicates.add(UInt64(outcome.duplicates))
    dead.add(UInt64(outcome.dead))
    redelivered.add(UInt64(outcome.redelivered))
    vanished.add(UInt64(outcome.vanished))
    backward.add(UInt64(outcome.backward))
  }

  func committed(entries: Int, nanoseconds: UInt64) {
    batches.add()
    batchEntries.observe(Double(entries))
    commitSeconds.observe(Double(nanoseconds) / 1e9)
  }

  func set(_ gauges: StoreGauges) { stored.latest = gauges }

  func setDeadLetters(_ counts: [DeadLetterState: Int64]) {
    for (state, gauge) in deadLetters { gauge.set(counts[state] ?? 0) }
  }
}

/// What the writer last saw in the database; nil before it was open: a standby has made no backup, and has no disk that is full.
private final class StoredGauges: Sendable {
  private let value = Mutex<StoreGauges?>(nil)
  var latest: StoreGauges? {
    get { value.withLock { $0 } }
    set { value.withLock { $0 = newValue } }
  }
}
