import Foundation
import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

/// Redis forgets: what the tracker still holds is given back, and what it does not hold is counted.
@Suite struct PushDataLossTests {
  private static let sessions = 50

  private static func round(_ number: Int, event: AnnounceEvent = .none) -> [AnnounceRecord] {
    (0..<sessions).map {
      makeRecord(
        user: $0, peer: $0, uploaded: UInt64(number * (100 + $0)), downloaded: UInt64(number * 7),
        event: number == 0 ? .started : event, at: 1_700_000_000 + Int64(number) * 1800)
    }
  }

  /// What a consumer credits: of each generation of a session the highest `cu`.
  private static func credited(_ events: [TrafficEvent]) -> [Passkey: UInt64] {
    var highest: [Passkey: [TrafficGeneration: UInt64]] = [:]
    for event in events {
      let counters = event.counters!
      highest[event.passkey, default: [:]][counters.generation, default: 0] =
        max(highest[event.passkey]?[counters.generation] ?? 0, counters.creditedUpload)
    }
    return highest.mapValues { $0.values.reduce(0, +) }
  }

  private static func isExact(_ events: [TrafficEvent], rounds: Int) -> Bool {
    let credited = credited(events)
    return (0..<sessions).allSatisfy { credited[Passkey("passkey\($0)")!] == UInt64((rounds - 1) * (100 + $0)) }
  }

