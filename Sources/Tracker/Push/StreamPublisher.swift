// StreamPublisher: takes one partition's announces out of the queue and has Redis apply them, in order, each exactly once.
// One thread, named `publish-N`, owns everything here but the queue, the metrics and the status.

import CLinux
import Glibc
import Linux
import Redis
import Synchronization

/// What a publisher is given.
struct PublisherSettings: Sendable {
  var endpoint: RedisEndpoint
  var timeouts: RedisTimeouts
  var ttlSeconds: Int
  var maximumStreamLength: Int
  var creditFirstAnnounce: Bool
  var maximumBytesPerSecond: UInt64
  /// The first wait after a failure; it doubles up to `longestWaitMilliseconds`.
  var retryMilliseconds: Int
  /// Failures in a row after which Redis counts as away.
  var retryCount: Int
  var partitionCount: Int

  /// A Redis that is back is noticed within this time.
  static let longestWaitMilliseconds = 5000
  /// How often a full stream is looked at again, at first and at last.
  static let fullWaitMilliseconds = 50...1000
  /// Script calls on their way at once: the next is encoded and sent while Redis works on the last.
  static let window = 2
  /// After waking up, wait so long for company: one call for many announces instead of one each.
  static let gatherMilliseconds: Int32 = 5
  /// Applied calls that are held for sending again after a failover, in bytes of requests: about 65,000 announces. That is
  /// half a second of the fastest publisher, many times the delay of a healthy replica, and with 50,000 peers every
  /// session's last announce.
  static let retainedBytes = 16 << 20
  /// The same; tests make it small.
  var retainedBytes = Self.retainedBytes
  /// A run that was silent for longer begins anew: Redis forgets it after `PushScript.stateSeconds`.
  static let runIdleSeconds: UInt64 = UInt64(PushScript.stateSeconds) / 2
  /// A publisher with nothing to do looks so often whether its connection still lives.
  static let idleCheckMilliseconds = 1000
  /// No wait is longer without a look at the spool.
  static let spoolSliceMilliseconds = 500
  /// While Redis is away, connecting and loading the script may take this long: the spool is written by this thread too.
  static let awayConnectMilliseconds = 1000
  /// Seconds between two log lines about refused counters.
  static let refusalLogSeconds: UInt64 = 60
  /// How long a shutdown waits for Redis to take what is queued.
  static let flushMilliseconds = 5000
}

/// The publisher of one partition. Made by TrafficPush; `run` is its thread.
final class StreamPublisher {
  private let settings: PublisherSettings
  private let partition: PushPartition
  private let queue: EventQueue
  private let metrics: PushMetrics
  private let signal: PublisherSignal
  private var connection: RedisConnection?
  private var reply = RedisReply()
  private var call: PushCall?
  private var run = PushRun()
  /// Oldest first: not known to be applied.
  private var window: [PushBatch] = []
  /// Oldest first: applied, held in case a failover takes them back.
  private var retained: [PushBatch] = []
  private var retainedBytes = 0
  private var pool: [PushBatch] = []
  private var backoff: RetryBackoff
  private var fullBackoff = RetryBackoff(
    firstMilliseconds: PublisherSettings.fullWaitMilliseconds.lowerBound,
    maximumMilliseconds: PublisherSettings.fullWaitMilliseconds.upperBound)
  private var failures = 0
  private var redisTrouble: String?
  /// Redis Cluster moves our slot: the node to ask once, and whether the connection is to it.
  private var askError: RedisServerError?
  private var isAsking = false
  /// The last counts of this run, to tell what a reply adds.
  private var counted = PushScript.Reply(status: .done, next: 0)
  private var lastReplySeconds = Clock.monotonicNanoseconds() / 1_000_000_000
  private var flushDeadline: UInt64?
  private var lastRefusalLog: UInt64 = 0
  private let spool: PushSpool?
  /// When Redis last took something, or there was nothing to take.
  private var lastProgress = Clock.monotonicNanoseconds()

  init(
    settings: PublisherSettings, partition: PushPartition, queue: EventQueue, metrics: PushMetrics,
    signal: PublisherSignal, spool: PushSpool?, restored: PushSpool.Content?
  ) {
    self.spool = spool
    self.settings = settings
    self.partition = partition
    self.queue = queue
    self.metrics = metrics
    self.signal = signal
    backoff = RetryBackoff(
      firstMilliseconds: max(1, settings.retryMilliseconds),
      maximumMilliseconds: max(settings.retryMilliseconds, PublisherSettings.longestWaitMilliseconds))
    if let restored { run = restored.run }
  }

