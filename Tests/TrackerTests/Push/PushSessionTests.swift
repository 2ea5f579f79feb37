import Redis
import Simulation
import Testing

@testable import Tracker

/// The publisher's decisions, without a socket: PushSessionSite has the Redis and the clock.
@Suite("push sessions") struct PushSessionTests {
  private static func entries(_ numbers: Range<UInt64>, run: UInt64 = 1) -> [ModelRedis.Entry] {
    numbers.map { ModelRedis.Entry(run: run, number: $0) }
  }

  private static func server(_ line: String) -> RedisServerError { RedisServerError(line: line) }

  // MARK: the ordinary way

  @Test("announces go out in calls, two at a time, and the replies come in turn")
  func ordinary() throws {
    var site = try PushSessionSite()
    site.announce(0..<600)
    try site.settle()
    #expect(
      site.trace == [
        "connect", "load push", "askTime", "send 0..<256", "send 256..<512", "awaitReply", "send 512..<600",
        "awaitReply",
        "awaitReply", "awaitAnnounces",
      ])
    #expect(site.redis.stream == Self.entries(0..<600))
    #expect(site.sum.published == 600 && site.sum.duplicates == 0 && site.sum.retries == 0)
    #expect(site.notes == [.connected] && site.session.trouble == nil)
  }

  @Test("with nothing to do Redis is asked for a sign of life every second")
  func idle() throws {
    var site = try PushSessionSite()
    try site.settle()
    let begin = site.now
    try site.run { $0.trace.count { $0 == "askTime" } == 11 }
    #expect((9_000_000_000...11_000_000_000).contains(site.now - begin))
    // One that does not come is a lost connection, and what is announced then goes over a new one.
    site.fault = { if case .askTime = $0 { (.timedOut(.read), false) } else { nil } }
    try site.run { $0.trace.last == "disconnect" }
    #expect(site.session.trouble?.contains("timed out") == true)
    site.fault = { _ in nil }
    site.announce(0..<1)
    try site.settle()
    #expect(site.connections.count == 2 && site.redis.stream.count == 1 && site.session.trouble == nil)
  }

  @Test("a run that was silent for half a day gets another name, and nothing of the old one is held")
  func idleRenewal() throws {
    var site = try PushSessionSite()
    site.announce(0..<2)
    try site.settle()
    try site.run { $0.now > 1_000_000_000_000 + (PublisherSettings.runIdleSeconds + 2) * 1_000_000_000 }
    #expect(site.session.run.id == 2 && site.session.retained.isEmpty)
    site.announce(0..<3)
    try site.settle()
    #expect(site.redis.stream == Self.entries(0..<2) + Self.entries(2..<5, run: 2))
    // It is no loss of data.
    #expect(site.sum.gaps == 0)
  }

  // MARK: lost replies

  @Test("a call whose reply is lost is sent again as it was, over a new connection, and counts once")
  func replyLost() throws {
    var site = try PushSessionSite()
    site.announce(0..<300)
    site.fault = { if case .awaitReply = $0 { (.closed("by the server"), true) } else { nil } }
    try site.run { $0.trace.last == "disconnect" }
    site.fault = { _ in nil }
    try site.settle()
    #expect(
      site.trace == [
        "connect", "load push", "askTime", "send 0..<256", "send 256..<300", "awaitReply", "disconnect", "pause",
        "connect",
        "load push", "askTime", "send 0..<256", "send 256..<300", "awaitReply", "awaitReply", "awaitAnnounces",
      ])
    #expect(site.redis.stream == Self.entries(0..<300))
    #expect(site.sum.published == 0 && site.sum.duplicates == 300 && site.sum.retries == 1)
    #expect(site.sum.errors == [.closed("by the server")])
  }

  @Test("a connection that falls silent is given up after the read timeout, and the call is sent again")
  func halfOpen() throws {
    var site = try PushSessionSite()
    try site.settle()
    site.isSilent = true
    site.announce(0..<1)
    try site.run { $0.trace.last == "send 0..<1" }
    let begin = site.now
    try site.run { $0.trace.last == "disconnect" }
    #expect((5_000_000_000...5_100_000_000).contains(site.now - begin))
    site.isSilent = false
    try site.settle()
    #expect(site.redis.stream == Self.entries(0..<1) && site.sum.errors == [.timedOut(.read)])
  }

  // MARK: gaps

  @Test(
    "a Redis that was rolled back to a moment that is held is noticed at rest, and given back what it has forgotten")
  func rolledBack() throws {
    var site = try PushSessionSite()
    for round in 0..<5 {
      site.announce(0..<10, uploaded: UInt64(round))
      try site.settle()
    }
    site.redis.next[1] = 25
    site.redis.stream.removeSubrange(25...)
    site.trace = []
    try site.run { $0.trace.last == "adopt 50" }
    try site.settle()
    #expect(
      site.trace == [
        "verify 50", "load restore", "restore 20..<30", "restore 30..<40", "restore 40..<50", "awaitRestored",
        "awaitRestored", "awaitRestored", "adopt 50", "askTime", "awaitAnnounces",
      ])
    site.announce(0..<10, uploaded: 9)
    try site.settle()
    // What is given back as it was is recognised where Redis has it.
    #expect(site.redis.stream == Self.entries(0..<25) + Self.entries(20..<60))
    #expect(site.sum.gaps == 1 && site.sum.published == 60 && site.sum.lostToFailover == 0)
    #expect(site.notes.contains(.sendingAgain(records: 25)))
  }

  @Test(
    "a Redis that forgets again while it is given back is given back again, and only then expects what is next",
    arguments: ["restore 4..<8", "restore 8..<12"])
  func forgetsAgain(after last: String) throws {
    var site = try PushSessionSite()
    for round in 0..<3 {
      site.announce(0..<4, uploaded: UInt64(round))
      try site.settle()
    }
    site.redis.forget()
    try site.run { $0.trace.last == last }
    site.redis.forget()
    site.trace = []
    try site.settle()
    #expect(site.redis.stream == Self.entries(0..<12))
  }

  @Test("a call whose reply was lost has nothing to be given back: it is sent again when Redis forgets it")
  func unansweredIsForgotten() throws {
    var site = try PushSessionSite()
    site.announce(0..<4)
    try site.settle()
    // Redis applies it, and the reply is lost; repeated it adds nothing.
    site.announce(4..<8)
    site.fault = { if case .awaitReply = $0 { (.closed("by the server"), true) } else { nil } }
    try site.run { $0.trace.last == "awaitReply" }
    site.fault = { _ in nil }
    try site.settle()
    site.announce(8..<12)
    try site.settle()
    #expect(site.sum.duplicates == 4)
    site.redis.forget()
    site.announce(12..<14)
    site.trace = []
    try site.settle()
    let order = site.redis.stream.map(\.number)
    #expect(order.sorted() == Array(0..<14) && site.redis.next[1] == 14, "\(order) \(site.trace)")
    #expect(Array(order.prefix(8)) == [0, 1, 2, 3, 8, 9, 10, 11])
    #expect(site.sum.lostToFailover == 0)
  }

  @Test("a stream that is full while Redis is given back is asked again from there on")
  func fullWhileGivenBack() throws {
    var site = try PushSessionSite()
    for round in 0..<3 {
      site.announce(0..<4, uploaded: UInt64(round))
      try site.settle()
    }
    site.redis.forget()
    site.redis.limit = 10
    try site.run { $0.sum.full == 3 }
    #expect(site.redis.stream == Self.entries(0..<10) && site.sum.gaps == 1)
    #expect(site.session.trouble != nil)
    site.redis.limit = 0
    try site.run { $0.trace.last == "adopt 12" }
    try site.settle()
    #expect(site.redis.stream == Self.entries(0..<12) && site.sum.gaps == 1 && site.sum.resent == 12)
    // Nobody announces meanwhile.
    #expect(site.session.trouble == nil)
  }

  @Test(
    "a connection that is lost before what is held is given back, or a script that is refused, leaves nothing to be stepped over",
    arguments: [.closed("by the server"), .server(RedisServerError(line: "BUSY Redis is busy running a script."))]
      as [RedisError])
  func givingBackIsLost(error: RedisError) throws {
    var site = try PushSessionSite()
    site.announce(0..<4)
    site.fault = { if case .awaitReply = $0 { (.closed("by the server"), true) } else { nil } }
    try site.run { $0.trace.last == "awaitReply" }
    site.fault = { _ in nil }
    try site.settle()
    site.announce(4..<8)
    try site.settle()
    // The first has nothing to be given back, the second does. Behind a call that was refused no question is asked again.
    site.redis.forget()
    site.announce(8..<9)
    site.fault = { if case .loadScript(.restore) = $0 { (error, false) } else { nil } }
    try site.run { $0.trace.last == "load restore" }
    site.fault = { _ in nil }
    try site.settle()
    #expect(Set(site.redis.stream).count == 9, "\(site.redis.stream.map(\.number)) \(site.trace.suffix(30))")
  }

  @Test("a stream that has never room for a whole call is given it back in parts")
  func givenBackInParts() throws {
    var site = try PushSessionSite()
    site.announce(0..<20)
    try site.settle()
    site.redis.forget()
    site.redis.limit = 3
    var read: [ModelRedis.Entry] = []
    while read.count < 20 {
      try site.run { $0.redis.stream.count == 3 || read.count + $0.redis.stream.count == 20 }
      read += site.redis.stream
      site.redis.stream = []
    }
    try site.run { $0.trace.last == "adopt 20" }
    #expect(read == Self.entries(0..<20) && site.sum.resent == 20 && site.sum.gaps == 1)
  }

  @Test("a partition of small calls is given back many at a time, in order, although Redis refuses one in between")
  func givenBackAhead() throws {
    var site = try PushSessionSite()
    for peer in 0..<1000 {
      site.announce(peer..<peer + 1)
      try site.settle()
    }
    site.redis.forget()
    site.redis.limit = 700
    site.trace = []
    try site.run { $0.sum.full == 1 }
    #expect(site.trace.prefix(600).count { $0.hasPrefix("restore ") } > PublisherSettings.restoredRecordsOnWay)
    #expect(site.trace.first { $0.hasPrefix("restore ") || $0 == "awaitRestored" } == "restore 0..<1")
    #expect(site.trace.firstIndex(of: "awaitRestored")! > PublisherSettings.restoredRecordsOnWay)
    site.redis.limit = 0
    try site.run { $0.trace.last == "adopt 1000" }
    try site.settle()
    #expect(site.redis.stream == Self.entries(0..<1000) && site.sum.gaps == 1 && site.sum.resent == 1000)
  }

  @Test("scripts that are flushed while Redis is given back are loaded again, the one that is missing")
  func scriptsFlushedWhileGivenBack() throws {
    var site = try PushSessionSite()
    for round in 0..<3 {
      site.announce(0..<4, uploaded: UInt64(round))
      try site.settle()
    }
    site.redis.forget()
    try site.run { $0.trace.last == "load restore" }
    site.redis.scripts = []
    site.trace = []
    try site.run { $0.trace.last == "adopt 12" }
    #expect(site.trace.count { $0 == "load restore" } == 1)
    try site.settle()
    #expect(site.redis.stream == Self.entries(0..<12) && site.sum.gaps == 1)
  }

  @Test("a Redis that is empty is given back what is held, then expects what is next; so is one after a reconnect")
  func flushed() throws {
    var site = try PushSessionSite()
    for round in 0..<3 {
      site.announce(0..<4, uploaded: UInt64(round))
      try site.settle()
    }
    site.redis = ModelRedis()
    site.trace = []
    // The connection is lost too: found out when connecting, before anything new is announced.
    site.fault = { if case .askPlace = $0 { (.closed("by the server"), false) } else { nil } }
    try site.run { $0.trace.last == "disconnect" }
    site.fault = { _ in nil }
    site.announce(0..<1, uploaded: 7)
    try site.settle()
    #expect(
      site.trace
        == [
          "awaitAnnounces", "verify 12", "disconnect", "pause", "connect", "load push", "askTime", "verify 12",
          "load restore",
          "restore 0..<4", "restore 4..<8", "restore 8..<12", "awaitRestored", "awaitRestored", "awaitRestored",
          "adopt 12", "askTime", "send 12..<13", "awaitReply", "awaitAnnounces",
        ].suffix(site.trace.count))
    #expect(site.redis.stream == Self.entries(0..<13))
    #expect(site.sum.resent == 12 && site.sum.gaps == 1 && site.sum.lostToFailover == 0)
    #expect(site.notes.contains(.lost(expected: 12, found: 0, records: 0)))
  }

  @Test("what was taken back and is no longer held is counted, and the rest given back")
  func beyondHeld() throws {
    var site = try PushSessionSite(retainedBytes: 5000)
    for round in 0..<6 {
      site.announce(0..<10, uploaded: UInt64(round))
      try site.settle()
    }
    let run = try #require(site.session.retained.last?.run)
    let held = try #require(site.session.retained.forgotten(at: 0, of: run).first?.first)
    #expect(held > 0 && held < 60)
    site.redis.next[1] = 5
    site.redis.stream.removeSubrange(5...)
    site.announce(0..<10, uploaded: 9)
    try site.settle()
    #expect(site.sum.lostToFailover == held - 5 && site.sum.resent == 60 - held)
    #expect(site.redis.stream == Self.entries(0..<5) + Self.entries(held..<70))
  }

  @Test("what waits to be sent again is not counted as lost when Redis is asked a second time")
  func sentAgain() throws {
    var site = try PushSessionSite()
    site.announce(0..<4)
    site.fault = { if case .awaitReply = $0 { (.closed("by the server"), true) } else { nil } }
    try site.run { $0.trace.last == "awaitReply" }
    site.fault = { _ in nil }
    try site.settle()
    site.announce(4..<8)
    try site.settle()
    site.redis.next[1] = 2
    site.redis.stream.removeSubrange(2...)
    // The first call is in the window, when the connection is lost.
    site.fault = { if case .loadScript(.restore) = $0 { (.closed("by the server"), false) } else { nil } }
    try site.run { $0.trace.last == "load restore" }
    site.fault = { _ in nil }
    site.announce(8..<9)
    try site.settle()
    #expect(site.sum.gaps == 2 && site.sum.lostToFailover == 0)
    #expect(Set(site.redis.stream) == Set(Self.entries(0..<9)))
  }

  // MARK: clocks

  @Test(
    "orders are by the common clock, asked at the connection and once a minute: Redis' may be set, and it goes on")
  func clocks() throws {
    var site = try PushSessionSite()
    func announce(_ seconds: Int64, sharing shift: Int64) throws {
      site.announce(0..<2)
      try site.settle()
      let found = site.session.clock.correctionMicroseconds
      #expect((found - seconds * 1_000_000).magnitude < 10_000)
      #expect((site.redis.clockShift - shift * 1_000_000).magnitude < 10_000)
      #expect(site.session.retained.last?.correctionMicroseconds == found)
    }
    func ask(_ times: Int) throws { try site.run { $0.trace.count { $0 == "askTime" } == times } }
    site.redisAheadMicroseconds = -60_000_000
    try announce(-60, sharing: 0)
    #expect(site.notes.contains(.clocksDiffer(seconds: -60)))
    // Within the error of the measurement nothing changes.
    site.redisAheadMicroseconds = -60_004_000
    try ask(2)
    try announce(-60, sharing: 0)
    // Redis' clock is set, ahead and back: the first question finds it, the second has the clock go on.
    site.redisAheadMicroseconds = 5_000_000
    try ask(4)
    try announce(-60, sharing: -65)
    site.redisAheadMicroseconds = -100_000_000
    try ask(6)
    try announce(-60, sharing: 40)
    #expect(
      site.notes.contains { if case .clockSet(65_000) = $0 { true } else { false } }
        && site.notes.contains { if case .clockSet(-105_000) = $0 { true } else { false } })
  }

  @Test("where Redis may not be asked what time it is, the machine's clock has to do")
  func noTime() throws {
    var site = try PushSessionSite()
    site.isTimeAllowed = false
    site.redisAheadMicroseconds = 1_000_000_000
    site.announce(0..<2)
    try site.settle()
    #expect(site.session.clock.correctionMicroseconds == 0 && site.session.clock.isKnown)
    // Nor is anything taken for the first that is known.
    #expect(site.session.call?.sinceMicroseconds == PushScript.maximumMicroseconds)
  }

  @Test("an answer that took long says too little about the clock: of several the quickest counts")
  func slowClock() throws {
    var site = try PushSessionSite()
    var asked = 0
    site.slowness = { action in
      guard case .askTime = action else { return 0 }
      asked += 1
      // All of it on the way there.
      return asked == 3 ? 1_000_000 : 40_000_000
    }
    site.announce(0..<2)
    try site.settle()
    #expect(asked == 3 && site.session.clock.correctionMicroseconds.magnitude < 1000)
    // Where all are slow, nothing waits for eight of them.
    site = try PushSessionSite()
    site.slowness = { if case .askTime = $0 { 900_000_000 } else { 0 } }
    site.announce(0..<2)
    try site.run { $0.trace.last == "send 0..<2" }
    #expect(site.trace.count { $0 == "askTime" } == 1)
  }

  @Test("after calls the clock is read within half a second, once, and at a clean end; without calls it is not")
  func keepsReading() throws {
    var site = try PushSessionSite()
    try site.settle()
    func asked() -> Int { site.trace.count { $0 == "askTime" } }
    var (before, begin, lastAsked, longest) = (asked(), site.now, site.now, UInt64(0))
    while site.now < begin + 3_000_000_000 {
      site.announce(0..<1)
      site.step()
      if site.trace.last == "askTime" { lastAsked = site.now }
      if site.trace.last?.hasPrefix("send") == true { longest = max(longest, site.now - lastAsked) }
      site.now += 5_000_000
    }
    #expect((5...7).contains(asked() - before) && longest < 510_000_000)
    try site.settle()
    try site.run { $0.now > begin + 5_000_000_000 }
    (before, begin) = (asked(), site.now)
    try site.run { $0.now > begin + 50_000_000_000 }
    #expect(asked() - before <= 1)
    site.announce(0..<1)
    try site.run { $0.trace.last?.hasPrefix("send") == true }
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.trace.suffix(2) == ["askTime", "finish"])
    site = try PushSessionSite()
    site.announce(0..<1)
    try site.settle()
    try site.run { $0.now > begin + 60_000_000_000 && $0.trace.last == "awaitAnnounces" }
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.trace.suffix(2).first != "askTime")
  }

  @Test("a Redis that does not say what time it is keeps nothing from the spool, nor the process from its end")
  func silentClock() throws {
    var site = try PushSessionSite(spool: true, readMilliseconds: 15_000)
    site.announce(0..<2)
    site.isClockSilent = true
    try site.run { $0.trace.last == "askTime" }
    let asked = site.now
    try site.run { $0.trace.last == "writeSpool" }
    #expect(site.now - asked < 3_000_000_000 && site.spooled?.count == 2)
    site.announce(2..<5)
    site.session.requestStop()
    let begin = site.now
    try site.run { $0.isFinished }
    #expect(site.now - begin < 5_600_000_000 && site.spooled?.count == 5)
    #expect(site.notes.last == .spooledRest(announces: 5))
  }

  @Test("what Redis refused on a quiet tracker is over when it answers again, without an announce")
  func refusedClock() throws {
    for error in ["OOM command not allowed", "NOREPLICAS Not enough good replicas", "BUSY Redis is busy"] {
      for held in 0..<2 {
        var site = try PushSessionSite()
        site.announce(0..<held)
        try site.settle()
        site.redis.error = Self.server(error)
        try site.run { $0.session.trouble != nil && $0.sum.errors.count > 3 }
        site.redis.error = nil
        let begin = site.now
        try site.run { $0.session.trouble == nil }
        #expect(site.now - begin < 6_000_000_000 && site.session.failures == 0)
      }
    }
  }

  // MARK: errors of the server

  @Test("a full stream is asked again, less and less often, and takes the rest when there is room")
  func full() throws {
    var site = try PushSessionSite()
    site.redis.limit = 100
    site.announce(0..<300)
    try site.run { $0.sum.full == 5 }
    #expect(site.session.trouble == "the stream has reached max_stream_length")
    #expect(site.redis.stream == Self.entries(0..<100) && site.sum.errors.isEmpty && site.connections.count == 1)
    site.redis.limit = 0
    try site.settle()
    #expect(site.redis.stream == Self.entries(0..<300) && site.sum.published == 300 && site.session.trouble == nil)
  }

  @Test("a script that Redis has forgotten is loaded again at once")
  func noScript() throws {
    var site = try PushSessionSite()
    try site.settle()
    site.redis.scripts = []
    site.announce(0..<300)
    site.trace = []
    let begin = site.now
    try site.settle()
    let reload = ["send 256..<300", "awaitReply", "discardReplies", "load push", "send 0..<256"]
    #expect(Array(site.trace.drop { $0 != reload[0] }.prefix(5)) == reload)
    #expect(site.now - begin < 2_000_000_000 && site.connections.count == 1)
    #expect(site.redis.stream == Self.entries(0..<300))
    #expect(site.notes == [.connected])
  }

  @Test(
    "a server that does not take writes is left, one that is in trouble is asked again, both after a wait",
    arguments: [("READONLY You can't write", true), ("MASTERDOWN", true), ("OOM command not allowed", false)])
  func refused(line: String, leaves: Bool) throws {
    var site = try PushSessionSite()
    try site.settle()
    site.redis.error = Self.server(line)
    site.announce(0..<300)
    try site.run { $0.sum.errors.count == 6 }
    #expect(site.session.trouble?.contains(site.redis.error!.code.text) == true)
    #expect((site.connections.count > 3) == leaves)
    #expect(site.notes.contains { if case .failed(_, attempt: 1) = $0 { true } else { false } })
    #expect(site.notes.contains { if case .failed(_, attempt: 4) = $0 { true } else { false } })
    site.redis.error = nil
    try site.settle()
    #expect(site.redis.stream == Self.entries(0..<300) && site.session.trouble == nil)
  }

  @Test("MOVED is followed to the node it names, and ASK for one call only")
  func redirected() throws {
    var site = try PushSessionSite()
    try site.settle()
    site.redis.error = Self.server("MOVED 3999 127.0.0.1:6381")
    site.announce(0..<2)
    try site.run { $0.trace.last == "disconnect" }
    site.redis.error = nil
    try site.settle()
    #expect(site.connections.map { $0?.code } == [nil, .moved, nil] && site.redis.stream.count == 2)

    site.redis.error = Self.server("ASK 3999 127.0.0.1:6381")
    site.announce(0..<300)
    try site.run { $0.trace.last == "disconnect" }
    site.redis.error = nil
    site.trace = []
    try site.settle()
    #expect(
      site.trace == [
        "pause", "connect ASK", "load push", "ask 2..<258", "awaitReply", "disconnect", "connect", "load push",
        "askTime", "verify 258", "send 258..<302", "awaitReply", "awaitAnnounces",
      ])
    #expect(site.redis.stream == Self.entries(0..<302))
  }

  @Test("a Redis that takes the connection and refuses the script, while it loads, is left and tried again")
  func loading() throws {
    var site = try PushSessionSite()
    site.redis.error = Self.server("LOADING Redis is loading the dataset in memory")
    site.announce(0..<1)
    try site.run { $0.sum.errors.count == 3 }
    #expect(site.trace.prefix(4) == ["connect", "load push", "disconnect", "pause"] && site.connections.count == 3)
    site.redis.error = nil
    try site.settle()
    #expect(site.redis.stream == Self.entries(0..<1))
  }

  // MARK: spool and stop

  @Test("while Redis is away a spool is begun after two seconds, kept up to date every second and removed in the end")
  func spool() throws {
    var site = try PushSessionSite(spool: true)
    try site.settle()
    site.announce(0..<300)
    site.fault = {
      switch $0 {
      case .connect, .awaitReply: (.unreachable("no such host"), false)
      default: nil
      }
    }
    let begin = site.now
    try site.run { $0.trace.last == "writeSpool" }
    site.step()
    #expect((2_000_000_000...2_600_000_000).contains(site.now - begin))
    #expect(site.spooled?.count == 300)
    site.announce(300..<302)
    try site.run { $0.trace.count { $0 == "writeSpool" } == 6 }
    #expect((6_500_000_000...9_000_000_000).contains(site.now - begin))
    #expect(site.spooled?.count == 302)
    site.fault = { _ in nil }
    try site.settle()
    #expect(site.spooled == nil && site.redis.stream == Self.entries(0..<302))
    #expect(site.trace.contains("removeSpool"))
  }

  @Test("while Redis is away and owed nothing there is no spool")
  func nothingToSpool() throws {
    var site = try PushSessionSite(spool: true)
    site.fault = { if case .connect = $0 { (.unreachable("no such host"), false) } else { nil } }
    try site.run { $0.connections.count == 0 && $0.trace.count { $0 == "connect" } == 8 }
    #expect(!site.trace.contains("writeSpool"))
  }

  @Test("a spool that cannot be written is in readiness until Redis takes the announces")
  func spoolTrouble() throws {
    var site = try PushSessionSite(spool: true)
    site.spoolTrouble = "spool: disk full"
    site.announce(0..<3)
    site.fault = { if case .connect = $0 { (.unreachable("no such host"), false) } else { nil } }
    try site.run { $0.session.trouble?.contains("disk full") == true }
    #expect(site.session.trouble == "unreachable: no such host; spool: disk full")
    site.fault = { _ in nil }
    try site.settle()
    #expect(site.session.trouble == nil && site.redis.stream == Self.entries(0..<3))
  }

  @Test("told to stop, it publishes what is queued and ends")
  func stop() throws {
    var site = try PushSessionSite(spool: true)
    try site.settle()
    site.announce(0..<600)
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.redis.stream == Self.entries(0..<600) && site.spooled == nil && site.sum.refusedShutdown == 0)
  }

  @Test(
    "told to stop while Redis is away, it spools the rest, or counts it where there is no spool",
    arguments: [true, false])
  func stopAway(hasSpool: Bool) throws {
    var site = try PushSessionSite(spool: hasSpool)
    site.announce(0..<600)
    site.fault = { if case .awaitReply = $0 { (.closed("by the server"), false) } else { nil } }
    try site.run { $0.trace.last == "send 256..<512" }
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.spooled?.count == (hasSpool ? 600 : nil))
    #expect(site.sum.refusedShutdown == (hasSpool ? 0 : 600))
    #expect(site.notes.last == (hasSpool ? .spooledRest(announces: 600) : .gaveUpRest(announces: 600)))
  }

  @Test(
    "told to stop while it gets a connection ready after an outage, or while a call is on its way, it publishes what waits",
    arguments: ["connect", "load push", "verify 1", "send 0..<256", "send 1..<257"])
  func stopWhileConnecting(at moment: String) throws {
    var site = try PushSessionSite()
    if moment != "send 0..<256" {
      // A call that is held: the place of the run is asked for.
      site.announce(0..<1)
      try site.settle()
    }
    site.announce(0..<600)
    site.fault = { if case .awaitReply = $0 { (.closed("by the server"), false) } else { nil } }
    try site.run { $0.trace.last == "pause" }
    site.fault = { _ in nil }
    site.trace.removeAll()
    try site.run { $0.trace.last == moment }
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.sum.refusedShutdown == 0 && Set(site.redis.stream).count == (moment == "send 0..<256" ? 600 : 601))
  }

  @Test("a stream that stays full does not hold up a stop")
  func stopFull() throws {
    var site = try PushSessionSite(spool: true)
    site.redis.limit = 10
    site.announce(0..<20)
    try site.run { $0.sum.full == 2 }
    site.session.requestStop()
    let begin = site.now
    try site.run { $0.isFinished }
    #expect(site.now - begin < 2_000_000_000)
    #expect(site.spooled?.keys.max() == 19)
  }

  // MARK: what an earlier process left

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
    #expect(site.redis.stream == Self.entries(0..<10))
    #expect(site.sum.duplicates == 295 && site.sum.published == 10 && site.sum.gaps == 0)
    #expect(site.trace.contains("removeSpool"))

    site = try PushSessionSite(restored: [Self.spooled(Array(5..<300), run: 77), Self.spooled([0, 1], run: 78)])
    site.redis.next[77] = 100
    site.announce(0..<10)
    try site.settle()
    #expect(
      site.redis.stream == Self.entries(100..<300, run: 77) + Self.entries(0..<2, run: 78) + Self.entries(0..<10))
  }

  /// A process that restored 600 records, of whose first call Redis had applied all and told nothing, and took ten of its own.
  private func afterRestart() throws -> PushSessionSite {
    var site = try PushSessionSite(restored: [Self.spooled(Array(0..<600), run: 77)])
    _ = site.redis.load(.push)
    _ = site.redis.apply(0, count: 256, run: 77, gapFrom: nil)
    site.announce(0..<10)
    try site.settle()
    #expect(site.redis.stream == Self.entries(0..<600, run: 77) + Self.entries(0..<10) && site.sum.duplicates == 256)
    return site
  }

  private func goOnIdle(_ site: inout PushSessionSite) throws {
    try site.run { $0.trace.last != "awaitAnnounces" }
    try site.settle()
  }
  private static let afterRestartEntries = Set(entries(0..<600, run: 77) + entries(0..<10))

  @Test(
    "of an earlier process' run Redis is given back what it told of, and sent the rest again",
    arguments: [600, 599, 300, 256, 255, 100, 0], [false, true])
  func earlierRunIsForgotten(kept: Int, isAnnounced: Bool) throws {
    var site = try afterRestart()
    site.redis.next = [77: UInt64(kept)]
    site.redis.stream.removeSubrange(kept...)
    if isAnnounced { site.announce(0..<4, uploaded: 9) }
    try site.run { $0.redis.next == [77: 600, 1: isAnnounced ? 14 : 10] && $0.session.window.isEmpty }
    let own = Self.entries(10..<(isAnnounced ? 14 : 10))
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
              return isDue ? (.server(Self.server("OOM")), false) : nil
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
    site.redis.error = Self.server("OOM")
    try site.run { $0.sum.errors.count == 3 }
    site.redis.error = nil
    try site.settle()
    #expect(site.redis.stream.map(\.number) == [5, 6, 9])
  }

  @Test("a process that ended while it gave back leaves nothing that keeps the next one from going on")
  func endedWhileGivingBack() throws {
    var site = try PushSessionSite(restored: [Self.spooled([5, 6], run: 77)])
    site.redis.given[77] = 3
    try site.settle()
    #expect(site.redis.stream.map(\.number) == [5, 6] && site.sum.gaps == 1)
  }

  @Test("an end before the restored records are out spools them again, beside what came meanwhile")
  func stopWithRestored() throws {
    var site = try PushSessionSite(restored: [Self.spooled(Array(5..<600), run: 77)])
    site.redis.error = Self.server("OOM")
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
    #expect(site.redis.stream.filter { $0.run == 2 } == Self.entries(3..<303, run: 2))
    #expect(site.sum.abandonedRuns == 1 && site.sum.duplicates == 0 && site.sum.gaps == 0)
  }

  // MARK: any schedule

  @Test(
    "whatever fails when, every record is in the stream, and the same seed takes the same steps",
    arguments: 0..<40)
  func anySchedule(seed: UInt64) throws {
    let first = try schedule(seed: seed)
    let again = try schedule(seed: seed)
    #expect(first.trace == again.trace)
    var seen: Set<ModelRedis.Entry> = []
    let once = first.redis.stream.filter { seen.insert($0).inserted }
    // What is sent again after a loss comes behind what is given back: `order` tells the script which is older.
    #expect(once.map(\.number).sorted() == Array(0..<UInt64(once.count)) && once.count > 0, "seed \(seed)")
    #expect(first.redis.next[1] == UInt64(once.count), "seed \(seed)")
  }

  /// Announces, failures before and after Redis has done its work, and rollbacks, all chosen by the seed.
  private func schedule(seed: UInt64) throws -> PushSessionSite {
    let random = Box(SeededRandom(seed: seed))
    var site = try PushSessionSite(spool: true, seed: seed)
    site.fault = { action in
      switch action {
      case .pause, .awaitAnnounces, .disconnect, .writeSpool, .removeSpool, .finish: return nil
      default: break
      }
      guard random.value.chance(oneIn: 12) else { return nil }
      let lines = ["OOM", "NOSCRIPT", "READONLY", "MOVED 1 127.0.0.1:2", "ASK 1 127.0.0.1:2", "LOADING"]
      if random.value.chance(oneIn: 2) { return (.closed("by the server"), random.value.chance(oneIn: 2)) }
      let line = lines.randomElement(using: &random.value)!
      // Nobody answers a call before it is sent.
      if case .restore = action { return nil }
      return (.server(Self.server(line)), false)
    }
    var peers = 0
    for _ in 0..<25 {
      let count = Int.random(in: 1...400, using: &random.value)
      site.announce(peers..<peers + count)
      peers += count
      for _ in 0..<Int.random(in: 1...30, using: &random.value) { site.step() }
      if random.value.chance(oneIn: 10), !site.redis.stream.isEmpty {
        let kept = Int.random(in: max(1, site.redis.stream.count - 500)...site.redis.stream.count, using: &random.value)
        site.redis.rollBack(to: kept, run: 1)
      }
    }
    site.fault = { _ in nil }
    // Without a call a rollback behind a living connection stays unknown.
    site.announce(peers..<peers + 1)
    peers += 1
    try site.settle()
    #expect(Set(site.redis.stream).count == peers)
    return site
  }
}

/// A value that a closure changes.
private final class Box<Value> {
  var value: Value
  init(_ value: Value) { self.value = value }
}
