import Foundation
import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

/// What a spool holds after whatever happened to the queue meanwhile.
@Suite("the spool's file") struct PushSpoolTests {
  private let call = PushCall(
    partition: PushPartition.all(streamKey: "tracker:traffic", lastKeyPrefix: "tracker:last", count: 1)[0],
    run: PushRun(), scriptHash: String(repeating: "a", count: 40), ttlSeconds: 86400, maximumStreamLength: 0,
    creditFirstAnnounce: false)

  private func spool(
    in directory: TemporaryDirectory, metrics: PushMetrics = PushMetrics(MetricRegistry()),
    clock: OrderClock = .process
  ) -> PushSpool {
    PushSpool(path: "\(directory.path)/spool", partition: 0, partitionCount: 1, metrics: metrics, clock: clock)
  }

  private func put(_ records: [AnnounceRecord], into queue: EventQueue) {
    records.withUnsafeBufferPointer { _ = queue.append($0, order: 1) }
  }

  @Test("what left the queue for the window since the last write is in the file, in its newest form")
  func window() throws {
    let directory = try TemporaryDirectory()
    let queue = EventQueue(limits: EventQueue.Limits(capacityEvents: 100, coalesceAbove: 0, coalesceBelow: 0))
    let spool = spool(in: directory)
    put([makeRecord(uploaded: 0), makeRecord(uploaded: 1)], into: queue)
    spool.write(unsent: [], run: call.run, queue: queue)
    // The second announce takes a `stopped` of five gigabytes in, and a third session comes; both go to the window.
    put([makeRecord(uploaded: 5_000_000_000, event: .stopped), makeRecord(peer: 2, uploaded: 7)], into: queue)
    let batch = PushBatch()
    #expect(batch.fill(from: queue, call: call, willWait: false))
    put([makeRecord(peer: 3, uploaded: 9)], into: queue)
    spool.write(unsent: [batch], run: call.run, queue: queue)
    let content = try self.spool(in: directory).load().owed
    #expect(content.map(\.run) == [call.run])
    #expect(content[0].announces.map(\.announce.record.uploaded) == [0, 5_000_000_000, 7, 9])
    #expect(content[0].announces[1].announce.record.event == .stopped)
  }

  @Test("what the swarm did not know is not known after a restart either", arguments: [false, true], [false, true])
  func gone(isGone: Bool, followsOwn: Bool) throws {
    var announce = QueuedAnnounce(record: makeRecord(uploaded: 5, event: .stopped), order: 9)
    announce.record.isGone = isGone
    announce.followsOwn = followsOwn
    var bytes = [UInt8](repeating: 0, count: PushSpoolFormat.recordBytes)
    bytes.withUnsafeMutableBytes { PushSpoolFormat.encode(7, announce, to: $0.baseAddress!) }
    guard case .announce(7, let read, _) = bytes.withUnsafeBytes({ PushSpoolFormat.decode(record: $0) }) else {
      Issue.record("no announce")
      return
    }
    #expect(read.record.isGone == isGone && read.followsOwn == followsOwn && read.record.event == .stopped)
  }

  /// Of a machine that was started at second 0, and again: `boot`.
  private func clock(boot: String, at seconds: UInt64, wall: UInt64) -> OrderClock {
    let now = seconds * 1_000_000_000
    // CLOCK_MONOTONIC does not count what a machine sleeps.
    return OrderClock(
      wallNanoseconds: wall * 1_000_000_000, atMonotonicNanoseconds: now / 2, bootNanoseconds: now, boot: boot)
  }

