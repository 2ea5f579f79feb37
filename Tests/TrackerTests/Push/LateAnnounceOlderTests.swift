import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

/// Announces that come late of a generation before the last but one, or before any that is known.
extension LateAnnounceTests {
  @Test("a beginning that comes after a restart, too")
  func beginningAfterRestart() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 1800, up: 700),
      Step(tracker: 0, at: 3600, up: 0, event: .started),
      Step(tracker: 1, at: 0, up: 0, event: .started),
    ])
    #expect(credited == [0, 0, 700])
    #expect(counts[1].late == 1 && counts[1].unknown == 0)
  }

  @Test("a late beginning of the counters before says nothing of the ones after")
  func olderBeginning() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 1, at: 0.2, up: 534_895),
      Step(tracker: 1, at: 0.4, up: 30, event: .started),
      Step(tracker: 0, at: 0.1, up: 534_881, event: .started),
    ])
    #expect(credited == [0, 0, 0])
    #expect(counts[0].unknown == 1)
  }

  @Test("late announces of the generation before the one before are credited to the byte, older ones are counted")
  func twoBefore() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 0, up: 0, event: .started),
      Step(tracker: 0, at: 1800, up: 100),
      Step(tracker: 1, at: 3600, up: 0, event: .started),
      Step(tracker: 1, at: 5400, up: 50),
      Step(tracker: 1, at: 7200, up: 10, event: .started),
      Step(tracker: 0, at: 2000, up: 120),
      Step(tracker: 0, at: 1900, up: 110),
      Step(tracker: 0, at: 3000, up: 150, event: .stopped),
      Step(tracker: 0, at: 6000, up: 80, event: .stopped),
      Step(tracker: 1, at: 9000, up: 0, event: .started),
      Step(tracker: 0, at: 3100, up: 170),
      Step(tracker: 0, at: 6100, up: 90),
    ])
    #expect(credited == [0, 100, 0, 50, 0, 20, 0, 30, 30, 0, 0, 10])
    #expect(counts[0].late == 6 && counts[0].unknown == 1 && counts[1].resets == 3)
  }

  @Test("what an older version did to the snapshot is noticed: no bytes out of what it says of another generation")
  func olderVersion() throws {
    _ = try apply([
      Step(tracker: 0, at: 0, up: 0, event: .started),
      Step(tracker: 0, at: 1800, up: 100),
      Step(tracker: 0, at: 3600, up: 0, event: .started),
    ])
    // It begins a generation and leaves `p` as it is.
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let record = makeRecord(uploaded: 1)
    let key = "tracker:last:passkey1:\(record.infoHash.hex):\(record.peerID.hex)"
    let before = try connection.command(["HGET", key, "p"]).bytes ?? []
    #expect(before.count == 64)
    var caller = try ScriptCaller(redis, run: PushRun(id: 9, generationBase: 5 << 40))
    _ = try caller.send(
      [QueuedAnnounce(record: makeRecord(uploaded: 3, at: Int64(Self.start) + 5400), order: 1_700_005_400_000_000)],
      first: 0)
    _ = try caller.send(
      [QueuedAnnounce(record: makeRecord(uploaded: 0, at: Int64(Self.start) + 7200), order: 1_700_007_200_000_000)],
      first: 1)
    _ = try connection.command([Array("HSET".utf8), Array(key.utf8), Array("p".utf8), before])
    let reply = try caller.send(
      [QueuedAnnounce(record: makeRecord(uploaded: 150, at: Int64(Self.start) + 2000), order: 1_700_002_000_000_000)],
      first: 2)
    #expect(reply.counts.unknown == 1)
    #expect(try connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 100, 0, 3, 0, 0])
  }

  @Test(
    "what may be of another than the generation before the one before credits nothing and is counted",
    arguments: [
      // Of the time of the one before, whose counters were never so low.
      (4000, 20),
      // Of a time, or with counters, before those that it began with.
      (-100, 90), (1000, 7),
      // So near its beginning that clocks may be wrong.
      (1, 120),
    ] as [(Double, UInt64)])
  func notTwoBefore(at: Double, up: UInt64) throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 0, up: 10, event: .started),
      Step(tracker: 0, at: 1800, up: 100),
      Step(tracker: 1, at: 3600, up: 30, event: .started),
      Step(tracker: 1, at: 5400, up: 50),
      Step(tracker: 1, at: 7200, up: 5, event: .started),
      Step(tracker: 0, at: at, up: up),
    ])
    #expect(credited == [0, 90, 0, 20, 0, 0])
    #expect(counts[0].late == 1 && counts[0].unknown == 1)
  }

  @Test(
    "before the first generation that is known, what Redis may have forgotten, and higher counters, are counted",
    arguments: [(1000, 0), (-1, 800)] as [(Double, UInt64)])
  func beforeTheFirst(since: Double, up: UInt64) throws {
    let (credited, counts): Result = try apply(
      [
        Step(tracker: 0, at: 1800, up: 700),
        Step(tracker: 0, at: 3600, up: 0, event: .started),
        Step(tracker: 1, at: 0, up: up),
      ], since: since)
    #expect(credited == [0, 0, 0])
    #expect(counts[1].late == 1 && counts[1].unknown == 1)
  }

  @Test("what is known of the generation before another one says nothing of the one before this")
  func olderOfAnother() throws {
    _ = try apply([
      Step(tracker: 0, at: 0, up: 0, event: .started),
      Step(tracker: 0, at: 1800, up: 100),
      Step(tracker: 1, at: 3600, up: 0, event: .started),
      Step(tracker: 1, at: 5400, up: 50),
      Step(tracker: 1, at: 7200, up: 10, event: .started),
    ])
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let record = makeRecord(uploaded: 1)
    let key = "tracker:last:passkey1:\(record.infoHash.hex):\(record.peerID.hex)"
    var older = try connection.command(["HGET", key, "q"]).bytes ?? []
    try #require(older.count == 64)
    // As when an older version, which leaves it as it is, began a generation in between.
    older[0] ^= 1
    _ = try connection.command([Array("HSET".utf8), Array(key.utf8), Array("q".utf8), older])
    var caller = try ScriptCaller(redis, run: runs[0])
    caller.call.nowMicroseconds = UInt64(Self.start + 7200) * 1_000_000
    let reply = try caller.send(
      [
        QueuedAnnounce(
          record: makeRecord(uploaded: 120, at: Int64(Self.start) + 2000),
          order: UInt64(Self.start + 2000) * 1_000_000)
      ], first: 2)
    #expect(reply.counts.unknown == 1)
    #expect(try connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 100, 0, 50, 0, 0])
  }
}
