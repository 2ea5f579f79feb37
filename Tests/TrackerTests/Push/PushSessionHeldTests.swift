import Redis
import Testing

@testable import Tracker

/// What the publisher does with applied calls that an earlier process left, without a socket.
@Suite("push sessions: what Redis had applied of an earlier process") struct PushSessionHeldTests {
  private static let run = PushRun(id: 77, generationBase: 0)

  private static func call(_ numbers: Range<UInt64>, isTold: Bool = true) -> PushBatch {
    PushBatch(
      run: run, first: numbers.lowerBound,
      announces: numbers.map { QueuedAnnounce(record: makeRecord(peer: Int($0), uploaded: $0), order: 1) },
      tails: isTold ? [1] : [], tailsFirst: numbers.lowerBound, tailsEnd: numbers.upperBound)
  }

  private static func owed(_ numbers: Range<UInt64>) -> SpooledRun {
    SpooledRun(
      run: run,
      announces: numbers.map {
        SpooledAnnounce(number: $0, announce: QueuedAnnounce(record: makeRecord(peer: Int($0), uploaded: $0), order: 1))
      })
  }

  @Test("a Redis that has all of it is asked, and sent nothing; then the spool goes")
  func nothingIsMissing() throws {
    var site = try PushSessionSite(applied: [Self.call(0..<5), Self.call(5..<8, isTold: false)])
    site.redis.next[77] = 8
    try site.settle()
    #expect(
      site.trace == ["connect", "load push", "askTime", "verify 8", "removeSpool", "awaitAnnounces"]
        && site.applied == nil && site.sum.gaps == 0)
  }

  @Test("it is given back what it lost, sent again what it told nothing of, and then what it is owed", arguments: 0...8)
  func lost(kept: Int) throws {
    for owed in [[], [Self.owed(8..<20)]] {
      var site = try PushSessionSite(
        restored: owed, applied: [Self.call(0..<4), Self.call(4..<6, isTold: false), Self.call(6..<8)])
      site.redis.stream = ModelRedis.entries(0..<UInt64(kept), run: 77)
      if kept > 0 { site.redis.next[77] = UInt64(kept) }
      site.announce(0..<3)
      // What is given back keeps its order: it is not taken for one of the future.
      var given = 0
      site.fault = { [clock = site.session.clock, now = site.now] action in
        guard case .restore(_, let call, _, _, _) = action else { return nil }
        given += 1
        #expect(call.nowMicroseconds >= clock.microseconds(atMonotonicNanoseconds: now))
        return nil
      }
      defer { #expect((given > 0) == (kept < 8)) }
      try site.run {
        $0.redis.next == [77: owed.isEmpty ? 8 : 20, 1: 3] && $0.session.window.isEmpty && $0.applied == nil
      }
      let all = ModelRedis.entries(0..<(owed.isEmpty ? 8 : 20), run: 77) + ModelRedis.entries(0..<3)
      #expect(Set(site.redis.stream) == Set(all), "\(kept)")
      #expect((site.sum.gaps > 0) == (kept < 8) && site.sum.lostToFailover == 0)
      #expect(site.spooled == nil && site.applied == nil && site.trace.contains("removeSpool"))
    }
  }

  @Test("a process that ends as soon as Redis has all of it leaves no file")
  func ends() throws {
    var site = try PushSessionSite(applied: [Self.call(0..<5)])
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.redis.stream == ModelRedis.entries(0..<5, run: 77) && site.applied == nil)
    #expect(site.trace.suffix(2) == ["removeSpool", "finish"])
  }

  @Test("a process that does not reach Redis either keeps it for the next one")
  func keptAgain() throws {
    var site = try PushSessionSite(applied: [Self.call(0..<5)])
    site.fault = { if case .connect = $0 { (.unreachable("by the test"), false) } else { nil } }
    site.announce(0..<2)
    try site.run { $0.sum.errors.count == 1 }
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.applied?.map(\.end) == [5] && site.spooled?.count == 2)
    #expect(site.notes.suffix(2) == [.spooledDoubtful(announces: 5), .spooledRest(announces: 2)])
  }

  @Test("while the stream has no room for it nothing else is sent, and the spool stays")
  func noRoom() throws {
    var site = try PushSessionSite(applied: [Self.call(0..<5)])
    site.redis.limit = 3
    site.announce(0..<2)
    try site.run { $0.sum.full == 2 }
    #expect(site.redis.stream == ModelRedis.entries(0..<3, run: 77) && site.applied != nil)
    site.redis.limit = 0
    try site.settle()
    #expect(site.redis.stream == ModelRedis.entries(0..<5, run: 77) + ModelRedis.entries(0..<2) && site.applied == nil)
  }

  @Test("a Redis that is gone, unnoticed, when the tracker is told to stop: what it had taken is kept for the next one")
  func goneAtTheEnd() throws {
    for pause in [0, 700_000_000, 1_600_000_000] as [UInt64] {
      var site = try PushSessionSite(spool: true)
      try site.announce(rounds: 3, of: 0..<4)
      try site.run { [begin = site.now] in $0.now >= begin + pause && $0.trace.last == "awaitAnnounces" }
      site.fault = {
        switch $0 {
        case .askTime, .askPlace: (.closed("by the server"), false)
        case .connect: (.unreachable("by the test"), false)
        default: nil
        }
      }
      site.stop()
      try site.run { $0.isFinished }
      #expect(site.applied?.map(\.end) == [4, 8, 12] && site.notes.last == .spooledDoubtful(announces: 12), "\(pause)")
    }
  }

  @Test("one that is silent at the end, to a question or to a call: the same", arguments: [true, false])
  func silentAtTheEnd(isCall: Bool) throws {
    var site = try PushSessionSite(spool: true, readMilliseconds: 15_000)
    try site.announce(rounds: 3, of: 0..<4)
    site.isSilent = isCall
    site.isClockSilent = !isCall
    if isCall { site.announce(0..<2) }
    site.stop()
    let begin = site.now
    try site.run { $0.isFinished }
    #expect(site.now - begin < 5_600_000_000 || isCall)
    #expect(site.applied?.map(\.end) == [4, 8, 12] && site.notes.contains(.spooledDoubtful(announces: 12)))
    #expect(site.spooled?.count ?? 0 == (isCall ? 2 : 0))
  }

  @Test("one that refuses when the tracker is told to stop: the same, for what it does not save it may lose")
  func refusingAtTheEnd() throws {
    var site = try PushSessionSite(spool: true)
    try site.announce(rounds: 3, of: 0..<4)
    site.fault = {
      guard case .askTime = $0 else { return nil }
      return (.server(RedisServerError(code: .misconfigured, message: "cannot save")), false)
    }
    try site.run { $0.trace.last?.hasPrefix("pause") == true }
    site.stop()
    try site.run { $0.isFinished }
    #expect(site.applied?.map(\.end) == [4, 8, 12] && site.notes.last == .spooledDoubtful(announces: 12))
  }

  @Test("one that has lost it when the tracker is told to stop, over a living connection, is given it back")
  func lostAtTheEnd() throws {
    var site = try PushSessionSite(spool: true)
    try site.announce(rounds: 3, of: 0..<4)
    let all = site.redis.stream
    site.redis.rollBack(to: 2, run: 1)
    site.stop()
    try site.run { $0.isFinished }
    #expect(Set(site.redis.stream) == Set(all) && site.applied == nil && site.sum.gaps == 1)
  }
}
