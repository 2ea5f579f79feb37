// SimulatedTracker: one tracker: the real queue, publisher, session and spool, on the simulation's clock and network. One
// thread.

import Glibc
import Linux
import Redis

@testable import Tracker

final class SimulatedTracker {
  /// A process, from its start to its end.
  final class Process {
    let queue: EventQueue
    let publisher: StreamPublisher
    let signal: PublisherSignal
    let metrics: PushMetrics
    var event = PushSession.Event.done
    var wakeAt: UInt64
    var isAsleep = false
    var isStopping = false
    /// Redis was away when it was told to stop, and is still: what it has taken the next process holds, too.
    var keepsAll = false

    init(queue: EventQueue, publisher: StreamPublisher, signal: PublisherSignal, metrics: PushMetrics, wakeAt: UInt64) {
      self.queue = queue
      self.publisher = publisher
      self.signal = signal
      self.metrics = metrics
      self.wakeAt = wakeAt
    }
    /// Nothing waits for Redis.
    var isEmpty: Bool { queue.depth == 0 && publisher.session.window.isEmpty && publisher.session.restored.count == 0 }
  }

  let index: Int
  let link: SimulatedLink
  let spoolPath: String?
  unowned let world: World
  /// What its wall clock is ahead of the true time, nanoseconds.
  var wallOffset: Int64 = 0
  /// Its machine stands still, CLOCK_MONOTONIC too, until then.
  private(set) var standstill: (from: UInt64, until: UInt64) = (0, 0)
  /// What CLOCK_MONOTONIC missed before.
  private var stoodStill: UInt64 = 0
  private(set) var process: Process?
  /// Of all processes there were.
  private(set) var metrics: [PushMetrics] = []
  /// When all it had was last with Redis.
  private var lastClean = World.startNanoseconds
  private let settings: PublisherSettings
  private var clock = OrderClock.process
  private let partition: PushPartition

  init(_ index: Int, world: World, spoolPath: String?) {
    self.index = index
    self.world = world
    self.spoolPath = spoolPath
    link = SimulatedLink("tracker \(index)", world: world)
    let site = world.site
    settings = PublisherSettings(
      endpoint: RedisEndpoint(topology: .single(.simulated(link))), timeouts: RedisTimeouts(),
      ttlSeconds: site.ttlSeconds, maximumStreamLength: site.maximumStreamLength, creditFirstAnnounce: false,
      maximumBytesPerSecond: 0, retryMilliseconds: 1000, retryCount: 3, partitionCount: 1,
      retainedBytes: site.retainedBytes, recordsPerCall: site.recordsPerCall)
    partition = PushPartition.all(streamKey: World.streamKey, lastKeyPrefix: "tracker:last", count: 1)[0]
  }

  var wallNanoseconds: UInt64 { UInt64(Int64(World.wall(world.now)) + wallOffset) }
  /// CLOCK_MONOTONIC and CLOCK_BOOTTIME.
  private var machineNow: UInt64 { world.now - stoodStill - (min(world.now, standstill.until) - standstill.from) }
  var isStandingStill: Bool { world.now < standstill.until }
  /// When it does something next.
  var wakeAt: UInt64? { process.map { isStandingStill ? max($0.wakeAt, standstill.until) : $0.wakeAt } }
  /// It answers announces.
  var isServing: Bool { !isStandingStill && process.map { !$0.isStopping } ?? false }
  /// Nothing of it waits for Redis.
  var isClean: Bool { process.map { $0.isEmpty && ($0.isAsleep || $0.isStopping) } ?? true }

  // MARK: processes

  /// Children that other tests start meanwhile have the descriptor of the lock between fork and exec: where nobody else has the
  /// spool, it is free in a moment.
  private func takeLock(of spool: PushSpool) throws {
    for _ in 0..<200 where !world.site.sharesSpool {
      if (try? spool.takeLock()) != nil { return }
      usleep(10_000)
    }
    try spool.takeLock()
  }

