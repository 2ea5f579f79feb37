// Trouble with the disk: nothing is acknowledged that is not durable, and it goes on by itself when the trouble is over.

import Foundation
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("Disk faults", .serialized) struct DiskFaultTests {
  @Test("a full disk, an I/O error, short writes, a failing fsync", arguments: ["ENOSPC", "EIO", "SHORT", "FSYNC"])
  func faults(fault: String) async throws {
    let bench = try await ConsumerBench()
    let shim = "\(bench.directory.path)/faultshim.so"
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path
    let compiled = try await CommandResult.run([
      "clang", "-shared", "-fPIC", "-O1", "-o", shim, "\(source)/Faults/faultshim.c", "-ldl",
    ])
    try #require(compiled.exit == .code(0), "\(compiled.errors)")
    let control = "\(bench.directory.path)/fault"
    try bench.start(environment: ["LD_PRELOAD": shim, "FAULT_FILE": control, "FAULT_MATCH": "traffic.db"])
    try await bench.waitUntilReady()
    try bench.addMany(30)
    try await bench.awaitCredited(30 * 64)
    try await eventually("all is acknowledged") { try bench.pendingCount() == 0 }

    try bench.directory.write(fault, as: "fault")
    try bench.addMany(40)
    try await eventually("the failed batch is in the log", evidence: bench.log) {
      bench.log.contains("batch not committed")
    }
    #expect(try bench.pendingCount() == 40, "nothing of it may be acknowledged")
    #expect(Site.status(port: bench.adminPort, "/health/ready") == 503)
    #expect(Site.status(port: bench.adminPort, "/health/live") == 200)

    try FileManager.default.removeItem(atPath: control)
    try await bench.awaitCredited(70 * 64)
    try await eventually("all is acknowledged") { try bench.pendingCount() == 0 }
    try await bench.waitUntilReady()
    try await bench.stop()
    #expect(try bench.faults() == [])
    #expect((try await bench.json(["dlq", "list"]) as? [Any])?.count == 0, "an outage makes no dead letters")
  }

  @Test("a daemon that is killed while the disk fails loses nothing", arguments: ["ENOSPC", "FSYNC"])
  func killedInTrouble(fault: String) async throws {
    let bench = try await ConsumerBench()
    let shim = "\(bench.directory.path)/faultshim.so"
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path
    let compiled = try await CommandResult.run([
      "clang", "-shared", "-fPIC", "-O1", "-o", shim, "\(source)/Faults/faultshim.c", "-ldl",
    ])
    try #require(compiled.exit == .code(0), "\(compiled.errors)")
    let child = try bench.start(
      environment: [
        "LD_PRELOAD": shim, "FAULT_FILE": "\(bench.directory.path)/fault", "FAULT_MATCH": "traffic.db",
      ])
    try await bench.waitUntilReady()
    try bench.directory.write(fault, as: "fault")
    try bench.addMany(25)
    try await eventually("the failed batch is in the log", evidence: bench.log) {
      bench.log.contains("batch not committed")
    }
    _ = child.kill9()
    try await eventually("it is gone") { child.exit != nil }
    try bench.start()
    try await bench.awaitCredited(25 * 64)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }

  @Test("a process that stands still is replaced, and when it wakes up it may not write")
  func frozen() async throws {
    let bench = try await ConsumerBench()
    let quick = ["TRAFFIC_CONSUMER_STALE_SECONDS": "3"]
    let first = try bench.start(environment: quick)
    try await bench.waitUntilReady()
    try bench.addMany(100)
    try await bench.awaitCredited(6400)
    kill(first.pid, SIGSTOP)
    try bench.addMany(50)
    let port = try FreePort.take()
    let second = try bench.start(environment: quick.merging(["CONSUMER__ADMIN_ADDR": "127.0.0.1:\(port)"]) { $1 })
    try await eventually("it takes over", evidence: second.log) { Site.status(port: port, "/health/ready") == 200 }
    try await bench.awaitCredited(150 * 64)
    kill(first.pid, SIGCONT)
    // Entries for both: the first one is refused by the database, and ends.
    let exit = try await eventually("the first one ends", evidence: first.log) {
      try bench.addMany(1)
      return first.exit
    }
    #expect(exit == .code(75) && first.log.contains("taken over"))
    let total = try bench.redisReply(["XINFO", "STREAM", "tracker:traffic"]) {
      $0[named: "entries-added"]?.integer ?? 0
    }
    // What the first one still read when it woke up comes back by XAUTOCLAIM, a minute later.
    try await bench.awaitCredited(total * 64)
    #expect(try bench.credited().events == total)
    try await bench.stop()
    #expect(try bench.faults() == [])
  }
}
