import Redis
import Testing

@testable import Tracker

/// What the publisher makes of an error that Redis answers, without a socket.
@Suite("push sessions: errors of the server") struct PushSessionErrorTests {
  @Test("a full stream is asked again, less and less often, and takes the rest when there is room")
  func full() throws {
    var site = try PushSessionSite()
    site.redis.limit = 100
    site.announce(0..<300)
    try site.run { $0.sum.full == 5 }
    #expect(site.session.trouble == "the stream has reached max_stream_length")
    #expect(site.redis.stream == ModelRedis.entries(0..<100) && site.sum.errors.isEmpty && site.connections.count == 1)
    site.redis.limit = 0
    try site.settle()
    #expect(
      site.redis.stream == ModelRedis.entries(0..<300) && site.sum.published == 300 && site.session.trouble == nil)
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
    #expect(site.redis.stream == ModelRedis.entries(0..<300))
    #expect(site.notes == [.connected])
  }

  @Test(
    "a server that does not take writes is left, one that is in trouble is asked again, both after a wait",
    arguments: [("READONLY You can't write", true), ("MASTERDOWN", true), ("OOM command not allowed", false)])
  func refused(line: String, leaves: Bool) throws {
    var site = try PushSessionSite()
    try site.settle()
    site.redis.error = RedisServerError(line: line)
    site.announce(0..<300)
    try site.run { $0.sum.errors.count == 6 }
    #expect(site.session.trouble?.contains(site.redis.error!.code.text) == true)
    #expect((site.connections.count > 3) == leaves)
    #expect(site.notes.contains { if case .failed(_, attempt: 1) = $0 { true } else { false } })
    #expect(site.notes.contains { if case .failed(_, attempt: 4) = $0 { true } else { false } })
    site.redis.error = nil
    try site.settle()
    #expect(site.redis.stream == ModelRedis.entries(0..<300) && site.session.trouble == nil)
  }

  @Test("MOVED is followed to the node it names, and ASK for one call only")
  func redirected() throws {
    var site = try PushSessionSite()
    try site.settle()
    site.redis.error = RedisServerError(line: "MOVED 3999 127.0.0.1:6381")
    site.announce(0..<2)
    try site.run { $0.trace.last == "disconnect" }
    site.redis.error = nil
    try site.settle()
    #expect(site.connections.map { $0?.code } == [nil, .moved, nil] && site.redis.stream.count == 2)

    site.redis.error = RedisServerError(line: "ASK 3999 127.0.0.1:6381")
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
    #expect(site.redis.stream == ModelRedis.entries(0..<302))
  }

  @Test("a Redis that takes the connection and refuses the script, while it loads, is left and tried again")
  func loading() throws {
    var site = try PushSessionSite()
    site.redis.error = RedisServerError(line: "LOADING Redis is loading the dataset in memory")
    site.announce(0..<1)
    try site.run { $0.sum.errors.count == 3 }
    #expect(site.trace.prefix(4) == ["connect", "load push", "disconnect", "pause"] && site.connections.count == 3)
    site.redis.error = nil
    try site.settle()
    #expect(site.redis.stream == ModelRedis.entries(0..<1))
  }
}
