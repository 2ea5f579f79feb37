import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

/// Announces of one session that reach Redis in another order than they were made in: by way of two trackers, one of
/// which was cut off.
@Suite("announces that come late") struct LateAnnounceTests {
  let directory: TemporaryDirectory
  let redis: RedisServer
  /// Two trackers, by the names of their runs.
  let runs = [PushRun(id: 1, generationBase: 0), PushRun(id: 2, generationBase: 1 << 40)]

  init() async throws {
    directory = try TemporaryDirectory()
    redis = try await RedisServer.start(in: directory)
  }

  /// An announce: by which tracker, when (seconds), and what it reports.
  struct Step {
    var tracker: Int
    var at: Double
    var up: UInt64
    var event = AnnounceEvent.none
    /// Seconds that its tracker's own clock is off.
    var skew: Double = 0
  }
  static let start: Double = 1_700_000_000

  /// Applies the announces in this order; returns what each was credited, and the last counts of each tracker.
  typealias Result = (credited: [UInt64], counts: [PushScript.Reply.Counts])

  func apply(_ steps: [Step], since: Double = -1) throws -> Result {
    var next: [UInt64] = [0, 0]
    var counts = [PushScript.Reply.Counts(), PushScript.Reply.Counts()]
    let now = Self.start + (steps.map(\.at).max() ?? 0)
    for step in steps {
      var caller = try ScriptCaller(redis, run: runs[step.tracker])
      caller.call.nowMicroseconds = UInt64(now * 1_000_000)
      caller.call.sinceMicroseconds = UInt64((Self.start + since) * 1_000_000)
      let moment = Self.start + step.at
      let record = makeRecord(uploaded: step.up, event: step.event, at: Int64(moment + step.skew))
      counts[step.tracker] = try caller.send(
        [QueuedAnnounce(record: record, order: UInt64(moment * 1_000_000))], first: next[step.tracker]
      ).counts
      next[step.tracker] += 1
    }
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let events = try connection.events(of: "tracker:traffic")
    // What a consumer credits: of each generation what is above the highest it has seen.
    var highest: [String: UInt64] = [:]
    var sum: UInt64 = 0
    for event in events {
      let counters = try #require(event.counters)
      let name = "\(counters.generation)"
      sum += max(counters.creditedUpload, highest[name] ?? 0) - (highest[name] ?? 0)
      highest[name] = max(counters.creditedUpload, highest[name] ?? 0)
    }
    #expect(sum == events.reduce(0) { $0 + $1.uploadedDelta }, "deltas and counters say the same")
    return (events.map(\.uploadedDelta), counts)
  }

