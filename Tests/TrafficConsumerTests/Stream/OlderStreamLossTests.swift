// Loss where Redis comes back with an older state of the stream: what is of that state, what is new, and what nobody can
// tell. Too much may be reported then, never too little. A reader on a model of a stream.

import Linux
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("Loss in an older state of the stream") struct OlderStreamLossTests {
  private func settle(_ bench: ReaderBench) throws {
    for _ in 0..<3 { try bench.run(until: "ask survey") }
    try bench.run(until: "wait turn")
  }

  /// A reader that has read ten entries and found nothing missing.
  private func bench() throws -> ReaderBench {
    let bench = try ReaderBench { $0.trims = false }
    for _ in 0..<10 { bench.add(hasCounters: false) }
    try bench.run(until: "ask acknowledge 10")
    try settle(bench)
    return bench
  }

  /// So many entries, one with every call for new ones: there is no moment for a count.
  private func keepBusy(_ bench: ReaderBench, entries: Int, pauseNanoseconds: UInt64 = 0) throws {
    var rest = entries
    while rest > 0 {
      try bench.step()
      guard bench.trace.last?.hasPrefix("ask new") == true else { continue }
      bench.now += pauseNanoseconds
      bench.add(hasCounters: false)
      rest -= 1
    }
  }

  /// Adds entries of which only the last is ever read.
  private func lose(_ entries: Int, _ bench: ReaderBench) {
    let ids = (0..<entries).map { _ in bench.add(hasCounters: false) }
    bench.add(hasCounters: false)
    for id in ids { bench.stream.delete(id) }
  }

  @Test(
    "a file saved between two counts has nothing of what was added behind it: what was lost there is no part of its count",
    arguments: [0, 3, 7])
  func savedBetweenCounts(lostAfter: Int) throws {
    let bench = try bench()
    try keepBusy(bench, entries: 20)
    let saved = bench.stream
    try keepBusy(bench, entries: 10)
    lose(5, bench)
    try settle(bench)
    let row = try #require(bench.writer.streams[0].lost.rows.first)
    #expect(bench.lost == 5 && saved.lastDelivered > row.first)
    bench.stream = saved
    bench.now += 5_000_000_000
    lose(lostAfter, bench)
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].counters.rollbacks == 1)
    #expect(bench.lost == 5 + Int64(lostAfter) && bench.writer.streams[0].counters.addedBefore == 0)
    #expect(try bench.faults.map(\.name) == ["entries"])
  }

  @Test("lost before such a file was saved, and in it as well: where it was is looked at again")
  func lostBeforeTheFile() throws {
    let bench = try bench()
    try keepBusy(bench, entries: 10)
    let whole = bench.stream
    let ids = (0..<4).map { _ in bench.add(hasCounters: false) }
    let complete = bench.stream.entries
    for id in ids[1...] { bench.stream.delete(id) }
    try keepBusy(bench, entries: 10)
    let saved = bench.stream
    #expect(saved.lastDelivered > whole.lastDelivered)
    try keepBusy(bench, entries: 10)
    try settle(bench)
    #expect(bench.lost == 3)
    // As when another gap has been closed.
    let end = try #require(bench.writer.streams[0].applied.last)
    try bench.writer.make(.accounted(through: end), stream: 0)
    bench.stream = saved
    bench.restart()
    try settle(bench)
    // Those of the file are the same.
    #expect(bench.lost == 3)
    bench.stream.putBack(complete)
    bench.restart()
    try settle(bench)
    #expect(try bench.lost == 0 && bench.faults == [] && bench.writer.streams[0].counters.addedBefore == 0)
  }

  @Test("found by their number, it is not known how many there were up to where: no count goes on from there")
  func foundByNumber() throws {
    let bench = try bench()
    try keepBusy(bench, entries: 5, pauseNanoseconds: 1_500_000_000)
    // In the midst of what one call reads; the last brings their bytes along.
    let ids = (0..<5).map { _ in bench.add(dt: 0) }
    let complete = bench.stream.entries
    for id in ids[1...3] { bench.stream.delete(id) }
    try keepBusy(bench, entries: 5, pauseNanoseconds: 1_500_000_000)
    var saved = bench.stream
    try keepBusy(bench, entries: 5, pauseNanoseconds: 1_500_000_000)
    try settle(bench)
    #expect(bench.lost == 3)
    bench.stream.putBack(complete)
    bench.restart()
    try settle(bench)
    let anchors = bench.writer.streams[0].anchors
    #expect(bench.lost == 0 && anchors.contains { $0.isLeast && $0.id > ids[4] && $0.id <= saved.lastDelivered })
    try bench.reopen()
    #expect(bench.writer.streams[0].anchors == anchors)
    saved.putBack(complete)
    bench.stream = saved
    bench.now += 5_000_000_000
    lose(4, bench)
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].counters.rollbacks == 1)
    #expect(try bench.lost == 4 && bench.writer.streams[0].counters.addedBefore == 0 && bench.faults.count == 1)
  }

  @Test(
    "... found so by the first count of an epoch: the count goes on from the epoch's beginning, or from the least there were",
    arguments: [false, true])
  func foundByFirstCount(isTrimmed: Bool) throws {
    let bench = try ReaderBench { $0.trims = false }
    try settle(bench)
    bench.now += 1_500_000_000
    let ids = (0..<5).map { _ in bench.add(dt: 0) }
    let complete = bench.stream.entries
    for id in ids[1...3] { bench.stream.delete(id) }
    try keepBusy(bench, entries: 5, pauseNanoseconds: 1_500_000_000)
    var saved = bench.stream
    try keepBusy(bench, entries: 5, pauseNanoseconds: 1_500_000_000)
    try settle(bench)
    #expect(bench.lost == 3 && bench.writer.streams[0].counters.addedBefore == 0)
    bench.stream.putBack(complete)
    bench.restart()
    try settle(bench)
    #expect(bench.lost == 0)
    if isTrimmed { saved.trim(ids[0]) } else { saved.putBack(complete) }
    bench.stream = saved
    bench.now += 5_000_000_000
    lose(4, bench)
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].counters.rollbacks == 1 && bench.writer.streams[0].counters.addedBefore == 0)
    // Of those that were found three are not in the trimmed file.
    #expect(try bench.lost == (isTrimmed ? 7 : 4) && bench.faults.count == 1)
  }

  @Test(
    "a database that has applied nothing: in a stream that is made anew nothing was gone before",
    arguments: [0, 1, 5], [0, 1, 3, 8])
  func remadeBeforeTheFirst(gone: Int, lost: Int) throws {
    let bench = try ReaderBench { $0.trims = false }
    for _ in 0..<gone { bench.stream.delete(bench.add()) }
    try settle(bench)
    #expect(bench.writer.streams[0].counters.addedBefore == Int64(gone))
    bench.stream = ModelStream()
    for _ in 0..<lost { bench.stream.delete(bench.add()) }
    for _ in 0..<7 { bench.add() }
    bench.restart()
    try settle(bench)
    #expect(bench.lost == Int64(lost) && bench.writer.streams[0].counters.addedBefore == 0)
    #expect(try bench.faults.isEmpty == (lost == 0))
  }

  @Test("... nor is more than an older file lacks, if that has the group")
  func olderBeforeTheFirst() throws {
    let bench = try ReaderBench { $0.trims = false }
    for _ in 0..<3 { bench.stream.delete(bench.add()) }
    try settle(bench)
    let saved = bench.stream
    for _ in 0..<5 { bench.stream.delete(bench.add()) }
    try settle(bench)
    #expect(bench.lost == 5)
    bench.stream = saved
    for _ in 0..<2 { bench.stream.delete(bench.add()) }
    bench.add()
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].epoch == 2 && bench.lost >= 5 + 2)
  }

  @Test(
    "lost behind an older file's end, and others lost after it came back: both are, whether an operator has seen the first",
    arguments: [false, true], [false, true])
  func lostTwice(isAcknowledged: Bool, isConnected: Bool) throws {
    let bench = try bench()
    bench.add(hasCounters: false)
    let saved = bench.stream
    lose(5, bench)
    bench.now += 2_000_000_000
    try settle(bench)
    #expect(bench.lost == 5)
    if isAcknowledged { #expect(try bench.writer.acknowledgeLoss(nil) == 1) }
    bench.stream = saved
    bench.now += 5_000_000_000
    if isConnected {
      // It is seen before anything is new.
      bench.restart()
      try bench.run(until: "store rollBack")
    }
    lose(3, bench)
    if !isConnected { bench.restart() }
    try settle(bench)
    try settle(bench)
    #expect(bench.writer.streams[0].counters.rollbacks == 1)
    #expect(bench.lost == (isAcknowledged ? 3 : 8) && bench.writer.streams[0].lost.all.map(\.entries) == [5, 3])
    #expect(try bench.faults.map(\.name) == ["entries"])
  }

  @Test("what an operator has seen, and the older file lacks as well, is reported once more: it may be new")
  func seenAndLackedAgain() throws {
    let bench = try bench()
    try keepBusy(bench, entries: 10)
    lose(3, bench)
    try keepBusy(bench, entries: 10)
    let saved = bench.stream
    try keepBusy(bench, entries: 10)
    try settle(bench)
    #expect(try bench.lost == 3 && bench.writer.acknowledgeLoss(nil) == 1)
    bench.stream = saved
    bench.restart()
    try settle(bench)
    #expect(bench.lost == 3 && bench.writer.streams[0].lost.all.map(\.entries) == [3, 3])
  }

  @Test("new entries that get ids of the row, behind all that an older file can have, are not those that were lost")
  func idsBehindTheOlderEnd() throws {
    let bench = try bench()
    try keepBusy(bench, entries: 10)
    let saved = bench.stream
    try keepBusy(bench, entries: 20)
    lose(5, bench)
    try settle(bench)
    let last = try #require(bench.writer.streams[0].lost.rows.first?.last)
    #expect(bench.lost == 5)
    // Redis' clock is behind, by less than what the file lacks.
    bench.stream = saved
    for _ in 0..<6 { bench.add(hasCounters: false, at: last.milliseconds - 1) }
    bench.restart()
    try settle(bench)
    #expect(try bench.lost == 5 && bench.credited == bench.announced - 500)
    #expect(bench.writer.streams[0].counters.rollbacks == 1)
  }

  @Test(
    "a file that has what was lost in the midst of a reply, up to the last entry that both have, makes good for all of it",
    arguments: [(false, 0), (false, 2), (true, 0), (true, 2)], [false, true])
  func lostAcross(loss: (areBroken: Bool, behind: Int), isGroupAtEnd: Bool) throws {
    let bench = try bench()
    bench.now += 2_000_000_000
    let ids = (0..<6).map { index in
      loss.areBroken
        ? bench.stream.add(["nonsense", "\(index)"], at: bench.now / 1_000_000) : bench.add(hasCounters: false)
    }
    bench.now += 2_000_000_000
    bench.add(hasCounters: false)
    var saved = bench.stream
    for id in ids[1..<5] { bench.stream.delete(id) }
    try bench.run(until: "submit")
    bench.now += 2_000_000_000
    // Before the first count: the loss may be of behind the file, as some of it is.
    for _ in 0..<loss.behind { bench.stream.delete(bench.add(hasCounters: false)) }
    let last = bench.add(hasCounters: false)
    try settle(bench)
    #expect(bench.lost == Int64(4 + loss.behind) && bench.writer.streams[0].lost.rows.map(\.last) == [last])
    if isGroupAtEnd {
      saved.takeAway(10, now: bench.now)
      saved.acknowledgeAll()
    }
    bench.stream = saved
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].counters.rollbacks == 1)
    #expect(try bench.lost == loss.behind && bench.faults.isEmpty == (loss.behind == 0))
    #expect(try bench.credited == bench.announced - 100 * Int64(loss.behind))
    #expect(bench.writer.streams[0].counters.dead == (loss.areBroken ? 6 : 0))
  }

  @Test(
    "lost at the stream's end, and others lost after a file came back that ends at the newest entry that was read",
    arguments: [false, true])
  func lostBehindTheNewest(isAcknowledged: Bool) throws {
    let bench = try bench()
    let saved = bench.stream
    func loseEnd(_ entries: Int) { for _ in 0..<entries { bench.stream.delete(bench.add(hasCounters: false)) } }
    bench.now += 2_000_000_000
    loseEnd(3)
    try settle(bench)
    #expect(bench.lost == 3)
    if isAcknowledged { #expect(try bench.writer.acknowledgeLoss(nil) == 1) }
    bench.stream = saved
    bench.restart()
    try settle(bench)
    #expect(bench.writer.streams[0].counters.rollbacks == 1)
    bench.now += 2_000_000_000
    loseEnd(3)
    try settle(bench)
    #expect(bench.lost == (isAcknowledged ? 3 : 6) && bench.writer.streams[0].lost.all.map(\.entries) == [3, 3])
    #expect(bench.writer.streams[0].counters.addedBefore == 0)
  }

  @Test("nor are those that were announced after the loss was found, whatever their ids")
  func announcedLater() throws {
    let bench = try bench()
    let saved = bench.stream
    bench.now += 2_000_000_000
    lose(5, bench)
    try settle(bench)
    let row = try #require(bench.writer.streams[0].lost.rows.first)
    #expect(bench.lost == 5)
    bench.stream = saved
    for second in 1...6 {
      bench.add(hasCounters: false, at: row.last.milliseconds - 1000, announced: row.foundAt + Int64(second))
    }
    bench.restart()
    try settle(bench)
    #expect(try bench.lost == 5 && bench.credited == bench.announced - 500)
    #expect(bench.writer.streams[0].counters.rollbacks == 1)
  }
}