  /// What TrafficPush.start does.
  func start() {
    guard process == nil, !isStandingStill else { return }
    let metrics = PushMetrics(MetricRegistry())
    self.metrics.append(metrics)
    let site = world.site
    let queue = EventQueue(
      limits: EventQueue.Limits(
        capacityEvents: site.queueCapacity, coalesceAbove: site.coalesceAbove, coalesceBelow: site.coalesceAbove / 2))
    do {
      let signal = try PublisherSignal()
      clock = OrderClock(
        wallNanoseconds: wallNanoseconds, atMonotonicNanoseconds: machineNow, bootNanoseconds: machineNow,
        boot: spoolPath.map { "the machine of \($0)" })
      let spool = spoolPath.map {
        PushSpool(path: $0, partition: 0, partitionCount: 1, metrics: metrics, clock: clock)
      }
      try spool.map { try takeLock(of: $0) }
      let restored = try spool?.load() ?? SpoolContent()
      let (names, waits) = (world.runNames, world.waits)
      let session = PushSession(
        settings: settings, partition: partition, queue: queue, spool: spool?.state, restored: restored,
        now: machineNow, clock: clock, newRun: { names.next() }, random: { waits.pick($0) })
      let publisher = StreamPublisher(
        settings: settings, partition: partition, queue: queue, metrics: metrics, signal: signal, spool: spool,
        session: session, wallMicroseconds: { [unowned self] in wallNanoseconds / 1000 })
      process = Process(queue: queue, publisher: publisher, signal: signal, metrics: metrics, wakeAt: world.now)
      if restored.isEmpty { lastClean = world.now }
      world.trace { "tracker \(index) starts, \(restored.owedAnnounces) restored" }
    } catch {
      world.trace { "tracker \(index) does not start: \(error)" }
    }
  }

  /// SIGTERM.
  func terminate() {
    guard let process, !process.isStopping else { return }
    process.isStopping = true
    process.signal.stop()
    process.wakeAt = world.now
    if process.isAsleep { process.event = .woken }
  }

  /// SIGKILL.
  func kill() {
    guard process != nil else { return }
    world.truth.excuse(tracker: index, since: unsavedSince)
    process = nil
  }

  /// Its machine is paused, or sleeps.
  func standStill(nanoseconds: UInt64) {
    guard !isStandingStill else { return }
    stoodStill += standstill.until - standstill.from
    standstill = (world.now, world.now + nanoseconds)
  }

  /// No longer than up to now.
  func endStandstill() { if isStandingStill { standstill.until = world.now } }

  /// Its file is touched: what it had not published may be missing.
  func excuseUnsaved() { world.truth.excuse(tracker: index, since: lastClean) }

  /// From when on what it was told may be in its memory only.
  private var unsavedSince: UInt64 {
    let hasTrouble = process?.publisher.session.trouble?.contains("spool") ?? false
    guard spoolPath != nil, !hasTrouble else { return lastClean }
    let since = world.now - World.spoolGraceNanoseconds
    return max(lastClean, since < standstill.until ? standstill.from - World.spoolGraceNanoseconds : since)
  }

  // MARK: announces

  /// As a worker does it. False when the queue refused it.
  func enqueue(_ record: AnnounceRecord) -> Bool {
    guard let process else { return false }
    if process.isEmpty { lastClean = world.now }
    let outcome = withUnsafePointer(to: record) {
      process.queue.append(
        UnsafeBufferPointer(start: $0, count: 1), order: clock.microseconds(atMonotonicNanoseconds: machineNow))
    }
    if outcome.coalesced > 0 { process.metrics.coalesced.add(UInt64(outcome.coalesced)) }
    if outcome.refused > 0 { process.metrics.refusedQueueFull.add(UInt64(outcome.refused)) }
    if outcome.mustWake, process.isAsleep {
      process.isAsleep = false
      process.event = .woken
      process.wakeAt = world.now + UInt64(PublisherSettings.gatherMilliseconds) * 1_000_000
    }
    return outcome.refused == 0
  }