  @Test("orders of a process whose clock was wrong and that never met Redis are put right by the next of the boot")
  func wrongClock() throws {
    let directory = try TemporaryDirectory()
    let (record, run) = (makeRecord(uploaded: 1), call.run)
    /// What the record's order is for Redis, of a process whose clock is behind the trackers' by so much.
    func seconds(_ announce: QueuedAnnounce, behind: Int64) -> UInt64 {
      var records = PushRecords()
      var call = call
      call.correctionMicroseconds = behind * 1_000_000
      records.append(
        announce, number: 0, run: run, correctionMicroseconds: call.correctionMicroseconds,
        machineCorrectionMicroseconds: call.machineCorrectionMicroseconds)
      let ticks = records.bytes[14..<20].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      return ticks * PushScript.orderTickMicroseconds / 1_000_000
    }
    // Two days ahead of the trackers' clock, which is 1,000,000 s ahead of the time since the boot.
    let first = clock(boot: "one", at: 1000, wall: 1_172_800 + 1000)
    let queue = EventQueue()
    withUnsafePointer(to: record) {
      // 20 s later.
      let order = first.microseconds(atMonotonicNanoseconds: 520_000_000_000)
      _ = queue.append(UnsafeBufferPointer(start: $0, count: 1), order: order)
    }
    let spool = spool(in: directory, clock: first)
    spool.write(unsent: [], run: run, queue: queue, correctionMicroseconds: nil)
    // The clock was put right; or is off by something else.
    for off: UInt64 in [0, 500] {
      let second = clock(boot: "one", at: 2000, wall: 1_002_000 + off)
      let announce = try #require(self.spool(in: directory, clock: second).load().owed.first?.announces.first?.announce)
      #expect(seconds(announce, behind: -Int64(off)) == 1_001_020)
    }
    // In another boot nobody knows; nor what a process without a boot's name left.
    let other = clock(boot: "two", at: 2000, wall: 1_002_000)
    let kept = try #require(self.spool(in: directory, clock: other).load().owed.first?.announces.first?.announce)
    #expect(kept.basis == .machine && seconds(kept, behind: 0) == 1_001_020 + 172_800)
    // One after the other that does not meet Redis either, and spools it again, in files of its own.
    var restored = try self.spool(in: directory, clock: first).load().owed
    for (wall, boot) in [(1_999_000, "one"), (1_003_000, "one"), (1_000_900, "one")] as [(UInt64, String)] {
      let next = clock(boot: boot, at: 3000, wall: wall)
      try FileManager.default.removeItem(atPath: "\(directory.path)/spool")
      let again = self.spool(in: directory, clock: first)
      again.write(restored: restored, unsent: [], run: PushRun(), queue: EventQueue(), correctionMicroseconds: nil)
      restored = try self.spool(in: directory, clock: next).load().owed
      let announce = try #require(restored.first?.announces.first?.announce)
      #expect(restored.first?.run == run && seconds(announce, behind: 1_003_000 - Int64(wall)) == 1_001_020)
      restored = try self.spool(in: directory, clock: first).load().owed
    }
  }

  @Test("what is in doubt since a machine stood still is so in the file at once, and in that of the next process")
  func doubt() throws {
    let directory = try TemporaryDirectory()
    let queue = EventQueue()
    put([makeRecord(uploaded: 1)], into: queue)
    let spool = spool(in: directory)
    let batch = PushBatch()
    var call = call
    call.correctionMicroseconds = 100
    #expect(batch.fill(from: queue, call: call, willWait: false))
    put([makeRecord(peer: 2, uploaded: 2)], into: queue)
    spool.write(unsent: [batch], run: call.run, queue: queue, correctionMicroseconds: 100)
    func load() throws -> [SpooledRun] { try self.spool(in: directory).load().owed }
    #expect(try load().map(\.doubt) == [CommonClock.Doubt()])
    // It is found. Nothing has come, and of what comes then nothing is in doubt.
    let found = CommonClock.Doubt(until: 500, by: 15_000_000)
    spool.write(unsent: [batch], run: call.run, queue: queue, correctionMicroseconds: 400, doubt: found)
    let kept = CommonClock.Doubt(until: 401 + 16, by: 1 << 24)
    #expect(try load().map(\.doubt) == [kept])
    put([makeRecord(peer: 3, uploaded: 3)], into: queue)
    spool.write(unsent: [batch], run: call.run, queue: queue, correctionMicroseconds: 900, doubt: found)
    let restored = try load()
    #expect(restored.map(\.doubt) == [kept])
    let announces = restored[0].announces.map(\.announce)
    #expect(announces.map(\.order) == [101, 401, 901])
    #expect(announces.map(\.basis) == [.common, .common, .common])
    // One that does not reach Redis either.
    let other = try TemporaryDirectory()
    self.spool(in: other).write(restored: restored, unsent: [], run: PushRun(), queue: EventQueue(), doubt: kept)
    #expect(try self.spool(in: other).load().owed.map(\.doubt) == [kept])
  }

