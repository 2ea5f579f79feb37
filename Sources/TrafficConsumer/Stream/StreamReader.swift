// StreamReader: reads one stream as a member of its group, hands the entries to the writer, and acknowledges what the writer
// has made durable: carries out what a ReaderSession decides. One thread each, "reader-N".

import Linux
import Redis

struct StreamReader: ~Copyable {
  /// What the readers of one daemon share.
  struct Surroundings: Sendable {
    let settings: StreamSettings
    /// The database's identity and the key of its anchors.
    let instance: String
    let hash: EntryHash
    let queue: DeliveryQueue
    let engine: EngineState
    /// Connections that failed or broke.
    let redisErrors: Counter
    let abandoned: AbandonedStreams
  }

  private let index: Int
  private let stream: String
  private let settings: StreamSettings
  private let queue: DeliveryQueue
  private let engine: EngineState
  private let redisErrors: Counter
  private let abandoned: AbandonedStreams
  /// Monotonic nanoseconds at which they were looked at.
  private var abandonedSeen: UInt64?
  private var session: ReaderSession
  private var commands: StreamCommands?

  /// Runs until the daemon stops.
  static func run(_ index: Int, _ surroundings: Surroundings) {
    var reader = StreamReader(index, surroundings)
    reader.run()
    surroundings.queue.readerEnded()
  }

  private init(_ index: Int, _ surroundings: Surroundings) {
    self.index = index
    settings = surroundings.settings
    stream = settings.streams[index]
    queue = surroundings.queue
    engine = surroundings.engine
    redisErrors = surroundings.redisErrors
    abandoned = surroundings.abandoned
    session = ReaderSession(settings: settings, instance: surroundings.instance, hash: surroundings.hash)
  }

  private mutating func run() {
    var event = ReaderEvent.started
    while let next = perform(session.next(after: event, situation())) { event = next }
  }

  private func situation() -> ReaderSituation {
    let room = queue.room(stream: index)
    let state = engine.state(of: index)
    return ReaderSituation(
      monotonicNanoseconds: Clock.monotonicNanoseconds(), unixMilliseconds: Clock.unixNanoseconds() / 1_000_000,
      isStopping: room.isStopping, hasRoom: room.hasRoom, outstanding: room.outstanding,
      isWriterInTrouble: state.isWriterInTrouble, known: state.known, healRequest: state.healRequest)
  }

  /// Carries an action out; nil when there is nothing left to do.
  private mutating func perform(_ action: ReaderAction) -> ReaderEvent? {
    switch action {
    case .connect, .ask:
      do throws(RedisError) {
        return try exchange(action)
      } catch {
        commands = nil
        return .failed(error)
      }
    case .submit(let delivery):
      CrashPoint.reach(.entriesRead)
      queue.submit(delivery)
      return .done
    case .store(let change): return store(change)
    case .wait(let what, let milliseconds):
      return .waited(done: queue.wait(for: what, stream: index, milliseconds: milliseconds))
    case .pause(let milliseconds):
      _ = queue.waitForStop(milliseconds: milliseconds)
      return .done
    case .report(let report):
      tell(report)
      report.log(settings, stream: index)
      return .done
    case .end: return nil
    }
  }

  private mutating func exchange(_ action: ReaderAction) throws(RedisError) -> ReaderEvent {
    guard case .ask(let question) = action else {
      commands = nil
      commands = try StreamCommands(settings, stream: index)
      return .connected
    }
    guard let event = try commands?.answer(question) else { throw .closed("no connection") }
    return event
  }

  /// Has the writer thread make a change, and waits for it.
  private func store(_ change: StreamChange) -> ReaderEvent {
    let result = Monitor<Result<Void, StoreError>?>(nil)
    let (index, engine) = (index, engine)
    queue.post { writer in
      let outcome = Result { () throws(StoreError) in try writer.make(change, stream: index) }
      // Before the reader goes on: it decides by what is published, and must not take an old epoch's ranges for new.
      engine.publish(writer.streams)
      result.withLock { $0 = outcome }
    }
    while true {
      switch result.wait(milliseconds: 200, until: { $0 }) {
      case .success: return .done
      // Not Redis' fault; but what follows needs it, so it is tried again like a lost connection.
      case .failure(let error): return .failed(.closed("by us, because the database is in trouble: \(error)"))
      case nil: if queue.isStopping { return .failed(.closed("by us, the daemon stops")) }
      }
    }
  }

  // MARK: reports

