// PushSessionSite: a PushSession with a ModelRedis, a spool that is a dictionary, and a clock that only moves when the
// session waits. No socket, no file, no thread: the same seed gives the same steps.

import Linux
import Redis
import Simulation

@testable import Tracker

/// Runs a session step by step.
struct PushSessionSite {
  let queue = EventQueue()
  var redis = ModelRedis()
  var session: PushSession
  var now: UInt64 = 1_000_000_000_000
  /// Names of the actions, in their order.
  var trace: [String] = []
  var notes: [PushSession.Note] = []
  var sum = PushSession.Tally()
  private(set) var isFinished = false
  private var event = PushSession.Event.done
  private var replies: [Result<PushScript.Reply, RedisServerError>] = []
  /// The same of calls that give back.
  private var restored: [PushSession.Event] = []
  private var time: CommonClock.Answer?
  private(set) var spooled: [UInt64: AnnounceRecord]?
  /// What the spool keeps of what Redis had applied.
  private(set) var applied: [PushBatch]?
  private(set) var connections: [RedisServerError?] = []
  /// Asked before each action: an error is what the action ends with, and the connection is lost. `isDone` says whether
  /// Redis has done the work all the same.
  var fault: (PushSession.Action) -> (error: RedisError, isDone: Bool)? = { _ in nil }
  /// What Redis' clock is ahead.
  var redisAheadMicroseconds: Int64 = 0
  private let clock = OrderClock(wallNanoseconds: 1_700_000_000_000_000_000, atMonotonicNanoseconds: 1_000_000_000_000)
  /// What a call is on its way.
  var sendingNanoseconds: UInt64 = 0
  /// Nanoseconds that an action takes.
  var slowness: (PushSession.Action) -> UInt64 = { _ in 0 }
  /// Calls get lost, and no word comes.
  var isSilent = false
  /// The same of questions about the time.
  var isClockSilent = false
  /// Why a spool cannot be written.
  var spoolTrouble: String?

  init(
    spool: Bool = false, restored: [SpooledRun] = [], applied: [PushBatch] = [],
    retainedBytes: Int = PublisherSettings.retainedBytes, readMilliseconds: Int = 5000, seed: UInt64 = 1
  ) throws {
    let settings = PublisherSettings(
      endpoint: try RedisEndpoint(url: "redis://127.0.0.1"),
      timeouts: RedisTimeouts(readMilliseconds: readMilliseconds),
      ttlSeconds: 86_400,
      maximumStreamLength: 0, creditFirstAnnounce: false, maximumBytesPerSecond: 0, retryMilliseconds: 100,
      retryCount: 3, partitionCount: 1, retainedBytes: retainedBytes)
    self.applied = applied.isEmpty ? nil : applied
    let runs = Runs()
    session = PushSession(
      settings: settings,
      partition: PushPartition.all(streamKey: "tracker:traffic", lastKeyPrefix: "tracker:last", count: 1)[0],
      queue: queue,
      spool: spool || !restored.isEmpty || !applied.isEmpty
        ? SpoolState(isActive: !restored.isEmpty, keepsApplied: !applied.isEmpty) : nil,
      restored: SpoolContent(owed: restored, applied: applied), now: now, clock: clock, newRun: { runs.next() },
      random: { range in range.lowerBound + Int(seed % UInt64(range.count)) })
  }

  /// 1, 2, 3, ...
  private final class Runs: Sendable {
    private let counter = Counter()
    func next() -> PushRun {
      counter.add()
      return PushRun(id: counter.current, generationBase: counter.current << 32)
    }
  }

  /// Sessions `peers` announce once each.
  func announce(_ peers: Range<Int>, uploaded: UInt64 = 1) {
    let records = peers.map { makeRecord(peer: $0, uploaded: uploaded) }
    records.withUnsafeBufferPointer { _ = queue.append($0, order: 1) }
  }

  /// As the signal does it: who waits for announces is woken.
  mutating func stop() {
    session.requestStop()
    if trace.last == "awaitAnnounces" { event = .woken }
  }

  /// So many calls, one after the other.
  mutating func announce(rounds: Int, of peers: Range<Int>) throws {
    for round in 0..<rounds {
      announce(peers, uploaded: UInt64(round))
      try settle()
    }
  }

  /// A call that Redis applies, and the reply is lost: sent again it adds nothing, so nothing of it can be given back.
  mutating func announceUnanswered(_ peers: Range<Int>) throws {
    announce(peers)
    fault = { if case .awaitReply = $0 { (.closed("by the server"), true) } else { nil } }
    try run { $0.trace.last == "awaitReply" }
    fault = { _ in nil }
    try settle()
  }

  /// Steps until `condition` holds. A session that does not get there within 100,000 steps never does.
  mutating func run(until condition: (PushSessionSite) -> Bool) throws {
    var steps = 0
    while !condition(self) {
      guard !isFinished, steps < 100_000 else { throw HarnessError("not reached: \(trace.suffix(20))") }
      step()
      steps += 1
    }
  }

  /// Until everything is published and the session waits for announces.
  mutating func settle() throws {
    try run { $0.trace.last == "awaitAnnounces" && $0.queue.depth == 0 && $0.session.window.isEmpty }
  }

  mutating func step() {
    let action = session.next(after: event, now: now)
    let tally = session.takeTally()
    sum.add(tally)
    notes += tally.notes
    // An answer about the time is there at once, unless it is slow.
    if case .awaitTime = action {} else { trace.append(action.name) }
    now += 1000
    if let (error, isDone) = fault(action) {
      if isDone { event = carryOut(action) }
      if error.endsConnection { forgetReplies() }
      // The error is the reply.
      if case .awaitRestored = action, !isDone, !restored.isEmpty { restored.removeFirst() }
      event = .failed(error)
    } else {
      event = carryOut(action)
    }
  }