  @Test("orders by a clock of another boot are corrected by the process that reads them")
  func machineClock() throws {
    let directory = try TemporaryDirectory()
    let queue = EventQueue()
    put([makeRecord(uploaded: 1)], into: queue)
    let spool = spool(in: directory, clock: clock(boot: "one", at: 10, wall: 10))
    spool.write(unsent: [], run: call.run, queue: queue, correctionMicroseconds: nil)
    put([makeRecord(uploaded: 2)], into: queue)
    spool.write(unsent: [], run: call.run, queue: queue, correctionMicroseconds: 32)
    let content = try self.spool(in: directory, clock: clock(boot: "two", at: 10, wall: 10)).load().owed
    // Both came at 1 us, by the clock of their machine, which is 320 us behind.
    let orders = content[0].announces.map { spooled in
      var records = PushRecords()
      records.append(spooled.announce, number: spooled.number, run: call.run, machineCorrectionMicroseconds: 320)
      return records.bytes[14]
    }
    #expect(orders == [20, 2])
    // With the clock off nothing is known of when they came.
    var off = call
    off.correctionMicroseconds = 500_000
    #expect(off.machineCorrectionMicroseconds == 500_000)
    for (correction, wall) in [(3_600_000_000, 0), (0, -3_600_000_000)] as [(Int64, Int64)] {
      (off.correctionMicroseconds, off.wallCorrectionMicroseconds) = (correction, wall)
      var records = PushRecords()
      records.append(
        content[0].announces[0].announce, number: 0, run: call.run,
        machineCorrectionMicroseconds: off.machineCorrectionMicroseconds)
      #expect(records.bytes[14..<20].allSatisfy { $0 == 255 })
    }
    // It stays so when it is spooled again.
    self.spool(in: directory).write(restored: content, unsent: [], run: call.run, queue: EventQueue())
    #expect(try self.spool(in: directory).load().owed[0].announces.map(\.announce.basis) == [.machine, .common])
  }

  @Test("what an order of an older version is by is not known: it is the machine's, who did not know the common clock")
  func olderVersion() throws {
    var bytes = [UInt8](repeating: 0, count: PushSpoolFormat.recordBytes)
    let kinds: [(UInt8, OrderBasis, UInt64)] = [
      (0, .machine, 0), (1, .machine, 0), (2, .common, 0), (3, .common, 2), (55, .common, 1 << 53),
      (255, .common, 1 << 53),
    ]
    for (kind, basis, doubt) in kinds {
      bytes.withUnsafeMutableBytes {
        PushSpoolFormat.encode(7, QueuedAnnounce(record: makeRecord(uploaded: 5), order: 9), to: $0.baseAddress!)
        $0[179] = kind
        let sum = CRC32.checksum(UnsafeRawBufferPointer(rebasing: $0[..<188]))
        $0.storeBytes(of: sum.littleEndian, toByteOffset: 188, as: UInt32.self)
      }
      let record = bytes.withUnsafeBytes { PushSpoolFormat.decode(record: $0) }
      guard case .announce(7, let announce, doubt) = record else {
        Issue.record("no announce")
        return
      }
      #expect(announce.basis == basis && announce.order == 9)
    }
  }

  @Test("what an earlier version left stays as it was, beside what comes later, until all is applied")
  func takenBack() throws {
    let directory = try TemporaryDirectory()
    let old = URL(fileURLWithPath: "\(directory.path)/spool")
    let runs = (0..<3).map { PushRun(id: UInt64($0 + 1), generationBase: 0) }
    func content() throws -> [[UInt64]] {
      try spool(in: directory).load().owed.map { [$0.run.id] + $0.announces.map(\.announce.record.uploaded) }
    }
    let queues = (0..<3).map { _ in EventQueue() }
    put([makeRecord(uploaded: 1), makeRecord(uploaded: 2)], into: queues[0])
    spool(in: directory).write(unsent: [], run: runs[0], queue: queues[0])
    let left = try Data(contentsOf: old)
    for process in 1..<3 {
      let spool = spool(in: directory)
      let restored = try spool.load().owed
      put([makeRecord(uploaded: UInt64(process * 10))], into: queues[process])
      spool.write(restored: restored, unsent: [], run: runs[process], queue: queues[process])
      // A version that knows one run only finds its own.
      #expect(try Data(contentsOf: old) == left)
    }
    #expect(try content() == [[1, 1, 2], [2, 10], [3, 20]])
    // The old version was there, has published its file, and removed it.
    try FileManager.default.removeItem(at: old)
    #expect(try content() == [[2, 10], [3, 20]])
    try left.write(to: old)
    let last = spool(in: directory)
    _ = try last.load().owed
    last.remove(queue: queues[0])
    #expect(try content().isEmpty)
    // And then it begins with a file that the old version reads.
    last.write(unsent: [], run: runs[0], queue: queues[0])
    #expect(try Data(contentsOf: old) == left)
  }

