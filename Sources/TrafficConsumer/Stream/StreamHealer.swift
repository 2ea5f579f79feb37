// StreamHealer: `heal` without a daemon: a ReaderSession that reads the past and ends, reader and writer in one thread. Main
// thread of a verb that holds the lock.

import Redis
import SQLite

struct StreamHealer: ~Copyable {
  /// Why it could not.
  enum Failure: Error {
    case redis(RedisError)
    case store(StoreError)
    /// The group's entries go to another database.
    case foreignGroup(stream: String, owner: String)
  }

  private let index: Int
  private let settings: StreamSettings
  private let writer: StoreWriter
  private var commands: StreamCommands
  /// Committed, and not taken back by the session.
  private var done: [StreamDelivery] = []

  /// Reads every stream from an id up to its group's position. Returns what became of the entries.
  static func heal(from id: EntryID, _ writer: StoreWriter, _ settings: StreamSettings) throws(Failure)
    -> StreamCounters
  {
    let before = writer.streams
    for index in settings.streams.indices {
      var healer = try StreamHealer(index, settings, writer)
      try healer.run(from: id)
    }
    return StreamCounters.difference(from: before, to: writer.streams)
  }

  private init(_ index: Int, _ settings: StreamSettings, _ writer: StoreWriter) throws(Failure) {
    self.index = index
    self.settings = settings
    self.writer = writer
    do throws(RedisError) {
      commands = try StreamCommands(settings, stream: index)
    } catch {
      throw .redis(error)
    }
  }

  private mutating func run(from id: EntryID) throws(Failure) {
    // Without a group nothing was ever delivered: the daemon will read it all.
    guard try asked({ commands throws(RedisError) in try commands.censusIfAny() }) != nil else { return }
    let instance: String?
    do throws(StoreError) {
      instance = try MetaTable.text("instance", in: writer.database)
    } catch {
      throw .store(error)
    }
    var session = ReaderSession(
      settings: settings, instance: instance ?? "", hash: writer.hash, healing: HealRequest(serial: 1, from: id))
    var event = ReaderEvent.started
    while let next = try perform(session.next(after: event, situation)) { event = next }
  }

  private var situation: ReaderSituation {
    // Nothing depends on time: there is no upkeep.
    ReaderSituation(
      monotonicNanoseconds: 0, unixMilliseconds: 0, outstanding: done.count, known: writer.streams[index])
  }

  private mutating func perform(_ action: ReaderAction) throws(Failure) -> ReaderEvent? {
    switch action {
    case .connect: return .connected
    case .ask(let question): return try asked { commands throws(RedisError) in try commands.answer(question) }
    case .submit(let delivery):
      try stored { writer throws(StoreError) in _ = try writer.apply([delivery]) }
      done.append(delivery)
    case .store(let change):
      let index = index
      try stored { writer throws(StoreError) in try writer.make(change, stream: index) }
    case .wait:
      defer { done = [] }
      return .waited(done: done)
    case .pause: break
    case .report(let report):
      if case .foreignGroup(let owner) = report {
        throw .foreignGroup(stream: settings.streams[index], owner: owner)
      }
      report.log(settings, stream: index)
    case .end: return nil
    }
    return .done
  }

  private mutating func asked<Answer>(_ body: (inout StreamCommands) throws(RedisError) -> Answer) throws(Failure)
    -> Answer
  {
    do throws(RedisError) { return try body(&commands) } catch { throw .redis(error) }
  }

  private func stored(_ body: (StoreWriter) throws(StoreError) -> Void) throws(Failure) {
    do throws(StoreError) { try body(writer) } catch { throw .store(error) }
  }
}

extension StreamCounters {
  /// The answer to the request `heal`.
  var healWords: [String] { [applied, duplicates, dead, redelivered].map { String($0) } }
}
