import Redis
import Testing

@testable import Tracker

/// When the publisher spools and how it ends, without a socket or a file.
@Suite("push sessions: the spool and the end") struct PushSessionSpoolTests {
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
    #expect(site.spooled == nil && site.redis.stream == ModelRedis.entries(0..<302))
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
    #expect(site.session.trouble == nil && site.redis.stream == ModelRedis.entries(0..<3))
  }

  @Test("told to stop, it publishes what is queued and ends")
  func stop() throws {
    var site = try PushSessionSite(spool: true)
    try site.settle()
    site.announce(0..<600)
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.redis.stream == ModelRedis.entries(0..<600) && site.spooled == nil && site.sum.refusedShutdown == 0)
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
}
