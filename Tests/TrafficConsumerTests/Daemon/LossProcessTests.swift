// What is reported missing, by the real program on a real Redis: status, check, the metric and the list agree.

import Foundation
import Redis
import Simulation
import Testing
import Wire

@testable import TrafficConsumer

@Suite("What is missing") struct LossProcessTests {
  private func status(_ bench: ConsumerBench) async throws -> [String: Any] {
    try #require(try await bench.json(["status"]) as? [String: Any])
  }

  private func metric(_ name: String, _ bench: ConsumerBench) throws -> Int? {
    let lines = try Site.get(port: bench.adminPort, "/metrics").text.split(separator: "\n")
    return lines.first { $0.hasPrefix("traffic_consumer_\(name) ") }.flatMap { Int($0.split(separator: " ")[1]) }
  }

  @Test("entries trimmed unread are lost: in status, check, the metric and the list, until that is acknowledged")
  func trimmed() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(100)
    try bench.start()
    try await bench.awaitCredited(6400)
    try await eventually("the count comes out") {
      try StoreConnection.openForReading(path: bench.databasePath).integer("SELECT added_before FROM streams") == 0
    }
    try await bench.stop()
    try bench.addMany(100)
    _ = try bench.redisReply(["XTRIM", "tracker:traffic", "MAXLEN", "60"]) { $0.integer }
    try bench.start()
    try await bench.awaitCredited(10_240)
    try bench.addMany(5)
    try await bench.awaitCredited(10_560)
    try await eventually("the loss is found", evidence: bench.log) {
      try await self.status(bench)["lost"] as? Int == 40
    }
    #expect(try metric("lost_entries", bench) == 40)
    let rows = try #require(try await bench.json(["lost", "list"]) as? [[String: Any]])
    #expect(rows.count == 1 && rows[0]["entries"] as? Int == 40 && rows[0]["acknowledged"] as? Bool == false)
    let check = try await bench.verb(["check"])
    #expect(check.exit == .code(74) && check.errors.contains("40 entries are missing"), "\(check)")
    #expect(try await bench.verb(["status", "--check"]).exit == .code(1))
    let from = try #require(rows[0]["from"] as? String)
    #expect(try await bench.verb(["lost", "acknowledge", "1-1"]).exit == .code(2))
    #expect(try await bench.verb(["lost", "acknowledge", from]).exit == .code(0))
    #expect(try await status(bench)["lost"] as? Int == 0)
    #expect(try metric("lost_entries", bench) == 0)
    try await bench.stop()
    let result = try await bench.verb(["check"])
    #expect(result.exit == .code(0), "\(result)")
  }

  @Test("of rows that begin with the same id in two streams none is acknowledged until it is said which")
  func sameBeginning() async throws {
    let bench = try await ConsumerBench()
    let environment = ["CONSUMER__REDIS__PARTITIONS": "2"]
    try bench.start(environment: environment)
    try await bench.waitUntilReady()
    try await bench.stop()
    for (partition, entries) in [1, 3].enumerated() {
      let stream = "tracker:traffic:{p\(partition)}"
      for _ in 0..<entries { _ = try bench.redisReply(["XADD", stream, "*", "a", "b"]) { $0.string } }
      _ = try bench.redisReply(["XTRIM", stream, "MAXLEN", "0"]) { $0.integer }
    }
    try bench.start(environment: environment)
    try await eventually("both losses are found", evidence: bench.log) {
      try await self.status(bench)["lost"] as? Int == 4
    }
    let verb = ["lost", "acknowledge", "0-1"]
    let refused = try await bench.verb(verb)
    #expect(
      refused.exit == .code(65) && refused.errors.contains("{p0} epoch 1, tracker:traffic:{p1} epoch 1"), "\(refused)")
    #expect(try await status(bench)["lost"] as? Int == 4)
    #expect(try await bench.verb(verb + ["--epoch", "2"]).exit == .code(2))
    #expect(try await bench.verb(verb + ["--stream", "tracker:traffic:{p0}", "--epoch", "1"]).exit == .code(0))
    #expect(try await status(bench)["lost"] as? Int == 3)
    try await bench.stop()
  }

  @Test("killed between commit and acknowledgement, with a standby of another name: nothing is lost, then or later")
  func standbyOfAnotherName() async throws {
    let bench = try await ConsumerBench()
    let child = try bench.start(environment: ["TRAFFIC_CONSUMER_CRASH": "afterCommit:2"])
    try bench.addMany(7)
    try await eventually("they are acknowledged") { try bench.pendingCount() == 0 && bench.credited().events == 7 }
    try bench.addMany(7)
    #expect(try await child.waitForExit() == .signal(SIGKILL))
    #expect(try bench.credited().events == 14)
    try bench.start(environment: ["CONSUMER__REDIS__CONSUMER": "consumer-2"])
    try await bench.waitUntilReady()
    func count() throws -> Int64? {
      try StoreConnection.openForReading(path: bench.databasePath).integer("SELECT added_before FROM streams")
    }
    try await eventually("the count comes out") { try count() != nil }
    #expect(try await status(bench)["lost"] as? Int == 0 && bench.pendingCount() == 7)
    // As if a minute had passed.
    let ids = try bench.redisReply(["XPENDING", "tracker:traffic", "group-pt", "-", "+", "10"]) { list in
      (0..<list.count).compactMap { list[$0][0].string }
    }
    _ = try bench.redisReply(
      ["XCLAIM", "tracker:traffic", "group-pt", "consumer-1", "0"] + ids + ["IDLE", "60000", "JUSTID"]
    ) { $0.count }
    try await eventually("they are acknowledged") { try bench.pendingCount() == 0 }
    try bench.addMany(1)
    try await bench.awaitCredited(15 * 64)
    try await eventually("the count comes out") { try await bench.verb(["check"]).exit == .code(0) }
    #expect(try await status(bench)["lost"] as? Int == 0 && count() == 0)
    try await bench.stop()
  }

  @Test("a loss stays in the metric when its stream is not configured any more")
  func lostOfAnotherStream() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(10)
    try bench.start()
    try await bench.awaitCredited(640)
    try await bench.stop()
    let id = try bench.add(EventMaker().event(du: 64).encode())
    _ = try bench.redisReply(["XDEL", "tracker:traffic", id]) { $0.integer }
    try bench.start()
    try await bench.waitUntilReady()
    try await eventually("the loss is found", evidence: bench.log) { try self.metric("lost_entries", bench) == 1 }
    try await bench.stop()
    try bench.start(environment: ["CONSUMER__REDIS__PARTITIONS": "2"])
    try await bench.waitUntilReady()
    try await eventually("it is counted still", evidence: bench.log) {
      try self.metric("lost_entries", bench) == 1
    }
    try await bench.stop()
  }

  @Test("heal without a daemon sees that it is another stream, and leaves the group of another database alone")
  func healWithoutDaemon() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(10)
    try bench.start()
    try await bench.awaitCredited(640)
    try await eventually("they are acknowledged") { try bench.pendingCount() == 0 }
    try await bench.stop()
    _ = try bench.redisReply(["DEL", "tracker:traffic"]) { $0.integer }
    try bench.addMany(5)
    func group() throws {
      _ = try bench.redisReply(["XGROUP", "CREATE", "tracker:traffic", "group-pt", "0"]) { $0.string }
      _ = try bench.redisReply(
        ["XREADGROUP", "GROUP", "group-pt", "consumer-2", "STREAMS", "tracker:traffic", ">"]
      ) { $0.count }
    }
    try group()
    let key = "tracker:traffic:group-pt:database"
    let owner = try bench.redisReply(["GET", key]) { $0.string ?? "" }
    _ = try bench.redisReply(["SET", key, "another"]) { $0.string }
    let refused = try await bench.verb(["heal"])
    #expect(refused.exit == .code(78) && refused.errors.contains("another database"), "\(refused)")
    #expect(try bench.pendingCount() == 5 && bench.credited().bytes == 640)
    _ = try bench.redisReply(["SET", key, owner]) { $0.string }
    let healed = try await bench.json(["heal"]) as? [String: Any]
    #expect(healed?["applied"] as? Int == 5, "\(healed ?? [:])")
    #expect(try bench.pendingCount() == 0 && bench.credited().bytes == 960 && bench.faults() == [])
    #expect(try await status(bench)["epoch"] as? Int == 2)
  }

  @Test("after a change of partitions what is unread in the old stream is in status, check, the metric and the log")
  func changedPartitions() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(10)
    try bench.start()
    try await bench.awaitCredited(640)
    try await bench.stop()
    try bench.addMany(30)
    try bench.start(environment: ["CONSUMER__REDIS__PARTITIONS": "2"])
    try await eventually("the log says so", evidence: bench.log) { bench.log.contains("is not read any more") }
    #expect(try metric("left_behind_entries", bench) == 30)
    let two = ["CONSUMER__REDIS__PARTITIONS": "2"]
    func ask(_ words: [String]) async throws -> CommandResult {
      try await CommandResult.run([Binaries.consumer] + words + ["--config", bench.configPath], environment: two)
    }
    #expect(try await ask(["status", "-o", "json"]).output.contains("\"left_behind\":30"))
    #expect(try await ask(["check"]).errors.contains("30 or more unread"))
    try await bench.stop()
    try bench.start()
    try await bench.awaitCredited(2560)
    #expect(try await status(bench)["left_behind"] as? Int == 0)
    try await bench.stop()
  }
}
