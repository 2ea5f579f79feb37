// A backup beside the writer: one moment, whatever is committed meanwhile; and the lock, which beats by itself.

import Foundation
import Glibc
import Redis
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("A backup") struct BackupTests {
  private func bench(entries: Int) async throws -> (RedisServer, StreamBench) {
    let directory = try TemporaryDirectory()
    let server = try await RedisServer.start(in: directory)
    let bench = try StreamBench(server: server, database: 0)
    for index in 0..<entries { try bench.add(EventMaker().event(du: 5, ts: 1_700_000_000 + Int64(index))) }
    return (server, bench)
  }

  @Test("entries are committed while it is made; it holds what was there when it began, and says so itself")
  func meanwhile() async throws {
    let (server, bench) = try await bench(entries: 10)
    try bench.apply(0..<4)
    let path = "\(bench.directory.path)/copy.db"
    var parts = 0
    try bench.writer.beginBackup(to: path)
    let (floors, _) = try StoreBackup.make(of: bench.databasePath, to: path, pagesPerStep: 4) {
      if parts < 6 { #expect((try? bench.apply(4 + parts..<5 + parts))?.applied == 1) }
      parts += 1
      return true
    }
    try bench.writer.endBackup(floors)
    #expect(parts > 6)
    #expect(try bench.reader().integer("SELECT sum(uploaded) FROM users") == 50)
    let copy = try StoreConnection.openForReading(path: path)
    #expect(try copy.integer("SELECT sum(uploaded) FROM users") == 20)
    #expect(try StoreCheck.run(copy).filter { !$0.isOK } == [])
    // A copy that is restored twice has to keep the stream for itself.
    #expect(try StreamTable.read(name: StreamBench.stream, from: copy)?.backupFloor == bench.ids[3])
    #expect(bench.writer.streams[0].backupFloor == bench.ids[3])
    withExtendedLifetime(server) {}
  }

  @Test("what came back below its end while it was made is not in it: the stream keeps it")
  func cameBack() async throws {
    let (server, bench) = try await bench(entries: 10)
    try bench.apply(0..<3)
    try bench.writer.make(.accounted(through: bench.ids[2]), stream: 0)
    try bench.apply(6..<10)
    let before = Accounted(through: bench.ids[2], counted: 3)
    let missing = MissingEntries(entries: 3, through: bench.ids[9], counted: 10, since: before)
    try bench.writer.make(.lost(missing), stream: 0)
    try bench.writer.make(.accounted(through: bench.ids[9]), stream: 0)
    let path = "\(bench.directory.path)/copy.db"
    try bench.writer.beginBackup(to: path)
    let (floors, _) = try StoreBackup.make(of: bench.databasePath, to: path, pagesPerStep: 4)
    #expect(floors.floors[StreamBench.stream]?.id == bench.ids[9])
    try bench.apply(4..<5)
    try bench.writer.endBackup(floors)
    #expect(bench.writer.streams[0].backupFloor == bench.ids[4])
    withExtendedLifetime(server) {}
  }

  @Test("the first one keeps the stream from its beginning on; one that fails or is killed does so no longer")
  func keepsFromItsBeginning() async throws {
    let (server, bench) = try await bench(entries: 6)
    let path = "\(bench.directory.path)/copy.db"
    var floor: EntryID? { bench.writer.streams[0].backupFloor }
    try bench.apply(0..<3)
    try bench.writer.beginBackup(to: path)
    #expect(floor == bench.ids[2])
    try bench.apply(3..<4)
    try bench.writer.giveUpBackup()
    #expect(floor == nil)
    // Killed before the copy is in its place, then after it and before the writer heard of it.
    try bench.writer.beginBackup(to: path)
    #expect(floor == bench.ids[2])
    try bench.restart()
    #expect(floor == nil)
    try bench.writer.beginBackup(to: path)
    _ = try StoreBackup.make(of: bench.databasePath, to: path)
    try bench.apply(4..<5)
    try bench.restart()
    #expect(floor == bench.ids[2])
    #expect(try MetaTable.integer(MetaTable.backupTime, in: bench.reader()) != nil)
    #expect(try MetaTable.text(MetaTable.backupPath, in: bench.reader()) == nil)
    // A later one that fails leaves the earlier one what it needs.
    try bench.writer.beginBackup(to: path + "2")
    try bench.restart()
    #expect(floor == bench.ids[2])
    // What began after it is not in it at all.
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: .zero), stream: 0)
    #expect(floor == .zero)
    let more = try StoreWriter(
      settings: StoreWriter.Settings(
        databasePath: bench.databasePath, streamNames: [StreamBench.stream, "new"], windowSeconds: 3600,
        maximumDeliveries: 3))
    #expect(more.streams.map(\.backupFloor) == [.zero, .zero])
    withExtendedLifetime(server) {}
  }

  @Test("the database itself and the files beside it are no place for a copy; one told to end leaves none")
  func refused() async throws {
    let (server, bench) = try await bench(entries: 2)
    try bench.apply(0..<2)
    let other = "\(bench.directory.path)/link.db"
    try FileManager.default.linkItem(atPath: bench.databasePath, toPath: other)
    for path in [bench.databasePath, bench.databasePath + "-wal", bench.databasePath + ".lock", other] {
      #expect(throws: StoreError.ownFile(path)) { try bench.writer.backup(to: path) }
    }
    try bench.apply(0..<2)
    #expect(try bench.faults() == [])
    let path = "\(bench.directory.path)/copy.db"
    #expect(throws: StoreError.self) {
      try StoreBackup.make(of: bench.databasePath, to: path, pagesPerStep: 1) { false }
    }
    #expect(!FileManager.default.fileExists(atPath: path))
    #expect(!FileManager.default.fileExists(atPath: path + ".partial"))
    withExtendedLifetime(server) {}
  }

  @Test("the lock's heart beats while its holder is busy")
  func heart() async throws {
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/traffic.db"
    let lock = try StoreLock.tryTake(databasePath: path, replacesSilent: true)
    let isTaken = lock != nil
    #expect(isTaken)
    var long = [timeval(tv_sec: 1000, tv_usec: 0), timeval(tv_sec: 1000, tv_usec: 0)]
    #expect(utimes(path + ".lock", &long) == 0)
    try await eventually("it beats") {
      var info = stat()
      return stat(path + ".lock", &info) == 0 && info.st_mtim.tv_sec > 1000
    }
    withExtendedLifetime(lock) {}
  }
}

