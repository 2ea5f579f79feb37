// What operators do and what happens to them: partitions, several databases, a Redis that stands still or comes back
// older, a group's consumer deleted, dead letters replayed slowly. The real program on a real Redis.

import Foundation
import Simulation
import Testing
import Wire

@testable import TrafficConsumer

@Suite("Operating the consumer") struct ConsumerOperationTests {
  private static func entry(_ user: String, du: UInt64, ts: Int64 = 1_700_000_000) -> [String] {
    var maker = EventMaker()
    maker.passkey = Passkey(user)!
    return maker.event(du: du, ts: ts, dt: 10).encode()
  }

  @Test("four partitions have a reader each and one database, also after a kill")
  func partitions() async throws {
    let bench = try await ConsumerBench(redisSettings: ["partitions: 4"])
    func addToAll(_ du: UInt64, ts: Int64) throws {
      for part in 0..<4 {
        for user in 0..<5 {
          try bench.add(Self.entry("p\(part)u\(user)", du: du, ts: ts), stream: "tracker:traffic:{p\(part)}")
        }
      }
    }
    try addToAll(10, ts: 1_700_000_000)
    let child = try bench.start()
    try await bench.awaitCredited(200)
    let threads = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(child.pid)/task").map { task in
      try String(contentsOfFile: "/proc/\(child.pid)/task/\(task)/comm", encoding: .utf8)
    }
    #expect(Set(threads.filter { $0.hasPrefix("reader-") }) == Set((0..<4).map { "reader-\($0)\n" }))
    child.kill9()
    _ = try await child.waitForExit()
    try addToAll(1, ts: 1_700_000_010)
    try bench.start()
    try await bench.awaitCredited(220)
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["applied"] as? Int == 40 && status["lost"] as? Int == 0)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("queries of two databases are one answer")
  func severalDatabases() async throws {
    let first = try await ConsumerBench()
    let second = try await ConsumerBench()
    for (bench, du) in [(first, UInt64(10)), (second, 300)] {
      try bench.add(Self.entry("shared", du: du))
      try bench.add(Self.entry("only\(du)", du: du + 1))
      try bench.start()
      try await bench.awaitCredited(Int64(2 * du + 1))
    }
    let both = ["--database", first.databasePath, "--database", second.databasePath]
    let user = try #require(try await first.json(["query", "user", "shared"] + both) as? [String: Any])
    #expect(user["uploaded"] as? Int == 310 && user["events"] as? Int == 2)
    let top = try #require(try await first.json(["query", "top", "--limit", "2"] + both) as? [[String: Any]])
    #expect(top.map { $0["passkey"] as? String } == ["shared", "only300"])
    #expect(top.map { $0["uploaded"] as? Int } == [310, 301])
    let hash = EventMaker().infoHash.hex
    let torrent = try #require(
      try await first.json(["query", "torrent", hash, "--by", "user"] + both) as? [[String: Any]])
    #expect(torrent.count == 3 && torrent.reduce(0) { $0 + ($1["uploaded"] as? Int ?? 0) } == 622)
    try await first.stop()
    try await second.stop()
  }

  @Test("its consumer is deleted from the group again and again while it runs: every entry is applied once")
  func deletedConsumer() async throws {
    let bench = try await ConsumerBench()
    try bench.start()
    try await bench.waitUntilReady()
    for _ in 0..<20 {
      try bench.addMany(200)
      _ = try bench.redisReply(["XGROUP", "DELCONSUMER", "tracker:traffic", "group-pt", "consumer-1"]) { $0.integer }
    }
    try await bench.awaitCredited(4000 * 64)
    #expect(try bench.credited().events == 4000)
    try await eventually("nothing is left behind", evidence: bench.log) {
      let status = try await bench.json(["status"]) as? [String: Any]
      return status?["pending_entries"] as? Int == 0 && status?["lag_entries"] as? Int == 0
    }
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["lost"] as? Int == 0 && status["applied"] as? Int == 4000)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("Redis comes back with an older dump: it is noticed and counted, and entries with the ids that went count too")
  func olderDump() async throws {
    let bench = try await ConsumerBench(redisArguments: ["--appendonly", "no"])
    for index in 1...20 {
      try bench.add(Self.entry("a", du: 100, ts: 1_700_000_000 + Int64(index)), id: "5-\(index)")
    }
    try bench.start()
    try await bench.awaitCredited(2000)
    try await eventually("everything is acknowledged") { try bench.pendingCount() == 0 }
    _ = try bench.redisReply(["SAVE"]) { $0.string }
    for index in 21...30 {
      try bench.add(Self.entry("a", du: 10, ts: 1_700_000_000 + Int64(index)), id: "5-\(index)")
    }
    try bench.add(["lost", "x"], id: "5-31")
    try await bench.awaitCredited(2100)
    try await eventually("a dead letter") { (try await bench.json(["dlq", "list"]) as? [Any])?.count == 1 }
    // Killed, it writes nothing: what it starts with again is the dump.
    bench.redis.kill9()
    try await bench.redis.start()
    #expect(
      try bench.redisReply(["XINFO", "STREAM", "tracker:traffic"]) { $0[named: "last-generated-id"]?.id }
        == EntryID("5-20"))
    for index in 21...25 {
      try bench.add(Self.entry("b", du: 7, ts: 1_700_001_000 + Int64(index)), id: "5-\(index)")
    }
    try bench.add(["found", "y"], id: "5-31")
    try await bench.awaitCredited(2135)
    // Two entries had one id: both are kept.
    try await eventually("two dead letters") {
      let letters = try await bench.json(["dlq", "list"]) as? [[String: Any]] ?? []
      return Set(letters.compactMap { ($0["fields"] as? [String: String])?.keys.first }) == ["lost", "found"]
    }
    #expect(bench.log.contains("redis came back with an older state of the stream"), "\(bench.log)")
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["rollbacks"] as? Int == 1 && status["lost"] as? Int == 0, "\(status)")
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test(
    "Redis lost its end and gave the ids away before it was read: only what is above the last known entry is read")
  func forkedStream() async throws {
    let bench = try await ConsumerBench(redisArguments: ["--appendonly", "no"])
    // Hours between them: nothing but L1 knows an entry again. One batch each, so that each is a witness.
    func add(_ user: String, du: UInt64, hour: Int64) throws {
      try bench.add(Self.entry(user, du: du, ts: 1_700_000_000 + hour * 3600), id: "\(hour * 3_600_000)-1")
    }
    func settle(_ bytes: Int64) async throws {
      try await bench.awaitCredited(bytes)
      try await eventually("everything is acknowledged") { try bench.pendingCount() == 0 }
    }
    try bench.start()
    try await bench.waitUntilReady()
    try add("a", du: 100, hour: 2)
    try await settle(100)
    _ = try bench.redisReply(["SAVE"]) { $0.string }
    for hour in [Int64(4), 6] {
      try add("a", du: 100, hour: hour)
      try await settle(50 * hour)
    }
    try await bench.stop()
    bench.redis.kill9()
    try await bench.redis.start()
    for hour in [Int64(4), 6, 8] { try add("b", du: 7, hour: hour) }
    try bench.start()
    try await settle(321)
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["rollbacks"] as? Int == 1 && status["epoch"] as? Int == 2, "\(status)")
    #expect(status["applied"] as? Int == 6 && status["lost"] as? Int == 0, "\(status)")
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("what another consumer of the group was given is left to it for a minute, then taken over")
  func claimedWhenIdle() async throws {
    let bench = try await ConsumerBench()
    try bench.start()
    try await bench.waitUntilReady()
    // Before it the past is read, even what another consumer has.
    try await eventually("the first count is made") {
      try StoreConnection.openForReading(path: bench.databasePath).integer("SELECT added_before FROM streams") == 0
    }
    var ids: [String] = []
    for given in 1...3 {
      // Added and given to the other one in one step.
      let id = try bench.redisReply(
        [
          "EVAL",
          """
          local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV))
          redis.call('XREADGROUP', 'GROUP', 'group-pt', 'other', 'STREAMS', KEYS[1], '>')
          return id
          """, "1", "tracker:traffic",
        ] + Self.entry("a", du: 10, ts: 1_700_000_000 + Int64(given))
      ) { $0.string ?? "" }
      ids.append(id)
      // Between two counts of what is pending lies a look for what may be claimed.
      try await eventually("\(given) are seen pending", evidence: bench.log) {
        (try await bench.json(["status"]) as? [String: Any])?["pending_entries"] as? Int == given
      }
    }
    #expect(try bench.credited().events == 0)
    // As if a minute had passed.
    _ = try bench.redisReply(
      ["XCLAIM", "tracker:traffic", "group-pt", "other", "0"] + ids + ["IDLE", "60000", "JUSTID"]
    ) {
      $0.count
    }
    try await bench.awaitCredited(30)
    try await eventually("everything is acknowledged") { try bench.pendingCount() == 0 }
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("a Redis that stands still does not hold up a stop, however long its timeouts; afterwards nothing is missing")
  func stopWhileRedisStandsStill() async throws {
    let bench = try await ConsumerBench(redisSettings: ["read_timeout: 10m", "write_timeout: 10m"])
    try bench.addMany(50)
    let child = try bench.start()
    try await bench.awaitCredited(50 * 64)
    // From here on the reader is in one call or another.
    try await eventually("everything is acknowledged") { try bench.pendingCount() == 0 }
    let redis = try #require(bench.redis.pid)
    kill(redis, SIGSTOP)
    defer { kill(redis, SIGCONT) }
    child.signal(SIGTERM)
    #expect(try await child.waitForExit() == .code(0))
    #expect(bench.log.contains("redis does not answer"), "\(bench.log)")
    kill(redis, SIGCONT)
    try bench.addMany(5)
    try bench.start()
    try await bench.awaitCredited(55 * 64)
    try await eventually("everything is acknowledged") { try bench.pendingCount() == 0 }
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("an empty list of dead letters is an answer, not an error")
  func noDeadLetters() async throws {
    let bench = try await ConsumerBench()
    try bench.start()
    try await bench.waitUntilReady()
    #expect(try #require(try await bench.json(["dlq", "list"]) as? [Any]).isEmpty)
    #expect(try await bench.verb(["dlq", "replay", "--all"]).exit == .code(2))
    try await bench.stop()
  }

  /// Letters that a repair of `du` makes good.
  private func letters(_ count: Int, _ bench: ConsumerBench) async throws {
    for index in 0..<count {
      var fields = Self.entry("a", du: 1, ts: 1_700_000_000 + Int64(index))
      fields[13] = "x"
      try bench.add(fields)
    }
    try await eventually("they are dead letters", evidence: bench.log) {
      (try await bench.json(["dlq", "list"]) as? [Any])?.count == count
    }
  }

  @Test("a replay that is interrupted has replayed some letters once and left the others; a second one does the rest")
  func interruptedReplay() async throws {
    let bench = try await ConsumerBench()
    try bench.start()
    try await bench.waitUntilReady()
    // One a second: minutes lie between the first and the last, however late this test sees the first.
    try await letters(300, bench)
    let replay = [Binaries.consumer, "dlq", "replay", "--all", "--set", "du=5", "--config", bench.configPath]
    let slow = try ChildProcess(
      replay + ["--rate", "1"], name: "replay", logPath: "\(bench.directory.path)/replay.log")
    try await eventually("some are replayed") { try bench.credited().bytes > 0 }
    slow.signal(SIGINT)
    #expect(try await slow.waitForExit() != .code(0))
    let some = try bench.credited().bytes
    #expect(some > 0 && some < 1500 && some % 5 == 0)
    #expect(try await CommandResult.run(replay).exit == .code(0))
    #expect(try bench.credited().bytes == 1500)
    #expect(try await CommandResult.run(replay).exit == .code(2))
    #expect(try bench.credited().events == 300)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("on a terminal a long replay says how far it is")
  func progress() async throws {
    let bench = try await ConsumerBench()
    try bench.start()
    try await bench.waitUntilReady()
    try await letters(4, bench)
    let command = "'\(Binaries.consumer)' dlq replay --all --set du=5 --rate 2 --config '\(bench.configPath)'"
    let result = try await CommandResult.run(["script", "-qec", command, "/dev/null"])
    #expect(result.exit == .code(0) && result.output.contains("2 of 4") && result.output.contains("4 of 4"))
    try await bench.stop()
  }

  @Test("killed after a replay's commit, the letter counts once")
  func killedAfterReplay() async throws {
    let bench = try await ConsumerBench()
    let child = try bench.start(environment: ["TRAFFIC_CONSUMER_CRASH": "afterReplay:1"])
    try await bench.waitUntilReady()
    try await letters(2, bench)
    _ = try await bench.verb(["dlq", "replay", "--all", "--set", "du=5"])
    #expect(try await child.waitForExit() == .signal(SIGKILL))
    try bench.start()
    try await bench.waitUntilReady()
    #expect(try bench.credited().bytes == 5)
    #expect(try await bench.verb(["dlq", "replay", "--all", "--set", "du=5"]).exit == .code(0))
    #expect(try bench.credited().bytes == 10)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  /// The consumer's line of the ACL in docs/redis.md.
  private static func documentedACL() throws -> [String] {
    let page = TemporaryDirectory.read(Repository.path("docs/redis.md"))
    let line = try #require(page.split(separator: "\n").first { $0.hasPrefix("ACL SETUSER consumer ") })
    return line.split(separator: " ").map(String.init)
  }

  @Test(
    "under exactly the documented ACL it reads, counts and trims; without scripts too; without XTRIM it says so, once",
    arguments: [[], ["+eval"], ["+eval", "+xtrim"]])
  func documentedACL(without: [String]) async throws {
    let bench = try await ConsumerBench()
    let acl = try Self.documentedACL().filter { !without.contains($0) }
    _ = try bench.redisReply(acl) { $0.string }
    for index in 1...9 {
      try bench.add(Self.entry("a", du: 1, ts: 1_700_000_000 + Int64(index)), id: "5-\(index)")
    }
    let url = bench.redis.url.replacing("redis+unix://", with: "redis+unix://consumer:change-me@")
    try bench.start(environment: ["CONSUMER__REDIS__URL": url])
    try await bench.awaitCredited(9)
    let isTrimmable = !without.contains("+xtrim")
    try await eventually("it trims or says why not", evidence: bench.log) {
      try bench.redisReply(["XLEN", "tracker:traffic"]) { $0.integer } == (isTrimmable ? 1 : 9)
        && (isTrimmable || bench.log.contains("redis does not let us trim"))
    }
    for index in 10...14 {
      try bench.add(Self.entry("a", du: 1, ts: 1_700_000_000 + Int64(index)), id: "5-\(index)")
      try await bench.awaitCredited(Int64(index))
    }
    try await bench.waitUntilReady()
    #expect(bench.log.components(separatedBy: "let us trim").count - 1 == (isTrimmable ? 0 : 1))
    #expect(!bench.log.contains("redis trouble"), "\(bench.log)")
    #expect(try bench.redisReply(["ACL", "LOG"]) { $0.count } == without.count)
    try await bench.stop()
  }

  @Test("killed after a trim, nothing is missing")
  func killedAfterTrim() async throws {
    let bench = try await ConsumerBench()
    for index in 1...9 {
      try bench.add(Self.entry("a", du: 1, ts: 1_700_000_000 + Int64(index)), id: "5-\(index)")
    }
    let child = try bench.start(environment: ["TRAFFIC_CONSUMER_CRASH": "afterTrim:1"])
    #expect(try await child.waitForExit() == .signal(SIGKILL))
    #expect(try bench.redisReply(["XLEN", "tracker:traffic"]) { $0.integer } == 1)
    try bench.add(Self.entry("a", du: 1, ts: 1_700_000_100))
    try bench.start()
    try await bench.awaitCredited(10)
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["lost"] as? Int == 0 && status["applied"] as? Int == 10)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("entries of megabytes, of ten thousand fields and of bytes that are no text are dead letters, whole")
  func hostileEntries() async throws {
    let bench = try await ConsumerBench()
    let large = String(repeating: "x", count: 1 << 20)
    for index in 0..<40 { try bench.add(["passkey", large, "n\(index)", large]) }
    try bench.add((0..<10_000).flatMap { ["field\($0)", "v"] })
    try bench.add(Self.entry("a", du: 3) + (0..<5000).flatMap { ["more\($0)", "v"] })
    try bench.add(Self.entry("a", du: 4, ts: 1_700_000_100))
    try bench.start()
    try await bench.awaitCredited(7)
    try await eventually("they are dead letters") {
      (try await bench.json(["status"]) as? [String: Any])?["dead_letters"] as? Int == 41
    }
    let database = try StoreConnection.openForReading(path: bench.databasePath)
    #expect(try database.integer("SELECT min(length(fields)) FROM dead_letters WHERE id <= 40") ?? 0 > 2 << 20)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }
}
