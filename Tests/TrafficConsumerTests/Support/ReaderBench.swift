// ReaderBench: a ReaderSession with everything around it made of values: the stream is a model, time is a number, the writer
// is the real one on a database in memory. What the session asks for is carried out and written down.

import Redis
import Testing
import Wire

@testable import TrafficConsumer

final class ReaderBench {
  var stream = ModelStream()
  let writer: StoreWriter
  private(set) var session: ReaderSession
  /// Nanoseconds of both clocks.
  var now: UInt64 = 1_700_000_000_000_000_000
  var isStopping = false
  var hasRoom = true
  /// The writer commits what is submitted.
  var isWriterWorking = true
  var healRequest: HealRequest?
  /// What connecting and the next questions fail with.
  var failures: [RedisError] = []
  /// The failing question is carried out all the same, and only its answer lost.
  var losesAnswers = false
  private(set) var trace: [String] = []
  private(set) var hasEnded = false

  private var event = ReaderEvent.started
  private var waiting: [StreamDelivery] = []
  private var done: [StreamDelivery] = []
  private var maker = EventMaker()
  private var timestamp: Int64 = 1_700_000_000
  /// The bytes of every entry that was ever added.
  private(set) var announced: Int64 = 0

  init(group instance: String = "me", settings change: (inout StreamSettings) -> Void = { _ in }) throws {
    writer = try StoreWriter(
      settings: StoreWriter.Settings(
        databasePath: ":memory:", streamNames: ["tracker:traffic"], windowSeconds: 3600, maximumDeliveries: 3))
    var settings = StreamSettings(
      endpoint: try RedisEndpoint(url: "redis://localhost"), timeouts: RedisTimeouts(), streams: ["tracker:traffic"],
      group: "group-pt", consumer: "consumer-1")
    change(&settings)
    session = Self.session(settings, writer, instance)
  }

  private static func session(_ settings: StreamSettings, _ writer: StoreWriter, _ instance: String) -> ReaderSession {
    ReaderSession(
      settings: settings, instance: instance, hash: writer.hash,
      backoff: RetryBackoff(firstMilliseconds: 100, maximumMilliseconds: 5000, random: { $0.upperBound }))
  }

  /// A reader of the same process name begins; what was not committed is forgotten.
  func restart() {
    session = Self.session(session.settings, writer, session.instance)
    (event, waiting, done, hasEnded) = (.started, [], [], false)
  }

  /// What the writer knows of the stream is read from the database again.
  func reopen() throws {
    writer.streams[0] = try #require(try StreamTable.read(name: writer.streams[0].name, from: writer.database))
  }

  /// Adds an entry of `bytes` to the stream; the session's next announce, by a producer with counters or without.
  @discardableResult
  func add(
    _ bytes: UInt64 = 100, hasCounters: Bool = true, at milliseconds: UInt64? = nil, dt: UInt32 = 1,
    announced time: Int64? = nil
  ) -> EntryID {
    timestamp += 1
    announced += Int64(bytes)
    let event = maker.event(
      du: bytes, ts: time ?? timestamp, dt: dt, gen: hasCounters ? "g" : nil, cu: hasCounters ? UInt64(announced) : 0)
    return stream.add(event.encode(), at: milliseconds ?? now / 1_000_000)
  }

  var credited: Int64 {
    get throws { try writer.database.integer("SELECT coalesce(sum(uploaded), 0) FROM users") ?? 0 }
  }

  /// Entries reported missing.
  var lost: Int64 { writer.streams[0].lost.unacknowledged }

  /// Every check that fails.
  var faults: [StoreCheck.Result] {
    get throws { try StoreCheck.run(writer.database).filter { !$0.isOK } }
  }

  // MARK: steps

  /// One action of the session, carried out.
  func step() throws {
    let action = session.next(after: event, situation)
    trace.append(action.brief)
    event = try perform(action)
  }

