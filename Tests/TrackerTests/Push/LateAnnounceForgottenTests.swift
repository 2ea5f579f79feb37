import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

/// What late announces changed in a snapshot, when Redis forgets it and is given it back: what follows is credited as if it
/// had not forgotten.
@Suite("late announces that Redis forgets") struct LateAnnounceForgottenTests {
  typealias Step = LateAnnounceTests.Step

  /// What happens between the announces before it and those after it.
  struct Loss: CustomTestStringConvertible {
    /// Redis has what it had after so many announces; 0: nothing; nil: there is no loss.
    var kept: Int?
    /// The trackers that give back what they hold, in this order.
    var witnesses: [Int]
    var meanwhile: Step?
    var testDescription: String { kept.map { "back to \($0), given back by \(witnesses)" } ?? "no loss" }
  }

  static func losses(keeping kept: Int) -> [Loss] {
    var losses = [Loss(kept: nil, witnesses: [])]
    for kept in [kept, 0] {
      // Last: the tracker to which nothing came late is gone.
      for witnesses in [[0, 1], [1, 0], [1]] { losses.append(Loss(kept: kept, witnesses: witnesses)) }
    }
    return losses
  }

  @Test("a beginning that was lowered", arguments: losses(keeping: 2))
  func lowered(loss: Loss) async throws {
    let steps = [
      Step(tracker: 0, at: 1800, up: 1000),
      Step(tracker: 0, at: 3600, up: 5000),
      Step(tracker: 1, at: 0, up: 0, event: .started),
    ]
    try await credits(7000, steps, loss, [(Step(tracker: 0, at: 5400, up: 7000), 2000)])
  }

  @Test("... and a restart behind it, by way of either", arguments: losses(keeping: 2), [0, 1])
  func loweredBeforeRestart(loss: Loss, tracker: Int) async throws {
    let steps = [
      Step(tracker: 0, at: 1800, up: 1000),
      Step(tracker: 0, at: 3600, up: 5000),
      Step(tracker: 1, at: 0, up: 0, event: .started),
      Step(tracker: tracker, at: 5400, up: 0, event: .started),
    ]
    // The tracker that gives back is the only one that remembers the restart.
    guard loss.witnesses != [1] || tracker == 1 else { return }
    let later: [(Step, UInt64)] = [
      (Step(tracker: 2, at: 5000, up: 6000), 1000), (Step(tracker: 1, at: 7200, up: 100), 100),
    ]
    try await credits(6100, steps, loss, later)
  }

  @Test("... when an announce comes before it is given back", arguments: [[0], [1], [0, 1], [1, 0]])
  func loweredAndNewer(witnesses: [Int]) async throws {
    let steps = [
      Step(tracker: 0, at: 1800, up: 1000),
      Step(tracker: 0, at: 3600, up: 5000),
      Step(tracker: 1, at: 0, up: 0, event: .started),
      // It holds the beginning as it is now.
      Step(tracker: 0, at: 5400, up: 6000),
    ]
    let loss = Loss(kept: 2, witnesses: witnesses, meanwhile: Step(tracker: 2, at: 7200, up: 7000))
    try await credits(8000, steps, loss, [(Step(tracker: 2, at: 9000, up: 8000), 1000)])
  }

  @Test("a beginning of the generation before that was lowered", arguments: losses(keeping: 2))
  func loweredBefore(loss: Loss) async throws {
    let steps = [
      Step(tracker: 0, at: 1800, up: 700),
      Step(tracker: 0, at: 3600, up: 0, event: .started),
      Step(tracker: 1, at: 0, up: 0, event: .started),
    ]
    let later: [(Step, UInt64)] = [
      (Step(tracker: 1, at: 2000, up: 900), 200), (Step(tracker: 0, at: 5400, up: 50), 50),
    ]
    try await credits(950, steps, loss, later)
  }

