// PushBenchmark: what `make bench-push` runs, in a release build: events per second through the whole publisher beside
// what Redis itself can do (shared/tools/streambench), Redis' CPU time and memory, and the cost of enqueuing. Skipped
// unless PUSH_BENCH says how many events; STREAMBENCH is the program.

import Foundation
import Glibc
import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

private let benchmarkEvents = ProcessInfo.processInfo.environment["PUSH_BENCH"].flatMap { Int($0) }
private let streambench = ProcessInfo.processInfo.environment["STREAMBENCH"]

@Suite(.serialized, .enabled(if: benchmarkEvents != nil)) struct PushBenchmark {
  /// streambench's: one user, 1000 torrents, 20,000 peers. Each begins at zero and reports every half hour.
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

  private struct Figure {
    var eventsPerSecond: Double
    /// Microseconds of Redis' CPU time per event.
    var redisMicroseconds: Double
  }

  /// Five rounds in turn on one Redis; the ratios are what counts, the machine is shared.
  @Test("events per second from the queue to Redis, beside what Redis itself can do")
  func throughput() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory, extra: ["--appendonly", "no"])
    let events = benchmarkEvents!
    var figures: [String: [Figure]] = [:]
    let modes = streambench == nil ? [] : ["xadd", "multi", "lua"]
    for round in 1...5 {
      for mode in ["push"] + modes {
        var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
        _ = try connection.command(["FLUSHALL"])
        let before = try Self.cpuSeconds(&connection)
        let rate = try await mode == "push" ? publish(redis.url, events: events) : run(mode, redis, events: events)
        let used = try Self.cpuSeconds(&connection) - before
        let figure = Figure(eventsPerSecond: rate, redisMicroseconds: used * 1e6 / Double(events))
        figures[mode, default: []].append(figure)
        print(
          "bench-push: round \(round) \(mode): \(Int(rate)) events/s, redis \(Self.text(figure.redisMicroseconds)) us/event"
        )
        if mode == "push" && round == 1 { try printMemory(&connection, events: events) }
      }
    }
    func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
    for mode in ["push"] + modes {
      let all = figures[mode]!
      let ratio = median(zip(figures["push"]!, all).map { $0.eventsPerSecond / $1.eventsPerSecond })
      print(
        "bench-push: median \(mode): \(Int(median(all.map(\.eventsPerSecond)))) events/s, redis "
          + "\(Self.text(median(all.map(\.redisMicroseconds)))) us/event"
          + (mode == "push" ? "" : "; push / \(mode) = \(Self.text(ratio))"))
    }
  }

  /// Two decimals.
  private static func text(_ value: Double) -> String { String(Double(Int(value * 100 + 0.5)) / 100) }

  private static func cpuSeconds(_ connection: inout RedisConnection) throws -> Double {
    let text = try connection.command(["INFO", "cpu"]).string ?? ""
    return text.split(whereSeparator: \.isNewline).reduce(0) { sum, line in
      guard line.hasPrefix("used_cpu_user:") || line.hasPrefix("used_cpu_sys:") else { return sum }
      return sum + (Double(line.split(separator: ":")[1]) ?? 0)
    }
  }

  private func run(_ mode: String, _ redis: RedisServer, events: Int) async throws -> Double {
    let result = try await CommandResult.run(
      [streambench!, mode, "\(events)", "100"], environment: ["REDIS_SOCK": redis.socketPath])
    guard let rate = result.output.split(separator: " ").dropFirst(3).first.flatMap({ Double($0) }) else {
      throw HarnessError("streambench: \(result.output)\(result.errors)")
    }
    return rate
  }

  /// What Redis holds after a round: all of it by its own account, the stream by MEMORY USAGE, the rest is snapshots.
  private func printMemory(_ connection: inout RedisConnection, events: Int) throws {
    let stream = try connection.integer(["MEMORY", "USAGE", "tracker:traffic", "SAMPLES", "0"])
    let key =
      "tracker:last:0123456789abcdef0123456789abcdef:\(Self.record(0).infoHash.hex):\(Self.record(0).peerID.hex)"
    let used = try Self.usedMemory(&connection)
    _ = try connection.command(["DEL", "tracker:traffic"])
    let rest = try Self.usedMemory(&connection)
    _ = try connection.command(["FLUSHALL"])
    let empty = try Self.usedMemory(&connection)
    print(
      "bench-push: memory: stream \(stream / Int64(events)) bytes/entry (\((used - rest) / events) by used_memory), "
        + "snapshot \((rest - empty) / Self.sessions) bytes/session, expiry and key included (\(key.utf8.count) bytes)")
  }

  private static func usedMemory(_ connection: inout RedisConnection) throws -> Int {
    let text = try connection.command(["INFO", "memory"]).string ?? ""
    let line = text.split(whereSeparator: \.isNewline).first { $0.hasPrefix("used_memory:") }
    return line.flatMap { Int($0.dropFirst("used_memory:".count)) } ?? 0
  }

  private func publish(_ url: String, events: Int) throws -> Double {
    var limits = EventQueue.Limits()
    limits.coalesceAbove = events + 1
    limits.capacityEvents = events + 1
    let push = try TrafficPush(
      options: TrafficPushOptions(redisBroker: url), metrics: MetricRegistry(), limits: limits)
    let records = (0..<events).map(Self.record)
    var cpu = threadNanoseconds()
    for start in stride(from: 0, to: events, by: 64) {
      records.withUnsafeBufferPointer {
        push.enqueue(UnsafeBufferPointer(rebasing: $0[start..<min(events, start + 64)]))
      }
    }
    cpu = threadNanoseconds() - cpu
    print("bench-push: enqueue \(cpu / UInt64(events)) ns per record (worker thread CPU)")
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: url))
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