  /// Publishes until the signal says stop and what is queued is published or the time for it is over.
  func publish() {
    while !isFinished {
      do {
        try connectIfNeeded()
        try step()
      } catch {
        recover(from: error)
      }
    }
    connection = nil
    giveUpRest()
  }

  private var isFinished: Bool {
    guard signal.isStopping else { return false }
    if window.isEmpty && queue.depth == 0 { return true }
    let now = Clock.monotonicNanoseconds()
    if flushDeadline == nil { flushDeadline = now + UInt64(PublisherSettings.flushMilliseconds) * 1_000_000 }
    // A Redis that is away is not waited for.
    return failures > 0 || now >= flushDeadline!
  }

  // MARK: one step

  private func step() throws(RedisError) {
    try fillWindow()
    guard let oldest = window.first else {
      lastProgress = Clock.monotonicNanoseconds()
      let isWoken = signal.wait(milliseconds: Int32(PublisherSettings.idleCheckMilliseconds), isGathering: true)
      lastProgress = Clock.monotonicNanoseconds()
      if !isWoken { try checkIdleConnection() }
      return
    }
    try awaitReply()
    try handleReply(to: oldest)
  }

  /// Redis is asked for a sign of life, so that readiness is true on a quiet tracker too, and what a failover took back is
  /// noticed before the next announce.
  private func checkIdleConnection() throws(RedisError) {
    _ = try connection!.command(["PING"])
  }

  /// Waits for the next reply, and spools meanwhile. It may have come together with the one before.
  private func awaitReply() throws(RedisError) {
    let end = Clock.monotonicNanoseconds() + UInt64(max(0, settings.timeouts.readMilliseconds)) * 1_000_000
    while try !receiveReply() {
      let now = Clock.monotonicNanoseconds()
      guard now < end else { throw .timedOut(.read) }
      let left = Int32(min((end - now) / 1_000_000 + 1, UInt64(PublisherSettings.spoolSliceMilliseconds)))
      var poll = pollfd(fd: connection?.descriptor ?? -1, events: Int16(POLLIN), revents: 0)
      if Glibc.poll(&poll, 1, left) <= 0 { spoolIfAway() }
    }
  }

  private func receiveReply() throws(RedisError) -> Bool {
    guard connection != nil else { throw .closed("no connection") }
    return try connection!.nextReplyIfArrived(reusing: &reply)
  }

  /// Waits, unless it is time to stop, and spools meanwhile.
  private func pause(milliseconds: Int) {
    var left = milliseconds
    while left > 0 && !signal.isStopping {
      spoolIfAway()
      let slice = min(left, PublisherSettings.spoolSliceMilliseconds)
      signal.wait(milliseconds: Int32(slice), isGathering: false)
      left -= slice
    }
  }

  private func spoolIfAway() {
    let now = Clock.monotonicNanoseconds()
    guard let spool, now - lastProgress >= PushSpool.awayNanoseconds || spool.isActive else { return }
    spool.update(run: run, unsent: window, queue: queue, now: now)
    signal.setTrouble(trouble)
  }

  /// What keeps announces from the stream, and from the disk meanwhile.
  private var trouble: String? {
    let all = [redisTrouble, spool?.trouble].compactMap { $0 }
    return all.isEmpty ? nil : all.joined(separator: "; ")
  }

  private func fillWindow() throws(RedisError) {
    for batch in window where !batch.isSent {
      try send(batch)
      if isAsking { return }
    }
    while window.count < (isAsking ? 1 : PublisherSettings.window) {
      let batch = pool.popLast() ?? PushBatch()
      guard batch.fill(from: queue, call: call!, willWait: window.isEmpty) else {
        pool.append(batch)
        return
      }
      window.append(batch)
      try send(batch)
    }
  }

  private func send(_ batch: PushBatch) throws(RedisError) {
    guard connection != nil else { throw .closed("no connection") }
    if isAsking {
      // Holds for the next command only (cluster specification, "ASK redirection").
      _ = try connection!.command(["ASKING"])
    }
    try batch.send(on: &connection!)
  }