  // MARK: steps

  func step() {
    guard let process else { return }
    process.isAsleep = false
    if process.isEmpty { lastClean = world.now }
    guard let action = process.publisher.decide(after: process.event, now: machineNow) else {
      world.trace { "tracker \(index) ends with \(process.queue.depth) queued" }
      if spoolPath == nil { world.truth.excuse(tracker: index, since: lastClean) }
      if !process.keepsAll { world.trouble.lastAmnesia = world.now }
      self.process = nil
      return
    }
    world.cost = 0
    process.event = perform(action, process)
    let event = process.event
    if !process.isAsleep || world.isVerbose {
      world.trace { "tracker \(index): \(action.shortName) -> \(event.shortName)" }
    }
    process.wakeAt = world.now + max(world.cost, world.jitter(20_000...1_000_000))
  }

  private func perform(_ action: PushSession.Action, _ process: Process) -> PushSession.Event {
    switch action {
    case .awaitReply(let milliseconds): return wait(milliseconds, process.publisher.replyIfArrived)
    case .awaitTime(let milliseconds): return wait(milliseconds, process.publisher.timeIfArrived)
    case .awaitAnnounces(let milliseconds):
      guard process.queue.depth == 0, !process.isStopping else { return .woken }
      process.isAsleep = true
      world.charge(milliseconds: milliseconds)
      return .timePassed
    case .pause(let milliseconds):
      world.charge(milliseconds: process.isStopping ? 1 : milliseconds)
      return .timePassed
    default: return process.publisher.perform(action)
    }
  }

  private func wait(_ milliseconds: Int, _ eventIfArrived: () throws(RedisError) -> PushSession.Event?)
    -> PushSession.Event
  {
    do throws(RedisError) {
      if let event = try eventIfArrived() { return event }
    } catch {
      return .failed(error)
    }
    world.charge(milliseconds: max(1, milliseconds))
    return .timePassed
  }
}

/// Runs with names that are the simulation's.
final class RunNames: @unchecked Sendable {
  private var count: UInt64 = 0
  private let salt: UInt64
  init(salt: UInt64) { self.salt = salt }
  func next() -> PushRun {
    count += 1
    return PushRun(id: count, generationBase: (salt &+ count) &* 0x9e37_79b9_7f4a_7c15 & (1 << 48 - 1))
  }
}

extension PushSession.Action {
  var shortName: String {
    switch self {
    case .connect: "connect"
    case .disconnect: "disconnect"
    case .loadScript(let name): "load \(name)"
    case .send(let batch, _): "send \(batch.first)..<\(batch.end)"
    case .awaitReply: "await reply"
    case .discardReplies: "discard replies"
    case .askPlace(_, let next, let gap): gap != nil ? "adopt \(next)" : "ask \(next)"
    case .restore(let batch, _, _, _, _): "restore \(batch.first)..<\(batch.end)"
    case .awaitRestored: "await restored"
    case .askTime: "ask time"
    case .awaitTime: "await time"
    case .awaitAnnounces: "sleep"
    case .pause(let milliseconds): "pause \(milliseconds)"
    case .writeSpool: "write spool"
    case .removeSpool: "remove spool"
    case .finish: "finish"
    }
  }
}

extension PushSession.Event {
  var shortName: String {
    switch self {
    case .done: "done"
    case .scriptLoaded: "loaded"
    case .reply(let reply, _): "\(reply.status) next \(reply.next) applied \(reply.applied)"
    case .restored(let records, let entries): "restored \(records.map(String.init) ?? "nothing"), \(entries) entries"
    case .time: "time of redis"
    case .woken: "woken"
    case .timePassed: "time"
    case .spooled(let state): "spooled active \(state.isActive) through \(state.through) \(state.trouble ?? "")"
    case .failed(let error): "failed \(error)"
    }
  }
}
