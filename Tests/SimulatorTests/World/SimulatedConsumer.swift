// SimulatedConsumer: one traffic-consumer: the real reader sessions, commands and store, on the simulation's clock and
// network. What threads and DeliveryQueue do in the daemon is done here step by step. One thread.

import Glibc
import Linux
import Redis
import SQLite

@testable import TrafficConsumer

final class SimulatedConsumer {
  /// The reader of one stream.
  final class Reader {
    var session: ReaderSession
    var commands: StreamCommands?
    var event: ReaderEvent? = .started
    var wakeAt: UInt64
    /// What it waits for, and until when.
    var waitsFor: (what: ReaderWait, end: UInt64)?
    var outstanding = 0
    var done: [StreamDelivery] = []
    var isCaughtUp = false

    init(session: ReaderSession, wakeAt: UInt64) {
      self.session = session
      self.wakeAt = wakeAt
    }
  }

  final class Process {
    var writer: StoreWriter?
    var readers: [Reader] = []
    var waiting: [StreamDelivery] = []
    var writerWakeAt: UInt64
    var isStopping = false
    var isFrozen = false
    /// The last sign it gave at the lock.
    var lastBeat: UInt64
    var writerTrouble: String?
    var healRequest: HealRequest?

    init(now: UInt64) {
      writerWakeAt = now
      lastBeat = now
    }
  }

  /// What may be on its way to the writer at once.
  private static let roomDeliveries = 3
  private static let commitNanoseconds: UInt64 = 200_000_000
  private static let standbyNanoseconds: UInt64 = 500_000_000
  static let staleNanoseconds: UInt64 = 60_000_000_000

  let index: Int
  let link: SimulatedLink
  unowned let world: World
  private(set) var process: Process?
  private let store: StoreWriter.Settings
  private(set) var settings: StreamSettings
  /// The database cannot grow.
  var isDiskFull = false {
    didSet { limitDisk() }
  }

  init(_ index: Int, world: World) {
    self.index = index
    self.world = world
    link = SimulatedLink("consumer \(index)", world: world)
    // One thread.
    nonisolated(unsafe) unowned let clock = world
    store = StoreWriter.Settings(
      databasePath: "\(world.folder)/traffic.db", streamNames: [World.streamKey], windowSeconds: 3600,
      maximumDeliveries: 3, unixSeconds: { Int64(clock.consumerMilliseconds / 1000) })
    settings = StreamSettings(
      endpoint: RedisEndpoint(topology: .single(.simulated(link))), timeouts: RedisTimeouts(),
      streams: store.streamNames, group: World.group, consumer: "consumer-\(index)")
    settings.adoptsGroup = world.site.adoptsGroup
    // A stream of a few entries would be full for a minute each time.
    if world.site.maximumStreamLength > 0 { settings.trimAgeMilliseconds = 500 }
  }

  var isLeading: Bool { process?.writer != nil }
  /// It has read and settled all it can.
  var isAtRest: Bool {
    guard let process, process.writer != nil, !process.isFrozen else { return false }
    return process.waiting.isEmpty
      && process.readers.allSatisfy { $0.outstanding == 0 && $0.isCaughtUp && $0.commands != nil } && link.hasOpenWire
  }

  // MARK: processes

  func start() {
    guard process == nil else { return }
    process = Process(now: world.now)
    world.trace { "consumer \(index) starts" }
  }

  func terminate() {
    guard let process else { return }
    process.isStopping = true
    if process.writer == nil { self.process = nil }
    for reader in process.readers { reader.wakeAt = min(reader.wakeAt, world.now) }
  }

  func kill() { process = nil }
  func freeze(_ isFrozen: Bool) {
    guard let process else { return }
    process.isFrozen = isFrozen
    if !isFrozen {
      process.writerWakeAt = max(process.writerWakeAt, world.now)
      for reader in process.readers { reader.wakeAt = max(reader.wakeAt, world.now) }
    }
  }