  private func handleReply(to batch: PushBatch) throws(RedisError) {
    if let error = reply.error { throw .server(error) }
    guard let answer = PushScript.Reply(reply.view) else {
      throw .protocolViolation("the push script's reply has another shape")
    }
    lastReplySeconds = Clock.monotonicNanoseconds() / 1_000_000_000
    if answer.status == .gap {
      try closeGap(serverNext: answer.next, expected: batch.first)
      return
    }
    count(answer, of: batch)
    if answer.next >= batch.end {
      succeed(batch)
    } else {
      try holdBack()
    }
  }

  private func count(_ answer: PushScript.Reply, of batch: PushBatch) {
    metrics.published.add(answer.applied)
    if answer.applied > 0, let tails = PushScript.Reply.tails(of: reply.view) {
      batch.keepTails(tails, of: answer.applied, next: answer.next)
    }
    let before = max(counted.next, batch.first)
    if answer.next > before + answer.applied {
      metrics.duplicateRequests.add(answer.next - before - answer.applied)
    }
    func add(_ counter: Counter, _ count: KeyPath<PushScript.Reply.Counts, UInt64>) {
      let (new, old) = (answer.counts[keyPath: count], counted.counts[keyPath: count])
      if new > old { counter.add(new - old) }
    }
    add(metrics.generationResets, \.resets)
    add(metrics.lateAnnounces, \.late)
    add(metrics.refusedTooLarge, \.tooLarge)
    add(metrics.refusedWrongType, \.wrongType)
    add(metrics.refusedImplausible, \.implausible)
    add(metrics.unannouncedSessions, \.unannounced)
    noteRefusals(answer.counts)
    counted = answer
  }

  /// Once a minute at most: a client that lies does so at every announce.
  private func noteRefusals(_ counts: PushScript.Reply.Counts) {
    let now = Clock.monotonicNanoseconds() / 1_000_000_000
    let refused = counts.implausible + counts.tooLarge
    guard refused > counted.counts.implausible + counted.counts.tooLarge,
      lastRefusalLog == 0 || now - lastRefusalLog >= PublisherSettings.refusalLogSeconds
    else { return }
    lastRefusalLog = now
    Log.warning(
      "announces with impossible counters are refused",
      [
        "partition": partition.index, "implausible_total": metrics.refusedImplausible.current,
        "too_large_total": metrics.refusedTooLarge.current,
      ])
  }

  private func succeed(_ batch: PushBatch) {
    window.removeFirst()
    batch.trim()
    retained.append(batch)
    retainedBytes += batch.encodedBytes
    while retainedBytes > settings.retainedBytes {
      let oldest = retained.removeFirst()
      retainedBytes -= oldest.encodedBytes
      pool.append(oldest)
    }
    failures = 0
    if isAsking {
      // The next call asks the slot's owner again.
      isAsking = false
      connection = nil
    }
    backoff.reset()
    fullBackoff.reset()
    lastProgress = Clock.monotonicNanoseconds()
    if let spool {
      spool.removeIfApplied(next: window.first?.first ?? batch.end, queue: queue)
      if spool.isActive { spool.update(run: run, unsent: window, queue: queue, now: lastProgress) }
    }
    redisTrouble = nil
    signal.setTrouble(trouble)
  }

  /// The stream is full: what Redis did not take is sent again after a while.
  private func holdBack() throws(RedisError) {
    metrics.full.add()
    redisTrouble = "the stream has reached max_stream_length"
    signal.setTrouble(trouble)
    try discardRepliesOfWindow()
    if signal.isStopping {
      failures += 1
      return
    }
    pause(milliseconds: fullBackoff.next())
  }

  /// Reads what is still owed for the rest of the window; those calls said GAP, or failed like the first.
  private func discardRepliesOfWindow() throws(RedisError) {
    for batch in window {
      if batch.isSent { try discardReply() }
      batch.isSent = false
    }
  }

  private func discardReply() throws(RedisError) {
    let owed = connection?.pendingReplies ?? 0
    if owed > 0 { try connection!.nextReply(reusing: &reply) }
  }

  // MARK: gaps

