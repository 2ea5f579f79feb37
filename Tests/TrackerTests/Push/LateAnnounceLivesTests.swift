import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

/// Announces that come late and may be of a life of the client of which nothing is known: they are counted. Those that say
/// once more what is known are not.
extension LateAnnounceTests {
  /// What comes in time, what comes late, and how many of the late ones are counted.
  struct Lives: CustomTestStringConvertible {
    var testDescription: String
    var known: [Step]
    var late: [Step]
    var unknown: UInt64
    var credited: UInt64 = 0
  }

  private static func started(_ at: Double, _ up: UInt64 = 0, tracker: Int = 0) -> Step {
    Step(tracker: tracker, at: at, up: up, event: .started)
  }
  private static func told(_ at: Double, _ up: UInt64, tracker: Int = 0) -> Step {
    Step(tracker: tracker, at: at, up: up)
  }
  /// Two lives, the second of which begins so long after the first's last announce.
  private static func twoLives(after pause: Double) -> [Step] {
    [started(0), told(1800, 1000), started(1800 + pause), told(1815, 200)]
  }

  static let lives: [Lives] = [
    Lives(
      testDescription: "the start of the life that another announce has shown",
      known: [started(0), told(1800, 100), told(3600.3, 20)],
      late: [started(3600.1, tracker: 1)], unknown: 1),
    Lives(
      testDescription: "the start of the life before, told once more",
      known: [started(0), told(1800, 100), told(3600.3, 20)],
      late: [started(0.5, tracker: 1)], unknown: 0),
    Lives(
      testDescription: "a start in the midst of the life before",
      known: [started(0), told(1800, 100), started(3600)], late: [started(900, tracker: 1)], unknown: 1),
    Lives(
      testDescription: "... of the one before that",
      known: [started(0), told(1800, 100), started(3600), told(5400, 50), started(7200)],
      late: [started(900, tracker: 1)], unknown: 1),
    Lives(
      testDescription: "... whose beginning is told once more",
      known: [started(0), told(1800, 100), started(3600), told(5400, 50), started(7200)],
      late: [started(1, tracker: 1)], unknown: 0),
    Lives(
      testDescription: "a life between two", known: [started(0), told(1800, 100), started(7200)],
      late: [started(3600, tracker: 1), told(5400, 50, tracker: 1)], unknown: 1),
    Lives(
      testDescription: "the start of the second, by way of the other tracker, too",
      known: [started(0), told(1800, 100), started(7200), told(9000, 10)], late: [started(7199, tracker: 1)], unknown: 0
    ),
    Lives(
      testDescription: "something was moved at once", known: [started(0), told(0.1, 100), told(0.5, 500)],
      late: [started(0.3, tracker: 1)], unknown: 1),
    Lives(
      testDescription: "nothing was moved at once", known: [started(0), told(1800, 500)],
      late: [started(0.3, tracker: 1)], unknown: 0),
    Lives(
      testDescription: "started again at once", known: [started(0), started(1), told(1800, 500)],
      late: [told(0.5, 200, tracker: 1)], unknown: 1),
    Lives(
      testDescription: "started over at once", known: twoLives(after: 0.1),
      late: [started(1800.05, tracker: 1), told(1800.08, 70, tracker: 1)], unknown: 2),
    Lives(
      testDescription: "started over later", known: twoLives(after: 10),
      late: [started(1809.9, tracker: 1), told(1811, 70, tracker: 1)], unknown: 0),
    Lives(
      testDescription: "higher counters than the life began with, before that", known: [started(3), told(1800, 700)],
      late: [told(2, 500, tracker: 1)], unknown: 1),
    Lives(
      testDescription: "a start with fewer counters than a later start",
      known: [started(3600, 40_000), told(5400, 50_000)],
      late: [started(0, 2000, tracker: 1)], unknown: 1, credited: 38_000),
    Lives(
      testDescription: "... of the life before",
      known: [started(1800, 700), told(3600, 900), started(5400)], late: [started(0, 100, tracker: 1)], unknown: 1,
      credited: 600),
    Lives(
      testDescription: "a start with fewer counters than later ones", known: [told(3600, 40_000), told(5400, 50_000)],
      late: [started(0, 2000, tracker: 1)], unknown: 0, credited: 38_000),
  ]

  @Test("what may be of a life that is not known is counted", arguments: lives)
  func unknownLives(_ lives: Lives) throws {
    let (credited, counts): Result = try apply(lives.known + lives.late)
    #expect(counts[1].late == UInt64(lives.late.count) && counts[1].unknown == lives.unknown && counts[0].unknown == 0)
    #expect(credited.dropFirst(lives.known.count).reduce(0, +) == lives.credited)
  }

  @Test("of a generation that began before Redis forgot, what came before that, and a start, is counted")
  func forgottenBeginning() throws {
    for (at, event, unknown) in [(900, .none, 1), (2000, .none, 0), (2000, .started, 1)]
      as [(Double, AnnounceEvent, UInt64)]
    {
      _ = try apply([Self.started(0), Self.told(3600, 700)])
      let record = makeRecord(uploaded: 300, event: event, at: Int64(Self.start + at))
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
      let key = "tracker:last:passkey1:\(record.infoHash.hex):\(record.peerID.hex)"
      _ = try connection.command(["HDEL", key, "p"])
      var caller = try ScriptCaller(redis, run: runs[1])
      caller.call.sinceMicroseconds = UInt64((Self.start + 1000) * 1_000_000)
      let reply = try caller.send(
        [QueuedAnnounce(record: record, order: UInt64((Self.start + at) * 1_000_000))], first: 0)
      #expect(reply.counts.late == 1 && reply.counts.unknown == unknown)
      _ = try connection.command(["FLUSHALL"])
    }
  }

  @Test("clients that tell both trackers, which reach Redis some milliseconds apart, count as nothing unknown")
  func bothTrackers() throws {
    var steps: [Step] = []
    for (life, start) in [0.0, 9000].enumerated() {
      for (number, at) in [0.0, 1800, 3600, 3601].enumerated() {
        let (up, event) = (UInt64(number * 100), number == 0 ? AnnounceEvent.started : number == 3 ? .stopped : .none)
        // The first of them by way of the one or the other, and it comes first or last.
        let pair = [0, 1].map { Step(tracker: $0, at: start + at + Double($0) * 0.03, up: up, event: event) }
        steps += (number + life) % 2 == 0 ? pair : pair.reversed()
      }
    }
    let (credited, counts): Result = try apply(steps)
    #expect(credited.reduce(0, +) == 600 && counts[0].unknown == 0 && counts[1].unknown == 0)
  }
}
