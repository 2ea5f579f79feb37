import Redis
import Testing

@testable import Tracker

/// What the publisher does when Redis has forgotten something, without a socket.
@Suite("push sessions: gaps") struct PushSessionGapsTests {
  @Test(
    "a Redis that was rolled back to a moment that is held is noticed at rest, and given back what it has forgotten")
  func rolledBack() throws {
    var site = try PushSessionSite()
    try site.announce(rounds: 5, of: 0..<10)
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
    #expect(site.redis.stream == ModelRedis.entries(0..<25) + ModelRedis.entries(20..<60))
    #expect(site.sum.gaps == 1 && site.sum.published == 60 && site.sum.lostToFailover == 0)
    #expect(site.notes.contains(.sendingAgain(records: 25)))
  }

  @Test(
    "a Redis that forgets again while it is given back is given back again, and only then expects what is next",
    arguments: ["restore 4..<8", "restore 8..<12"])
  func forgetsAgain(after last: String) throws {
    var site = try PushSessionSite()
    try site.announce(rounds: 3, of: 0..<4)
    site.redis.forget()
    try site.run { $0.trace.last == last }
    site.redis.forget()
    site.trace = []
    try site.settle()
    #expect(site.redis.stream == ModelRedis.entries(0..<12))
  }

  @Test("a call whose reply was lost has nothing to be given back: it is sent again when Redis forgets it")
  func unansweredIsForgotten() throws {
    var site = try PushSessionSite()
    site.announce(0..<4)
    try site.settle()
    // Redis applies it, and the reply is lost; repeated it adds nothing.
    try site.announceUnanswered(4..<8)
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
    try site.announce(rounds: 3, of: 0..<4)
    site.redis.forget()
    site.redis.limit = 10
    try site.run { $0.sum.full == 3 }
    #expect(site.redis.stream == ModelRedis.entries(0..<10) && site.sum.gaps == 1)
    #expect(site.session.trouble != nil)
    site.redis.limit = 0
    try site.run { $0.trace.last == "adopt 12" }
    try site.settle()
    #expect(site.redis.stream == ModelRedis.entries(0..<12) && site.sum.gaps == 1 && site.sum.resent == 12)
    // Nobody announces meanwhile.
    #expect(site.session.trouble == nil)
  }

  @Test(
    "a connection that is lost before what is held is given back, or a script that is refused, leaves nothing to be stepped over",
    arguments: [.closed("by the server"), .server(RedisServerError(line: "BUSY Redis is busy running a script."))]
      as [RedisError])
  func givingBackIsLost(error: RedisError) throws {
    var site = try PushSessionSite()
    try site.announceUnanswered(0..<4)
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
    #expect(read == ModelRedis.entries(0..<20) && site.sum.resent == 20 && site.sum.gaps == 1)
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
    #expect(site.redis.stream == ModelRedis.entries(0..<1000) && site.sum.gaps == 1 && site.sum.resent == 1000)
  }

  @Test("scripts that are flushed while Redis is given back are loaded again, the one that is missing")
  func scriptsFlushedWhileGivenBack() throws {
    var site = try PushSessionSite()
    try site.announce(rounds: 3, of: 0..<4)
    site.redis.forget()
    try site.run { $0.trace.last == "load restore" }
    site.redis.scripts = []
    site.trace = []
    try site.run { $0.trace.last == "adopt 12" }
    #expect(site.trace.count { $0 == "load restore" } == 1)
    try site.settle()
    #expect(site.redis.stream == ModelRedis.entries(0..<12) && site.sum.gaps == 1)
  }

  @Test("a Redis that is empty is given back what is held, then expects what is next; so is one after a reconnect")
  func flushed() throws {
    var site = try PushSessionSite()
    try site.announce(rounds: 3, of: 0..<4)
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
    #expect(site.redis.stream == ModelRedis.entries(0..<13))
    #expect(site.sum.resent == 12 && site.sum.gaps == 1 && site.sum.lostToFailover == 0)
    #expect(site.notes.contains(.lost(expected: 12, found: 0, records: 0)))
  }

  @Test("what was taken back and is no longer held is counted, and the rest given back")
  func beyondHeld() throws {
    var site = try PushSessionSite(retainedBytes: 5000)
    try site.announce(rounds: 6, of: 0..<10)
    let run = try #require(site.session.retained.last?.run)
    let held = try #require(site.session.retained.forgotten(at: 0, of: run).first?.first)
    #expect(held > 0 && held < 60)
    site.redis.next[1] = 5
    site.redis.stream.removeSubrange(5...)
    site.announce(0..<10, uploaded: 9)
    try site.settle()
    #expect(site.sum.lostToFailover == held - 5 && site.sum.resent == 60 - held)
    #expect(site.redis.stream == ModelRedis.entries(0..<5) + ModelRedis.entries(held..<70))
  }

  @Test("what waits to be sent again is not counted as lost when Redis is asked a second time")
  func sentAgain() throws {
    var site = try PushSessionSite()
    try site.announceUnanswered(0..<4)
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
    #expect(Set(site.redis.stream) == Set(ModelRedis.entries(0..<9)))
  }

  @Test("... nor when Redis has forgotten more before it is to go on")
  func sentAgainForgetsMore() throws {
    var site = try PushSessionSite()
    site.announce(0..<4)
    try site.settle()
    try site.announceUnanswered(4..<8)
    site.announce(8..<12)
    try site.settle()
    site.redis.next[1] = 6
    site.redis.stream.removeSubrange(6...)
    try site.run { $0.trace.last == "awaitRestored" }
    site.redis.next[1] = 2
    site.redis.stream.removeSubrange(2...)
    try site.run { $0.sum.gaps == 2 }
    try site.settle()
    #expect(site.sum.lostToFailover == 0)
    #expect(Set(site.redis.stream) == Set(ModelRedis.entries(0..<12)))
  }
}
