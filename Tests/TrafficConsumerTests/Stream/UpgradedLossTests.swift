// Loss of entries without counters around an upgrade from a version that kept no fingerprints: what the entry holds cannot
// tell whether that version applied it. A reader on a model of a stream.

import Simulation
import Testing

@testable import TrafficConsumer

@Suite("Loss before an upgrade") struct UpgradedLossTests {
  private func settle(_ bench: ReaderBench) throws {
    for _ in 0..<3 { try bench.run(until: "ask survey") }
    try bench.run(until: "wait turn")
  }

  /// A reader that has read so many entries.
  private func bench(_ count: Int) throws -> ReaderBench {
    let bench = try ReaderBench { $0.trims = false }
    for _ in 0..<count { bench.add(hasCounters: false) }
    try bench.run(until: "ask acknowledge \(count)")
    try settle(bench)
    return bench
  }

  /// What is applied was applied by a version that kept no fingerprints.
  private func upgrade(_ bench: ReaderBench) throws {
    bench.now += 7_200_000_000_000
    try bench.writer.database.execute(
      """
      UPDATE streams SET upgraded_epoch = epoch, upgraded_through = (SELECT max(last) FROM applied_ranges WHERE epoch > 0);
      UPDATE sessions SET fingerprints = NULL; DELETE FROM fingerprints
      """)
    bench.writer.sessionTable.forget()
    try bench.reopen()
    bench.restart()
  }

  @Test(
    "what was deleted unread, and had come before the upgrade, is credited when it is there again",
    arguments: [false, true])
  func unread(isTrimmed: Bool) throws {
    let bench = try bench(3)
    let ids = (0..<5).map { _ in bench.add(hasCounters: false) }
    let whole = bench.stream
    for id in ids[1...2] { bench.stream.delete(id) }
    try upgrade(bench)
    try settle(bench)
    #expect(try bench.lost == 2 && bench.credited == bench.announced - 200)
    // Redis' file is put back, or what of it is not trimmed.
    bench.stream.putBack(isTrimmed ? Array(whole.entries.dropFirst(5)) : whole.entries)
    bench.restart()
    try settle(bench)
    try settle(bench)
    let missing: Int64 = isTrimmed ? 1 : 0
    #expect(try bench.credited == bench.announced - 100 * missing && bench.lost == missing)
    #expect(try bench.faults.isEmpty == !isTrimmed)
  }

  @Test("what was deleted in the midst of what the earlier version applied stays missing: it cannot be told from that")
  func applied() throws {
    let bench = try bench(3)
    let ids = (0..<5).map { _ in bench.add(hasCounters: false) }
    let whole = bench.stream
    for id in ids[1...2] { bench.stream.delete(id) }
    try settle(bench)
    #expect(bench.lost == 2)
    try upgrade(bench)
    try settle(bench)
    bench.stream.putBack(whole.entries)
    bench.restart()
    try settle(bench)
    #expect(try bench.lost == 2 && bench.credited == bench.announced - 200 && bench.faults.map(\.name) == ["entries"])
    // The same in an older file, in which the ids are new.
    bench.stream = whole
    bench.stream.putBack([])
    try bench.writer.make(.newEpoch(goneBefore: 0, restoredThrough: whole.entries.last!.id), stream: 0)
    bench.restart()
    try settle(bench)
    #expect(try bench.lost == 2 && bench.credited == bench.announced - 200)
  }

  @Test("what is added to a stream that was made anew is new, though the earlier version applied entries with such ids")
  func remade() throws {
    let bench = try bench(10)
    // By a Redis whose clock was ahead.
    try upgrade(bench)
    bench.stream = ModelStream()
    bench.now -= 7_205_000_000_000
    for _ in 0..<5 { bench.add(hasCounters: false) }
    bench.restart()
    try settle(bench)
    let stream = bench.writer.streams[0]
    #expect(stream.epoch == 2 && stream.applied.last! < stream.upgraded!.through)
    #expect(try bench.lost == 0 && bench.credited == bench.announced && bench.faults == [])
  }

  @Test("... unless it is an older file, and its group was deleted")
  func olderWithoutGroup() throws {
    let bench = try bench(10)
    let saved = bench.stream
    // Of the anchors of before none is left.
    try bench.writer.database.execute("DELETE FROM anchors")
    bench.now += 2_000_000_000
    bench.add(hasCounters: false)
    try bench.reopen()
    bench.restart()
    try settle(bench)
    try upgrade(bench)
    bench.stream = saved
    bench.stream.deleteGroup()
    bench.restart()
    try settle(bench)
    #expect(try bench.writer.streams[0].epoch == 2 && bench.credited == bench.announced)
  }

  @Test("a letter that the earlier version purged does not stand for what is lost among its neighbours")
  func purged() throws {
    let bench = try bench(3)
    for _ in 0..<2 { bench.stream.add(["nonsense", "1"], at: bench.now / 1_000_000) }
    bench.add(hasCounters: false)
    try settle(bench)
    #expect(try bench.writer.discard([1, 2], note: "") == 2 && bench.writer.purge(.discarded, before: .max) == 2)
    try bench.writer.database.execute(
      "DELETE FROM purged_letters; UPDATE streams SET accounted_to = NULL, accounted_handled = 0")
    try upgrade(bench)
    let ids = (0..<3).map { _ in bench.add(hasCounters: false) }
    for id in ids[..<2] { bench.stream.delete(id) }
    try settle(bench)
    #expect(bench.lost == 2)
    for _ in 0..<2 {
      bench.restart()
      try settle(bench)
      #expect(try bench.lost == 2 && bench.credited == bench.announced - 200)
    }
  }

  @Test("what vanished before the upgrade is credited from an older file, and nothing else of that time")
  func vanished() throws {
    let bench = try bench(10)
    let ids = (0..<5).map { _ in bench.add(hasCounters: false) }
    let saved = bench.stream
    bench.stream.takeAway(5, now: bench.now)
    for id in ids[1..<4] { bench.stream.delete(id) }
    bench.now += 61_000_000_000
    bench.add(hasCounters: false)
    try settle(bench)
    try settle(bench)
    #expect(bench.lost == 3)
    try upgrade(bench)
    bench.stream = saved
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].epoch == 2)
    #expect(try bench.lost == 0 && bench.credited == bench.announced && bench.faults == [])
  }

  @Test(
    "what was pending at the upgrade is credited although Redis comes back older meanwhile, before the first applied too",
    arguments: [0, 10])
  func pending(applied: Int) throws {
    let bench = try ReaderBench { $0.trims = false }
    for _ in 0..<applied { bench.add(hasCounters: false) }
    try settle(bench)
    bench.add(hasCounters: false)
    bench.stream.takeAway(1, now: bench.now)
    bench.add(hasCounters: false)
    try settle(bench)
    let saved = bench.stream
    bench.now += 2_000_000_000
    bench.add(hasCounters: false)
    try settle(bench)
    #expect(try bench.credited == bench.announced - 100)
    try upgrade(bench)
    bench.stream = saved
    bench.restart()
    try settle(bench)
    bench.now += 61_000_000_000
    try settle(bench)
    #expect(bench.writer.streams[0].epoch == 2)
    #expect(try bench.lost == 0 && bench.credited == bench.announced && bench.faults == [])
  }
}
