// TrafficPush: the hook `traffic push`: queues, publishers and threads, one of each per partition. Made by HookChain;
// workers enqueue, the main thread starts it and shuts it down.

import Linux
import Redis
import Settings
import Synchronization
import Wire

/// Why a `traffic push` section describes nothing that can work.
struct TrafficPushError: Error, CustomStringConvertible {
  let description: String
}

/// The way of announces to the stream.
final class TrafficPush: AnnounceRecordSink {
  private struct Lane: Sendable {
    let partition: PushPartition
    let queue: EventQueue
    let metrics: PushMetrics
    let signal: PublisherSignal
  }

  /// Seconds between two log lines about a full queue.
  private static let fullLogSeconds: UInt64 = 60

  private let lanes: [Lane]
  private let settings: PublisherSettings
  private let spoolPath: String?
  private let threads = Mutex<[PublisherThread]>([])
  private let fullLog = Mutex(RareLog(pauseNanoseconds: fullLogSeconds * 1_000_000_000))
  private let shareLog = Mutex(RareLog(pauseNanoseconds: fullLogSeconds * 1_000_000_000))
  /// Monotonic seconds, 0: never.
  private let lastRefusal = Atomic<UInt64>(0)

  /// Starts nothing. `limits` and `retainedBytes` are for tests.
  init(
    options: TrafficPushOptions, metrics: MetricRegistry, limits: EventQueue.Limits = EventQueue.Limits(),
    retainedBytes: Int = PublisherSettings.retainedBytes
  ) throws {
    let endpoint = try RedisEndpoint(url: options.redisBroker)
    if case .cluster = endpoint.topology, options.partitions < 2 {
      throw TrafficPushError(
        description: "traffic push: a Redis Cluster needs partitions: 2 or more: one stream and its snapshots "
          + "share a slot only through the partition's hash tag")
    }
    settings = PublisherSettings(
      endpoint: endpoint,
      timeouts: options.timeouts.timeouts(),
      ttlSeconds: Int(max(1, options.lastTTL.wholeSeconds)), maximumStreamLength: options.maxStreamLength,
      creditFirstAnnounce: options.creditFirstAnnounce,
      maximumBytesPerSecond: UInt64(options.maxBytesPerSecond),
      retryMilliseconds: options.retryInterval.wholeMilliseconds,
      retryCount: options.retryCount, partitionCount: options.partitions,
      retainedBytes: retainedBytes)
    spoolPath = options.spoolPath
    var lanes: [Lane] = []
    let partitions = PushPartition.all(
      streamKey: options.streamKey, lastKeyPrefix: options.lastKeyPrefix, count: options.partitions)
    for partition in partitions {
      let queue = EventQueue(limits: limits)
      let signal = try PublisherSignal()
      metrics.gauge("tracker_push_queue_depth", help: "Records that wait for Redis.") {
        Double(queue.depth + signal.restoredLeft.load(ordering: .relaxed))
      }
      lanes.append(
        Lane(partition: partition, queue: queue, metrics: PushMetrics(metrics), signal: signal))
    }
    self.lanes = lanes
    let queues = lanes.map(\.queue)
    metrics.gauge(
      "tracker_push_queue_highest_share",
      help: "The most records of one user that wait for Redis; 0 while there are few."
    ) { Double(queues.map(\.highestShare).max() ?? 0) }
    let signals = lanes.map(\.signal)
    metrics.gauge("tracker_push_clock_offset_seconds", help: "What Redis' clock is ahead of this machine's.") {
      let offsets = signals.map { $0.clockOffsetMilliseconds.load(ordering: .relaxed) }
      return Double(offsets.max { $0.magnitude < $1.magnitude } ?? 0) / 1000
    }
  }

  /// Reads the spools back and starts the publishers' threads, `publish-0` and on. Redis need not be there.
  func start() throws {
    if let spoolPath { try SpoolReader.refuseForeignFiles(path: spoolPath, partitionCount: settings.partitionCount) }
    for lane in lanes {
      // It leaves this thread only with the publisher's own. What the thread's closure captured would live as long as the
      // thread: the restored records must not be among it.
      nonisolated(unsafe) let publisher = try makePublisher(lane)
      let thread = try NamedThread(name: "publish-\(lane.partition.index)") { publisher.publish() }
      threads.withLock { [box = PublisherThread(thread)] in $0.append(box) }
    }
  }