  @Test(
    "a client pauses and resumes by way of the other tracker: the late announces are the old counters', to the byte")
  func resumedElsewhere() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 0, up: 100, event: .started),
      Step(tracker: 0, at: 1800, up: 200),
      Step(tracker: 1, at: 5400, up: 0, event: .started),
      Step(tracker: 1, at: 7200, up: 50),
      // The first tracker's queue, held back for an hour.
      Step(tracker: 0, at: 3600, up: 203_000),
      Step(tracker: 0, at: 4000, up: 203_500, event: .stopped),
      Step(tracker: 0, at: 3000, up: 202_000),
      Step(tracker: 1, at: 9000, up: 80),
    ])
    #expect(credited == [0, 100, 0, 50, 202_800, 500, 0, 30])
    #expect(counts[0].late == 3 && counts[0].unknown == 0 && counts[1].late == 0)
  }

  @Test("the beginning of a session comes after its next announce: what lies between is credited")
  func beginningLater() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 1800, up: 700),
      Step(tracker: 0, at: 3600, up: 900),
      Step(tracker: 1, at: 0, up: 100, event: .started),
      Step(tracker: 1, at: 0, up: 100, event: .started),
      Step(tracker: 0, at: 5400, up: 950),
    ])
    #expect(credited == [0, 200, 600, 0, 50])
    #expect(counts[1].late == 2 && counts[1].unknown == 0)
  }

  @Test("so is what lies after any announce of a time before all that is known; a restart in between is counted")
  func beginningLaterUnannounced() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 9000, up: 1000),
      Step(tracker: 1, at: 3600, up: 400, event: .completed),
      Step(tracker: 0, at: 9900, up: 1100),
      Step(tracker: 1, at: 5400, up: 500, event: .stopped),
      Step(tracker: 1, at: 7200, up: 0, event: .started),
    ])
    #expect(credited == [0, 600, 100, 0, 0])
    #expect(counts[1].late == 3 && counts[1].unknown == 1)
  }

  @Test(
    "counters of a time before all that is known are a first announce: nothing, then the differences, to the byte",
    arguments: [5000, 0] as [UInt64])
  func olderCounters(first: UInt64) throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 3600, up: 0, event: .started),
      Step(tracker: 0, at: 5400, up: 10),
      Step(tracker: 1, at: 0, up: first, event: .started),
      Step(tracker: 1, at: 1800, up: 5600, event: .stopped),
      Step(tracker: 0, at: 7200, up: 30),
    ])
    #expect(credited == [0, 10, 0, 5600 - first, 20])
    #expect(counts[1].late == 2 && counts[1].unknown == 0)
  }

  @Test("so is one whose counters are those that the session began with again, and has not left yet")
  func olderSameCounters() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 3600, up: 0, event: .started),
      Step(tracker: 1, at: 0, up: 0, event: .started),
      Step(tracker: 1, at: 1800, up: 5600),
    ])
    #expect(credited == [0, 0, 5600])
    #expect(counts[1].late == 2 && counts[1].unknown == 0)
  }

  @Test("of a time before Redis forgot or snapshots expired nothing is known: it credits nothing and is counted")
  func unknown() throws {
    for (since, at) in [(3000.0, 3600.0), (-1, 80_000)] {
      let (credited, counts): Result = try apply(
        [
          Step(tracker: 0, at: at, up: 300, event: .started),
          Step(tracker: 0, at: at + 1800, up: 310),
          Step(tracker: 1, at: 0, up: 5000),
          Step(tracker: 1, at: 0, up: 0, event: .started),
        ], since: since)
      #expect(credited == [0, 10, 0, 0])
      #expect(counts[1].unknown == 2)
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
      _ = try connection.command(["FLUSHALL"])
    }
  }

  @Test("a start in the middle of a generation, which comes late, is counted: nothing had shown it")
  func hiddenRestart() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 1, at: 0, up: 0, event: .started),
      Step(tracker: 1, at: 9000, up: 700),
      Step(tracker: 0, at: 3600, up: 600, event: .stopped),
      Step(tracker: 0, at: 5400, up: 20, event: .started),
    ])
    #expect(credited == [0, 700, 0, 0])
    #expect(counts[0].late == 2 && counts[0].unknown == 1)
  }

  @Test("... with the counters that the generation began with, too; said again at once it is the same start")
  func hiddenEqualRestart() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 1, at: 0, up: 0, event: .started),
      Step(tracker: 1, at: 9000, up: 700),
      Step(tracker: 0, at: 1, up: 0, event: .started),
      Step(tracker: 0, at: 3600, up: 600, event: .stopped),
      Step(tracker: 0, at: 5400, up: 0, event: .started),
    ])
    #expect(credited == [0, 700, 0, 0, 0])
    #expect(counts[0].late == 3 && counts[0].unknown == 1)
  }

  @Test("a client that starts with zero, as it did before, may have moved something in between, which comes late")
  func equalRestart() throws {
    let (credited, counts): Result = try apply([
      Step(tracker: 0, at: 0, up: 0, event: .started),
      Step(tracker: 1, at: 3600, up: 0, event: .started),
      Step(tracker: 1, at: 5400, up: 700),
      Step(tracker: 0, at: 1800, up: 500, event: .stopped),
      Step(tracker: 1, at: 7200, up: 750),
    ])
    #expect(credited == [0, 0, 700, 500, 50])
    #expect(counts[0].late == 1 && counts[0].unknown == 0 && counts[1].resets == 0)
  }

  @Test("a start that is told to both trackers at once begins one generation")
  func toldToBoth() throws {
    _ = try apply([
      Step(tracker: 0, at: 0, up: 0, event: .started),
      Step(tracker: 1, at: 1, up: 0, event: .started),
      Step(tracker: 0, at: 1800, up: 100),
      Step(tracker: 1, at: 1801, up: 100),
    ])
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let events = try connection.events(of: "tracker:traffic")
    #expect(Set(events.compactMap(\.counters?.generation)).count == 1)
  }

  @Test("a late announce does not make the snapshot live longer")
  func lifetime() throws {
    let steps = [
      Step(tracker: 0, at: 0, up: 100), Step(tracker: 0, at: 90_000, up: 100), Step(tracker: 1, at: 4000, up: 50),
    ]
    _ = try apply(Array(steps[..<2]))
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let record = makeRecord(uploaded: 1)
    let key = "tracker:last:passkey1:\(record.infoHash.hex):\(record.peerID.hex)"
    _ = try connection.command(["EXPIRE", key, "500"])
    var caller = try ScriptCaller(redis, run: runs[1])
    caller.call.nowMicroseconds = UInt64(Self.start + 90_000) * 1_000_000
    _ = try caller.send(
      [
        QueuedAnnounce(
          record: makeRecord(uploaded: 50, at: Int64(Self.start) + 4000),
          order: UInt64(Self.start + 4000) * 1_000_000)
      ], first: 0)
    #expect(try connection.integer(["TTL", key]) <= 500)
  }
}
