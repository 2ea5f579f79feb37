// PushSpool: the file in which a partition's queue survives a restart of the tracker and, while Redis is away, a kill.
// Owned by the publisher, on its thread; PushSession decides when it is written, PushSpoolFormat knows the bytes.
//
// It is a journal of what Redis is owed, the calls on their way included: what waits when it is begun, then, about every
// second, what came, changed or was sent. An entry is known by its number; of several with one number the last is meant.
// Written anew when most of it is superseded; where nothing is owed there is no file.
// The runs' names are in it: a tracker that starts again first sends the records of earlier runs under their numbers, and
// Redis skips those that it has applied; then it begins a run of its own.

import CLinux
import Glibc
import Linux

/// One partition's spool file.
final class PushSpool {
  /// The journal is written anew when it is longer than this and than twice what is alive.
  static let compactAboveRecords = 16_384
  /// Pause between two log lines about a spool that cannot be written.
  private static let logNanoseconds: UInt64 = 60_000_000_000
  /// Records in one write(2).
  private static let recordsPerWrite = 512

  /// The file of the first process that spools, and of a version that knows no other; it has one run. What is restored from
  /// it stays in it until all is applied: who goes back to that version while Redis is away loses nothing.
  private let path: String
  private var runsPath: String { path + SpoolReader.runsSuffix }
  /// What Redis had applied when an earlier process, or this one, ended.
  private var appliedPath: String { path + AppliedFile.suffix }
  /// The one that is written: `runsPath` when an earlier process left something.
  private var target: String
  /// The runs in `path` that need not be written again.
  private var kept: [PushRun] = []
  private let partition: Int
  private let partitionCount: Int
  private let metrics: PushMetrics
  private let clock: OrderClock
  private var file: FileDescriptor?
  /// Held until the publisher is gone; the kernel gives it back however the process dies.
  private var lock: FileDescriptor?
  /// What the session is told.
  private(set) var state = SpoolState()
  private var recordsInFile = 0
  /// The run of the record that was added last, and the clock that orders behind it may be by.
  private var runInFile: PushRun?
  private var anchorInFile: OrderClock.Anchor?
  /// Of the orders in it.
  private var doubt = CommonClock.Doubt()
  /// The run that the header names.
  private var newestInFile: PushRun?
  private var buffer: UnsafeMutableRawPointer
  private var buffered = 0
  private var failureLog = RareLog(pauseNanoseconds: logNanoseconds)

  init(path: String, partition: Int, partitionCount: Int, metrics: PushMetrics, clock: OrderClock = .process) {
    self.path = partitionCount == 1 ? path : "\(path).p\(partition)"
    target = self.path
    self.partition = partition
    self.partitionCount = partitionCount
    self.metrics = metrics
    self.clock = clock
    buffer = .allocate(byteCount: Self.recordsPerWrite * PushSpoolFormat.recordBytes, alignment: 8)
  }

  deinit { buffer.deallocate() }

  /// Takes the file for this process, by flock(2) on `<path>.lock`: two trackers with one spool would each publish and
  /// remove the other's announces. Throws when another has it.
  func takeLock() throws {
    let lockPath = path + ".lock"
    let number = clinux_open(lockPath, O_RDWR | O_CREAT, 0o600)
    guard number >= 0 else { throw SpoolReader.cannotOpen(lockPath) }
    let taken = FileDescriptor(owning: number)
    guard retryingInterrupts({ Int(flock(number, LOCK_EX | LOCK_NB)) }) == 0 else {
      guard errno == EWOULDBLOCK else { throw SystemError("flock", subject: lockPath) }
      throw TrafficPushError(
        description: "traffic push: the spool \(path) is used by another tracker; give each its own spool_path")
    }
    lock = consume taken
  }

  // MARK: writing