  @Test("what a publisher that dies while it gives back leaves of its run in Redis is forgotten in time")
  func stateHasAnEnd() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let call = [
      "EVAL", PushScript.restoreText, "2", "stream", "state", "86400", "0", "13", "", "", "0", "0", "0", "0", "1-1-",
    ]
    _ = try connection.command(call)
    #expect(try connection.command(["TTL", "state"]).integer == Int64(PushScript.stateSeconds))
  }

  @Test("an order of the future is none, nor is it when its announce is given back")
  func givenBackFromTheFuture() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    // A spool kept it by a clock that is off by an hour.
    caller.call.correctionMicroseconds = 3_600_000_000
    var announce = QueuedAnnounce(record: makeRecord(uploaded: 5, event: .started), order: 1)
    announce.basis = .machine
    let (batch, encoding) = (PushBatch(), PushEncoding())
    batch.fill(from: [SpooledAnnounce(number: 0, announce: announce)], call: caller.call, gapFrom: nil)
    try batch.send(on: &caller.connection)
    let told = try caller.connection.nextReply()
    batch.keepTails(try #require(told.view[11].bytes), of: 1, next: 1)
    withExtendedLifetime(told) {}
    _ = try caller.connection.command(["FLUSHALL"])
    let hash = try #require(try caller.connection.command(["SCRIPT", "LOAD", PushScript.restoreText]).string)
    batch.encodeRestoration(
      caller.call, scriptHash: hash, given: PushCall.GivenBack(process: 1, turn: 1), done: 0, into: encoding)
    try caller.connection.send(encoding.buffer)
    let added = try caller.connection.nextReply()
    #expect(added.error == nil && added.view[1].integer == 1)
    let now = caller.call.nowMicroseconds / PushScript.orderTickMicroseconds
    let events = try caller.connection.events(of: "tracker:traffic")
    #expect(events.map(\.order) == [now])
    let keys = try caller.connection.command(["KEYS", "tracker:last:*"])
    let packed = try caller.connection.command(["HGET", try #require(keys.view[0].string), "s"])
    let order = try #require(packed.view.bytes)[14..<20].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    #expect(order == now)
    withExtendedLifetime(added) {}
    withExtendedLifetime(keys) {}
    withExtendedLifetime(packed) {}
  }

  @Test("FLUSHALL in the middle of a run: exact to the byte, whatever the consumer had read before")
  func flushed() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    let metrics = MetricRegistry()
    let push = try TrafficPush(options: TrafficPushOptions(redisBroker: redis.url), metrics: metrics)
    try push.start()
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    for number in 0..<5 { push.enqueue(Self.round(number)) }
    // Some end, of which the swarm knew as little as it does after a restart: they are not announced again.
    let ends = Self.round(5, event: .stopped).prefix(10).map { record in
      var record = record
      record.isGone = true
      return record
    }
    push.enqueue(ends)
    push.enqueue(Array(Self.round(5).dropFirst(10)))
    try await eventually("published") {
      metrics.value(of: "tracker_push_published_total") == Double(6 * Self.sessions)
    }
    let read = try connection.events(of: "tracker:traffic")
    _ = try connection.command(["FLUSHALL"])
    push.enqueue(Array(Self.round(6).dropFirst(10)))
    try await eventually("published again", evidence: metrics.render()) {
      metrics.value(of: "tracker_push_published_total") == Double(7 * Self.sessions - 10)
    }
    let after = try connection.events(of: "tracker:traffic")
    #expect(metrics.value(of: "tracker_push_gaps_total") == 1)
    #expect(metrics.value(of: "tracker_push_resent_total") == Double(6 * Self.sessions))
    #expect(metrics.value(of: "tracker_push_unannounced_sessions_total") == 0)
    // The consumer had read nothing, some, or all of it.
    for seen in [[], Array(read.prefix(read.count / 2)), read] {
      let credited = Self.credited(seen + after)
      for user in 0..<Self.sessions {
        #expect(credited[Passkey("passkey\(user)")!] == UInt64((user < 10 ? 5 : 6) * (100 + user)))
      }
    }
    // The entries that came again are those that were there.
    #expect(Array(after.prefix(read.count)) == read)
    // And it goes on as if nothing had happened, also after a second time.
    _ = try connection.command(["FLUSHALL"])
    push.enqueue(Array(Self.round(7).dropFirst(10)))
    push.shutdown()
    let last = Self.credited(try connection.events(of: "tracker:traffic"))
    for user in 0..<Self.sessions {
      #expect(last[Passkey("passkey\(user)")!] == UInt64((user < 10 ? 5 : 7) * (100 + user)))
    }
  }

  @Test("a Redis that comes back with an old dump: what is held is sent again, what is not is counted")
  func oldDump() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory, extra: ["--appendonly", "no"])
    let metrics = MetricRegistry()
    var options = TrafficPushOptions(redisBroker: redis.url)
    options.retryInterval = .milliseconds(10)
    // Two calls of 50 announces and some: the rest is not held.
    let push = try TrafficPush(options: options, metrics: metrics, retainedBytes: 30_000)
    try push.start()
    func publish(_ number: Int) async throws {
      push.enqueue(Self.round(number))
      try await eventually("round \(number) is published", evidence: push.troubles.joined()) {
        metrics.value(of: "tracker_push_published_total") == Double((number + 1) * Self.sessions)
      }
    }
    for number in 0..<3 { try await publish(number) }
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    _ = try connection.command(["SAVE"])
    for number in 3..<9 { try await publish(number) }
    let read = try connection.events(of: "tracker:traffic")
    redis.kill9()
    try await redis.start()
    try await publish(9)
    push.shutdown()
    connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let after = try connection.events(of: "tracker:traffic")
    let lost = metrics.value(of: "tracker_push_lost_to_failover_total")
    let resent = metrics.value(of: "tracker_push_resent_total")
    #expect(lost > 0 && resent > 0 && lost + resent == Double(6 * Self.sessions))
    #expect(after.count == 10 * Self.sessions - Int(lost))
    // The bytes of what was lost came with the later counters.
    for seen in [after, read + after] { #expect(Self.isExact(seen, rounds: 10)) }
  }

  @Test("a flush that reaches behind what is held: nothing is minted, and the sessions concerned are counted")
  func beyondRetained() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    let metrics = MetricRegistry()
    let push = try TrafficPush(
      options: TrafficPushOptions(redisBroker: redis.url), metrics: metrics, retainedBytes: 0)
    try push.start()
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    for number in 0..<3 {
      push.enqueue(Self.round(number))
      try await eventually("published") {
        metrics.value(of: "tracker_push_published_total") == Double((number + 1) * Self.sessions)
      }
    }
    let read = try connection.events(of: "tracker:traffic")
    _ = try connection.command(["FLUSHALL"])
    push.enqueue(Self.round(3))
    push.enqueue(Self.round(4))
    push.shutdown()
    let after = try connection.events(of: "tracker:traffic")
    #expect(metrics.value(of: "tracker_push_unannounced_sessions_total") == Double(Self.sessions))
    let credited = Self.credited(read + after)
    // Rounds 1 and 2 before, 4 after: what was moved between 2 and 3 has no witness.
    for user in 0..<Self.sessions { #expect(credited[Passkey("passkey\(user)")!] == UInt64(3 * (100 + user))) }
  }
}
