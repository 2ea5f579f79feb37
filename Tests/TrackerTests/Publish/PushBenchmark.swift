// PushBenchmark: what `make bench-push` runs, in a release build: events per second through the whole publisher, and what
// the workers pay for having the push on. Skipped unless PUSH_BENCH says how many events.

import Foundation
import Glibc
import Shared
import Simulation
import Testing

@testable import Tracker

private let benchmarkEvents = ProcessInfo.processInfo.environment["PUSH_BENCH"].flatMap { Int($0) }

@Suite(.serialized, .enabled(if: benchmarkEvents != nil)) struct PushBenchmark {
  /// The sessions of shared/tools/streambench: one user, 1000 torrents, 20,000 peers; the counters grow.
  private static func record(_ index: Int) -> AnnounceRecord {
    AnnounceRecord(
      passkey: Passkey("0123456789abcdef0123456789abcdef")!,
      infoHash: InfoHash(words: (UInt64(index % 1000), 1, 1)), peerID: PeerID(words: (UInt64(index % 20_000), 1, 1)),
      address: IPAddress("192.168.1.1")!, port: 51413, event: .none, uploaded: UInt64(index) * 1000,
      downloaded: UInt64(index) * 500, left: 0, timestamp: 1_700_000_000 + Int64(index / 20_000), intervalSeconds: 1800,
      minIntervalSeconds: 900)
  }

  @Test("events per second from the queue to Redis")
  func throughput() async throws {
    let url = try #require(ProcessInfo.processInfo.environment["PUSH_BENCH_URL"])
    let events = benchmarkEvents!
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: url))
    _ = try connection.command(["FLUSHALL"])
    let metrics = MetricRegistry()
    var limits = EventQueue.Limits()
    limits.coalesceAbove = events
    limits.capacityEvents = events
    let push = try TrafficPush(options: TrafficPushOptions(redisBroker: url), metrics: metrics, limits: limits)
    let records = (0..<events).map(Self.record)
    var cpu = threadNanoseconds()
    for start in stride(from: 0, to: events, by: 64) {
      records.withUnsafeBufferPointer {
        push.enqueue(UnsafeBufferPointer(rebasing: $0[start..<min(events, start + 64)]))
      }
    }
    cpu = threadNanoseconds() - cpu
    print("bench-push: enqueue \(cpu / UInt64(events)) ns per record (worker thread CPU)")
    let start = Clock.monotonicNanoseconds()
    try push.start()
    var connected = start
    while try connection.integer(["XLEN", "tracker:traffic"]) < events {
      if connected == start, push.isReady { connected = Clock.monotonicNanoseconds() }
      usleep(2000)
    }
    let seconds = Double(Clock.monotonicNanoseconds() - start) / 1e9
    push.shutdown()
    print("bench-push: push \(Int(Double(events) / seconds)) events/s")
    let reply = try connection.command(["INFO", "commandstats"])
    for line in (reply.string ?? "").split(separator: "\r\n") where line.contains("evalsha") { print(line) }
  }

  private func threadNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