  /// Redis expects an older record than the oldest of the window: it has lost what it had applied.
  private func closeGap(serverNext: UInt64, expected: UInt64) throws(RedisError) {
    metrics.gaps.add()
    try discardRepliesOfWindow()
    let isNewToServer = serverNext == 0
    if !isNewToServer, let from = retained.firstIndex(where: { $0.first <= serverNext && serverNext < $0.end }) {
      // Rolled back to a moment we remember: the same calls again give the same entries.
      let again = retained[from...]
      Log.warning(
        "redis lost records after a failover; sending them again",
        ["partition": partition.index, "records": expected - serverNext])
      for batch in again {
        batch.isSent = false
        retainedBytes -= batch.encodedBytes
      }
      window.insert(contentsOf: again, at: 0)
      retained.removeSubrange(from...)
      counted.next = serverNext
      return
    }
    let held = retained.first?.first ?? expected
    if !isNewToServer { metrics.lostToFailover.add(held > serverNext ? held - serverNext : 0) }
    Log.error(
      isNewToServer ? "redis has lost its data" : "redis lost records after a failover that are no longer held",
      ["partition": partition.index, "expected": expected, "found": serverNext, "held_from": held])
    try restoreRetained()
    try adopt(expected)
  }

  /// Gives Redis back what is held: its entries, and the snapshots that are missing or older.
  private func restoreRetained() throws(RedisError) {
    guard !retained.isEmpty else { return }
    guard let hash = try connection!.command(["SCRIPT", "LOAD", PushScript.restoreText]).string else {
      throw .protocolViolation("SCRIPT LOAD gave no hash")
    }
    var added: UInt64 = 0
    for batch in retained {
      var buffer = RedisCommandBuffer(capacity: batch.encodedBytes)
      guard batch.encodeRestoration(call!, scriptHash: hash, into: &buffer) else { continue }
      try connection!.send(buffer)
      try connection!.nextReply(reusing: &reply)
      if let error = reply.error { throw .server(error) }
      guard let entries = reply.integer else { throw .protocolViolation("the restoring script's reply") }
      guard entries >= 0 else { throw .server(RedisServerError(line: "FULL the stream has reached max_stream_length")) }
      added += UInt64(entries)
    }
    metrics.resent.add(added)
    Log.warning("what redis lost was sent again", ["partition": partition.index, "records": added])
  }

  /// Has Redis expect record `next`.
  private func adopt(_ next: UInt64) throws(RedisError) {
    var buffer = RedisCommandBuffer()
    var noRecords = PushRecords()
    call!.encode([], first: next, acceptGap: true, records: &noRecords, into: &buffer)
    try connection!.send(buffer)
    try connection!.nextReply(reusing: &reply)
    if let error = reply.error { throw .server(error) }
    counted = PushScript.Reply(reply.view) ?? PushScript.Reply(status: .done, next: next)
    counted.next = next
  }

  // MARK: connection

  private func connectIfNeeded() throws(RedisError) {
    renewIdleRun()
    guard connection == nil else { return }
    var timeouts = settings.timeouts
    if failures > 0 {
      let limit = PublisherSettings.awayConnectMilliseconds
      timeouts = RedisTimeouts(
        connectMilliseconds: min(limit, timeouts.connectMilliseconds),
        readMilliseconds: min(limit, timeouts.readMilliseconds),
        writeMilliseconds: min(limit, timeouts.writeMilliseconds))
    }
    isAsking = askError != nil
    if let redirection = askError {
      askError = nil
      connection = try RedisConnection(redirectedBy: redirection, endpoint: settings.endpoint, timeouts: timeouts)
    } else {
      connection = try RedisConnection(endpoint: settings.endpoint, timeouts: timeouts, key: partition.streamKey)
    }
    for batch in window { batch.isSent = false }
    do throws(RedisError) {
      try loadScript()
      connection?.timeouts = settings.timeouts
      if !isAsking { try verifyPlace() }
    } catch {
      // Half prepared it is of no use: a server that is loading or busy takes the connection and refuses the script.
      connection = nil
      throw error
    }
    Log.info(
      "traffic push connected", ["endpoint": settings.endpoint.redacted, "partition": partition.index])
    if window.isEmpty {
      redisTrouble = nil
      signal.setTrouble(trouble)
    }
  }

