import Redis
import Testing

@testable import Tracker

/// The publisher's decisions, without a socket: PushSessionSite has the Redis and the clock.
@Suite("push sessions") struct PushSessionTests {
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
    #expect(site.redis.stream == ModelRedis.entries(0..<600))
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
    site.now += PublisherSettings.runIdleSeconds * 1_000_000_000
    try site.run { [begin = site.now] in $0.now > begin + 2_000_000_000 }
    #expect(site.session.run.id == 2 && site.session.retained.isEmpty)
    site.announce(0..<3)
    try site.settle()
    #expect(site.redis.stream == ModelRedis.entries(0..<2) + ModelRedis.entries(2..<5, run: 2))
    // It is no loss of data.
    #expect(site.sum.gaps == 0)
  }

  @Test("one that was silent because Redis was away is asked for first, as is an earlier process', and given back")
  func awayForADay() throws {
    var site = try PushSessionSite(restored: [
      SpooledRun(
        run: PushRun(id: 77, generationBase: 0),
        announces: [SpooledAnnounce(number: 0, announce: QueuedAnnounce(record: makeRecord(uploaded: 1), order: 5))])
    ])
    site.announce(0..<2)
    try site.settle()
    let all = site.redis.stream
    #expect(all == ModelRedis.entries(0..<1, run: 77) + ModelRedis.entries(0..<2))
    site.fault = {
      switch $0 {
      case .connect: (.unreachable("by the test"), false)
      case .askPlace, .askTime: (.timedOut(.read), false)
      default: nil
      }
    }
    try site.run { $0.connections.count > 0 && $0.trace.last == "pause" }
    site.now += 2 * PublisherSettings.runIdleSeconds * 1_000_000_000
    try site.run { [errors = site.sum.errors.count] in $0.sum.errors.count > errors + 2 }
    site.redis.forget()
    site.fault = { _ in nil }
    try site.settle()
    #expect(site.redis.stream == all && site.sum.gaps == 2)
    // Then nothing of them is held.
    #expect(site.session.run.id == 2 && site.session.retained.isEmpty)
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
    #expect(site.redis.stream == ModelRedis.entries(0..<300))
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
    #expect(site.redis.stream == ModelRedis.entries(0..<1) && site.sum.errors == [.timedOut(.read)])
  }
}