  @Test("a first life that came late: what a third tracker had of it", arguments: losses(keeping: 2))
  func firstLife(loss: Loss) async throws {
    let later: [(Step, UInt64)] = [
      (Step(tracker: 2, at: 3600, up: 2000, event: .stopped), 1000), (Step(tracker: 0, at: 9000, up: 700), 200),
    ]
    try await credits(2700, Self.lateLife, loss, later)
  }

  @Test("... when an announce that did not come late is given back first", arguments: [[0, 1], [1, 0]], [0, 2, 3])
  func firstLifeAndNewer(witnesses: [Int], kept: Int) async throws {
    let steps = Self.lateLife + [Step(tracker: 0, at: 8400, up: 600)]
    let later: [(Step, UInt64)] = [
      (Step(tracker: 2, at: 3600, up: 2000, event: .stopped), 1000), (Step(tracker: 0, at: 9000, up: 700), 100),
    ]
    try await credits(2700, steps, Loss(kept: kept, witnesses: witnesses), later)
  }

  private static let lateLife = [
    Step(tracker: 0, at: 6000, up: 0, event: .started),
    Step(tracker: 0, at: 7800, up: 500),
    Step(tracker: 1, at: 0, up: 0, event: .started),
    Step(tracker: 1, at: 1800, up: 1000),
  ]

  @Test("a generation two before", arguments: losses(keeping: 4) + losses(keeping: 2).dropFirst())
  func twoBefore(loss: Loss) async throws {
    let steps = [
      Step(tracker: 0, at: 1000, up: 300),
      Step(tracker: 0, at: 1800, up: 700),
      Step(tracker: 0, at: 3600, up: 0, event: .started),
      Step(tracker: 0, at: 5400, up: 20),
      Step(tracker: 1, at: 0, up: 0, event: .started),
      Step(tracker: 1, at: 7200, up: 10, event: .started),
      Step(tracker: 1, at: 1900, up: 800),
    ]
    let later: [(Step, UInt64)] = [
      (Step(tracker: 2, at: 2500, up: 900), 100), (Step(tracker: 2, at: 6000, up: 30), 10),
      (Step(tracker: 0, at: 9000, up: 50), 40),
    ]
    try await credits(970, steps, loss, later)
  }

  /// A consumer that had read everything before the loss credits `sum` in all, and the later announces bring so many each.
  private func credits(_ sum: UInt64, _ before: [Step], _ loss: Loss, _ after: [(step: Step, bytes: UInt64)])
    async throws
  {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var site = try ForgetfulSite(redis, now: LateAnnounceTests.start + 9000)
    var file: [ForgetfulSite.Key] = []
    for (index, step) in before.enumerated() {
      if index == loss.kept { file = try site.file() }
      try site.apply(step)
    }
    try site.read()
    if loss.kept != nil {
      try site.comeBack(with: file)
      for tracker in 0..<3 where !loss.witnesses.contains(tracker) { site.restart(tracker) }
    }
    if let step = loss.meanwhile { try site.apply(step) }
    for tracker in loss.witnesses { try site.giveBack(tracker) }
    for (step, _) in after { try site.apply(step) }
    #expect(try site.read().suffix(after.count) == after.map(\.bytes)[...])
    #expect(site.credited == sum)
  }
}

/// Three trackers, each call of which has one announce, and a consumer.
struct ForgetfulSite: ~Copyable {
  typealias Key = (name: [UInt8], value: [UInt8])
  private var connection: RedisConnection
  private var calls: [PushCall]
  private var held: [[PushBatch]] = [[], [], []]
  /// By generation.
  private var highest: [String: UInt64] = [:]
  private let restoreHash: String

  var credited: UInt64 { highest.values.reduce(0, +) }