  private func makePublisher(_ lane: Lane) throws -> StreamPublisher {
    let spool = spoolPath.map {
      PushSpool(
        path: $0, partition: lane.partition.index, partitionCount: settings.partitionCount, metrics: lane.metrics)
    }
    try spool?.takeLock()
    let restored = try spool?.load() ?? SpoolContent()
    lane.signal.restoredLeft.store(restored.owedAnnounces, ordering: .relaxed)
    return StreamPublisher(
      settings: settings, partition: lane.partition, queue: lane.queue, metrics: lane.metrics, signal: lane.signal,
      spool: spool,
      session: PushSession(
        settings: settings, partition: lane.partition, queue: lane.queue, spool: spool?.state, restored: restored,
        now: Clock.monotonicNanoseconds()))
  }

  /// Publishes what is queued, or spools it, and ends the threads. Enqueue nothing more.
  func shutdown() {
    for lane in lanes { lane.signal.stop() }
    let running = threads.withLock { threads in
      let running = threads
      threads.removeAll()
      return running
    }
    for thread in running { thread.join() }
  }

  func enqueue(_ records: UnsafeBufferPointer<AnnounceRecord>) {
    if lanes.count == 1 {
      put(records, into: lanes[0])
    } else {
      distribute(records)
    }
  }

  /// Sorts the records by partition and puts each partition's in at once.
  private func distribute(_ records: UnsafeBufferPointer<AnnounceRecord>) {
    withUnsafeTemporaryAllocation(of: Int.self, capacity: records.count) { homes in
      for (at, record) in records.enumerated() {
        homes[at] = StreamPartition.index(of: record.passkey, count: lanes.count)
      }
      withUnsafeTemporaryAllocation(of: AnnounceRecord.self, capacity: records.count) { sorted in
        for (home, lane) in lanes.enumerated() {
          var count = 0
          for at in 0..<records.count where homes[at] == home {
            (sorted.baseAddress! + count).initialize(to: records[at])
            count += 1
          }
          if count > 0 { put(UnsafeBufferPointer(rebasing: sorted[..<count]), into: lane) }
        }
      }
    }
  }

  private func put(_ records: UnsafeBufferPointer<AnnounceRecord>, into lane: Lane) {
    let outcome = lane.queue.append(records)
    if outcome.coalesced > 0 { lane.metrics.coalesced.add(UInt64(outcome.coalesced)) }
    if outcome.refused > 0 { noteFull(lane, refused: outcome.refused) }
    if outcome.beyondShare > 0 { noteShare(lane, refused: outcome.beyondShare) }
    if outcome.mustWake { lane.signal.wakeUp() }
  }

  private func noteFull(_ lane: Lane, refused: Int) {
    lane.metrics.refusedQueueFull.add(UInt64(refused))
    let now = Clock.monotonicNanoseconds()
    lastRefusal.store(now / 1_000_000_000, ordering: .relaxed)
    guard fullLog.withLock({ $0.next(now: now) }) != nil else { return }
    Log.error(
      "the push queue is full: announces are refused",
      ["partition": lane.partition.index, "refused_total": lane.metrics.refusedQueueFull.current])
  }

  private func noteShare(_ lane: Lane, refused: Int) {
    lane.metrics.refusedShare.add(UInt64(refused))
    guard shareLog.withLock({ $0.next() }) != nil else { return }
    Log.warning(
      "a user has more than a share of the push queue waiting: announces of this user are refused",
      ["partition": lane.partition.index, "refused_total": lane.metrics.refusedShare.current])
  }

  /// What keeps announces from reaching the stream, by partition; empty when nothing does.
  var troubles: [String] {
    var texts: [String] = []
    let last = lastRefusal.load(ordering: .relaxed)
    if last > 0, Clock.monotonicNanoseconds() / 1_000_000_000 < last + Self.fullLogSeconds {
      texts.append("traffic push: the queue is full")
    }
    for lane in lanes {
      if let trouble = lane.signal.currentTrouble { texts.append("traffic push \(lane.partition.index): \(trouble)") }
    }
    return texts
  }

  /// Whether announces reach the stream.
  var isReady: Bool { troubles.isEmpty }
}

/// Holds a thread in an array: NamedThread itself is joined once and is not copyable.
private final class PublisherThread: Sendable {
  private let thread: Mutex<NamedThread?>
  init(_ thread: consuming NamedThread) { self.thread = Mutex(consume thread) }
  func join() {
    var taken: NamedThread? = nil
    thread.withLock { swap(&$0, &taken) }
    taken?.join()
  }
}