  /// Compares the place of the run with what this Redis knows of it: another process may answer than before.
  private func verifyPlace() throws(RedisError) {
    guard let newest = retained.last else { return }
    var buffer = RedisCommandBuffer()
    var noRecords = PushRecords()
    call!.encode([], first: newest.end, records: &noRecords, into: &buffer)
    try connection!.send(buffer)
    try connection!.nextReply(reusing: &reply)
    if let error = reply.error { throw .server(error) }
    guard let answer = PushScript.Reply(reply.view) else { throw .protocolViolation("the push script's reply") }
    if answer.status == .gap { try closeGap(serverNext: answer.next, expected: newest.end) }
  }

  private func loadScript() throws(RedisError) {
    guard let hash = try connection!.command(["SCRIPT", "LOAD", PushScript.text]).string else {
      throw .protocolViolation("SCRIPT LOAD gave no hash")
    }
    guard call == nil else { return }
    call = PushCall(
      partition: partition, run: run, scriptHash: hash, ttlSeconds: settings.ttlSeconds,
      maximumStreamLength: settings.maximumStreamLength, creditFirstAnnounce: settings.creditFirstAnnounce,
      maximumBytesPerSecond: settings.maximumBytesPerSecond)
  }

  /// Redis forgets a run that is silent for a day; half a day earlier nothing is in doubt and a new one may begin.
  private func renewIdleRun() {
    let now = Clock.monotonicNanoseconds() / 1_000_000_000
    guard now - lastReplySeconds > PublisherSettings.runIdleSeconds, window.isEmpty, call != nil,
      spool?.isActive != true
    else { return }
    run = PushRun()
    call!.run = run
    counted = PushScript.Reply(status: .done, next: 0)
    lastReplySeconds = now
    for batch in retained { pool.append(batch) }
    retained.removeAll()
    retainedBytes = 0
  }

  // MARK: failures

  /// Decides what an error means, by name, and waits. The window stays: it is sent again, as it is.
  private func recover(from error: RedisError) {
    metrics.countError(Self.name(of: error))
    if window.contains(where: \.isSent) { metrics.retries.add() }
    if error.code == .noScript, connection != nil, (try? reloadScript()) != nil { return }
    failures += 1
    if failures == 1 || failures == settings.retryCount + 1 {
      Log.warning(
        "traffic push failed",
        ["partition": partition.index, "error": error.description, "attempt": failures, "queued": queue.depth])
    }
    if case .server(let redirection) = error, redirection.code == .ask || redirection.code == .moved {
      // MOVED names the new owner before the other nodes know it: asked directly it saves waiting for them.
      askError = isAsking ? nil : redirection
    }
    if Self.needsNewConnection(error) || (try? discardRepliesOfWindow()) == nil { connection = nil }
    redisTrouble = error.description
    signal.setTrouble(trouble)
    guard !signal.isStopping else { return }
    pause(milliseconds: backoff.next())
  }

  private func reloadScript() throws(RedisError) {
    try discardRepliesOfWindow()
    try loadScript()
  }

  /// A server that says who else takes the writes, or that does not let us in, is left; one that is busy, full or
  /// misconfigured is asked again.
  private static func needsNewConnection(_ error: RedisError) -> Bool {
    if error.endsConnection { return true }
    switch error.code {
    case .readOnly, .moved, .ask, .masterDown, .noPerm, .noAuth, .wrongPass, .clusterDown: return true
    default: return false
    }
  }

  private static func name(of error: RedisError) -> String {
    switch error {
    case .unreachable: "unreachable"
    case .timedOut(let phase): "timeout \(phase.rawValue)"
    case .closed: "closed"
    case .protocolViolation: "protocol"
    case .authentication(let error), .server(let error):
      if case .other = error.code { "other" } else { error.code.text }
    }
  }

  /// What the shutdown could not publish goes to the spool.
  private func giveUpRest() {
    queue.close()
    let rest = window.reduce(queue.depth) { $0 + $1.count }
    guard rest > 0 else { return }
    if let spool, spool.write(run: run, unsent: window, queue: queue) {
      Log.info("announces are spooled", ["partition": partition.index, "announces": rest])
      return
    }
    metrics.refusedShutdown.add(UInt64(rest))
    Log.error("announces were not published and there is no spool", ["partition": partition.index, "announces": rest])
  }
}
