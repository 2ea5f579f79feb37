// A process is told to stop while Redis has not taken back what it forgot, or was not asked whether it has it: what is held
// goes to the spool under its numbers, or is counted or told of where there is none.

import Redis
import Testing

@testable import Tracker

@Suite("push session: the end while something is to be given back")
struct PushSessionGivingUpTests {
  /// Redis went back to the first 2 of 8 records, and has room for one more.
  private static func suspended(hasSpool: Bool) throws -> PushSessionSite {
    var site = try PushSessionSite(spool: hasSpool)
    try site.announce(rounds: 8, of: 0..<1)
    site.redis.rollBack(to: 2, run: 1)
    site.redis.limit = 3
    try site.run { $0.sum.full == 2 }
    #expect(site.session.suspended?.recordsLeft == 5 && site.session.rest == 0)
    return site
  }

  /// The numbers of what the spool keeps for the next process to hold.
  private static func kept(_ site: PushSessionSite) -> [UInt64]? {
    site.applied?.flatMap { Array($0.first..<$0.end) }.sorted()
  }

  @Test(
    "a stream that stays full does not hold up the end, and what it did not take is spooled or counted",
    arguments: [true, false])
  func full(hasSpool: Bool) throws {
    var site = try Self.suspended(hasSpool: hasSpool)
    site.session.requestStop()
    let begin = site.now
    try site.run { $0.isFinished }
    #expect(site.now - begin < 2_000_000_000)
    #expect(Self.kept(site) == (hasSpool ? Array(0..<8) : nil) && site.spooled == nil)
    #expect(site.sum.refusedShutdown == (hasSpool ? 0 : 5))
    #expect(
      Array(site.notes.suffix(hasSpool ? 1 : 2))
        == (hasSpool
          ? [.spooledDoubtful(announces: 8)] : [.gaveUpDoubtful(announces: 3), .gaveUpRest(announces: 5)]))
  }

  @Test("a spool that cannot be written is none") func noRoomOnDisk() throws {
    var site = try Self.suspended(hasSpool: true)
    site.spoolTrouble = "spool: disk full"
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.sum.refusedShutdown == 5 && site.notes.last == .gaveUpRest(announces: 5))
  }

  @Test("the end waits for what is being given back") func waits() throws {
    var site = try Self.suspended(hasSpool: true)
    site.redis.limit = 0
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(Set(site.redis.stream) == Set(ModelRedis.entries(0..<8)) && site.redis.next[1] == 8)
    #expect(site.spooled == nil && site.sum.refusedShutdown == 0)
  }

  @Test(
    "of a Redis that was away since, and tells nothing, nothing is known: what is held is spooled, or told of",
    arguments: [true, false], ["connect", "askTime", "verify 8"])
  func away(hasSpool: Bool, moment: String) throws {
    var site = try PushSessionSite(spool: hasSpool)
    try site.announce(rounds: 8, of: 0..<1)
    site.fault = { action in
      action.name == moment || action.name == "awaitAnnounces" ? (.closed("by the server"), false) : nil
    }
    try site.run { $0.trace.suffix(20).contains("pause") && $0.trace.contains(moment) }
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(Self.kept(site) == (hasSpool ? Array(0..<8) : nil) && site.spooled == nil)
    #expect(
      site.notes.last == (hasSpool ? .spooledDoubtful(announces: 8) : .gaveUpDoubtful(announces: 8))
        && site.sum.refusedShutdown == 0)
  }

  @Test("what a call showed is spooled beside that call") func shownByCall() throws {
    var site = try PushSessionSite(spool: true)
    try site.announce(rounds: 8, of: 0..<1)
    site.announce(0..<1, uploaded: 8)
    site.trace.removeAll()
    try site.run { $0.trace.last == "verify 8" }
    site.redis.rollBack(to: 2, run: 1)
    site.redis.limit = 3
    try site.run { $0.sum.full == 1 }
    #expect(site.session.survey == nil && site.session.rest == 1)
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(Self.kept(site) == Array(0..<8) && site.spooled?.keys.sorted() == [8])
    #expect(site.notes.suffix(2) == [.spooledDoubtful(announces: 8), .spooledRest(announces: 1)])
  }

  @Test("a question that Redis refuses over a connection that lives is none") func refusedQuestion() throws {
    var site = try PushSessionSite(spool: true)
    try site.announce(rounds: 8, of: 0..<1)
    site.fault = { $0.name == "verify 8" ? (.server(RedisServerError(line: "OOM")), false) : nil }
    try site.run { $0.sum.errors.count == 2 }
    #expect(site.session.isConnected && !site.session.isPreparing)
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(Self.kept(site) == Array(0..<8) && site.spooled == nil)
  }

  @Test("of a Redis that has all there is nothing to spool") func nothing() throws {
    var site = try PushSessionSite(spool: true)
    try site.announce(rounds: 8, of: 0..<1)
    site.session.requestStop()
    try site.run { $0.isFinished }
    #expect(site.spooled == nil && !site.trace.contains("writeSpool"))
  }
}
