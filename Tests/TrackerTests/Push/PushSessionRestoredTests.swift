import Redis
import Testing

@testable import Tracker

/// What the publisher does with the runs that an earlier process left, without a socket.
@Suite("push sessions: what an earlier process left") struct PushSessionRestoredTests {
  private static func spooled(_ numbers: [UInt64], run: UInt64) -> SpooledRun {
    SpooledRun(
      run: PushRun(id: run, generationBase: 0),
      announces: numbers.map {
        SpooledAnnounce(number: $0, announce: QueuedAnnounce(record: makeRecord(peer: Int($0), uploaded: $0)))
      })
  }

  @Test("what is restored goes out under its run and its numbers, then the own run begins at 0, wherever Redis is")
  func restored() throws {
    var site = try PushSessionSite(restored: [Self.spooled(Array(5..<300), run: 77)])
    // The replies to the old process were lost: Redis has applied half of it, and what came behind.
    site.redis.next[77] = 400
    site.announce(0..<10)
    try site.settle()
    #expect(site.redis.stream == ModelRedis.entries(0..<10))
    #expect(site.sum.duplicates == 295 && site.sum.published == 10 && site.sum.gaps == 0)
    #expect(site.trace.contains("removeSpool"))

    site = try PushSessionSite(restored: [Self.spooled(Array(5..<300), run: 77), Self.spooled([0, 1], run: 78)])
    site.redis.next[77] = 100
    site.announce(0..<10)
    try site.settle()
    #expect(
      site.redis.stream == ModelRedis.entries(100..<300, run: 77) + ModelRedis.entries(0..<2, run: 78)
        + ModelRedis.entries(0..<10))
  }

  /// A process that restored 600 records, of whose first call Redis had applied all and told nothing, and took ten of its own.
  private func afterRestart() throws -> PushSessionSite {
    var site = try PushSessionSite(restored: [Self.spooled(Array(0..<600), run: 77)])
    _ = site.redis.load(.push)
    _ = site.redis.apply(0, count: 256, run: 77, gapFrom: nil)
    site.announce(0..<10)
    try site.settle()
    #expect(
      site.redis.stream == ModelRedis.entries(0..<600, run: 77) + ModelRedis.entries(0..<10)
        && site.sum.duplicates == 256)
    return site
  }

  private func goOnIdle(_ site: inout PushSessionSite) throws {
    try site.run { $0.trace.last != "awaitAnnounces" }
    try site.settle()
  }
  private static let afterRestartEntries = Set(ModelRedis.entries(0..<600, run: 77) + ModelRedis.entries(0..<10))

  @Test(
    "of an earlier process' run Redis is given back what it told of, and sent the rest again",
    arguments: [600, 599, 300, 256, 255, 100, 0], [false, true])
  func earlierRunIsForgotten(kept: Int, isAnnounced: Bool) throws {
    var site = try afterRestart()
    site.redis.next = [77: UInt64(kept)]
    site.redis.stream.removeSubrange(kept...)
    if isAnnounced { site.announce(0..<4, uploaded: 9) }
    try site.run { $0.redis.next == [77: 600, 1: isAnnounced ? 14 : 10] && $0.session.window.isEmpty }
    let own = ModelRedis.entries(10..<(isAnnounced ? 14 : 10))
    #expect(Set(site.redis.stream) == Self.afterRestartEntries.union(own))
    #expect(site.sum.lostToFailover == 0)
    let gaps = site.sum.gaps
    for _ in 0..<20 { try goOnIdle(&site) }
    #expect(site.sum.gaps == gaps && site.session.survey == nil && site.session.trouble == nil)
  }

  @Test("an earlier process' run is mended wherever Redis forgets once more, or breaks off, or refuses")
  func earlierRunIsForgottenAgain() throws {
    for step in 0..<60 {
      for how in 0..<3 {
        var site = try afterRestart()
        site.redis.forget()
        try site.run { $0.trace.last == "verify 600" }
        for _ in 0..<step { site.step() }
        var isDue = true
        switch how {
        case 0: site.redis.forget()
        case 1:
          site.fault = { _ in
            defer { isDue = false }
            return isDue ? (.closed("by the server"), false) : nil
          }
        default:
          site.fault = {
            switch $0 {
            case .askPlace, .awaitRestored, .awaitReply:
              defer { isDue = false }
              return isDue ? (.server(RedisServerError(line: "OOM")), false) : nil
            default: return nil
            }
          }
        }
        site.step()
        site.fault = { _ in nil }
        try site.run { $0.redis.next == [77: 600, 1: 10] && $0.session.window.isEmpty }
        #expect(Set(site.redis.stream) == Self.afterRestartEntries, "step \(step), \(how)")
      }
    }
  }

  @Test("a loss that the own run shows has the earlier one asked for before the process ends")
  func earlierRunIsForgottenAtEnd() throws {
    var site = try afterRestart()
    // Both were asked for; what forgets is noticed by the call.
    site.announce(0..<4, uploaded: 9)
    try site.run { $0.trace.suffix(2) == ["verify 600", "verify 10"] }
    site.redis.forget()
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(Set(site.redis.stream) == Self.afterRestartEntries.union(ModelRedis.entries(10..<14)))
    #expect(site.sum.lostToFailover == 0 && site.sum.refusedShutdown == 0)
  }

  @Test("of an earlier process' run nothing is held when Redis may have forgotten it for its silence")
  func earlierRunIsSilent() throws {
    var site = try afterRestart()
    for round in 0..<4 {
      site.now += PublisherSettings.runIdleSeconds * 300_000_000
      site.announce(0..<4, uploaded: UInt64(10 + round))
      try site.settle()
    }
    site.redis.next[77] = nil
    for _ in 0..<5 { try goOnIdle(&site) }
    #expect(site.sum.gaps == 0 && site.redis.stream.count == 626)
  }

  @Test("holes are stepped over, each when all before it is answered")
  func holes() throws {
    var site = try PushSessionSite(restored: [Self.spooled([5, 6, 9, 10, 20], run: 77)])
    site.redis.next[77] = 5
    try site.settle()
    #expect(site.redis.stream.map(\.number) == [5, 6, 9, 10, 20] && site.sum.gaps == 0)
    #expect(
      site.trace.filter { $0.hasPrefix("send") || $0 == "awaitReply" } == [
        "send 5..<7", "awaitReply", "send 9..<11", "awaitReply", "send 20..<21", "awaitReply",
      ])
    // A failure at the first segment must not let the second step over it.
    site = try PushSessionSite(restored: [Self.spooled([5, 6, 9], run: 77)])
    site.redis.next[77] = 5
    site.redis.error = RedisServerError(line: "OOM")
    try site.run { $0.sum.errors.count == 3 }
    site.redis.error = nil
    try site.settle()
    #expect(site.redis.stream.map(\.number) == [5, 6, 9])
  }

  @Test("a process that ended while it gave back leaves nothing that keeps the next one from going on")
  func endedWhileGivingBack() throws {
    var site = try PushSessionSite(restored: [Self.spooled([5, 6], run: 77)])
    site.redis.given[77] = PushCall.GivenBack(process: 76, turn: 1, records: 3)
    try site.settle()
    #expect(site.redis.stream.map(\.number) == [5, 6] && site.sum.gaps == 1)
  }

  @Test("an end before the restored records are out spools them again, beside what came meanwhile")
  func stopWithRestored() throws {
    var site = try PushSessionSite(restored: [Self.spooled(Array(5..<600), run: 77)])
    site.redis.error = RedisServerError(line: "OOM")
    site.announce(0..<10)
    try site.run { $0.sum.errors.count == 1 }
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.notes.last == .spooledRest(announces: 605))
    #expect(site.session.window.reduce(site.session.restored.count) { $0 + $1.count } == 595)
  }

  @Test("a Redis that knows numbers which were never sent has the run begun anew, and nothing is taken for a duplicate")
  func fromTheFuture() throws {
    var site = try PushSessionSite()
    site.announce(0..<3)
    try site.settle()
    site.redis.next[1] = 50
    site.announce(0..<300)
    try site.settle()
    // What was applied under the old name is applied again: the snapshots say that it adds nothing.
    #expect(site.redis.stream.filter { $0.run == 2 } == ModelRedis.entries(3..<303, run: 2))
    #expect(site.sum.abandonedRuns == 1 && site.sum.duplicates == 0 && site.sum.gaps == 0)
  }
}
