// The control socket and what is behind it: several requests at once, clients that leave or never speak, a daemon that stops.

import Foundation
import Glibc
import Linux
import SQLite
import Simulation
import Synchronization
import Testing

@testable import TrafficConsumer

@Suite("Control requests") struct ControlTests {
  /// A daemon without its threads: the test is the writer and the readers.
  private struct Bench {
    let directory = try! TemporaryDirectory()
    let queue = DeliveryQueue(streams: 1)
    let engine = EngineState(streams: 1)
    let context: ControlContext
    let writer: StoreWriter
    var copyPath: String { "\(directory.path)/copy.db" }
    var hasCopy: Bool {
      ["", ".partial"].contains { FileManager.default.fileExists(atPath: copyPath + $0) }
    }

    init() throws {
      var config = ConsumerConfig()
      config.databasePath = "\(directory.path)/traffic.db"
      context = ControlContext(config: config, queue: queue, engine: engine, requests: [])
      writer = try StoreWriter(settings: config.storeSettings)
      engine.publish(writer.streams)
    }

    /// Does the writer's jobs, as its loop does, until it ends.
    func serve(before job: () -> Void = {}) {
      while true {
        switch queue.next(batchEntries: 1, batchMilliseconds: 1, idleMilliseconds: 5) {
        case .jobs(let jobs):
          job()
          for job in jobs { job(writer) }
        case .ended: return
        case .deliveries, .nothing: break
        }
      }
    }
  }

  private static func inBackground<Value: Sendable>(_ body: @escaping @Sendable () -> Value) throws -> Monitor<Value?> {
    let result = Monitor<Value?>(nil)
    let thread = Thread {
      let value = body()
      result.withLock { $0 = value }
    }
    thread.start()
    return result
  }

  private static func atOnce(_ count: Int, _ verb: [String]) async throws -> [CommandResult] {
    try await withThrowingTaskGroup(of: CommandResult.self) { group in
      for _ in 0..<count { group.addTask { try await CommandResult.run([Binaries.consumer] + verb) } }
      return try await group.reduce(into: []) { $0.append($1) }
    }
  }

  private static func value<Value>(_ result: Monitor<Value?>) throws -> Value {
    try #require(result.wait(milliseconds: 60_000) { $0 }, "it never ended")
  }