  init(_ redis: RedisServer, now: Double) throws {
    var opened = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let push = try opened.command(["SCRIPT", "LOAD", PushScript.text]).string!
    let restore = try opened.command(["SCRIPT", "LOAD", PushScript.restoreText]).string!
    connection = opened
    restoreHash = restore
    calls = (0..<3).map { tracker in
      PushCall(
        partition: PushPartition.all(streamKey: "tracker:traffic", lastKeyPrefix: "tracker:last", count: 1)[0],
        run: PushRun(id: UInt64(tracker + 1), generationBase: UInt64(tracker) << 40), scriptHash: push,
        ttlSeconds: 86400, maximumStreamLength: 0, creditFirstAnnounce: false,
        nowMicroseconds: UInt64(now * 1_000_000),
        sinceMicroseconds: UInt64((LateAnnounceTests.start - 1) * 1_000_000))
    }
  }

  mutating func apply(_ step: LateAnnounceTests.Step) throws {
    let moment = LateAnnounceTests.start + step.at
    let batch = PushBatch()
    let record = makeRecord(uploaded: step.up, event: step.event, at: Int64(moment))
    let announce = SpooledAnnounce(
      number: UInt64(held[step.tracker].count),
      announce: QueuedAnnounce(record: record, order: UInt64(moment * 1_000_000)))
    batch.fill(from: [announce][...], call: calls[step.tracker], gapFrom: nil)
    try batch.send(on: &connection)
    let answer = try connection.nextReply()
    if let error = answer.error { throw error }
    let reply = try #require(PushScript.Reply(answer.view))
    #expect(reply.status == .done && reply.applied == 1)
    if let tails = PushScript.Reply.tails(of: answer.view) {
      batch.keepTails(tails, of: reply.applied, next: reply.next)
    }
    held[step.tracker].append(batch)
  }

  /// All that Redis has.
  mutating func file() throws -> [Key] {
    let names = try connection.command(["KEYS", "*"])
    var keys: [Key] = []
    for name in (0..<names.view.count).compactMap({ names.view[$0].bytes.map(Array.init) }) {
      keys.append((name, try connection.command([Array("DUMP".utf8), name]).bytes!))
    }
    return keys
  }

  mutating func comeBack(with file: [Key]) throws {
    _ = try connection.command(["FLUSHALL"])
    for key in file {
      _ = try connection.command([Array("RESTORE".utf8), key.name, Array("0".utf8), key.value])
    }
  }

  /// Another process, which holds nothing.
  mutating func restart(_ tracker: Int) {
    held[tracker] = []
    calls[tracker].run = PushRun(id: UInt64(tracker + 10), generationBase: UInt64(tracker + 10) << 40)
  }

  /// What Redis has forgotten, and has the run go on where it was.
  mutating func giveBack(_ tracker: Int) throws {
    let call = calls[tracker]
    let next = try connection.command(["HGET", call.partition.stateKey(run: call.run.id), "next"]).string
    let forgotten = held[tracker].dropFirst(Int(next ?? "0")!)
    var given = PushCall.GivenBack(process: call.run.id, turn: 1)
    for batch in forgotten where batch.isRestorable {
      let encoding = PushEncoding()
      batch.encodeRestoration(call, scriptHash: restoreHash, given: given, done: 0, into: encoding)
      try connection.send(encoding.buffer)
      let answer = try connection.nextReply()
      if let error = answer.error { throw error }
      #expect(answer.view[0].integer == 1)
      given.records += 1
    }
    var buffer = RedisCommandBuffer()
    var records = PushRecords()
    call.encode(
      [], first: UInt64(held[tracker].count), gapFrom: PushCall.Gap(place: UInt64(next ?? "0")!, given: given),
      records: &records, into: &buffer)
    try connection.send(buffer)
    let answer = try connection.nextReply()
    #expect(PushScript.Reply(answer.view)?.status == .done)
  }

  /// What each entry that is there brings.
  @discardableResult
  mutating func read() throws -> [UInt64] {
    let events = try connection.events(of: "tracker:traffic")
    for event in events {
      let counters = try #require(event.counters)
      let name = "\(counters.generation)"
      highest[name] = max(highest[name] ?? 0, counters.creditedUpload)
    }
    return events.map(\.uploadedDelta)
  }
}