  /// Brings the file up to date; `state` says whether it could. Owed are, oldest first, what an earlier process left, the
  /// calls on their way, and the queue, whose numbers are those of `run`. Where nothing is owed none is begun. The order of what is in the file is by the common clock, which is ahead of the OrderClock by the correction; while it is not
  /// known, nil, by the OrderClock. Where it has come into doubt, what is in the file is not as it should be.
  func write(
    restored: [SpooledRun] = [], unsent: [PushBatch], run: PushRun, queue: EventQueue,
    correctionMicroseconds: Int64? = 0, doubt: CommonClock.Doubt = CommonClock.Doubt()
  ) {
    let isInDoubt = doubt != self.doubt
    self.doubt = doubt
    let alive = queue.depth + unsent.reduce(0) { $0 + $1.count } + restored.reduce(0) { $0 + $1.announces.count }
    guard alive > 0 || state.isActive else {
      state.trouble = nil
      return
    }
    let isLong = recordsInFile > max(Self.compactAboveRecords, alive * 2)
    let isComplete = !state.isActive || isLong || file == nil || run != newestInFile || isInDoubt
    do throws(SystemError) {
      if isComplete {
        try rewrite(restored, unsent, run, queue, correctionMicroseconds)
      } else {
        for batch in unsent where !batch.isJournaled { try add(batch) }
        state.through = try journal(queue, run, correctionMicroseconds, isComplete: false)
        try sync()
      }
      state.trouble = nil
    } catch {
      note(error)
      // What did not reach the file is not known: the next attempt begins a new one.
      file = nil
      unlink(target + ".new")
    }
  }

  /// Keeps calls that Redis had applied and may have forgotten for the next process, in a file of their own: nothing that is
  /// owed depends on it. `state` says whether it could.
  func keep(_ applied: [PushBatch], run: PushRun, doubt: CommonClock.Doubt) {
    guard !applied.isEmpty else { return }
    let header = PushSpoolFormat.header(run: run, anchor: nil, partition: partition, partitionCount: partitionCount)
    do throws(SystemError) {
      try AppliedFile.write(applied, to: appliedPath, header: header, doubt: doubt)
      try syncFolder()
      state.keepsApplied = true
    } catch {
      log(error)
      state.keepsApplied = false
    }
  }

