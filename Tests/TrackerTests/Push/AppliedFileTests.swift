import Foundation
import Linux
import Simulation
import Testing

@testable import Tracker

/// What a spool keeps of calls that Redis had applied, and what the next process makes of it.
@Suite("the spool's file of applied calls") struct AppliedFileTests {
  private let run = PushRun(id: 5, generationBase: 6)

  private func spool(
    in directory: TemporaryDirectory, metrics: PushMetrics = PushMetrics(MetricRegistry()), partitions: Int = 1
  ) -> PushSpool {
    PushSpool(path: "\(directory.path)/spool", partition: 0, partitionCount: partitions, metrics: metrics)
  }

  private func announce(_ order: UInt64, _ basis: OrderBasis = .common) -> QueuedAnnounce {
    var announce = QueuedAnnounce(record: makeRecord(peer: Int(order), uploaded: order), order: order, announces: 3)
    announce.basis = basis
    return announce
  }

  private func call(_ first: UInt64, _ count: Int, run: PushRun? = nil, told: Range<UInt64>? = nil) -> PushBatch {
    PushBatch(
      run: run ?? self.run, first: first, announces: (0..<count).map { announce(first + UInt64($0)) },
      tails: told.map { Array("told of \($0)".utf8) } ?? [], tailsFirst: told?.lowerBound ?? 0,
      tailsEnd: told?.upperBound ?? 0)
  }

  private func exists(_ name: String, in directory: TemporaryDirectory) -> Bool {
    FileManager.default.fileExists(atPath: "\(directory.path)/\(name)")
  }

  @Test("calls are read as they were held, what was told of them included, in a file beside the spool")
  func roundTrip() throws {
    let directory = try TemporaryDirectory()
    let other = PushRun(id: 7, generationBase: 8)
    let calls = [
      call(10, 256, told: 10..<266), call(266, 2, told: 267..<268), call(268, 1),
      call(0, 40, run: other, told: 0..<40),
    ]
    let spool = spool(in: directory)
    spool.write(unsent: [], run: run, queue: EventQueue())
    spool.keep(calls, run: other, doubt: CommonClock.Doubt(until: 268, by: 1 << 20))
    #expect(spool.state == SpoolState(keepsApplied: true) && !exists("spool", in: directory))
    #expect(exists("spool.applied", in: directory) && !exists("spool.applied.new", in: directory))
    let next = self.spool(in: directory)
    let content = try next.load()
    #expect(next.state == SpoolState(keepsApplied: true) && content.owed.isEmpty)
    #expect(content.applied.map(\.run) == calls.map(\.run) && content.applied.map(\.first) == calls.map(\.first))
    #expect(content.applied.map(\.tails) == calls.map(\.tails) && content.applied.map(\.count) == calls.map(\.count))
    #expect(content.applied.map(\.isWhollyRestorable) == [true, false, false, true])
    #expect(content.applied.map { $0.announces.map(\.order) } == calls.map { $0.announces.map(\.order) })
    #expect(content.applied[0].announces[200].record.uploaded == 210 && content.applied[0].announces[0].announces == 3)
    // Of what can only be sent again.
    #expect(content.doubt == CommonClock.Doubt(until: 267 + 16, by: 1 << 20))
    next.remove(queue: EventQueue())
    #expect(next.state == SpoolState() && !exists("spool.applied", in: directory))
    #expect(try self.spool(in: directory).load().isEmpty)
  }

  @Test("their orders are those that the script was told, whatever clock they were by")
  func orders() throws {
    let directory = try TemporaryDirectory()
    let batch = PushBatch()
    var call = PushCall(
      partition: PushPartition.all(streamKey: "s", lastKeyPrefix: "l", count: 1)[0], run: run, scriptHash: "",
      ttlSeconds: 1, maximumStreamLength: 0, creditFirstAnnounce: false)
    (call.correctionMicroseconds, call.wallCorrectionMicroseconds) = (3_000_000, 3_000_000)
    let announces = [announce(1000, .process), announce(1000, .common), announce(1000, .machine)]
    let spooled = announces.enumerated().map { SpooledAnnounce(number: UInt64($0.offset), announce: $0.element) }
    batch.fill(from: spooled[...], call: call, gapFrom: nil)
    spool(in: directory).keep([batch], run: run, doubt: CommonClock.Doubt())
    let kept = try spool(in: directory).load().applied[0].announces
    #expect(kept.map(\.order) == [3_001_000, 1000, 3_001_000] && kept.allSatisfy { $0.basis == .common })
  }

  @Test("a file that is not whole is read up to its last whole call, and the rest counted", arguments: [0, 1, 2])
  func torn(whole: Int) throws {
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/spool.applied"
    spool(in: directory).keep(
      (0..<3).map { call(UInt64($0), 1, told: UInt64($0)..<UInt64($0) + 1) }, run: run, doubt: CommonClock.Doubt())
    let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    let size = (bytes.count - PushSpoolFormat.headerBytes) / 3
    // Bytes of all parts of the call behind the last whole one, then lengths.
    for flipped in [true, false] {
      for place in stride(from: 0, to: size, by: 7) {
        var damaged = bytes
        let at = PushSpoolFormat.headerBytes + whole * size + place
        if flipped { damaged[at] ^= 1 } else { damaged = damaged.prefix(at) }
        try damaged.write(to: URL(fileURLWithPath: path))
        let metrics = PushMetrics(MetricRegistry())
        let applied = try spool(in: directory, metrics: metrics).load().applied
        #expect(applied.map(\.first) == Array(0..<UInt64(whole)), "\(place)")
        #expect((metrics.spoolTorn.current > 0) == (flipped || place > 0))
        #expect(exists("spool.applied", in: directory) == (whole > 0))
      }
    }
  }