  /// Takes the lock if nobody living has it, and opens the database.
  private func lead(_ process: Process) {
    process.writerWakeAt = world.now + Self.standbyNanoseconds
    guard world.mayLead(self) else { return }
    do throws(StoreError) {
      let writer = try StoreWriter(settings: store)
      process.writer = writer
      limitDisk()
      process.lastBeat = world.now
      let instance = try MetaTable.text("instance", in: writer.database) ?? ""
      process.readers = store.streamNames.map { _ in
        let waits = world.waits
        return Reader(
          session: ReaderSession(
            settings: settings, instance: instance, hash: writer.hash,
            backoff: RetryBackoff(firstMilliseconds: 100, maximumMilliseconds: 5000, random: { waits.pick($0) })),
          wakeAt: world.now)
      }
      world.trace { "consumer \(index) leads" }
    } catch {
      world.fail("x", "the database does not open: \(error)")
    }
  }

  private func limitDisk() {
    let pages = isDiskFull ? 1 : 1 << 30
    try? process?.writer?.database.execute("PRAGMA max_page_count = \(pages)")
  }

  /// It slept until then.
  func skip(to moment: UInt64) {
    guard let process, !process.isFrozen else { return }
    process.writerWakeAt = max(process.writerWakeAt, moment)
    for reader in process.readers { reader.wakeAt = max(reader.wakeAt, moment) }
  }

  // MARK: steps

  /// When it does something next.
  var wakeAt: UInt64? {
    guard let process, !process.isFrozen else { return nil }
    return process.readers.reduce(process.writerWakeAt) { $1.event == nil ? $0 : min($0, $1.wakeAt) }
  }

  func step() {
    guard let process else { return }
    guard process.writer != nil else { return lead(process) }
    process.lastBeat = world.now
    if process.writerWakeAt <= world.now || (process.isStopping && !process.waiting.isEmpty) { return write(process) }
    let due = process.readers.indices.filter { process.readers[$0].event != nil }
    guard let next = due.min(by: { process.readers[$0].wakeAt < process.readers[$1].wakeAt }) else {
      return end(process)
    }
    read(next, process)
    if process.readers.allSatisfy({ $0.event == nil }), process.waiting.isEmpty { end(process) }
  }

  private func end(_ process: Process) {
    world.trace { "consumer \(index) ends" }
    self.process = nil
  }

  // MARK: the writer thread

  private func write(_ process: Process) {
    process.writerWakeAt = world.now + 1_000_000_000
    guard !process.waiting.isEmpty else { return }
    let deliveries = process.waiting
    do throws(StoreError) {
      let counters = try process.writer!.apply(deliveries)
      process.writerTrouble = nil
      process.waiting = []
      world.committed(deliveries)
      world.trace { "consumer \(index) commits \(deliveries.map(\.count)): \(counters.handledText)" }
      for delivery in deliveries {
        let reader = process.readers[delivery.streamIndex]
        reader.done.append(delivery)
        if reader.waitsFor != nil { reader.wakeAt = world.now }
      }
    } catch {
      world.trace { "consumer \(index): \(error)" }
      if error == .fenced {
        self.process = nil
        return
      }
      process.writerTrouble = error.description
      process.writerWakeAt = world.now + 500_000_000
      if let fresh = try? StoreWriter(settings: store, fence: process.writer!.fenceText) {
        process.writer = fresh
        limitDisk()
      }
    }
  }

  // MARK: reader threads

  private func situation(_ reader: Reader, _ process: Process, _ index: Int) -> ReaderSituation {
    ReaderSituation(
      monotonicNanoseconds: world.now, unixMilliseconds: world.consumerMilliseconds,
      isStopping: process.isStopping, hasRoom: hasRoom(process), outstanding: reader.outstanding,
      isWriterInTrouble: process.writerTrouble != nil, known: process.writer!.streams[index],
      healRequest: process.healRequest)
  }

  private func hasRoom(_ process: Process) -> Bool {
    !process.isStopping && process.readers.reduce(0) { $0 + $1.outstanding } < Self.roomDeliveries
  }