  /// Steps until an action's text begins with `prefix`, that one included; the texts.
  @discardableResult
  func run(until prefix: String, atMost limit: Int = 300) throws -> [String] {
    let start = trace.count
    for _ in 0..<limit where !hasEnded {
      try step()
      if trace.last?.hasPrefix(prefix) == true { return Array(trace[start...]) }
    }
    let seen = trace[start...].joined(separator: "\n")
    try #require(hasEnded && prefix == "end", "never came to \(prefix):\n\(seen)")
    return Array(trace[start...])
  }

  private var situation: ReaderSituation {
    ReaderSituation(
      monotonicNanoseconds: now, unixMilliseconds: now / 1_000_000, isStopping: isStopping,
      hasRoom: hasRoom && !isStopping, outstanding: waiting.count + done.count, isWriterInTrouble: !isWriterWorking,
      known: writer.streams[0], healRequest: healRequest)
  }

  private func perform(_ action: ReaderAction) throws -> ReaderEvent {
    switch action {
    case .connect:
      now += 1_000_000
      if !failures.isEmpty { return .failed(failures.removeFirst()) }
      return .connected
    case .ask(let question):
      now += 1_000_000
      if !failures.isEmpty, !losesAnswers { return .failed(failures.removeFirst()) }
      return try ask(question)
    case .submit(let delivery): waiting.append(delivery)
    case .store(let change): try writer.make(change, stream: 0)
    case .wait(let what, let milliseconds):
      if isWriterWorking { try commit() }
      guard what == .room || done.isEmpty else {
        defer { done = [] }
        return .waited(done: done)
      }
      if what != .turn || !hasRoom { now += UInt64(milliseconds) * 1_000_000 }
      return .waited(done: [])
    case .pause(let milliseconds): now += UInt64(milliseconds) * 1_000_000
    case .report: break
    case .end: hasEnded = true
    }
    return .done
  }

  private func ask(_ question: StreamQuestion) throws -> ReaderEvent {
    if case .new(_, let milliseconds, let acknowledged) = question {
      expectCommitted(acknowledged)
      now += UInt64(milliseconds) * 1_000_000
    }
    if case .acknowledge(let acknowledged) = question { expectCommitted(acknowledged) }
    do throws(RedisError) {
      let event = try stream.answer(question, now: now)
      return failures.isEmpty ? event : .failed(failures.removeFirst())
    } catch {
      return .failed(error)
    }
  }

  /// Nothing is acknowledged that is not in the database.
  private func expectCommitted(_ deliveries: [StreamDelivery]) {
    for id in deliveries.flatMap(\.settled) {
      #expect(writer.streams[0].applied.contains(id), "\(id) is not committed")
    }
  }

  private func commit() throws {
    guard !waiting.isEmpty else { return }
    _ = try writer.apply(waiting)
    done += waiting
    waiting = []
  }
}

extension ReaderAction {
  /// A few words, for comparing.
  var brief: String {
    switch self {
    case .connect: "connect"
    case .ask(let question): "ask \(question.brief)"
    case .submit(let delivery): "submit \(delivery.count)"
    case .store(let change): "store \("\(change)".prefix { $0 != "(" })"
    case .wait(let what, _): "wait \(what)"
    case .pause(let milliseconds): "pause \(milliseconds)"
    case .report(let report): "report \("\(report)".prefix { $0 != "(" })"
    case .end: "end"
    }
  }
}

extension StreamQuestion {
  fileprivate var brief: String {
    switch self {
    case .new(_, let milliseconds, let done):
      "new block \(milliseconds) ack \(done.reduce(0) { $0 + $1.settled.count })"
    case .acknowledge(let done): "acknowledge \(done.reduce(0) { $0 + $1.settled.count })"
    case .ownPending(let after, _): "ownPending \(after)"
    case .claim(_, let cursor, _): "claim \(cursor)"
    case .trim(let floor, _): "trim \(floor)"
    default: "\("\(self)".prefix { $0 != "(" })"
    }
  }
}
