// `restore`, with a daemon and without one.

import Foundation
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("Restoring a backup") struct RestoreTests {
  @Test(
    "it stops the daemon, replaces, heals and says so; twice gives the same; the daemon goes on", arguments: [1, 2])
  func exact(times: Int) async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(50)
    try bench.start()
    try await bench.awaitCredited(50 * 64)
    let copy = "\(bench.directory.path)/copy.db"
    #expect(try await bench.verb(["backup", "--to", copy]).exit == .code(0))
    for round in 0..<times {
      try bench.addMany(30)
      try await bench.awaitCredited(Int64(50 + 30 * (round + 1)) * 64)
      let result = try await bench.verb(["restore", copy, "--yes", "-o", "json"])
      #expect(result.exit == .code(0) && result.errors.contains("start it"), "\(result)")
      #expect(
        result.output.contains("\"applied\":\(30 * (round + 1)),") && result.output.contains("daemon_stopped\":true"))
      #expect(try bench.credited().bytes == Int64(50 + 30 * (round + 1)) * 64)
      #expect(try await bench.process?.waitForExit() == .code(0))
      try bench.start()
      try await bench.waitUntilReady()
    }
    try bench.addMany(1)
    try await bench.awaitCredited(Int64(51 + 30 * times) * 64)
    try await eventually("everything is accounted for") { try await bench.verb(["check"]).exit == .code(0) }
    let kept = try FileManager.default.contentsOfDirectory(atPath: bench.directory.path).filter {
      $0.contains("before-restore") && !$0.hasSuffix("-wal") && !$0.hasSuffix("-shm")
    }
    #expect(!kept.isEmpty)
    try await bench.stop()
  }

  @Test("what the stream does not hold any more is missing, and said to be")
  func olderThanTheStream() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(50)
    try bench.start()
    try await bench.awaitCredited(50 * 64)
    let copy = "\(bench.directory.path)/copy.db"
    #expect(try await bench.verb(["backup", "--to", copy]).exit == .code(0))
    try bench.addMany(30)
    try await bench.awaitCredited(80 * 64)
    try await eventually("all is acknowledged") { try bench.pendingCount() == 0 }
    _ = try bench.redisReply(["XTRIM", "tracker:traffic", "MAXLEN", "10"]) { $0.integer }
    #expect(try await bench.verb(["restore", copy, "--yes"]).exit == .code(0))
    #expect(try bench.credited().bytes == 60 * 64)
    // The lock is free a moment before the process is gone, with its port.
    #expect(try await bench.process?.waitForExit() == .code(0))
    try bench.start()
    try await eventually("the loss is found", evidence: bench.log) {
      (try await bench.json(["status"]) as? [String: Any])?["lost"] as? Int == 20
    }
    try await bench.stop()
    #expect(try await bench.verb(["check"]).exit == .code(74))
  }

  @Test("a copy that is damaged, of another database or the database itself is refused, and the daemon goes on")
  func refused() async throws {
    let bench = try await ConsumerBench()
    let other = try await ConsumerBench()
    for one in [bench, other] {
      try one.addMany(20)
      try one.start()
      try await one.awaitCredited(20 * 64)
    }
    let copy = "\(bench.directory.path)/copy.db"
    #expect(try await other.verb(["backup", "--to", copy]).exit == .code(0))
    let foreign = try await bench.verb(["restore", copy, "--yes"])
    #expect(foreign.exit == .code(65) && foreign.errors.contains("another database"), "\(foreign)")
    #expect(try await bench.verb(["backup", "--to", copy]).exit == .code(0))
    #expect(try await bench.verb(["restore", copy]).exit == .code(64))
    #expect(try await bench.verb(["restore", bench.databasePath, "--yes"]).exit == .code(65))
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: copy))
    try file.seek(toOffset: 8192)
    try file.write(contentsOf: Data(repeating: 0xff, count: 40_960))
    try file.close()
    let damaged = try await bench.verb(["restore", copy, "--yes"])
    #expect([.code(65), .code(74)].contains(damaged.exit), "\(damaged)")
    try bench.addMany(1)
    try await bench.awaitCredited(21 * 64)
    try await bench.stop()
    try await other.stop()
  }

  @Test("without a daemon, without a database and without Redis it is put in place, and the daemon reads the rest")
  func withoutAnything() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(20)
    try bench.start()
    try await bench.awaitCredited(20 * 64)
    let copy = "\(bench.directory.path)/copy.db"
    #expect(try await bench.verb(["backup", "--to", copy]).exit == .code(0))
    try bench.addMany(5)
    try await bench.awaitCredited(25 * 64)
    try await bench.stop()
    for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: bench.databasePath + suffix) }
    try await bench.redis.stop()
    let result = try await bench.verb(["restore", copy, "--yes"])
    #expect(result.exit == .code(1) && result.errors.contains("reads what is missing when it starts"), "\(result)")
    #expect(try bench.credited().bytes == 20 * 64)
    try await bench.redis.start()
    try bench.start()
    try await bench.awaitCredited(25 * 64)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }
}