  private func read(_ index: Int, _ process: Process) {
    let reader = process.readers[index]
    world.cost = 0
    if let wait = reader.waitsFor {
      let isOver =
        switch wait.what {
        case .turn: hasRoom(process) || process.isStopping || !reader.done.isEmpty
        case .done: reader.outstanding == 0 || !reader.done.isEmpty
        case .room: hasRoom(process) || process.isStopping
        }
      guard isOver || world.now >= wait.end else {
        reader.wakeAt = min(wait.end, world.now + 20_000_000)
        return
      }
      reader.waitsFor = nil
      var done: [StreamDelivery] = []
      if wait.what != .room {
        done = reader.done
        reader.done = []
        reader.outstanding -= done.count
      }
      reader.event = .waited(done: done)
    }
    let action = reader.session.next(after: reader.event!, situation(reader, process, index))
    reader.event = perform(action, reader, process, index)
    let event = reader.event
    if world.isTold(action) {
      world.trace {
        "consumer \(self.index): \(action.shortName) -> \(event?.shortName ?? "end")"
          + (world.isVerbose ? ", \(reader.outstanding) outstanding" : "")
      }
    }
    reader.wakeAt = world.now + max(world.cost, world.jitter(20_000...1_000_000))
    if case .pause(let milliseconds) = action, !process.isStopping {
      reader.wakeAt = world.now + UInt64(milliseconds) * 1_000_000
    }
  }

  private func perform(_ action: ReaderAction, _ reader: Reader, _ process: Process, _ index: Int) -> ReaderEvent? {
    switch action {
    case .connect, .ask:
      do throws(RedisError) {
        return try exchange(action, reader, index)
      } catch {
        reader.commands = nil
        return .failed(error)
      }
    case .submit(let delivery):
      if process.waiting.isEmpty { process.writerWakeAt = world.now + world.jitter(1...Self.commitNanoseconds) }
      process.waiting.append(delivery)
      reader.outstanding += 1
      return .done
    case .store(let change):
      do throws(StoreError) {
        try process.writer!.make(change, stream: index)
        return .done
      } catch {
        if error == .fenced {
          self.process = nil
          return nil
        }
        return .failed(.closed("by us, because the database is in trouble: \(error)"))
      }
    case .wait(let what, let milliseconds):
      reader.waitsFor = (what, world.now + UInt64(milliseconds) * 1_000_000)
      return .done
    case .pause: return .done
    case .report(let report):
      tell(report, reader)
      return .done
    case .end: return nil
    }
  }

  private func exchange(_ action: ReaderAction, _ reader: Reader, _ index: Int) throws(RedisError) -> ReaderEvent {
    guard case .ask(let question) = action else {
      reader.commands = nil
      reader.commands = try StreamCommands(settings, stream: index)
      return .connected
    }
    guard let event = try reader.commands?.answer(question) else { throw .closed("no connection") }
    if case .new(_, let milliseconds, _) = question, case .entries(let delivery) = event, delivery.count == 0 {
      world.charge(milliseconds: milliseconds)
    }
    return event
  }

  private func tell(_ report: ReaderReport, _ reader: Reader) {
    switch report {
    case .caughtUp: reader.isCaughtUp = true
    case .lost: reader.isCaughtUp = false
    case .foreignGroup(let owner): world.fail("x", "the group belongs to another database: \(owner)")
    default: break
    }
  }

  // MARK: verbs

  /// Does something with the writer, as a verb does: through the daemon.
  func withWriter(_ body: (StoreWriter) throws(StoreError) -> Void) {
    guard let writer = process?.writer else { return }
    do throws(StoreError) { try body(writer) } catch { world.trace { "consumer \(index): \(error)" } }
  }

  func backup() {
    withWriter { writer throws(StoreError) in _ = try writer.backup(to: store.databasePath + ".backup") }
  }

  /// As WriterLoop does it, when nothing waits; what an older file of Redis' may bring back is kept for a day and a half.
  func maintainRetention() {
    let times = RetentionTimes(windows: 7200, days: 86_400, explanations: 129_600)
    let oldest = world.redis.data.stream(World.streamKey)?.entries.first?.id.milliseconds ?? .max
    let now = Int64(World.wall(world.now) / 1_000_000_000)
    withWriter { writer throws(StoreError) in
      while try writer.maintainRetention(now: now, times) {}
      try writer.forgetFingerprints(now: now, times, oldestMilliseconds: oldest)
    }
  }

  func heal() {
    guard let process, process.writer != nil else { return }
    process.healRequest = HealRequest(serial: (process.healRequest?.serial ?? 0) + 1, from: .zero)
  }
}
