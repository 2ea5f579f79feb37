// What is reported missing: all that is, nothing that is not, and for as long as it is. A reader on a model of a stream.

import Redis
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("The ledger of loss") struct LossTests {
  /// Until what was found at the latest count is settled: two more counts.
  private func settle(_ bench: ReaderBench) throws {
    for _ in 0..<3 { try bench.run(until: "ask survey") }
    try bench.run(until: "wait turn")
  }

  /// A reader that has read ten entries and found nothing missing.
  private func bench(hasCounters: Bool = false) throws -> ReaderBench {
    let bench = try ReaderBench { $0.trims = false }
    for _ in 0..<10 { bench.add(hasCounters: hasCounters) }
    try bench.run(until: "ask acknowledge 10")
    try settle(bench)
    #expect(bench.lost == 0)
    return bench
  }

  /// Loses four entries unread in the middle of ten; what the stream was before.
  private func loseFour(_ bench: ReaderBench) throws -> ModelStream {
    var ids: [EntryID] = []
    for _ in 0..<10 { ids.append(bench.add(hasCounters: false)) }
    let whole = bench.stream
    for id in ids[3..<7] { bench.stream.delete(id) }
    try settle(bench)
    #expect(bench.lost == 4)
    return whole
  }

  @Test("what was deleted unread stays lost while the stream goes on, and comes back with the entries")
  func filled() throws {
    let bench = try bench()
    let whole = try loseFour(bench)
    for _ in 0..<3 { bench.add(hasCounters: false) }
    try settle(bench)
    #expect(try bench.lost == 4 && bench.faults.map(\.name) == ["entries"])
    // Redis' file with the entries is put back.
    bench.stream.putBack(whole.entries)
    bench.restart()
    try settle(bench)
    #expect(try bench.credited == bench.announced && bench.lost == 0 && bench.faults == [])
  }

  @Test("what later announces have credited is no longer missing when the entries are there again")
  func filledWithCounters() throws {
    let bench = try bench(hasCounters: true)
    var ids: [EntryID] = []
    for _ in 0..<10 { ids.append(bench.add(dt: 0)) }
    let whole = bench.stream
    for id in ids[3..<7] { bench.stream.delete(id) }
    try settle(bench)
    #expect(try bench.lost == 4 && bench.credited == bench.announced)
    bench.stream.putBack(whole.entries)
    bench.restart()
    try settle(bench)
    #expect(try bench.credited == bench.announced && bench.lost == 0 && bench.faults == [])
  }

  @Test("a heal fills what is lost")
  func healed() throws {
    let bench = try bench()
    let whole = try loseFour(bench)
    bench.stream.putBack(whole.entries)
    bench.healRequest = HealRequest(serial: 1, from: .zero)
    try bench.run(until: "report healed")
    try settle(bench)
    #expect(try bench.credited == bench.announced && bench.lost == 0 && bench.faults == [])
  }

  @Test("when some of what was lost is there again, the others stay lost")
  func partlyFilled() throws {
    let bench = try bench()
    let whole = try loseFour(bench)
    bench.stream.putBack(Array(whole.entries.dropLast(5)))
    bench.restart()
    try settle(bench)
    try settle(bench)
    #expect(try bench.credited == bench.announced - 200)
    #expect(bench.lost == 2)
  }

  @Test("a loss that is acknowledged is kept, reported no more, and filled all the same")
  func acknowledged() throws {
    let bench = try bench()
    let whole = try loseFour(bench)
    let from = try #require(bench.writer.streams[0].lost.rows.first?.first)
    let row = LostRangeTable.Beginning(stream: "tracker:traffic", epoch: 1, first: from)
    for change in [
      { $0.first = EntryID("1-1")! }, { $0.epoch = 2 }, { $0.stream = "tracker:traffic:1" },
    ] as [(inout LostRangeTable.Beginning) -> Void] {
      var other = row
      change(&other)
      #expect(try bench.writer.acknowledgeLoss([other]) == 0 && bench.lost == 4)
    }
    #expect(try bench.writer.acknowledgeLoss([row]) == 1 && bench.lost == 0)
    #expect(try bench.faults == [] && bench.writer.acknowledgeLoss(nil) == 0)
    try settle(bench)
    let rows = try LostRangeTable.list(in: bench.writer.database).map(\.range)
    #expect(rows == bench.writer.streams[0].lost.rows && rows.map(\.entries) == [4])
    bench.stream.putBack(whole.entries)
    bench.restart()
    try settle(bench)
    #expect(try bench.credited == bench.announced && LostRangeTable.list(in: bench.writer.database).isEmpty)
  }

  @Test("a new database has looked at the stream when it is ready: what is trimmed after that is lost")
  func trimmedAtOnce() throws {
    let bench = try ReaderBench { $0.trims = false }
    try bench.run(until: "report caughtUp")
    bench.stream.delete(bench.add(hasCounters: false))
    try settle(bench)
    #expect(bench.lost == 1)
    // Not so what was trimmed before.
    let later = try ReaderBench { $0.trims = false }
    later.stream.delete(later.add(hasCounters: false))
    try later.run(until: "report caughtUp")
    try settle(later)
    #expect(later.lost == 0)
  }

  @Test("told to stop while what came back is read, it stays missing until it is committed")
  func stopped() throws {
    let bench = try bench()
    let whole = try loseFour(bench)
    bench.stream.putBack(whole.entries)
    bench.restart()
    bench.isWriterWorking = false
    try bench.run(until: "submit")
    bench.isStopping = true
    for _ in 0..<50 where !bench.hasEnded { try bench.step() }
    #expect(try bench.lost == 4 && bench.credited == bench.announced - 400)
    (bench.isStopping, bench.isWriterWorking) = (false, true)
    bench.restart()
    try settle(bench)
    #expect(try bench.lost == 0 && bench.credited == bench.announced)
  }

  @Test("trimming goes on over what is lost, and leaves alone what came back")
  func trimmed() throws {
    let bench = try ReaderBench()
    bench.add(hasCounters: false)
    try bench.run(until: "ask acknowledge 1")
    try settle(bench)
    let whole = try loseFour(bench)
    bench.now += 120_000_000_000
    bench.add(hasCounters: false)
    try settle(bench)
    #expect(bench.stream.entries.count == 1)
    bench.stream.putBack(whole.entries)
    bench.restart()
    try settle(bench)
    #expect(try bench.credited == bench.announced && bench.lost == 0)
  }

  @Test("while more is coming in, nothing is called lost that may only be unread")
  func underLoad() throws {
    let bench = try bench()
    let gone = (0..<6).map { _ in bench.add(hasCounters: false) }
    for id in gone[1..<3] { bench.stream.delete(id) }
    for _ in 0..<400 {
      try bench.step()
      if bench.trace.last?.hasPrefix("ask new") == true { for _ in 0..<3 { bench.add(hasCounters: false) } }
      if bench.trace.last?.hasPrefix("ask survey") == true { bench.now += 31_000_000_000 }
    }
    #expect(bench.lost == 2)
    try settle(bench)
    #expect(bench.lost == 2)
    #expect(try bench.credited == bench.announced - 200)
  }

  @Test("the stream deleted and made anew does not make an earlier loss unhappen")
  func anotherStream() throws {
    let bench = try bench()
    _ = try loseFour(bench)
    bench.stream = ModelStream()
    // Some of its ids are those of lost entries.
    let time = try #require(bench.writer.streams[0].lost.rows.first?.last.milliseconds)
    for _ in 0..<20 { bench.add(hasCounters: false, at: time) }
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].epoch == 2 && bench.lost == 4)
  }

  @Test("pending entries that are gone are lost")
  func vanished() throws {
    let bench = try bench()
    let ids = (0..<5).map { _ in bench.add(hasCounters: false) }
    bench.stream.takeAway(5, now: bench.now)
    for id in ids[1..<4] { bench.stream.delete(id) }
    bench.now += 61_000_000_000
    try settle(bench)
    try settle(bench)
    #expect(bench.lost == 3)
  }

  @Test("what vanished side by side is there again with an older file of redis'")
  func vanishedSideBySide() throws {
    let bench = try bench()
    let ids = (0..<5).map { _ in bench.add(hasCounters: false) }
    #expect(ids[1].successor == ids[2])
    let saved = bench.stream
    bench.stream.takeAway(5, now: bench.now)
    for id in ids[1..<4] { bench.stream.delete(id) }
    bench.now += 61_000_000_000
    bench.add(hasCounters: false)
    try settle(bench)
    try settle(bench)
    #expect(bench.lost == 3)
    #expect(bench.writer.streams[0].applied.ranges.allSatisfy { $0.first <= $0.last })
    bench.stream = saved
    bench.restart()
    try settle(bench)
    #expect(try bench.lost == 0 && bench.credited == bench.announced && bench.faults == [])
  }

  @Test("committed and not acknowledged when it died, and the one that follows has another name: nothing is lost")
  func anotherName() throws {
    let bench = try bench(hasCounters: true)
    for _ in 0..<7 { bench.add() }
    try bench.run(until: "submit 7")
    try bench.run(until: "wait turn")
    bench.stream.renameConsumer()
    bench.restart()
    for _ in 0..<3 {
      try settle(bench)
      #expect(try bench.lost == 0 && bench.faults == [])
      bench.now += 61_000_000_000
    }
    try settle(bench)
    #expect(try bench.lost == 0 && bench.stream.pendingIDs == [] && bench.credited == bench.announced)
  }

  /// Twenty entries that were read, ten that are deleted unread, ten more that are read; all of them are lost. Returns what
  /// the stream was when it had the first thirty.
  private func loseTen(_ bench: ReaderBench, hasCounters: Bool) throws -> ModelStream {
    for _ in 0..<20 { bench.add(hasCounters: hasCounters) }
    try bench.run(until: "ask acknowledge 20")
    try settle(bench)
    bench.now += 5_000_000_000
    let gone = (0..<10).map { _ in bench.add(hasCounters: hasCounters, dt: hasCounters ? 0 : 1) }
    let saved = bench.stream
    bench.now += 5_000_000_000
    for _ in 0..<10 { bench.add(hasCounters: hasCounters) }
    for id in gone { bench.stream.delete(id) }
    try settle(bench)
    #expect(bench.lost == 10)
    return saved
  }

  @Test(
    "an older file of redis' that has them, and lacks what came later, clears the loss as they are read",
    arguments: [false, true], [0, 1, 2])
  func olderFile(hasCounters: Bool, epochs: Int) throws {
    let bench = try ReaderBench { $0.trims = false }
    let saved = try loseTen(bench, hasCounters: hasCounters)
    // What has become of the stream meanwhile.
    for _ in 0..<epochs {
      bench.stream = ModelStream()
      bench.restart()
      for _ in 0..<3 { bench.add(hasCounters: hasCounters) }
      try settle(bench)
      #expect(bench.lost == 10)
    }
    bench.now += 60_000_000_000
    bench.stream = saved
    bench.restart()
    try settle(bench)
    #expect(try bench.lost == 0 && bench.credited == bench.announced && bench.faults == [])
    for _ in 0..<3 { bench.add(hasCounters: hasCounters) }
    try settle(bench)
    #expect(try bench.lost == 0 && bench.credited == bench.announced && bench.faults == [])
  }

  @Test("killed while an older file is read again, the loss is cleared by the next process")
  func olderFileKilled() throws {
    let bench = try ReaderBench { $0.trims = false }
    let saved = try loseTen(bench, hasCounters: true)
    bench.stream = saved
    bench.restart()
    try bench.run(until: "store rollBack")
    bench.restart()
    try bench.reopen()
    try settle(bench)
    #expect(try bench.lost == 0 && bench.credited == bench.announced && bench.faults == [])
  }

  @Test("a loss of which an earlier version knew the number only is not cleared by what happens to come back")
  func numberOnly() throws {
    let bench = try bench()
    try bench.writer.database.execute(
      "INSERT INTO lost_ranges(stream_id, epoch, first, last, entries, total, found_at) "
        + "VALUES (1, 0, zeroblob(16), x'FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF', 6, 16, 1)")
    try bench.reopen()
    let saved = bench.stream
    for _ in 0..<3 { bench.add(hasCounters: false) }
    try settle(bench)
    bench.now += 5_000_000_000
    bench.stream = saved
    for _ in 0..<8 { bench.add(hasCounters: false) }
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].counters.rollbacks == 1 && bench.lost == 6)
  }

  @Test("an older file that lacks some of them too leaves these lost")
  func olderFileWithoutSome() throws {
    let bench = try ReaderBench { $0.trims = false }
    var saved = try loseTen(bench, hasCounters: false)
    for entry in saved.entries[20..<24] { saved.delete(entry.id) }
    bench.stream = saved
    bench.restart()
    try settle(bench)
    // They are missing in the old state as well, and the same.
    #expect(try bench.lost == 4 && bench.credited == bench.announced - 400)
  }

  @Test(
    "what is deleted across the place up to which was read: only what was unread is lost", arguments: [false, true])
  func deletedAcross(isConnected: Bool) throws {
    let bench = try bench()
    let read = bench.stream.entries.suffix(3).map(\.id)
    let unread = (0..<10).map { _ in bench.add(hasCounters: false) }
    for id in read + unread[..<4] { bench.stream.delete(id) }
    if !isConnected { bench.restart() }
    try settle(bench)
    #expect(try bench.lost == 4 && bench.credited == bench.announced - 400)
    #expect(bench.writer.streams[0].epoch == 1)
  }

  @Test("committed, not acknowledged and then deleted: not lost, whatever the next process is called")
  func deletedAfterCommit() throws {
    let bench = try bench()
    let ids = (0..<7).map { _ in bench.add(hasCounters: false) }
    try bench.run(until: "submit 7")
    try bench.run(until: "wait turn")
    bench.stream.renameConsumer()
    for id in ids { bench.stream.delete(id) }
    bench.restart()
    for _ in 0..<3 {
      try settle(bench)
      bench.now += 61_000_000_000
    }
    try settle(bench)
    #expect(try bench.lost == 0 && bench.faults == [] && bench.stream.pendingIDs == [])
    #expect(try bench.credited == bench.announced && bench.writer.streams[0].epoch == 1)
  }

  @Test("what is deleted between a roll back and the first look after it is lost, and not taken for gone before")
  func deletedAfterRollBack() throws {
    let bench = try bench()
    let saved = bench.stream
    for _ in 0..<5 { bench.add(hasCounters: false) }
    try settle(bench)
    bench.stream = saved
    bench.now += 5_000_000_000
    let ids = (0..<6).map { _ in bench.add(hasCounters: false) }
    for id in ids[1..<4] { bench.stream.delete(id) }
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].counters.rollbacks == 1)
    #expect(try bench.lost == 3 && bench.credited == bench.announced - 300)
  }

  @Test("a loss below the entry that both states have stays in the count after a roll back, and in the database")
  func lostBelowRollBack() throws {
    let bench = try bench()
    _ = try loseFour(bench)
    bench.now += 5_000_000_000
    bench.add(hasCounters: false)
    try settle(bench)
    let saved = bench.stream
    bench.now += 5_000_000_000
    bench.add(hasCounters: false)
    try settle(bench)
    bench.stream = saved
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].counters.rollbacks == 1)
    for _ in 0..<2 {
      #expect(bench.lost == 4 && bench.writer.streams[0].missing(added: 21, unread: 0) == 0)
      try bench.reopen()
    }
    bench.restart()
    try settle(bench)
    #expect(bench.lost == 4)
  }

  @Test("what is deleted of a stream that was made anew, before the first look at it, is lost")
  func deletedOfNewStream() throws {
    let bench = try bench()
    bench.stream = ModelStream()
    let ids = (0..<6).map { _ in bench.add(hasCounters: false) }
    for id in ids[1..<4] { bench.stream.delete(id) }
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].epoch == 2)
    #expect(try bench.lost == 3 && bench.credited == bench.announced - 300)
  }

  @Test("the group deleted after everything was trimmed is not another stream, and nothing is lost")
  func groupDeletedAfterTrim() throws {
    let bench = try bench()
    for entry in bench.stream.entries { bench.stream.trim(entry.id) }
    bench.stream.deleteGroup()
    for _ in 0..<3 { bench.add(hasCounters: false) }
    bench.restart()
    try settle(bench)
    #expect(try bench.lost == 0 && bench.credited == bench.announced && bench.writer.streams[0].epoch == 1)
  }

  @Test("an entry that was pending between two that vanished, and is read later, fills neither")
  func pendingBetweenVanished() throws {
    let bench = try bench()
    let ids = (0..<3).map { _ in bench.add(hasCounters: false) }
    bench.stream.takeAway(3, now: bench.now)
    for id in [ids[0], ids[2]] { bench.stream.delete(id) }
    bench.now += 61_000_000_000
    try settle(bench)
    try settle(bench)
    #expect(try bench.lost == 2 && bench.credited == bench.announced - 200)
  }

  @Test("where two replies met within a millisecond nothing is between them, whatever was lost around")
  func emptyGap() {
    func id(_ sequence: UInt64) -> EntryID { EntryID(milliseconds: 5, sequence: sequence) }
    var lost = LostRanges()
    for last in [id(6), id(8)] {
      lost.add(LostRange(epoch: 1, first: id(0), last: last, entries: 1, total: 9, foundAt: 0))
    }
    var applied = AppliedRanges()
    applied.insert(AppliedRanges.Range(first: id(0), last: id(3)))
    applied.insert(AppliedRanges.Range(first: id(4), last: id(9)))
    for _ in 0..<3 { applied.closeGaps(through: id(9), except: lost.parts) }
    #expect(applied.ranges == [AppliedRanges.Range(first: id(0), last: id(9))])
  }

  @Test("of those that ever had an id of a place, none that is in the stream can be missing")
  func present() {
    var lost = LostRanges()
    func id(_ number: UInt64) -> EntryID { EntryID(milliseconds: number, sequence: 0) }
    let gap = AppliedRanges.Gap(after: id(1), before: id(20))
    let isNew = lost.addVanished(id(5), in: gap, epoch: 1, at: 0)
    #expect(isNew)
    // Twelve entries ever had one of these ids; six are missing, one of which is told of already.
    let row = LostRange(epoch: 1, first: id(2), last: id(19), entries: 5, total: 12, foundAt: 1)
    lost.add(row)
    let found = [6, 8, 12].map { lost.found(row, present: $0) }
    #expect(found == [0, 1, 4] && lost.entries == 1)
  }
}
