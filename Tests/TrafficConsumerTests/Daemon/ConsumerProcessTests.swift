// The real program: killed at every crash point, paused, without Redis, beside a second one, with streams that change
// under it.

import Foundation
import SQLite
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("The consumer as a process", .serialized) struct ConsumerProcessTests {
  @Test(
    "killed at a crash point, it goes on exactly",
    arguments: CrashPoint.allCases.filter { $0 != .afterReplay && $0 != .afterTrim }, [1, 2])
  func crashPoints(point: CrashPoint, time: Int) async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(2500)
    let child = try bench.start(environment: ["TRAFFIC_CONSUMER_CRASH": "\(point.rawValue):\(time)"])
    let exit = try await eventually("it dies at \(point)", evidence: bench.log) {
      // The second time needs a second batch.
      if try bench.pendingCount() == 0 { try bench.addMany(1) }
      return child.exit
    }
    #expect(exit == .signal(SIGKILL))
    try bench.addMany(10)
    let total = try bench.redisReply(["XLEN", "tracker:traffic"]) { $0.integer ?? 0 }
    try bench.start()
    try await bench.awaitCredited(total * 64)
    #expect(try bench.credited().events == total)
    try await eventually("everything is acknowledged") { try bench.pendingCount() == 0 }
    // What came again was known by its id (L1): bytes alone would also be right by L3.
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["applied"] as? Int64 == total && status["duplicates"] as? Int == 0, "\(status)")
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("whatever way entries came, none is acknowledged before it is committed")
  func acknowledgedLast() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(30)
    // Once as new entries, once as pending ones.
    for way in ["new", "pending"] {
      let child = try bench.start(environment: ["TRAFFIC_CONSUMER_CRASH": "beforeCommit:1"])
      #expect(try await child.waitForExit() == .signal(SIGKILL))
      #expect(try bench.pendingCount() == 30, "\(way)")
    }
    try bench.start()
    try await bench.awaitCredited(30 * 64)
    try await eventually("everything is acknowledged") { try bench.pendingCount() == 0 }
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("entries of a dead consumer, of an early group and of a careless acknowledgement are all applied")
  func strayEntries() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(10)
    // Created at the end, as the site's old instructions say.
    _ = try bench.redisReply(["XGROUP", "CREATE", "tracker:traffic", "group-pt", "$"]) { $0.string }
    try bench.addMany(20)
    let taken = try bench.redisReply(
      ["XREADGROUP", "GROUP", "group-pt", "other", "COUNT", "12", "STREAMS", "tracker:traffic", ">"]
    ) { view in (0..<view[0][1].count).map { view[0][1][$0][0].string! } }
    // Four are acknowledged and never applied; four go with their consumer; four stay pending for it.
    _ = try bench.redisReply(["XACK", "tracker:traffic", "group-pt"] + taken[0..<4]) { $0.integer }
    try bench.start()
    try await bench.awaitCredited(30 * 64)
    try await bench.stop()
    #expect(try bench.faults() == [])
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["lost"] as? Int == 0 && status["applied"] as? Int == 30)
  }

  @Test("Redis that is not there yet is waited for, and the log says so")
  func lateRedis() async throws {
    let bench = try await ConsumerBench()
    try await bench.redis.stop()
    try bench.start()
    try await eventually("it says what it waits for") { bench.log.contains("redis trouble") }
    #expect(Site.status(port: bench.adminPort, "/health/live") == 200)
    #expect(Site.status(port: bench.adminPort, "/health/ready") == 503)
    try await bench.redis.start()
    try bench.addMany(5)
    try await bench.awaitCredited(5 * 64)
    try await bench.waitUntilReady()
    try await bench.stop()
    #expect(bench.process?.exit == .code(0) && bench.log.contains("stopped"))
  }

  @Test("a database that is moved away under the consumer ends it, and is complete when it is back")
  func movedDatabase() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(10)
    let child = try bench.start()
    try await bench.awaitCredited(10 * 64)
    for end in ["", "-wal", "-shm"] {
      try FileManager.default.moveItem(atPath: bench.databasePath + end, toPath: bench.databasePath + ".away" + end)
    }
    try bench.addMany(5)
    #expect(try await eventually("it ends", evidence: bench.log) { child.exit } == .code(74))
    #expect(bench.log.contains("removed or replaced"))
    #expect(!FileManager.default.fileExists(atPath: bench.databasePath), "no new database in its place")
    #expect(try bench.pendingCount() == 5, "nothing is acknowledged that is not in the database")
    for end in ["", "-wal", "-shm"] where FileManager.default.fileExists(atPath: bench.databasePath + ".away" + end) {
      try FileManager.default.moveItem(atPath: bench.databasePath + ".away" + end, toPath: bench.databasePath + end)
    }
    try bench.start()
    try await bench.awaitCredited(15 * 64)
    try await eventually("everything is acknowledged") { try bench.pendingCount() == 0 }
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("Redis killed and started again with what it had kept")
  func redisRestart() async throws {
    let bench = try await ConsumerBench(redisArguments: ["--appendfsync", "always"])
    try bench.addMany(500)
    try bench.start()
    try await bench.awaitCredited(500 * 64)
    bench.redis.kill9()
    try await eventually("it notices") { bench.log.contains("redis trouble") }
    try await bench.redis.start()
    try bench.addMany(100)
    try await bench.awaitCredited(600 * 64)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("a stream that is deleted, flushed or made anew with old ids begins an epoch and is read whole")
  func epochs() async throws {
    let bench = try await ConsumerBench()
    let maker = EventMaker()
    for index in 1...5 {
      try bench.add(maker.event(du: 100, ts: 1_700_000_000 + Int64(index)).encode(), id: "5-\(index)")
    }
    try bench.start()
    try await bench.awaitCredited(500)
    _ = try bench.redisReply(["DEL", "tracker:traffic"]) { $0.integer }
    for index in 1...3 {
      try bench.add(maker.event(du: 7, ts: 1_700_100_000 + Int64(index)).encode(), id: "5-\(index)")
    }
    try await bench.awaitCredited(521)
    _ = try bench.redisReply(["FLUSHALL"]) { $0.string }
    for index in 1...3 {
      try bench.add(maker.event(du: 1, ts: 1_700_200_000 + Int64(index)).encode(), id: "1-\(index)")
    }
    try await bench.awaitCredited(524)
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["epoch"] as? Int == 3)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("a group that is destroyed or set back delivers again, and nothing is counted twice")
  func groupSetBack() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(50)
    try bench.start()
    try await bench.awaitCredited(50 * 64)
    _ = try bench.redisReply(["XGROUP", "DESTROY", "tracker:traffic", "group-pt"]) { $0.integer }
    try bench.addMany(5)
    try await bench.awaitCredited(55 * 64)
    _ = try bench.redisReply(["XGROUP", "SETID", "tracker:traffic", "group-pt", "0"]) { $0.string }
    try bench.addMany(5)
    try await bench.awaitCredited(60 * 64)
    try await eventually("everything is acknowledged") { try bench.pendingCount() == 0 }
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["epoch"] as? Int == 1 && (status["redelivered"] as? Int ?? 0) >= 50)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("entries trimmed before they were read are counted as lost, to the entry")
  func trimmedUnread() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(10)
    try bench.start()
    try await bench.awaitCredited(640)
    try await eventually("the first count is made") {
      (try? StoreConnection.openForReading(path: bench.databasePath).integer("SELECT added_before FROM streams")) == 0
    }
    // Added and gone in one step: no consumer could read them.
    _ = try bench.redisReply([
      "EVAL",
      "for i=1,7 do redis.call('XADD',KEYS[1],'*','a','b') end return redis.call('XTRIM',KEYS[1],'MAXLEN',0)", "1",
      "tracker:traffic",
    ]) { $0.integer }
    try await eventually("status reports them", evidence: bench.log) {
      (try await bench.json(["status"]) as? [String: Any])?["lost"] as? Int == 7
    }
    try await bench.stop()
  }

  @Test("what is committed and old is trimmed, but not what another group still needs")
  func trimming() async throws {
    let bench = try await ConsumerBench()
    let maker = EventMaker()
    // Ids of long ago: older than the minute that is always left.
    for index in 1...9 {
      try bench.add(maker.event(du: 1, ts: 1_700_000_000 + Int64(index)).encode(), id: "5-\(index)")
    }
    _ = try bench.redisReply(["XGROUP", "CREATE", "tracker:traffic", "other", "5-4"]) { $0.string }
    try bench.start()
    try await eventually("trimmed up to the other group") {
      try bench.redisReply(["XLEN", "tracker:traffic"]) { $0.integer } == 6
    }
    #expect(try bench.credited().bytes == 9)
    _ = try bench.redisReply(["XGROUP", "DESTROY", "tracker:traffic", "other"]) { $0.integer }
    try await eventually("the newest entry is left, to know the stream by") {
      try bench.redisReply(["XLEN", "tracker:traffic"]) { $0.integer } == 1
    }
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("another database on the same group is refused, unless told")
  func otherDatabase() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(3)
    try bench.start()
    try await bench.awaitCredited(192)
    try await bench.stop()
    let other = ["--database", "\(bench.directory.path)/other.db"]
    let refused = try bench.start(arguments: other)
    let exit = try await eventually("it ends", evidence: bench.log) { refused.exit }
    #expect(exit == .code(78) && refused.log.contains("belongs to another database"))
    try bench.start(arguments: other + ["--adopt-group"])
    try await bench.waitUntilReady()
    try await bench.stop()
  }

  @Test("a second process stands by, and takes over when the first is killed")
  func standby() async throws {
    let bench = try await ConsumerBench()
    let first = try bench.start()
    try await bench.waitUntilReady()
    let port = try FreePort.take()
    let second = try bench.start(environment: ["CONSUMER__ADMIN_ADDR": "127.0.0.1:\(port)"])
    try await eventually("it stands by", evidence: second.log) { second.log.contains("standing by") }
    #expect(Site.status(port: port, "/health/live") == 200 && Site.status(port: port, "/health/ready") == 503)
    try bench.addMany(100)
    try await bench.awaitCredited(6400)
    _ = first.kill9()
    try await eventually("it takes over", evidence: second.log) { Site.status(port: port, "/health/ready") == 200 }
    try bench.addMany(50)
    try await bench.awaitCredited(150 * 64)
    #expect(try bench.faults() == [])
    try await bench.stop()
  }

  @Test("a poison entry is a dead letter, its neighbours are applied, and its replay counts once")
  func deadLetters() async throws {
    let bench = try await ConsumerBench()
    let maker = EventMaker()
    try bench.add(maker.event(du: 100).encode())
    var poison = maker.event(du: 50, ts: 1_700_000_060).encode()
    poison[13] = "fifty"
    let id = try bench.add(poison)
    try bench.add(["nonsense", "1"])
    try bench.add(maker.event(du: 200, ts: 1_700_000_120).encode())
    try bench.start()
    try await bench.awaitCredited(300)
    let list = try #require(try await bench.json(["dlq", "list"]) as? [[String: Any]])
    #expect(list.map { $0["entry_id"] as? String }.first == id && list.count == 2)
    #expect(list.map { $0["reason"] as? String } == ["malformed_value", "missing_field"])
    #expect((list[0]["fields"] as? [String: String])?["du"] == "fifty")
    let letter = "\(list[0]["id"] as? Int ?? 0)"
    #expect(try await bench.verb(["dlq", "replay", letter]).exit == .code(1))
    #expect(try await bench.verb(["dlq", "replay", letter, "--set", "du=50", "--dry-run"]).exit == .code(0))
    #expect(try bench.credited().bytes == 300)
    #expect(try await bench.verb(["dlq", "replay", letter, "--set", "du=50"]).exit == .code(0))
    #expect(try bench.credited().bytes == 350)
    let again = try await bench.verb(["dlq", "replay", letter, "--set", "du=50"])
    #expect(again.exit == .code(2) && again.output.contains("already replayed"))
    // The same with the daemon down: the verb takes the lock.
    try await bench.stop()
    #expect(try await bench.verb(["dlq", "replay", letter]).exit == .code(2))
    #expect(try await bench.verb(["dlq", "discard", "2", "--note", "a test"]).exit == .code(0))
    #expect(
      try await bench.verb(["dlq", "purge", "--older-than", "1h", "--state", "discarded", "--yes"]).exit == .code(2))
    #expect(try bench.credited().bytes == 350)
    #expect(try bench.faults() == [])
  }

  @Test("one entry the database refuses is isolated; its neighbours are committed")
  func isolation() async throws {
    let bench = try await ConsumerBench()
    try bench.start()
    try await bench.waitUntilReady()
    try await bench.stop()
    do {
      let database = try SQLiteDatabase(path: bench.databasePath, access: .readWrite)
      try database.execute(
        """
        CREATE TRIGGER refuse BEFORE UPDATE ON users WHEN new.passkey = 'user3'
        BEGIN SELECT RAISE(ABORT, 'a fault of this user'); END
        """)
    }
    try bench.addMany(40)
    try bench.start()
    try await bench.awaitCredited(36 * 64)
    try await eventually("the four are dead letters") {
      (try await bench.json(["dlq", "list", "--reason", "repeatedly_fatal"]) as? [Any])?.count == 4
    }
    let list = try #require(try await bench.json(["dlq", "list"]) as? [[String: Any]])
    #expect(list.allSatisfy { $0["deliveries"] as? Int == 5 })
    try await bench.stop()
  }

  @Test("an older backup put in place is healed from the stream to the exact totals")
  func restoredBackup() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(100)
    try bench.start()
    try await bench.awaitCredited(6400)
    let copy = "\(bench.directory.path)/backup.db"
    #expect(try await bench.verb(["backup", "--to", copy]).exit == .code(0))
    try bench.addMany(150)
    try await bench.awaitCredited(250 * 64)
    try await bench.stop()
    for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: bench.databasePath + suffix) }
    try FileManager.default.copyItem(atPath: copy, toPath: bench.databasePath)
    #expect(try bench.credited().bytes == 6400)
    // By the verb, without a daemon; twice is once.
    for _ in 0..<2 {
      #expect(try await bench.verb(["heal"]).exit == .code(0))
      #expect(try bench.credited().bytes == 250 * 64)
    }
    #expect(try bench.faults() == [])
  }

  @Test("what has no answer has the exit code that says why")
  func exitCodes() async throws {
    let bench = try await ConsumerBench()
    #expect(try await bench.verb(["query", "user", "nobody"]).exit == .code(74))
    try bench.start()
    try await bench.waitUntilReady()
    let nobody = try await bench.verb(["query", "user", "nobody"])
    #expect(nobody.exit == .code(2) && nobody.errors.split(separator: "\n").count == 1 && nobody.output.isEmpty)
    #expect(try await bench.verb(["query", "user"]).exit == .code(64))
    #expect(try await bench.verb(["query", "usr", "x"]).exit == .code(64))
    #expect(try await bench.verb(["query", "user", "a b"]).exit == .code(65))
    #expect(try await bench.verb(["query", "torrent", "xyz"]).exit == .code(65))
    #expect(try await bench.verb(["query", "top", "--from", "never"]).exit == .code(65))
    #expect(try await bench.verb(["dlq", "show", "99"]).exit == .code(2))
    #expect(try await bench.verb(["status", "--check"]).exit == .code(0))
    try await bench.stop()
    #expect(try await bench.verb(["status", "--check"]).exit == .code(2))
    try await bench.redis.stop()
    #expect(try await bench.verb(["status"]).exit == .code(69))
    #expect(try await bench.verb(["heal"]).exit == .code(69))
    let lock = try StoreLock.tryTake(databasePath: bench.databasePath, replacesSilent: true)
    let isTaken = lock != nil
    #expect(isTaken)
    #expect(try await bench.verb(["dlq", "replay", "--all"]).exit == .code(2))
    #expect(try await bench.verb(["dlq", "discard", "1", "--note", "x"]).exit == .code(75))
    withExtendedLifetime(lock) {}
  }
}