  @Test("a file without a record is read as none and removed")
  func empty() throws {
    let directory = try TemporaryDirectory()
    try Data(PushSpoolFormat.header(run: call.run, anchor: nil, partition: 0, partitionCount: 1)).write(
      to: URL(fileURLWithPath: "\(directory.path)/spool"))
    let spool = spool(in: directory)
    #expect(try spool.load().owed.isEmpty)
    #expect(!spool.state.isActive && !FileManager.default.fileExists(atPath: "\(directory.path)/spool"))
  }

  @Test(
    "what was not written whole, and all behind what is damaged, is counted",
    arguments: [(3, 0, 3), (1, 191, 3), (1, 1, 3), (1, 1, 1200)])
  func torn(whole: Int, bytes: Int, written: Int) throws {
    let directory = try TemporaryDirectory()
    let queue = EventQueue()
    put((0..<written).map { makeRecord(peer: $0, uploaded: 1) }, into: queue)
    spool(in: directory).write(unsent: [], run: call.run, queue: queue)
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: "\(directory.path)/spool"))
    let header = PushSpoolFormat.headerBytes
    if bytes == 1 {
      try file.seek(toOffset: UInt64(header + whole * PushSpoolFormat.recordBytes))
      try file.write(contentsOf: [255])
    } else if bytes > 0 {
      try file.truncate(atOffset: UInt64(header + whole * PushSpoolFormat.recordBytes + bytes))
    }
    try file.close()
    let metrics = PushMetrics(MetricRegistry())
    let content = try spool(in: directory, metrics: metrics).load().owed
    #expect(content.reduce(0) { $0 + $1.announces.count } == whole)
    #expect(metrics.spoolTorn.current == (bytes == 1 ? UInt64(written - whole) : bytes > 0 ? 1 : 0))
  }

  @Test("runs of earlier processes are kept apart, in their order, holes and all")
  func runs() throws {
    let directory = try TemporaryDirectory()
    let queue = EventQueue()
    let spool = spool(in: directory)
    let old = SpooledRun(
      run: PushRun(),
      announces: [7, 8, 12].map {
        SpooledAnnounce(number: $0, announce: QueuedAnnounce(record: makeRecord(uploaded: $0)))
      })
    put([makeRecord(uploaded: 100), makeRecord(uploaded: 101)], into: queue)
    spool.write(restored: [old], unsent: [], run: call.run, queue: queue)
    put([makeRecord(uploaded: 102)], into: queue)
    spool.write(restored: [old], unsent: [], run: call.run, queue: queue)
    let content = try self.spool(in: directory).load().owed
    #expect(content.map(\.run) == [old.run, call.run])
    #expect(content.map { $0.announces.map(\.number) } == [[7, 8, 12], [0, 1, 2]])
    #expect(content.map { $0.announces.map(\.announce.record.uploaded) } == [[7, 8, 12], [100, 101, 102]])
  }

  @Test("a second tracker with the same spool does not start and names it; when the first is gone it does")
  func shared() async throws {
    let directory = try TemporaryDirectory()
    var options = TrafficPushOptions(redisBroker: "redis://127.0.0.1:1")
    options.spoolPath = "\(directory.path)/spool"
    let first = try TrafficPush(options: options, metrics: MetricRegistry())
    try first.start()
    let second = try TrafficPush(options: options, metrics: MetricRegistry())
    let error = #expect(throws: TrafficPushError.self) { try second.start() }
    #expect(error?.description.contains("\(directory.path)/spool is used by another tracker") == true)
    first.shutdown()
    // A child that another test is starting holds the lock's descriptor until its exec.
    try await eventually("the lock is free") { (try? second.start()) != nil }
    second.shutdown()
  }
}
