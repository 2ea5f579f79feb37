// PushBenchmark: the publisher by itself, for the row `push` of `make bench` (Benchmarks/runner/rows/push.py): one run of so
// many events through the whole publisher, and a line of JSON. Skipped unless PUSH_BENCHMARK_EVENTS says how many and
// PUSH_BENCHMARK_REDIS where to.

import Foundation
import Glibc
import Linux
import Redis
import Testing
import Wire

@testable import Tracker

private let wantedEvents = ProcessInfo.processInfo.environment["PUSH_BENCHMARK_EVENTS"].flatMap { Int($0) }
private let redisURL = ProcessInfo.processInfo.environment["PUSH_BENCHMARK_REDIS"]

@Suite(.enabled(if: wantedEvents != nil && redisURL != nil)) struct PushBenchmark {
  /// One user, 1000 torrents, 20,000 peers. Each begins at zero and reports every half hour.
  private static let sessions = 20_000
  private static func record(_ index: Int) -> AnnounceRecord {
    let round = index / sessions
    return AnnounceRecord(
      passkey: Passkey("0123456789abcdef0123456789abcdef")!,
      infoHash: InfoHash(words: (UInt64(index % 1000), 1, 1)), peerID: PeerID(words: (UInt64(index % sessions), 1, 1)),
      address: IPAddress("192.168.1.1")!, port: 51413, event: round == 0 ? .started : .none,
      uploaded: UInt64(round) * 1_000_003, downloaded: UInt64(round) * 500_001, left: 0,
      timestamp: 1_700_000_000 + Int64(round) * 1800, intervalSeconds: 1800, minIntervalSeconds: 900)
  }

  @Test("events per second from the queue to Redis")
  func throughput() throws {
    let events = try #require(wantedEvents)
    let url = try #require(redisURL)
    var limits = EventQueue.Limits()
    limits.coalesceAbove = events + 1
    limits.capacityEvents = events + 1
    let push = try TrafficPush(
      options: TrafficPushOptions(redisBroker: url), metrics: MetricRegistry(), limits: limits)
    let nanosecondsPerRecord = enqueue(events, into: push)

    var connection = try RedisConnection(endpoint: RedisEndpoint(url: url))
    let start = Clock.monotonicNanoseconds()
    try push.start()
    while try connection.command(["XLEN", "tracker:traffic"]).integer ?? 0 < Int64(events) { usleep(2000) }
    let seconds = Double(Clock.monotonicNanoseconds() - start) / 1e9
    push.shutdown()
    print("push-benchmark: {\"per_second\": \(Double(events) / seconds), \"enqueue_ns\": \(nanosecondsPerRecord)}")
  }

  /// Puts everything into the queue, in batches as workers do; the CPU time of one record.
  private func enqueue(_ events: Int, into push: TrafficPush) -> UInt64 {
    let records = (0..<events).map(Self.record)
    let start = threadNanoseconds()
    for first in stride(from: 0, to: events, by: 64) {
      records.withUnsafeBufferPointer {
        push.enqueue(UnsafeBufferPointer(rebasing: $0[first..<min(events, first + 64)]))
      }
    }
    return (threadNanoseconds() - start) / UInt64(events)
  }

  private func threadNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
