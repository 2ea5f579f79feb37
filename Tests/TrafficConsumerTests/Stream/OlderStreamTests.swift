// Redis with an older state of the stream, whatever its clock says: nothing is credited twice and nothing is passed over. A
// reader on a model of a stream, and a producer without counters, so that nothing makes good what recognition got wrong.

import Redis
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("An older state of the stream") struct OlderStreamTests {
  private func read(_ bench: ReaderBench) throws {
    for _ in 0..<3 { try bench.run(until: "ask survey") }
  }

  private func bench() throws -> ReaderBench { try ReaderBench { $0.trims = false } }

  @Test("a dump of hours ago has an entry in common, and credits nothing twice", arguments: [1, 3, 10, 25, 35])
  func olderDump(entries: Int) throws {
    let bench = try bench()
    var dump = bench.stream
    for index in 1...36 {
      bench.add(hasCounters: false)
      try read(bench)
      if index == entries { dump = bench.stream }
      bench.now += 600_000_000_000
    }
    // What a busy minute adds.
    for _ in 0..<60 {
      bench.add(hasCounters: false)
      try read(bench)
    }
    #expect(try bench.credited == bench.announced)
    bench.stream = dump
    bench.restart()
    let actions = try bench.run(until: "report caughtUp")
    #expect(actions.contains("store rollBack") && !actions.contains("store newEpoch"), "\(actions)")
    try read(bench)
    #expect(try bench.credited == bench.announced)
    for _ in 0..<5 { bench.add(hasCounters: false) }
    try read(bench)
    #expect(try bench.credited == bench.announced && bench.lost == 0 && bench.faults == [])
  }

  @Test("new entries get ids that were applied: all of them count", arguments: [3, 12, 30], [false, true])
  func clockBehind(entries: Int, isConnected: Bool) throws {
    let bench = try bench()
    for _ in 0..<5 {
      bench.add(hasCounters: false)
      bench.now += 2_000_000_000
    }
    try read(bench)
    let replica = bench.stream
    let fork = bench.now / 1_000_000
    for index in 0..<10 { bench.add(hasCounters: false, at: fork + 100 * UInt64(index)) }
    try read(bench)
    #expect(try bench.credited == bench.announced)
    // The replica lacks the last ten, and its clock is behind.
    bench.stream = replica
    for index in 0..<entries { bench.add(hasCounters: false, at: fork + 70 * UInt64(index) + 1) }
    if !isConnected { bench.restart() }
    try read(bench)
    try read(bench)
    #expect(try bench.credited == bench.announced && bench.faults == [])
    #expect(bench.stream.pendingIDs == [] && bench.lost == 0)
    if entries == 3 { #expect(bench.writer.streams[0].counters.rollbacks == 1) }
  }
}