  /// Tells the rest of the daemon.
  private mutating func tell(_ report: ReaderReport) {
    switch report {
    case .connected:
      engine.update(stream: index) { progress in
        progress.isConnected = true
        progress.trouble = nil
      }
    case .caughtUp:
      engine.update(stream: index) { $0.isCaughtUp = true }
      abandonedSeen = nil
    case .surveyed(let survey):
      engine.update(stream: index) { progress in
        progress.pendingEntries = survey.census.pending
        progress.undeliveredEntries = survey.shownUnread
        progress.oldestWaitingMilliseconds = survey.oldestWaitingMilliseconds
        progress.oldestMilliseconds = survey.census.firstEntryID?.milliseconds ?? .max
      }
      lookForAbandoned()
    case .healed(let serial): engine.finishHeal(serial, stream: index)
    case .lost(let error, _):
      redisErrors.add()
      engine.update(stream: index) { progress in
        progress.isConnected = false
        progress.isCaughtUp = false
        progress.trouble = error.description
      }
    case .foreignGroup(let owner):
      engine.fail(
        EngineState.Fatal(
          code: .configuration,
          message:
            "group \(settings.group) of stream \(stream) belongs to another database (\(owner.prefix(8))); "
            + "this one is \(session.instance.prefix(8)). Start with --adopt-group if this database is to take over"))
      queue.stop()
    case .groupCreated, .rolledBack, .newEpoch, .pendingAgain, .pastRead, .claimed, .trimmed, .trimRefused: break
    }
  }

  /// Trackers may still write to such a stream, and another daemon may read it.
  private static let abandonedNanoseconds: UInt64 = 60_000_000_000

  /// Looks for what is left in streams that are not read any more, now and then; Redis answers just now, and one reader is
  /// enough. Trouble with Redis is told where it matters.
  private mutating func lookForAbandoned() {
    let now = Clock.monotonicNanoseconds()
    guard index == 0, abandonedSeen.map({ now &- $0 >= Self.abandonedNanoseconds }) ?? true else { return }
    abandonedSeen = now
    guard let found = try? abandoned.unread() else { return }
    let entries = found.reduce(0) { $0 + $1.entries }
    let isNews = entries > engine.leftBehind ?? 0
    engine.setLeftBehind(entries)
    guard isNews else { return }
    for (stream, entries) in found {
      Log.warning(
        "a stream that is not read any more has unread entries; were `partitions` or `stream_key` changed?",
        ["stream": stream, "entries": entries])
    }
  }
}

extension ReaderReport {
  /// Says it in the log, of one of the streams.
  func log(_ settings: StreamSettings, stream index: Int) {
    let stream = settings.streams[index]
    switch self {
    case .groupCreated: Log.info("group created", ["stream": stream, "group": settings.group])
    case .rolledBack(let end):
      Log.warning("redis came back with an older state of the stream", ["stream": stream, "end": "\(end)"])
    case .newEpoch:
      Log.warning("this is another stream under the same name: a new epoch begins", ["stream": stream])
    case .pendingAgain(let entries):
      Log.info("pending entries delivered again", ["stream": stream, "entries": entries])
    case .pastRead(let entries): Log.info("read the past again", ["stream": stream, "entries": entries])
    case .caughtUp:
      Log.info("reading", ["stream": stream, "group": settings.group, "consumer": settings.consumer])
    case .claimed(let entries):
      Log.info("claimed entries of other consumers", ["stream": stream, "entries": entries])
    case .trimmed(let entries, let floor):
      Log.debug("trimmed", ["stream": stream, "entries": entries, "below": "\(floor)"])
    case .trimRefused(let error):
      Log.error(
        "redis does not let us trim: the stream grows until it is full; the ACL needs xtrim, xinfo, and eval (redis.md)",
        ["stream": stream, "error": error])
    case .lost(let error, let milliseconds):
      Log.warning(
        "redis trouble, trying again",
        [
          "stream": stream, "endpoint": settings.endpoint.redacted, "error": error.description,
          "retry_milliseconds": milliseconds,
        ])
    case .foreignGroup, .connected, .surveyed, .healed: break
    }
  }
}

extension StreamCommands {
  /// Asks Redis, and says what it answered.
  mutating func answer(_ question: StreamQuestion) throws(RedisError) -> ReaderEvent {
    switch question {
    case .createGroup: return .groupCreated(isNew: try createGroup())
    case .claimGroup(let instance, let isReplacing):
      return .groupOwner(try claimGroup(for: instance, replacing: isReplacing))
    case .census: return .census(try census())
    case .survey(let id, let isExact): return .survey(try survey(beyond: id, isExact: isExact))
    case .entries(let ids): return .found(try entries(ids))
    case .ownPending(let after, let count): return .entries(try readOwnPending(after: after, count: count))
    case .range(let span, let count): return .entries(try range(span, count: count))
    case .new(let count, let milliseconds, let done):
      return .entries(try readNew(count: count, blockMilliseconds: milliseconds, acknowledging: done))
    case .acknowledge(let done):
      try acknowledge(done)
      return .done
    case .claim(let idle, let cursor, let count):
      return .claimed(try claim(idleMilliseconds: idle, cursor: cursor, count: count))
    case .empty(let gaps): return .empty(try empty(of: gaps))
    case .trim(let floor, let last):
      switch try trim(below: floor, ifDeliveredTo: last) {
      case .refused(let text): return .trimRefused(text)
      case .removed(let entries):
        CrashPoint.reach(.afterTrim)
        return .trimmed(entries, below: floor)
      }
    }
  }
}