@Suite("The control socket") struct ControlSocketTests {
  @Test("clients that say nothing hold up nobody, and a daemon that stands still keeps its database from a verb")
  func silentAndStandingStill() async throws {
    let bench = try await ConsumerBench()
    let child = try bench.start()
    try await bench.waitUntilReady()
    let path = "\(bench.directory.path)/consumer.sock"
    try await eventually("the socket is there") { FileManager.default.fileExists(atPath: path) }
    var silent: [Int32] = []
    for _ in 0..<3 {
      if let socket = ControlSocket.connect(path, timeoutSeconds: 5) { silent.append(socket.release()) }
    }
    #expect(silent.count == 3)
    let status = try #require(try await bench.json(["status"]) as? [String: Any])
    #expect(status["ready"] as? Bool == true)
    for socket in silent { close(socket) }
    // A request that is none ends itself, and not the daemon.
    func ask(_ words: [String]) throws -> [String] {
      guard let connected = ControlSocket.connect(path, timeoutSeconds: 5) else { return [] }
      let socket = connected.release()
      defer { close(socket) }
      _ = ControlMessage(words: words).send(to: socket)
      return try #require(ControlMessage.receive(from: socket)).words
    }
    for count in [String(Int.max), "-1", "1", "x"] {
      #expect(try ask(["replay", "wet", count]).prefix(2) == ["error", "64"])
    }
    #expect(try ask(["replay"]).prefix(2) == ["error", "64"])
    // It does not move, and a verb that believes its lock stale must not write beside it.
    child.signal(SIGSTOP)
    defer { child.signal(SIGCONT) }
    var long = [timeval(tv_sec: 1000, tv_usec: 0), timeval(tv_sec: 1000, tv_usec: 0)]
    #expect(utimes(bench.databasePath + ".lock", &long) == 0)
    let result = try await CommandResult.run([
      Binaries.consumer, "dlq", "discard", "1", "--note", "x", "--config", bench.configPath,
    ])
    #expect(result.exit == .code(75), "\(result)")
    child.signal(SIGCONT)
    try bench.addMany(1)
    try await bench.awaitCredited(64)
    try await bench.stop()
  }
}