  private mutating func carryOut(_ action: PushSession.Action) -> PushSession.Event {
    switch action {
    case .connect(_, let redirection):
      forgetReplies()
      connections.append(redirection)
    case .disconnect, .discardReplies: forgetReplies()
    case .loadScript(let name):
      if let error = redis.error, error.code != .outOfMemory { return .failed(.server(error)) }
      return .scriptLoaded(hash: redis.load(name))
    case .send(let batch, _):
      if isSilent { break }
      now += sendingNanoseconds
      guard redisMicroseconds <= session.call!.latestRedisMicroseconds else {
        replies.append(.success(PushScript.Reply(status: .untimely, next: batch.first)))
        break
      }
      replies.append(
        redis.apply(
          batch.first, count: batch.count, run: batch.run.id, gapFrom: batch.gapFrom))
    case .awaitReply(let milliseconds):
      guard !replies.isEmpty else { return pass(milliseconds) }
      return Self.event(replies.removeFirst())
    case .askPlace(let call, let next, let gapFrom):
      return Self.event(redis.apply(next, count: 0, run: call.run.id, gapFrom: gapFrom))
    case .restore(let batch, let call, _, let given, let done):
      restored.append(redis.restore(batch, run: call.run.id, given: given, done: done))
    case .awaitRestored: return restored.removeFirst()
    case .askTime(let question):
      now += slowness(action)
      if let error = redis.error { return .failed(.server(error)) }
      let answer = redis.clock.answer(question, now: redisMicroseconds)
      if !isClockSilent { time = answer }
    case .awaitTime(let milliseconds):
      guard var answer = time else { return pass(milliseconds) }
      time = nil
      answer.wallMicroseconds = clock.microseconds(atMonotonicNanoseconds: now)
      return .time(answer)
    case .awaitAnnounces(let milliseconds): return queue.depth > 0 ? .woken : pass(milliseconds)
    case .pause(let milliseconds): return pass(milliseconds)
    case .writeSpool: return .spooled(writeSpool())
    case .removeSpool:
      spooled = nil
      applied = nil
      return .spooled(SpoolState())
    case .finish: isFinished = true
    }
    return .done
  }

  private var redisMicroseconds: UInt64 {
    clock.microseconds(atMonotonicNanoseconds: now).corrected(byMicroseconds: redisAheadMicroseconds)
  }

  private mutating func forgetReplies() {
    time = nil
    replies.removeAll()
    restored.removeAll()
  }

  private mutating func pass(_ milliseconds: Int) -> PushSession.Event {
    now += UInt64(milliseconds) * 1_000_000
    return .timePassed
  }

  private static func event(_ result: Result<PushScript.Reply, RedisServerError>) -> PushSession.Event {
    switch result {
    case .failure(let error): return .failed(.server(error))
    case .success(let reply):
      // Of what the script tells, only that there is something counts here.
      let tails = reply.applied > 0 ? someBytes : nil
      return .reply(reply, tails: tails)
    }
  }
  nonisolated(unsafe) private static let someBytes: UnsafeRawBufferPointer = {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
    bytes[0] = 1
    return UnsafeRawBufferPointer(bytes)
  }()

  private mutating func writeSpool() -> SpoolState {
    if let spoolTrouble { return SpoolState(isActive: spooled != nil, trouble: spoolTrouble) }
    if !session.doubtful.isEmpty { applied = session.doubtful }
    let keepsApplied = !(applied ?? []).isEmpty
    guard session.rest > 0 || spooled != nil else { return SpoolState(keepsApplied: keepsApplied) }
    var content = spooled ?? [:]
    for batch in session.window {
      for (offset, announce) in batch.announces.enumerated() { content[batch.first + UInt64(offset)] = announce.record }
    }
    let through = queue.visitChanges(from: 0, isComplete: true) { content[$0] = $1.record }
    spooled = content
    return SpoolState(isActive: true, through: through, keepsApplied: keepsApplied)
  }
}

extension PushSession.Action {
  var name: String {
    switch self {
    case .connect(_, nil): "connect"
    case .connect(_, let redirection?): "connect \(redirection.code.text)"
    case .disconnect: "disconnect"
    case .loadScript(let name): "load \(name)"
    case .send(let batch, let isAsking): "\(isAsking ? "ask" : "send") \(batch.first)..<\(batch.end)"
    case .awaitReply: "awaitReply"
    case .discardReplies: "discardReplies"
    case .askPlace(_, let next, let gapFrom): "\(gapFrom != nil ? "adopt" : "verify") \(next)"
    case .restore(let batch, _, _, _, _): "restore \(batch.first)..<\(batch.end)"
    case .awaitRestored: "awaitRestored"
    case .askTime: "askTime"
    case .awaitTime: "awaitTime"
    case .awaitAnnounces: "awaitAnnounces"
    case .pause: "pause"
    case .writeSpool: "writeSpool"
    case .removeSpool: "removeSpool"
    case .finish: "finish"
    }
  }
}

extension PushSession.Tally {
  fileprivate mutating func add(_ other: Self) {
    published += other.published
    duplicates += other.duplicates
    retries += other.retries
    full += other.full
    gaps += other.gaps
    lostToFailover += other.lostToFailover
    resent += other.resent
    refusedShutdown += other.refusedShutdown
    abandonedRuns += other.abandonedRuns
    errors += other.errors
  }
}
