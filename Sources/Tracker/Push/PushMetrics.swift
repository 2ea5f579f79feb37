// PushMetrics: what `traffic push` counts, as `tracker_push_*`. One set per partition: the registry shows the sums.

import Linux
import Redis
import Synchronization

/// Counters of one partition. `refused` and `coalesced` are written by workers, the rest by the publisher's thread.
final class PushMetrics: Sendable {
  let published: Counter
  let coalesced: Counter
  let retries: Counter
  let full: Counter
  let generationResets: Counter
  let lateAnnounces: Counter
  let lateUnknown: Counter
  let duplicateRequests: Counter
  let lostToFailover: Counter
  let resent: Counter
  let unannouncedSessions: Counter
  let refusedQueueFull: Counter
  let refusedShare: Counter
  let refusedTooLarge: Counter
  let refusedWrongType: Counter
  let refusedImplausible: Counter
  let refusedShutdown: Counter
  let spooled: Counter
  let restored: Counter
  let spoolErrors: Counter
  let spoolTorn: Counter
  let gaps: Counter
  let abandonedRuns: Counter
  private let registry: MetricRegistry
  private let errors = Mutex<[String: Counter]>([:])

  init(_ registry: MetricRegistry) {
    self.registry = registry
    func counter(_ name: String, _ help: String, _ labels: MetricRegistry.Labels = []) -> Counter {
      registry.counter("tracker_push_\(name)", help: help, labels: labels)
    }
    func refused(_ reason: String) -> Counter {
      counter("refused_total", "Announces that will not reach the stream, by reason.", [("reason", reason)])
    }
    published = counter("published_total", "Records applied by Redis.")
    coalesced = counter("coalesced_total", "Announces that a newer one of their session took in.")
    retries = counter("retries_total", "Script calls that had to be sent again.")
    full = counter("full_total", "Script calls held back because the stream has reached max_stream_length.")
    generationResets = counter("generation_resets_total", "Sessions whose counters went backwards.")
    lateAnnounces = counter(
      "late_announces_total", "Announces older than their session's snapshot.")
    lateUnknown = counter(
      "late_unknown_total",
      "Late announces whose counters are of a time that is not known any more, or contradict what is: bytes may be missing."
    )
    duplicateRequests = counter("duplicate_records_total", "Records sent again that Redis had applied already.")
    lostToFailover = counter(
      "lost_to_failover_total",
      "Records that a failover took back and that were no longer held for sending again; missing, unless they had been read."
    )
    resent = counter("resent_total", "Records given back to a Redis that had lost its data or was rolled back.")
    unannouncedSessions = counter(
      "unannounced_sessions_total",
      "Sessions whose first announce said not started: what they moved since an announce that Redis forgot is lost.")
    abandonedRuns = counter(
      "abandoned_runs_total", "Times that Redis knew record numbers which were never sent: the run was begun anew.")
    gaps = counter("gaps_total", "Times that Redis had forgotten records it had applied (failover, data loss).")
    refusedQueueFull = refused("queue full")
    refusedShare = refused("user beyond its share of the queue")
    refusedTooLarge = refused("counter above 2^53")
    refusedWrongType = refused("snapshot key of another type")
    refusedImplausible = refused("more bytes than max_bytes_per_second allows")
    refusedShutdown = refused("shutdown without spool")
    spooled = counter("spooled_total", "Records written to the spool.")
    spoolErrors = counter("spool_errors_total", "Times that the spool could not be written or read.")
    spoolTorn = counter(
      "spool_torn_records_total",
      "Records at the end of a spool that were not written whole, or are damaged, and are lost.")
    restored = counter("restored_total", "Records read back from the spool.")
    let named = Self.errorNames.map { ($0, errorCounter($0)) }
    errors.withLock { $0 = Dictionary(uniqueKeysWithValues: named) }
  }

  /// What can be expected to fail: these series are there from the start, so that a first failure is an increase. Another
  /// code of Redis' counts as `other`.
  static let errorNames =
    ["unreachable", "timeout connect", "timeout read", "timeout write", "closed", "protocol", "other"]
    + RedisErrorCode.names

  private func errorCounter(_ name: String) -> Counter {
    registry.counter(
      "tracker_push_errors_total", help: "Failed exchanges with Redis, by what failed.", labels: [("error", name)])
  }

  /// Counts what a session has to tell.
  func add(_ tally: PushSession.Tally) {
    func add(_ counter: Counter, _ amount: UInt64) {
      if amount > 0 { counter.add(amount) }
    }
    add(published, tally.published)
    add(duplicateRequests, tally.duplicates)
    add(retries, tally.retries)
    add(full, tally.full)
    add(gaps, tally.gaps)
    add(lostToFailover, tally.lostToFailover)
    add(resent, tally.resent)
    add(abandonedRuns, tally.abandonedRuns)
    add(refusedShutdown, tally.refusedShutdown)
    add(generationResets, tally.counts.resets)
    add(lateAnnounces, tally.counts.late)
    add(lateUnknown, tally.counts.unknown)
    add(refusedTooLarge, tally.counts.tooLarge)
    add(refusedWrongType, tally.counts.wrongType)
    add(refusedImplausible, tally.counts.implausible)
    add(unannouncedSessions, tally.counts.unannounced)
    for error in tally.errors { countError(Self.name(of: error)) }
  }

  /// One of `errorNames`.
  private static func name(of error: RedisError) -> String {
    switch error {
    case .unreachable: "unreachable"
    case .timedOut(let phase): "timeout \(phase.rawValue)"
    case .closed: "closed"
    case .protocolViolation: "protocol"
    case .authentication(let error), .server(let error):
      if case .other = error.code { "other" } else { error.code.text }
    }
  }

  /// Counts a failure by one of `errorNames`.
  private func countError(_ name: String) {
    errors.withLock { ($0[name] ?? $0["other"])?.add() }
  }
}
