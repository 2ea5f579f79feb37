// What a reader does next, without any socket, clock or file.

import Redis
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("A reader's decisions") struct ReaderSessionTests {
  @Test("after connecting: whose group, which stream, the past, own pending entries, then new entries")
  func beginning() throws {
    let bench = try ReaderBench()
    #expect(
      try bench.run(until: "wait turn") == [
        "connect", "ask createGroup", "report groupCreated", "ask claimGroup", "ask census", "store goneBefore",
        "report connected", "ask census", "ask ownPending 0-0", "report caughtUp", "wait turn",
      ])
    #expect(try bench.run(until: "ask new") == ["ask new block 200 ack 0"])
  }

  @Test("what is remembered of the stream is compared after each connection")
  func recognition() throws {
    let bench = try ReaderBench()
    bench.add()
    try bench.run(until: "ask acknowledge 1")
    bench.restart()
    let actions = try bench.run(until: "report caughtUp")
    #expect(
      Array(actions.prefix(6)) == [
        "connect", "ask createGroup", "ask claimGroup", "ask census", "ask entries", "report connected",
      ])
    // The stream is deleted and made anew: it has none of the ids.
    bench.stream = ModelStream()
    bench.restart()
    #expect(try bench.run(until: "report connected").contains("store newEpoch"))
    #expect(bench.writer.streams[0].epoch == 2)
  }

  @Test("own pending entries are durable and acknowledged before anything new is read")
  func ownPendingFirst() throws {
    let bench = try ReaderBench()
    let first = bench.add()
    try bench.run(until: "submit")
    // The process dies before the commit.
    bench.restart()
    bench.add()
    let actions = try bench.run(until: "ask new")
    let order = ["submit 1", "wait done", "ask acknowledge 1", "ask ownPending 0-0"]
    #expect(actions.filter { order.contains($0) } == order)
    #expect(bench.stream.pendingIDs.count == 1 && bench.stream.pendingIDs.first != first)
  }

  @Test("own pending entries come after what lies before them: each announce counts")
  func pendingInOrder() throws {
    let bench = try ReaderBench()
    bench.add()
    try bench.run(until: "ask acknowledge 1")
    for _ in 0..<3 { try bench.run(until: "ask survey") }
    try bench.run(until: "wait turn")
    // An older database is put in place: it lacks two entries that were acknowledged, and one that is pending.
    for _ in 0..<2 { bench.add() }
    bench.stream.takeAway(2, now: bench.now)
    bench.stream.acknowledgeAll()
    bench.add()
    bench.isWriterWorking = false
    try bench.run(until: "submit 1")
    bench.isWriterWorking = true
    bench.restart()
    try bench.run(until: "ask survey")
    #expect(try bench.credited == bench.announced && bench.stream.pendingIDs == [])
    #expect(try bench.writer.database.integer("SELECT sum(events) FROM users") == 4)
  }

  @Test("nothing is acknowledged before it is committed")
  func commitBeforeAcknowledgement() throws {
    let bench = try ReaderBench()
    bench.isWriterWorking = false
    let id = bench.add()
    try bench.run(until: "submit 1")
    for _ in 0..<20 { try bench.step() }
    #expect(!bench.trace.contains { $0.contains("ack 1") || $0.contains("acknowledge") })
    #expect(bench.stream.pendingIDs == [id])
    bench.isWriterWorking = true
    try bench.run(until: "ask acknowledge 1")
    #expect(try bench.stream.pendingIDs == [] && bench.credited == bench.announced)
  }

  @Test("without room with the writer nothing is read")
  func backpressure() throws {
    let bench = try ReaderBench()
    try bench.run(until: "report caughtUp")
    bench.hasRoom = false
    bench.add()
    for _ in 0..<10 { try bench.step() }
    #expect(Set(bench.trace.suffix(10)) == ["wait turn"])
    bench.hasRoom = true
    try bench.run(until: "submit 1")
  }

  @Test("when the stream is idle, and once a second: stragglers, the count, trimming")
  func upkeep() throws {
    let bench = try ReaderBench()
    try bench.run(until: "report caughtUp")
    try bench.run(until: "ask survey")
    #expect(bench.trace.suffix(2) == ["ask claim 0-0", "ask survey"])
    // The first one has nothing to compare with yet.
    try bench.run(until: "ask survey")
    try bench.run(until: "ask survey")
    let (start, steps) = (bench.now, bench.trace.count)
    try bench.run(until: "ask survey")
    #expect(bench.now - start >= 900_000_000 && bench.now - start < 1_500_000_000)
    #expect(bench.trace[steps...].count { $0.hasPrefix("ask new") } >= 4)
  }

  @Test("what a dead consumer has left is claimed after a minute, by and by")
  func stragglers() throws {
    let bench = try ReaderBench()
    try bench.run(until: "wait turn")
    for _ in 0..<250 { bench.add() }
    bench.stream.takeAway(250, now: bench.now)
    try bench.run(until: "ask new")
    #expect(!bench.trace.contains { $0.hasPrefix("submit") })
    bench.now += 60_000_000_000
    try bench.run(until: "report claimed")
    try bench.run(until: "ask claim")
    #expect(bench.trace.last != "ask claim 0-0", "it goes on where it was")
    for _ in 0..<300 where try bench.credited < bench.announced { try bench.step() }
    #expect(try bench.credited == bench.announced)
    try bench.run(until: "ask survey")
    #expect(bench.stream.pendingIDs == [])
  }

  @Test(
    "every error begins again after a pause that grows",
    arguments: [
      RedisError.closed("by the server"), .timedOut(.read), .unreachable("refused"),
      .server(RedisServerError(code: .noGroup, message: "no such group")),
      .server(RedisServerError(code: .readOnly, message: "a replica")),
    ])
  func reconnect(error: RedisError) throws {
    let bench = try ReaderBench()
    try bench.run(until: "ask new")
    bench.failures = [error, .unreachable("refused"), .unreachable("refused")]
    try bench.run(until: "report caughtUp")
    let connections = bench.trace.filter { $0 == "connect" || $0.hasPrefix("pause") || $0 == "report lost" }
    #expect(
      connections == [
        "connect", "report lost", "pause 100", "connect", "report lost", "pause 200", "connect", "report lost",
        "pause 400", "connect",
      ])
    try bench.run(until: "wait turn")
    bench.failures = [.timedOut(.read)]
    try bench.run(until: "pause")
    #expect(bench.trace.last == "pause 100", "it had caught up in between")
  }

  @Test("a group that was deleted is made again, and the stream read from its beginning credits nothing twice")
  func groupDeleted() throws {
    let bench = try ReaderBench()
    for _ in 0..<5 { bench.add() }
    try bench.run(until: "ask acknowledge 5")
    bench.stream.deleteGroup()
    try bench.run(until: "report groupCreated")
    bench.add()
    for _ in 0..<100 where try bench.credited < bench.announced { try bench.step() }
    try bench.run(until: "ask survey")
    #expect(bench.writer.streams[0].counters.redelivered == 5 && bench.stream.pendingIDs == [])
    #expect(try bench.credited == bench.announced)
  }

  @Test("a group of another database ends the reader")
  func foreignGroup() throws {
    let bench = try ReaderBench(group: "me")
    _ = try bench.stream.answer(.createGroup, now: 0)
    _ = try bench.stream.answer(.claimGroup(for: "another", replacing: false), now: 0)
    #expect(try bench.run(until: "end").suffix(2) == ["report foreignGroup", "end"])
  }

  @Test("told to stop it acknowledges what is committed, and ends")
  func stop() throws {
    let bench = try ReaderBench()
    bench.add()
    try bench.run(until: "submit 1")
    bench.isStopping = true
    #expect(try bench.run(until: "end") == ["wait done", "ask acknowledge 1", "end"])
    #expect(bench.stream.pendingIDs == [])
  }

  @Test("told to stop between claiming and noting it, what was claimed and is gone is noted: Redis names it once")
  func stopWhileClaiming() throws {
    let bench = try ReaderBench()
    try bench.run(until: "wait turn")
    bench.add()
    let gone = bench.add()
    bench.stream.takeAway(2, now: bench.now)
    bench.stream.delete(gone)
    bench.now += 61_000_000_000
    try bench.run(until: "ask claim")
    bench.isStopping = true
    #expect(try bench.run(until: "end").prefix(3) == ["store vanished", "report claimed", "submit 1"])
    #expect(bench.writer.streams[0].counters.vanished == 1 && bench.stream.pendingIDs == [])
  }

  @Test("without room for the past that is to be read again, the reader takes back what it has brought")
  func roomOfItsOwn() throws {
    let bench = try ReaderBench()
    bench.add()
    bench.healRequest = HealRequest(serial: 1, from: .zero)
    try bench.run(until: "submit 1")
    bench.hasRoom = false
    #expect(try bench.run(until: "wait").last == "wait done")
    try bench.run(until: "ask acknowledge 1")
    bench.hasRoom = true
    try bench.run(until: "report healed")
  }

  @Test("told to stop while the stream is recognised, what it turned out to be is said and written down")
  func stopWhileRecognising() throws {
    let bench = try ReaderBench()
    bench.add()
    try bench.run(until: "ask acknowledge 1")
    bench.stream = ModelStream()
    bench.restart()
    try bench.run(until: "ask survey")
    bench.isStopping = true
    #expect(try bench.run(until: "end") == ["report newEpoch", "store newEpoch", "end"])
  }

  @Test("told to stop without a connection, or with a writer in trouble, it ends and leaves the rest pending")
  func stopInTrouble() throws {
    let bench = try ReaderBench()
    bench.add()
    try bench.run(until: "submit 1")
    bench.isWriterWorking = false
    bench.isStopping = true
    #expect(try bench.run(until: "end") == ["wait done", "end"])
    #expect(bench.stream.pendingIDs.count == 1)
    let other = try ReaderBench()
    other.failures = [.unreachable("refused")]
    try other.run(until: "pause")
    other.isStopping = true
    #expect(try other.run(until: "end") == ["end"])
  }

  @Test("a request to heal reads from its id on, once, and says when it is done")
  func heal() throws {
    let bench = try ReaderBench()
    for _ in 0..<3 { bench.add() }
    try bench.run(until: "ask acknowledge 3")
    bench.healRequest = HealRequest(serial: 1, from: .zero)
    try bench.run(until: "report healed")
    #expect(bench.writer.streams[0].counters.redelivered == 3)
    try bench.run(until: "ask survey")
    try bench.run(until: "ask survey")
    #expect(bench.trace.count { $0 == "report healed" } == 1)
    // Nor on the next connection.
    bench.failures = [.timedOut(.read)]
    try bench.run(until: "report caughtUp")
    for _ in 0..<3 { try bench.run(until: "ask survey") }
    #expect(bench.trace.count { $0 == "report healed" } == 1)
  }

  @Test("trimming stops at the last minute, the backup and what another group needs", arguments: [0, 1, 2])
  func trimming(bound: Int) throws {
    let bench = try ReaderBench()
    var ids: [EntryID] = []
    for _ in 0..<10 {
      ids.append(bench.add())
      bench.now += 10_000_000_000
    }
    if bound == 1 { bench.stream.neededByOthers = ids[2] }
    try bench.run(until: "ask acknowledge 10")
    if bound == 2 { try bench.writer.change(stream: 0) { $0.backupFloor = ids[1] } }
    try bench.run(until: "ask trim")
    let minuteAgo = bench.now / 1_000_000 - 60_000
    let expected = [ids.first { $0.milliseconds >= minuteAgo }, ids[2], ids[1]][bound]
    #expect(bench.stream.entries.first?.id == expected)
  }

  @Test("whatever happens in between, every entry is credited once and acknowledged", arguments: 0..<40)
  func anySchedule(seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed))
    let bench = try ReaderBench { $0.trims = false }
    for _ in 0..<1500 {
      switch Int.random(in: 0..<60, using: &random) {
      case 0..<8: bench.add(UInt64.random(in: 1...1_000_000, using: &random))
      case 8:
        bench.losesAnswers = Bool.random(using: &random)
        bench.failures = [.timedOut(.read)]
      case 9: bench.isWriterWorking.toggle()
      case 10: bench.restart()
      case 11: bench.stream.takeAway(Int.random(in: 1...5, using: &random), now: bench.now)
      case 12: bench.hasRoom.toggle()
      case 13: bench.now += 61_000_000_000
      case 14: if Int.random(in: 0..<4, using: &random) == 0 { bench.stream.deleteGroup() }
      case 15: bench.healRequest = HealRequest(serial: (bench.healRequest?.serial ?? 0) + 1, from: .zero)
      default: try bench.step()
      }
    }
    (bench.isWriterWorking, bench.hasRoom, bench.failures) = (true, true, [])
    for _ in 0..<600 {
      try bench.step()
      if bench.trace.last == "ask survey" { bench.now += 61_000_000_000 }
    }
    #expect(try bench.credited == bench.announced)
    #expect(bench.stream.pendingIDs == [])
    #expect(try bench.faults == [])
    #expect(bench.lost == 0)
  }
}