  @Test("of several requests to heal the readers do the latest, as far back as all of them: every one is done with it")
  func heals() {
    let engine = EngineState(streams: 2)
    let request = { engine.requestHeal(from: EntryID(milliseconds: $0, sequence: 0)) }
    let (first, second, third) = (request(50), request(10), request(70))
    for stream in 0..<2 {
      #expect(!engine.waitForHeal(first, milliseconds: 0))
      engine.finishHeal(third, stream: stream)
    }
    for serial in [first, second, third] { #expect(engine.waitForHeal(serial, milliseconds: 0)) }
    // What is done is not done again.
    #expect(request(90) == 4)
    engine.finishHeal(4, stream: 0)
    #expect(!engine.waitForHeal(4, milliseconds: 0))
    // A reader may be busy with the fourth: the fifth must have both.
    #expect(request(95) == 5)
    engine.publish([StreamState(id: 1, name: "a"), StreamState(id: 2, name: "b")])
    #expect(engine.state(of: 0).healRequest == HealRequest(serial: 5, from: EntryID(milliseconds: 90, sequence: 0)))
  }

  @Test("heals at the same time all end, whoever of them goes away")
  func healsAtOnce() async throws {
    let bench = try await ConsumerBench()
    try bench.addMany(300)
    try bench.start()
    try await bench.awaitCredited(300 * 64)
    let results = try await Self.atOnce(6, ["heal", "-o", "json", "--config", bench.configPath])
    #expect(results.allSatisfy { $0.exit == .code(0) && $0.output.contains("\"applied\":0") }, "\(results)")
    try await bench.stop()
  }

  @Test("nobody waits for a client that is gone")
  func goneClient() throws {
    let bench = try Bench()
    let context = bench.context
    let answer = try Self.inBackground {
      ControlRequests.answer(ControlMessage(words: ["heal", "0-0"]), context, isWanted: { false })
    }
    #expect(try Self.value(answer).words.first == "error")
    let copy = bench.copyPath
    let backup = try Self.inBackground {
      ControlRequests.answer(ControlMessage(words: ["backup", copy]), context, isWanted: { false })
    }
    let served = try Self.inBackground { [bench = UncheckedBox(bench)] in bench.value.serve() }
    #expect(try Self.value(backup).words.first == "error")
    #expect(!bench.hasCopy)
    bench.queue.stop()
    bench.queue.readerEnded()
    try Self.value(served)
  }

  @Test("the writer stays for a job it was promised, and takes none when it has ended")
  func lastJob() throws {
    let bench = try Bench()
    let (queue, context) = (bench.queue, bench.context)
    #expect(queue.hold())
    queue.stop()
    queue.readerEnded()
    func next() -> String {
      switch queue.next(batchEntries: 1, batchMilliseconds: 1, idleMilliseconds: 0) {
      case .jobs(let jobs):
        for job in jobs { job(bench.writer) }
        return "jobs"
      case .ended: return "ended"
      case .deliveries, .nothing: return "nothing"
      }
    }
    #expect(next() == "nothing")
    // What is asked for while it stops is done, and said to be.
    let answer = try Self.inBackground { context.onWriter { $0.streams.count } }
    while next() != "jobs" {}
    #expect(try Self.value(answer) == 1)
    #expect(!queue.hold())
    queue.release()
    #expect(next() == "ended")
    #expect(context.onWriter { $0.streams.count } == nil)
  }

  @Test("a stop before a copy is in its place leaves none; one after it comes too late")
  func stopDuringBackup() throws {
    for stopsBefore in [true, false] {
      let bench = try Bench()
      let (queue, context, copy) = (bench.queue, bench.context, bench.copyPath)
      let jobs = Atomic<Int>(0)
      @Sendable func stop() {
        queue.stop()
        queue.readerEnded()
      }
      let served = try Self.inBackground { [bench = UncheckedBox(bench)] in
        bench.value.serve { if jobs.wrappingAdd(1, ordering: .relaxed).newValue == 2, !stopsBefore { stop() } }
      }
      let answer = ControlRequests.answer(ControlMessage(words: ["backup", copy]), context) {
        if stopsBefore { stop() }
        return true
      }
      try Self.value(served)
      #expect(answer.words.first == (stopsBefore ? "error" : "ok"), "\(answer)")
      #expect(bench.hasCopy == !stopsBefore)
      let noted = try MetaTable.integer(MetaTable.backupTime, in: bench.writer.database)
      #expect((noted != nil) == !stopsBefore)
    }
  }

  /// Compiled for this test; holds up what is done to files whose paths contain `match`.
  private func shim(_ directory: TemporaryDirectory, match: String) async throws -> [String: String] {
    let path = "\(directory.path)/faultshim.so"
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path
    let compiled = try await CommandResult.run([
      "clang", "-shared", "-fPIC", "-O1", "-o", path, "\(source)/Faults/faultshim.c", "-ldl",
    ])
    try #require(compiled.exit == .code(0), "\(compiled.errors)")
    return ["LD_PRELOAD": path, "FAULT_FILE": "\(directory.path)/fault", "FAULT_MATCH": match]
  }

  @Test("SIGTERM while a copy gets its place: the daemon ends when it has noted the copy")
  func terminatedAtTheEnd() async throws {
    let bench = try await ConsumerBench()
    let folder = "\(bench.directory.path)/copies"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    let child = try bench.start(environment: try await shim(bench.directory, match: "/copies"))
    try bench.addMany(5)
    try await bench.awaitCredited(5 * 64)
    try bench.directory.write("FOLDER", as: "fault")
    let command = ["backup", "--to", "\(folder)/copy.db", "--config", bench.configPath]
    async let verb = Self.atOnce(1, command)[0]
    try await eventually("the copy is in its place", evidence: bench.log) {
      FileManager.default.fileExists(atPath: "\(folder)/copy.db")
    }
    child.signal(SIGTERM)
    try await eventually("no reader is left", evidence: bench.log) {
      let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(child.pid)/task")
      return !tasks.contains { TemporaryDirectory.read("/proc/\(child.pid)/task/\($0)/comm").hasPrefix("reader") }
    }
    try FileManager.default.removeItem(atPath: "\(bench.directory.path)/fault")
    let result = try await verb
    #expect(result.exit == .code(0), "\(result)")
    #expect(try await child.waitForExit() == .code(0))
    let database = try StoreConnection.openForReading(path: bench.databasePath)
    #expect(try database.integer("SELECT count(*) FROM streams WHERE backup_floor IS NOT NULL") == 1)
    #expect(try MetaTable.integer(MetaTable.backupTime, in: database) != nil)
  }

  @Test("more clients than the daemon has threads for wait, are answered in turn, and are told when it takes too long")
  func manyClients() async throws {
    let bench = try await ConsumerBench()
    try bench.start()
    try await bench.waitUntilReady()
    let path = "\(bench.directory.path)/consumer.sock"
    try await eventually("the socket is there") { FileManager.default.fileExists(atPath: path) }
    let verbs = try await Self.atOnce(24, ["dlq", "discard", "1", "--note", "x", "--config", bench.configPath])
    #expect(verbs.allSatisfy { $0.exit == .code(2) }, "\(verbs)")
    var silent: [Int32] = []
    for _ in 0..<16 {
      if let socket = ControlSocket.connect(path, timeoutSeconds: 5) { silent.append(socket.release()) }
    }
    let refused = try await bench.verb(["status"])
    #expect(refused.exit == .code(75) && refused.errors.contains("16 other verbs"), "\(refused)")
    for socket in silent { close(socket) }
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["ready"] as? Bool == true)
    try await bench.stop()
  }

  @Test("a request that is too long is not waited for, and the verb does not send one")
  func longRequest() async throws {
    let bench = try await ConsumerBench()
    try bench.start()
    try await bench.waitUntilReady()
    let path = "\(bench.directory.path)/consumer.sock"
    try await eventually("the socket is there") { FileManager.default.fileExists(atPath: path) }
    guard let connected = ControlSocket.connect(path, timeoutSeconds: 5) else { throw HarnessError("nobody listens") }
    let socket = connected.release()
    defer { close(socket) }
    var length = UInt32(ControlMessage.maximumRequestBytes + 1).littleEndian
    #expect(send(socket, &length, 4, Int32(MSG_NOSIGNAL)) == 4)
    var byte: UInt8 = 0
    #expect(recv(socket, &byte, 1, 0) == 0)
    let ids = (1...2100).map { String($0) }
    let long = try await bench.verb(["dlq", "discard"] + ids + ["--note", String(repeating: "x", count: 120_000)])
    #expect(long.exit == .code(2) && long.output == "0 discarded\n", "\(long)")
    let fields = (1...3).flatMap { _ in ["--set", "du=\(String(repeating: "1", count: 100_000))"] }
    let refused = try await bench.verb(["dlq", "replay", "1"] + fields)
    #expect(refused.exit == .code(64) && refused.errors.contains("bytes at once"), "\(refused)")
    try await bench.stop()
  }
}

/// What a test hands to a thread and leaves to it.
private final class UncheckedBox<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