  private func rewrite(
    _ restored: [SpooledRun], _ unsent: [PushBatch], _ run: PushRun, _ queue: EventQueue,
    _ correction: Int64?
  ) throws(SystemError) {
    let fresh = target + ".new"
    let number = clinux_open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard number >= 0 else { throw SystemError("open", subject: fresh) }
    file = FileDescriptor(owning: number)
    buffered = 0
    recordsInFile = 0
    (runInFile, anchorInFile, newestInFile) = (run, clock.anchor, run)
    let header = PushSpoolFormat.header(
      run: run, anchor: clock.anchor, partition: partition, partitionCount: partitionCount)
    header.withUnsafeBytes { buffer.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    try writeAll(UnsafeRawBufferPointer(start: buffer, count: header.count))
    // The run of the header first, for a version that knows one only.
    for batch in unsent where batch.run == run { try add(batch) }
    state.through = try journal(queue, run, correction, isComplete: true)
    for batch in unsent where batch.run != run { try add(batch) }
    for restored in restored where !kept.contains(restored.run) {
      for spooled in restored.announces { try add(spooled.number, spooled.announce, of: restored.run, correction) }
    }
    try sync()
    guard rename(fresh, target) == 0 else { throw SystemError("rename", subject: target) }
    try syncFolder()
    state.isActive = true
  }

  private func journal(_ queue: EventQueue, _ run: PushRun, _ correction: Int64?, isComplete: Bool)
    throws(SystemError) -> UInt64
  {
    var failure: SystemError?
    let next = queue.visitChanges(from: state.through, isComplete: isComplete) { number, announce in
      guard failure == nil else { return }
      do throws(SystemError) { try add(number, announce, of: run, correction) } catch { failure = error }
    }
    if let failure { throw failure }
    return next
  }

  /// All of it, once: what left the queue for the window since the last write is in the file as it was then, or not at all.
  private func add(_ batch: PushBatch) throws(SystemError) {
    for (offset, announce) in batch.announces.enumerated() where !kept.contains(batch.run) {
      try add(batch.first + UInt64(offset), announce, of: batch.run, batch.correctionMicroseconds)
    }
    batch.isJournaled = true
  }

  private func add(_ number: UInt64, _ announce: QueuedAnnounce, of run: PushRun, _ correction: Int64?)
    throws(SystemError)
  {
    let anchor = announce.basis == .machine ? nil : clock.anchor
    if run != runInFile || anchor != anchorInFile {
      (runInFile, anchorInFile) = (run, anchor)
      PushSpoolFormat.encode(run, anchor: anchor, to: buffer + buffered * PushSpoolFormat.recordBytes)
      try countBuffered()
    }
    var announce = announce
    if announce.basis == .process, let correction {
      announce.order = announce.order.corrected(byMicroseconds: correction)
      announce.basis = .common
    }
    PushSpoolFormat.encode(
      number, announce, doubt: doubt.extent(at: announce.order), to: buffer + buffered * PushSpoolFormat.recordBytes)
    metrics.spooled.add()
    try countBuffered()
  }

  private func countBuffered() throws(SystemError) {
    buffered += 1
    recordsInFile += 1
    if buffered == Self.recordsPerWrite { try flush() }
  }

  private func flush() throws(SystemError) {
    try writeAll(UnsafeRawBufferPointer(start: buffer, count: buffered * PushSpoolFormat.recordBytes))
    buffered = 0
  }

  private func writeAll(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
    let number = file?.number ?? -1
    var written = 0
    while written < bytes.count {
      let count = retryingInterrupts { Glibc.write(number, bytes.baseAddress! + written, bytes.count - written) }
      guard count > 0 else { throw SystemError("write", subject: target) }
      written += count
    }
  }

  private func sync() throws(SystemError) {
    try flush()
    guard fdatasync(file?.number ?? -1) == 0 else { throw SystemError("fdatasync", subject: target) }
  }

  private func syncFolder() throws(SystemError) {
    let folder = SpoolReader.folder(of: path)
    let number = clinux_open(folder, O_RDONLY, 0)
    guard number >= 0 else { throw SystemError("open", subject: folder) }
    let descriptor = FileDescriptor(owning: number)
    guard fsync(descriptor.number) == 0 else { throw SystemError("fsync", subject: folder) }
  }

  private func note(_ error: SystemError) {
    state.trouble = "spool: \(error)"
    log(error)
  }

  private func log(_ error: SystemError) {
    metrics.spoolErrors.add()
    guard failureLog.next(now: Clock.monotonicNanoseconds()) != nil else { return }
    Log.error(
      "the spool cannot be written",
      ["partition": partition, "error": error.description, "errors_total": metrics.spoolErrors.current])
  }

  // MARK: end

  /// Removes the files, all of which is applied and with Redis, or what is left of one that could not be written.
  func remove(queue: EventQueue) {
    queue.forgetChanges()
    state.trouble = nil
    if state.keepsApplied {
      state.keepsApplied = false
      if unlink(appliedPath) != 0 && errno != ENOENT { note(SystemError("unlink", subject: appliedPath)) }
    }
    guard state.isActive else {
      unlink(target + ".new")
      return
    }
    file = nil
    state.isActive = false
    recordsInFile = 0
    for path in [path, runsPath] where unlink(path) != 0 && errno != ENOENT {
      note(SystemError("unlink", subject: path))
    }
    (target, kept) = (path, [])
    Log.info("the spool is published", ["partition": partition])
  }

  // MARK: reading

  /// Reads the files of earlier processes; empty when there are none. Throws when one is of another partitioning: its users'
  /// streams would change.
  func load() throws -> SpoolContent {
    let reader = SpoolReader(partition: partition, partitionCount: partitionCount, metrics: metrics, clock: clock)
    let first = try reader.read(path)
    let owed = try first + reader.read(runsPath)
    let (applied, doubt) = try reader.readApplied(appliedPath)
    kept = first.map(\.run)
    if !owed.isEmpty { target = runsPath }
    // Of this process' own numbers nothing is in it.
    state = SpoolState(isActive: !owed.isEmpty, keepsApplied: !applied.isEmpty)
    return SpoolContent(owed: owed, applied: applied, doubt: doubt)
  }
}
