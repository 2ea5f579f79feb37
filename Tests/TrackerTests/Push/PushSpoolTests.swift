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

  private func spool(in directory: TemporaryDirectory, metrics: PushMetrics = PushMetrics(MetricRegistry()))
    -> PushSpool
  {
    PushSpool(path: "\(directory.path)/spool", partition: 0, partitionCount: 1, metrics: metrics)
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
    let content = try self.spool(in: directory).load()
    #expect(content.map(\.run) == [call.run])
    #expect(content[0].announces.map(\.announce.record.uploaded) == [0, 5_000_000_000, 7, 9])
    #expect(content[0].announces[1].announce.record.event == .stopped)
  }

  @Test("orders of a process that did not know the common clock are corrected by the one that reads them")
  func ownClock() throws {
    let directory = try TemporaryDirectory()
    let queue = EventQueue()
    put([makeRecord(uploaded: 1)], into: queue)
    let spool = spool(in: directory)
    spool.write(unsent: [], run: call.run, queue: queue, correctionMicroseconds: nil)
    put([makeRecord(uploaded: 2)], into: queue)
    spool.write(unsent: [], run: call.run, queue: queue, correctionMicroseconds: 32)
    let content = try self.spool(in: directory).load()
    // Both came at 1 us, by the clock of their machine, which is 320 us behind.
    let orders = content[0].announces.map { spooled in
      var records = PushRecords()
      records.append(spooled.announce, number: spooled.number, run: call.run, ownClockCorrectionMicroseconds: 320)
      return records.bytes[14]
    }
    #expect(orders == [20, 2])
    // With the clock off nothing is known of when they came.
    var off = call
    off.correctionMicroseconds = 500_000
    #expect(off.ownClockCorrectionMicroseconds == 500_000)
    for (correction, wall) in [(3_600_000_000, 0), (0, -3_600_000_000)] as [(Int64, Int64)] {
      (off.correctionMicroseconds, off.wallCorrectionMicroseconds) = (correction, wall)
      var records = PushRecords()
      records.append(
        content[0].announces[0].announce, number: 0, run: call.run,
        ownClockCorrectionMicroseconds: off.ownClockCorrectionMicroseconds)
      #expect(records.bytes[14..<20].allSatisfy { $0 == 255 })
    }
    // It stays so when it is spooled again.
    self.spool(in: directory).write(restored: content, unsent: [], run: call.run, queue: EventQueue())
    #expect(try self.spool(in: directory).load()[0].announces.map(\.announce.isByOwnClock) == [true, false])
  }

  @Test("what an earlier version left stays as it was, beside what comes later, until all is applied")
  func takenBack() throws {
    let directory = try TemporaryDirectory()
    let old = URL(fileURLWithPath: "\(directory.path)/spool")
    let runs = (0..<3).map { PushRun(id: UInt64($0 + 1), generationBase: 0) }
    func content() throws -> [[UInt64]] {
      try spool(in: directory).load().map { [$0.run.id] + $0.announces.map(\.announce.record.uploaded) }
    }
    let queues = (0..<3).map { _ in EventQueue() }
    put([makeRecord(uploaded: 1), makeRecord(uploaded: 2)], into: queues[0])
    spool(in: directory).write(unsent: [], run: runs[0], queue: queues[0])
    let left = try Data(contentsOf: old)
    for process in 1..<3 {
      let spool = spool(in: directory)
      let restored = try spool.load()
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
    _ = try last.load()
    last.remove(queue: queues[0])
    #expect(try content().isEmpty)
    // And then it begins with a file that the old version reads.
    last.write(unsent: [], run: runs[0], queue: queues[0])
    #expect(try Data(contentsOf: old) == left)
  }

  @Test("a file without a record is read as none and removed")
  func empty() throws {
    let directory = try TemporaryDirectory()
    try Data(PushSpoolFormat.header(run: call.run, partition: 0, partitionCount: 1)).write(
      to: URL(fileURLWithPath: "\(directory.path)/spool"))
    let spool = spool(in: directory)
    #expect(try spool.load().isEmpty)
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
    let content = try spool(in: directory, metrics: metrics).load()
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
    let content = try self.spool(in: directory).load()
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
