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

  /// Three rounds in turn on one Redis; the ratio is what counts, the machine is shared.
  @Test("events per second from the queue to Redis, beside Redis' own pipelined XADD")
  func throughput() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory, extra: ["--appendonly", "no"])
    var ratios: [Double] = []
    for _ in 0..<3 {
      let limit = try pipelinedXADD(redis.url, events: benchmarkEvents!)
      let push = try publish(redis.url, events: benchmarkEvents!)
      ratios.append(push / limit)
      print("bench-push: XADD \(Int(limit)) events/s, push \(Int(push)) events/s, ratio \(push / limit)")
    }
    print("bench-push: median ratio \(ratios.sorted()[1])")
  }

  /// What `shared/tools/streambench xadd N 100` does: fourteen fields, a hundred commands at a time.
  private func pipelinedXADD(_ url: String, events: Int) throws -> Double {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: url))
    _ = try connection.command(["FLUSHALL"])
    var buffer = RedisCommandBuffer(capacity: 1 << 17)
    var reply = RedisReply()
    let names = TrafficField.required.map { Array($0.name.utf8) }
    let start = Clock.monotonicNanoseconds()
    for first in stride(from: 0, to: events, by: 100) {
      buffer.removeAll()
      for index in first..<min(events, first + 100) {
        let values = [
          "0123456789abcdef0123456789abcdef", "00000000000000000000000000000000000000ab",
          "00000000000000000000000000000000000000cd", "51413", "192.168.1.1", "IPv4", String(index * 1000),
          String(index * 500), "0", "none", "1700000000", "1800", "1800", "900",
        ]
        buffer.begin(argumentCount: 31)
        buffer.append("XADD" as StaticString)
        buffer.append("t" as StaticString)
        buffer.append("*" as StaticString)
        for (name, value) in zip(names, values) {
          buffer.append(name)
          buffer.append(value)
        }
      }
      try connection.send(buffer)
      while connection.pendingReplies > 0 { try connection.nextReply(reusing: &reply) }
    }
    return Double(events) / (Double(Clock.monotonicNanoseconds() - start) / 1e9)
  }

  private func publish(_ url: String, events: Int) throws -> Double {
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
    while try connection.integer(["XLEN", "tracker:traffic"]) < events { usleep(2000) }
    let seconds = Double(Clock.monotonicNanoseconds() - start) / 1e9
    push.shutdown()
    return Double(events) / seconds
  }

  private func threadNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
