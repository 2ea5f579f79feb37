import Simulation
import Testing

@testable import Tracker

/// What a spool kept, from its records in any order to what is sent.
@Suite("what a spool kept") struct SpooledRunsTests {
  private static func run(_ id: UInt64) -> PushRun { PushRun(id: id, generationBase: 0) }
  private static func announce(_ number: UInt64, uploaded: UInt64) -> SpooledAnnounce {
    SpooledAnnounce(number: number, announce: QueuedAnnounce(record: makeRecord(uploaded: uploaded), order: 0))
  }

  @Test(
    "of a number the last record counts, in whatever order they come and however many parts it takes",
    arguments: 0..<4)
  func lastOfEach(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var kept: [UInt64: [UInt64: UInt64]] = [:]
    var runs = SpooledRuns(newest: Self.run(1))
    var (run, number): (UInt64, UInt64) = (1, 0)
    for value in 0..<UInt64(20_000) {
      if random.chance(oneIn: 2000) {
        run = UInt64.random(in: 1...3, using: &random)
        runs.begin(Self.run(run))
      }
      number = random.chance(oneIn: 10) ? UInt64.random(in: 0...(number + 3), using: &random) : number + 1
      runs.add(Self.announce(number, uploaded: value))
      kept[run, default: [:]][number] = value
    }
    var records = RestoredRecords(runs.inOrder)
    #expect(records.count == kept.values.reduce(0) { $0 + $1.count })
    #expect(runs.inOrder.last?.run == Self.run(1))
    var taken: [UInt64: [UInt64: UInt64]] = [:]
    var last: (run: UInt64, number: UInt64)?
    while let run = records.run?.id {
      let hole = records.hole
      let before = records.count
      #expect(records.rest.reduce(0) { $0 + $1.announces.count } == before)
      let some = records.take(256)
      #expect(records.count == before - some.count && some.count <= 256)
      let isFollowing = last.map { $0.run != run || $0.number + 1 == some.first!.number } ?? true
      #expect(hole == (isFollowing ? nil : last!.number + 1))
      for announce in some {
        #expect(last.map { $0.run != run || $0.number < announce.number } ?? true)
        last = (run, announce.number)
        taken[run, default: [:]][announce.number] = announce.announce.record.uploaded
      }
      #expect(some.last!.number - some.first!.number == UInt64(some.count - 1))
    }
    #expect(taken == kept)
  }
}
