// Redis forgets once more after it was given back what it had forgotten, over the same connection or another: what it has then
// is told from what it had, and nothing that is gone again is stepped over.

import Redis
import Simulation
import Testing

@testable import Tracker

@Suite("push session: what was given back is gone again")
struct PushSessionGivenBackTests {
  /// Records 0 to 3, the reply to which was lost, and 4 to 7, which are held; another waits. Redis has forgotten all and been
  /// given back what is held: the next call sends the first again, the one after it steps over the rest.
  private static func givenBack() throws -> PushSessionSite {
    var site = try PushSessionSite()
    try site.announceUnanswered(0..<4)
    site.announce(4..<8)
    try site.settle()
    site.redis.forget()
    site.announce(8..<9)
    try site.run { $0.trace.last == "adopt 0" }
    return site
  }

  @Test("nothing is stepped over", arguments: ["adopt 0", "send 0..<4"], [true, false])
  func steppedOver(after last: String, isConnectionLost: Bool) throws {
    var site = try Self.givenBack()
    try site.run { $0.trace.last == last }
    site.redis.forget()
    if isConnectionLost {
      site.fault = { if case .awaitReply = $0 { (.closed("by the server"), true) } else { nil } }
      try site.run { $0.trace.last == "disconnect" }
      site.fault = { _ in nil }
    }
    try site.settle()
    #expect(Set(site.redis.stream.map(\.number)) == Set(0..<9), "\(site.trace.suffix(40))")
    #expect(site.sum.lostToFailover == 0)
  }

  @Test("of two givings back of as many records from the same place each is known from the other")
  func asManyAsBefore() throws {
    var site = try PushSessionSite()
    site.announce(0..<4)
    try site.settle()
    site.redis.forget()
    try site.run { $0.trace.last == "adopt 4" }
    let before = site.redis
    site.announce(4..<8)
    try site.settle()
    site.redis = before
    site.announce(8..<9)
    try site.run { $0.trace.last == "restore 4..<8" }
    site.redis = before
    try site.settle()
    #expect(Set(site.redis.stream.map(\.number)) == Set(0..<9), "\(site.trace.suffix(40))")
  }
}