  @Test("a disk without room for it leaves the spool as it is, and nothing behind")
  func diskFull() throws {
    let directory = try TemporaryDirectory()
    let metrics = PushMetrics(MetricRegistry())
    let spool = spool(in: directory, metrics: metrics)
    let queue = EventQueue()
    withUnsafePointer(to: makeRecord(uploaded: 7)) { _ = queue.append(UnsafeBufferPointer(start: $0, count: 1)) }
    try FileManager.default.createSymbolicLink(
      atPath: "\(directory.path)/spool.applied.new", withDestinationPath: "/dev/full")
    spool.write(unsent: [], run: run, queue: queue)
    spool.keep([call(0, 3, told: 0..<3)], run: run, doubt: CommonClock.Doubt())
    #expect(spool.state == SpoolState(isActive: true, through: 1) && metrics.spoolErrors.current == 1)
    #expect(!exists("spool.applied.new", in: directory) && !exists("spool.applied", in: directory))
    #expect(try self.spool(in: directory).load().owed.map(\.announces.count) == [1])
  }

  @Test("what is applied is owed no more, and what is owed below it is held, to be asked for")
  func settled() {
    let other = PushRun(id: 7, generationBase: 8)
    func owed(_ numbers: [UInt64], run: PushRun) -> SpooledRun {
      SpooledRun(run: run, announces: numbers.map { SpooledAnnounce(number: $0, announce: announce($0)) })
    }
    let content = SpoolContent(
      owed: [
        owed([1, 2, 4, 5, 6, 20], run: run), owed([21, 22], run: run), owed([8], run: other),
        owed(Array(0..<600), run: PushRun(id: 9, generationBase: 1)),
      ],
      applied: [
        call(5, 1, told: 5..<6), call(7, 3, told: 7..<10), call(8, 1, run: other),
        call(600, 1, run: PushRun(id: 9, generationBase: 1)),
      ])
    #expect(content.owed.map { $0.announces.map(\.number) } == [[20], [21, 22]])
    #expect(
      content.applied.map { [$0.run.id, $0.first, $0.end] } == [
        [5, 1, 3], [5, 4, 5], [5, 5, 6], [5, 6, 7], [5, 7, 10], [7, 8, 9], [9, 0, 256], [9, 256, 512], [9, 512, 600],
        [9, 600, 601],
      ])
    #expect(
      content.applied.map(\.isRestorable) == [false, false, true, false, true] + Array(repeating: false, count: 5))
  }

  @Test("of the common clock's orders those from before a process' own say when those were, and no later ones")
  func past() {
    func owed(_ run: PushRun, _ announces: [QueuedAnnounce]) -> SpooledRun {
      SpooledRun(
        run: run, announces: announces.enumerated().map { SpooledAnnounce(number: UInt64($0), announce: $1) })
    }
    var alone = announce(30)
    alone.announces = 1
    let later = owed(PushRun(id: 9, generationBase: 1), [announce(95)])
    // The second has the number of the first it stands for, which came before 40.
    let mixed = owed(run, [alone, announce(60), announce(40, .process), announce(45, .process), announce(90)])
    let content = SpoolContent(owed: [mixed, later], applied: [call(5, 2, run: PushRun(id: 7, generationBase: 8))])
    #expect(content.past.highest == 30 && content.past.firstOwn == 40)
    let before = SpoolContent(owed: [mixed], applied: [call(35, 2, run: PushRun(id: 7, generationBase: 8))])
    #expect(before.past.highest == 36, "of an earlier run it counts, whatever it stands for")
  }

  @Test("one of another partitioning says what to do")
  func foreign() throws {
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/spool"
    spool(in: directory).keep([call(0, 1, told: 0..<1)], run: run, doubt: CommonClock.Doubt())
    func text(_ body: () throws -> Void) -> String {
      do { try body() } catch { return "\(error)" }
      return ""
    }
    // Under its name, as `partitions: 1` leaves it, and under that of the first of two.
    let found = text { try SpoolReader.refuseForeignFiles(path: path, partitionCount: 2) }
    try FileManager.default.moveItem(atPath: path + ".applied", toPath: path + ".p0.applied")
    let read = text { _ = try spool(in: directory, partitions: 2).load() }
    for text in [found, read] {
      #expect(text.contains("start once with that, while redis answers, until the file is gone, then change it"))
      #expect(text.contains("where redis has lost nothing since, the file may be deleted instead"))
    }
    #expect(found.contains("spool.applied") && read.contains("partitions: 1:"))
    #expect(text { try SpoolReader.refuseForeignFiles(path: path, partitionCount: 1) }.contains("p0.applied"))
  }
}
