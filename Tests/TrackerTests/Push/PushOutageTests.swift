import Foundation
import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

@Suite struct PushOutageTests {
  private static func options(_ redis: RedisServer, spool: String? = nil) -> TrafficPushOptions {
    var options = TrafficPushOptions(redisBroker: redis.url)
    options.retryInterval = .milliseconds(10)
    options.spoolPath = spool
    return options
  }

  @Test("100,000 sessions announce ten times while Redis is away: bounded memory, exact totals")
  func coalescing() async throws {
    let directory = try TemporaryDirectory()
    let redis = try RedisServer(in: directory, extra: ["--appendonly", "no"])
    let metrics = MetricRegistry()
    let push = try TrafficPush(options: Self.options(redis), metrics: metrics)
    try push.start()
    let sessions = 100_000
    for round in 0..<10 {
      for first in stride(from: 0, to: sessions, by: 250) {
        push.enqueue(
          (first..<first + 250).map {
            makeRecord(
              user: $0 % 1000, torrent: $0 / 1000, peer: $0, uploaded: UInt64(round * 1000 + $0 % 7),
              downloaded: UInt64(round * 10), event: round == 9 && $0 % 10 == 0 ? .stopped : .none,
              at: 1_700_000_000 + Int64(round) * 1800)
          })
      }
    }
    let depth = metrics.value(of: "tracker_push_queue_depth")
    // Two of each session, a `stopped` of every tenth, and what came in before coalescing began.
    #expect(
      depth <= Double(2 * sessions + sessions / 10 + EventQueue.Limits().coalesceAbove + PushBatch.maximumRecords))
    try await redis.start()
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    try await eventually("everything is published") { metrics.value(of: "tracker_push_queue_depth") == 0 }
    push.shutdown()
    var totals: [PushScriptModel.Session: (up: UInt64, down: UInt64, announces: UInt64, seconds: UInt64)] = [:]
    var stopped = 0
    for event in try connection.events(of: "tracker:traffic") {
      let key = PushScriptModel.Session(makeRecord(uploaded: 0, like: event))
      var total = totals[key] ?? (0, 0, 0, 0)
      total.up += event.uploadedDelta
      total.down += event.downloadedDelta
      total.announces += UInt64(event.announces)
      total.seconds += UInt64(event.elapsedSeconds)
      totals[key] = total
      if event.event == .stopped { stopped += 1 }
    }
    #expect(totals.count == sessions && stopped == sessions / 10)
    let exact = totals.values.allSatisfy {
      $0.up == 9000 && $0.down == 90 && $0.announces == 10 && $0.seconds == 9 * 1800
    }
    #expect(exact)
    #expect(metrics.render().contains("tracker_push_refused_total{reason=\"queue full\"} 0\n"))
  }

  @Test("what is queued when the tracker ends is published by the next one, old before new")
  func restart() async throws {
    let directory = try TemporaryDirectory()
    let redis = try RedisServer(in: directory)
    let spool = "\(directory.path)/spool"
    for round in 0..<3 {
      let push = try TrafficPush(options: Self.options(redis, spool: spool), metrics: MetricRegistry())
      try push.start()
      push.enqueue(
        (0..<500).map { makeRecord(peer: $0, uploaded: UInt64(round) * 100, at: 1_700_000_000 + Int64(round)) })
      push.shutdown()
    }
    try await redis.start()
    let push = try TrafficPush(options: Self.options(redis, spool: spool), metrics: MetricRegistry())
    try push.start()
    push.enqueue((0..<500).map { makeRecord(peer: $0, uploaded: 1000, event: .stopped, at: 1_700_000_009) })
    push.shutdown()
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let events = try connection.events(of: "tracker:traffic")
    #expect(events.map(\.uploadedDelta) == [0, 100, 100, 800].flatMap { Array(repeating: UInt64($0), count: 500) })
    #expect(!FileManager.default.fileExists(atPath: spool))
  }

  @Test(
    "Redis comes back older and takes nothing yet when the tracker is stopped: the next process gives it back",
    arguments: ["full", "out of memory", "whole"])
  func stoppedBeforeGivingBack(how: String) async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory, extra: ["--save", "", "--appendonly", "no"])
    var options = Self.options(redis, spool: "\(directory.path)/spool")
    options.maxStreamLength = 40
    let metrics = MetricRegistry()
    let push = try TrafficPush(options: options, metrics: metrics)
    try push.start()
    push.enqueue((0..<5).map { makeRecord(user: $0, peer: $0, uploaded: 0, event: .started) })
    try await eventually("published") { metrics.value(of: "tracker_push_published_total") == 5 }
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.tcpURL))
    _ = try connection.command(["SAVE"])
    let file = URL(fileURLWithPath: "\(directory.path)/dump.rdb")
    let older = try Data(contentsOf: file)
    push.enqueue(
      (0..<5).map { makeRecord(user: $0, peer: $0, uploaded: 1000, event: .stopped, at: 1_700_000_010) })
    try await eventually("published") { metrics.value(of: "tracker_push_published_total") == 10 }
    _ = try connection.command(["SAVE"])
    let before = try connection.events(of: "tracker:traffic")
    try await redis.stop()
    if how != "whole" { try older.write(to: file) }
    // Another producer's, before the tracker finds Redis again.
    var foreign: [String] = []
    if how == "full" { foreign = try await Self.fill(file) }
    try await redis.start(how == "out of memory" ? ["--maxmemory", "1"] : [])
    connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.tcpURL))
    let trouble = ["full": "max_stream_length", "out of memory": "OOM"][how]
    if let trouble {
      try await eventually("it is told") { push.troubles.contains { $0.contains(trouble) } }
    }
    push.shutdown()
    let kept = options.spoolPath! + AppliedFile.suffix
    if trouble != nil { #expect(FileManager.default.fileExists(atPath: kept)) }
    _ = try connection.command(["CONFIG", "SET", "maxmemory", "0"])
    for id in foreign { _ = try connection.command(["XDEL", "tracker:traffic", id]) }
    let next = try TrafficPush(options: options, metrics: MetricRegistry())
    try next.start()
    next.shutdown()
    let events = try connection.events(of: "tracker:traffic")
    for path in [options.spoolPath!, kept] { #expect(!FileManager.default.fileExists(atPath: path)) }
    for user in 0..<5 {
      let own = events.filter { $0.passkey == Passkey("passkey\(user)") }
      #expect(own.map(\.uploadedDelta) == [0, 1000] && own.last?.counters?.creditedUpload == 1000)
      // Who had read them credits nothing again.
      let read = before.filter { $0.passkey == Passkey("passkey\(user)") }
      #expect(own.map(\.counters?.generation) == read.map(\.counters?.generation))
    }
  }

  /// Adds forty entries to the stream in a file of Redis'. Returns their ids.
  private static func fill(_ file: URL) async throws -> [String] {
    let directory = try TemporaryDirectory()
    let copy = URL(fileURLWithPath: "\(directory.path)/dump.rdb")
    try Data(contentsOf: file).write(to: copy)
    let redis = try await RedisServer.start(in: directory, extra: ["--save", "", "--appendonly", "no"])
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.tcpURL))
    let ids = try (0..<40).map { _ in try connection.command(["XADD", "tracker:traffic", "*", "x", "y"]).string! }
    _ = try connection.command(["SAVE"])
    try await redis.stop()
    try Data(contentsOf: copy).write(to: file)
    return ids
  }

  @Test("a tracker killed in an outage loses nothing that its spool holds, and doubles nothing that Redis has")
  func killed() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    let spool = "\(directory.path)/spool"
    let metrics = MetricRegistry()
    let push = try TrafficPush(options: Self.options(redis, spool: spool), metrics: metrics)
    try push.start()
    push.enqueue([makeRecord(uploaded: 100)])
    try await eventually("published") { metrics.value(of: "tracker_push_published_total") == 1 }
    try await redis.stop()
    push.enqueue([
      makeRecord(uploaded: 200, at: 1_700_000_001), makeRecord(uploaded: 300, event: .stopped, at: 1_700_000_002),
    ])
    try await eventually("the spool holds them") {
      let bytes = (try? Data(contentsOf: URL(fileURLWithPath: spool)).count) ?? 0
      return bytes >= PushSpoolFormat.headerBytes + 2 * PushSpoolFormat.recordBytes
    }
    // What a killed process leaves is its file; two processes find it, one after the other, as after another kill.
    let left = try Data(contentsOf: URL(fileURLWithPath: spool))
    try await redis.start()
    push.shutdown()
    for round in 0..<2 {
      try left.write(to: URL(fileURLWithPath: spool))
      let next = try TrafficPush(options: Self.options(redis, spool: spool), metrics: MetricRegistry())
      try next.start()
      next.enqueue([makeRecord(uploaded: 400 + UInt64(round) * 100, at: 1_700_000_003 + Int64(round))])
      next.shutdown()
    }
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let events = try connection.events(of: "tracker:traffic")
    #expect(events.map(\.uploadedDelta) == [0, 100, 100, 100, 100])
    #expect(events.filter { $0.event == .stopped }.count == 1)
  }

  @Test("a spool that ends anywhere is read up to its last whole record", arguments: [0, 1, 100, 191, 192, 193])
  func torn(missing: Int) throws {
    let run = PushRun()
    var bytes = PushSpoolFormat.header(run: run, anchor: nil, partition: 0, partitionCount: 1)
    for number in 0..<4 {
      var record = [UInt8](repeating: 0, count: PushSpoolFormat.recordBytes)
      record.withUnsafeMutableBytes {
        PushSpoolFormat.encode(
          UInt64(number + 10), QueuedAnnounce(record: makeRecord(peer: number, uploaded: 5, address: "2001:db8::9")),
          to: $0.baseAddress!)
      }
      bytes += record
    }
    bytes.removeLast(missing)
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/spool"
    func load() throws -> [SpooledRun] {
      try Data(bytes).write(to: URL(fileURLWithPath: path))
      return try PushSpool(path: path, partition: 0, partitionCount: 1, metrics: PushMetrics(MetricRegistry())).load()
        .owed
    }
    let content = try load()
    let whole = 4 - (missing + 191) / 192
    #expect(content[0].announces.count == whole && content[0].announces[0].number == 10 && content[0].run == run)
    #expect(content[0].announces[0].announce.record.address.description == "2001:db8::9")
    // A flipped bit ends it as well.
    bytes[PushSpoolFormat.headerBytes + PushSpoolFormat.recordBytes + 3] ^= 1
    #expect(try load()[0].announces.count == 1)
  }

  @Test("a spool of another partitioning is refused with what to do, a damaged one is put aside")
  func foreignSpool() async throws {
    let directory = try TemporaryDirectory()
    let redis = try RedisServer(in: directory)
    let spool = "\(directory.path)/spool"
    try Data(PushSpoolFormat.header(run: PushRun(), anchor: nil, partition: 0, partitionCount: 4)).write(
      to: URL(fileURLWithPath: spool))
    let push = try TrafficPush(options: Self.options(redis, spool: spool), metrics: MetricRegistry())
    #expect(throws: TrafficPushError.self) { try push.start() }
    try directory.write("garbage", as: "spool")
    try push.start()
    push.shutdown()
    #expect(FileManager.default.fileExists(atPath: spool + ".damaged"))
    // A file that would never be read is not left behind in silence.
    for (partitions, name) in [(1, "spool.p0"), (2, "spool.p2"), (2, "spool")] {
      let path = try directory.write("left", as: name)
      #expect(throws: TrafficPushError.self) {
        try SpoolReader.refuseForeignFiles(path: spool, partitionCount: partitions)
      }
      try FileManager.default.removeItem(atPath: path)
      try SpoolReader.refuseForeignFiles(path: spool, partitionCount: partitions)
    }
  }

  @Test("a queue at its capacity refuses, counts and says so; one entry less it takes")
  func capacity() async throws {
    let directory = try TemporaryDirectory()
    let redis = try RedisServer(in: directory)
    let metrics = MetricRegistry()
    let limits = EventQueue.Limits(capacityEvents: 10, coalesceAbove: 100, coalesceBelow: 1)
    let push = try TrafficPush(options: Self.options(redis), metrics: metrics, limits: limits)
    push.enqueue((0..<10).map { makeRecord(peer: $0, uploaded: 1) })
    #expect(metrics.value(of: "tracker_push_queue_depth") == 10)
    #expect(!push.troubles.contains { $0.contains("full") })
    push.enqueue([makeRecord(peer: 10, uploaded: 1)])
    #expect(metrics.render().contains("tracker_push_refused_total{reason=\"queue full\"} 1\n"))
    #expect(push.troubles.contains { $0.contains("the queue is full") })
  }

  @Test("a full stream holds announces back; when it is trimmed they are credited")
  func backpressure() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    let metrics = MetricRegistry()
    var options = Self.options(redis)
    options.maxStreamLength = 5
    let push = try TrafficPush(options: options, metrics: metrics)
    try push.start()
    push.enqueue((0..<12).map { makeRecord(uploaded: UInt64($0) * 10, at: 1_700_000_000 + Int64($0)) })
    try await eventually("the push says why it waits") { push.troubles.contains { $0.contains("max_stream_length") } }
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    #expect(try connection.integer(["XLEN", "tracker:traffic"]) == 5)
    var credited: UInt64 = 0
    while metrics.value(of: "tracker_push_published_total") < 12 {
      credited += try connection.events(of: "tracker:traffic").map(\.uploadedDelta).reduce(0, +)
      let length = try connection.integer(["XLEN", "tracker:traffic"])
      #expect(length <= 5)
      _ = try connection.command(["DEL", "tracker:traffic"])
      try await eventually("more is published") {
        try connection.integer(["XLEN", "tracker:traffic"]) > 0
          || metrics.value(of: "tracker_push_published_total") == 12
      }
      if metrics.value(of: "tracker_push_published_total") == 12 { break }
    }
    credited += try connection.events(of: "tracker:traffic").map(\.uploadedDelta).reduce(0, +)
    #expect(credited == 110)
    push.shutdown()
  }
}

extension MetricRegistry {
  /// The failed exchanges of one name, or of all.
  func errors(_ name: String? = nil) -> Double {
    let series = name.map { "tracker_push_errors_total{error=\"\($0)\"}" } ?? "tracker_push_errors_total{"
    return render().split(separator: "\n").reduce(0) { sum, line in
      line.hasPrefix(series) ? sum + (line.split(separator: " ").last.flatMap { Double($0) } ?? 0) : sum
    }
  }

  /// The value of a series without labels, as a scraper sees it.
  func value(of name: String) -> Double {
    render().split(separator: "\n").first { $0.hasPrefix(name + " ") }.flatMap { Double($0.dropFirst(name.count + 1)) }
      ?? 0
  }
}

/// A record of an event's session.
func makeRecord(uploaded: UInt64, like event: TrafficEvent) -> AnnounceRecord {
  AnnounceRecord(
    passkey: event.passkey, infoHash: event.infoHash, peerID: event.peerID, address: event.address, port: event.port,
    event: event.event, uploaded: uploaded, downloaded: 0, left: 0, timestamp: event.timestamp, intervalSeconds: 1,
    minIntervalSeconds: 1)
}
