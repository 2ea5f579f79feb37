// WriterLoop: the life of the writer thread: takes the lock, or waits for it as a standby; opens the database; starts the
// readers; commits what they bring; goes on through trouble; ends when the readers have. Thread "writer".

import CLinux
import Glibc
import Linux
import Redis
import SQLite
import Settings

struct WriterLoop: Sendable {
  /// A batch is committed when this many entries wait: enough to spread an fsync over, a few megabytes of log.
  static let batchEntries = 8_000
  /// ... or when the first of them has waited this long.
  static let batchMilliseconds = 200
  /// How often a standby looks whether the lock is free.
  static let standbyMilliseconds = 500
  /// How often maintenance gets a turn when nothing else does.
  static let idleMilliseconds = 1000
  /// The write-ahead log is moved into the database when it has grown to this: a second's worth of heavy writing.
  static let checkpointBytes = 16 << 20

  /// A writer that makes no turn for this long is dead, and a standby may take its place: far above a purge of a million
  /// rows, or a commit with every wait in it.
  private static let deadSeconds: UInt64 = 600

  /// SQLite's share of the 64 MB a daemon may take. The page cache would grow to 64 MB alone; what does not fit is in the
  /// kernel's cache.
  static let databaseBytes = 16 << 20
  /// Blocks of memory from this size on go back to the kernel when they are freed: above what a delivery takes, which would
  /// come back at once, and below what a batch of many sessions leaves behind.
  private static let returnedBlockBytes: Int32 = 512 << 10

  let store: StoreWriter.Settings
  let streams: StreamSettings
  let queue: DeliveryQueue
  let engine: EngineState
  let metrics: ConsumerMetrics

  /// Runs until the daemon stops. What ends it early is left in `engine.fatal`.
  func run() {
    defer { queue.close() }
    SQLiteDatabase.limitMemory(toBytes: Self.databaseBytes)
    // Set once, they stay: by default a large block that is freed teaches malloc to keep the next ones (mallopt(3)).
    mallopt(M_MMAP_THRESHOLD, Self.returnedBlockBytes)
    mallopt(M_TRIM_THRESHOLD, Self.returnedBlockBytes)
    do {
      guard let lock = try takeLock() else { return }
      guard let writer = openStore() else { return }
      let instance = try MetaTable.text("instance", in: writer.database) ?? ""
      engine.publish(writer.streams)
      engine.setWriter(open: true, trouble: nil)
      let readers = try startReaders(instance, writer)
      let last = serve(writer, lock)
      if queue.haveReadersEnded {
        for reader in readers { reader.join() }
      } else {
        Log.warning("redis does not answer, ending without it; what is not acknowledged will be delivered again")
      }
      finish(last)
    } catch {
      engine.fail(EngineState.Fatal(code: .inputOutput, message: "\(error)"))
    }
  }

  /// The lock, as soon as it is free; nil when the daemon is stopped while it waits.
  private func takeLock() throws(SystemError) -> StoreLock? {
    while true {
      if let lock = try StoreLock.tryTake(databasePath: store.databasePath, replacesSilent: true) {
        if engine.isStandby { Log.info("the database is free, taking over", ["database": store.databasePath]) }
        engine.setStandby(false)
        return lock
      }
      if !engine.isStandby {
        Log.info("another process writes the database, standing by", ["database": store.databasePath])
        engine.setStandby(true)
      }
      turn()
      if queue.waitForStop(milliseconds: Self.standbyMilliseconds) { return nil }
    }
  }

  /// The database; retried while the disk is in trouble, given up when it can never work.
  private func openStore() -> StoreWriter? {
    var backoff = Self.backoff
    while true {
      do throws(StoreError) {
        return try StoreWriter(settings: store)
      } catch {
        if let code = Self.fatalCode(error) {
          engine.fail(EngineState.Fatal(code: code, message: "\(store.databasePath): \(error)"))
          return nil
        }
        let pause = backoff.next()
        engine.setWriter(open: false, trouble: error.description)
        Log.error(
          "database trouble, trying again", ["error": error.description, "retry_milliseconds": pause])
        turn()
        if queue.waitForStop(milliseconds: pause) { return nil }
      }
    }
  }

  /// The exit code of an error at opening that no waiting repairs.
  static func fatalCode(_ error: StoreError) -> ExitCode? {
    switch error {
    case .newerSchema, .olderSchema, .otherSchema, .empty, .otherWindow, .ownFile: .configuration
    case .fenced: .locked
    case .damaged, .replaced, .copy: .inputOutput
    case .database(let error):
      switch error.kind {
      case .corrupt: .inputOutput
      case .statement: .configuration
      case .values, .busy, .environment: nil
      }
    }
  }

  private func startReaders(_ instance: String, _ writer: StoreWriter) throws -> [ReaderThread] {
    let abandoned = AbandonedStreams(streams, try AbandonedStreams.stored(in: writer.database))
    let surroundings = StreamReader.Surroundings(
      settings: streams, instance: instance, hash: writer.hash, queue: queue, engine: engine,
      redisErrors: metrics.redisErrors, abandoned: abandoned)
    var readers: [ReaderThread] = []
    for index in streams.streams.indices {
      readers.append(
        ReaderThread(try NamedThread(name: "reader-\(index)") { StreamReader.run(index, surroundings) }))
    }
    return readers
  }

  /// Commits until no reader is left; returns the writer as it is then (it is opened anew after trouble).
  private func serve(_ first: StoreWriter, _ lock: borrowing StoreLock) -> StoreWriter {
    var writer = first
    var maintenance = Maintenance(settings: store)
    while true {
      turn()
      lock.keepBeating(seconds: Self.deadSeconds)
      var deadLettersChanged = false
      let next = queue.next(
        batchEntries: Self.batchEntries, batchMilliseconds: Self.batchMilliseconds,
        idleMilliseconds: Self.idleMilliseconds)
      switch next {
      case .deliveries(let deliveries):
        let dead = metrics.dead.current
        writer = commit(deliveries, with: writer, lock)
        deadLettersChanged = metrics.dead.current != dead
        queue.finish(deliveries)
      case .jobs(let jobs):
        for job in jobs {
          lock.keepBeating(seconds: Self.deadSeconds)
          job(writer)
        }
        deadLettersChanged = true
        engine.publish(writer.streams)
      case .nothing: break
      case .ended: return writer
      }
      let trouble = maintenance.run(
        writer, metrics: metrics, streams: engine.streams, deadLettersChanged: deadLettersChanged)
      if let trouble, !queue.isStopping { _ = isFatal(trouble, writer) }
    }
  }

  /// Commits deliveries, however often it takes; leaves what it could not when the daemon is told to stop meanwhile.
  private func commit(
    _ deliveries: [StreamDelivery], with first: StoreWriter, _ lock: borrowing StoreLock
  ) -> StoreWriter {
    var writer = first
    var backoff = Self.backoff
    let start = Clock.monotonicNanoseconds()
    while true {
      do throws(StoreError) {
        metrics.count(try writer.apply(deliveries))
        metrics.committed(entries: Self.entries(deliveries), nanoseconds: Clock.monotonicNanoseconds() &- start)
        engine.publish(writer.streams)
        engine.setWriter(open: true, trouble: nil)
        return writer
      } catch {
        metrics.batchFailures.add()
        if isFatal(error, writer) { return writer }
        lock.keepBeating(seconds: Self.deadSeconds)
        engine.setWriter(open: true, trouble: error.description)
        let pause = backoff.next()
        Log.error(
          "batch not committed, nothing of it is acknowledged; trying again",
          ["entries": Self.entries(deliveries), "error": error.description, "retry_milliseconds": pause])
        turn()
        if queue.isStopping || queue.waitForStop(milliseconds: pause) { return writer }
        // A connection that has seen an I/O error may hold on to it; the file may have been replaced.
        if let fresh = try? StoreWriter(settings: store, fence: writer.fenceText) { writer = fresh }
      }
    }
  }

  /// Whether an error is the end of the daemon, which is told so.
  func isFatal(_ error: StoreError, _ writer: StoreWriter) -> Bool {
    if error == .fenced {
      engine.fail(EngineState.Fatal(code: .locked, message: error.description))
    } else if error.isCorruption {
      // Waiting repairs nothing, and what is written now may be lost with the rest.
      let message = "\(store.databasePath): \(error); run `traffic-consumer check`, and restore a backup"
      engine.setWriter(open: false, trouble: message)
      engine.fail(EngineState.Fatal(code: .inputOutput, message: message))
    } else if writer.file?.isInPlace == false {
      // Going on would make a new, empty database, and trim from the stream what only the lost one holds.
      let message = "\(store.databasePath): \(StoreError.replaced)"
      engine.setWriter(open: false, trouble: message)
      engine.fail(EngineState.Fatal(code: .inputOutput, message: message))
    } else {
      return false
    }
    queue.stop()
    return true
  }

  private static func entries(_ deliveries: [StreamDelivery]) -> Int { deliveries.reduce(0) { $0 + $1.count } }

  /// While the disk is in trouble.
  private static var backoff: RetryBackoff { RetryBackoff(firstMilliseconds: 100, maximumMilliseconds: 5000) }

  /// Says that the writer moves.
  private func turn() { engine.lastTurn.store(Clock.monotonicNanoseconds(), ordering: .relaxed) }

  private func finish(_ writer: StoreWriter) {
    do throws(SQLiteError) {
      try writer.database.checkpoint(truncate: true)
    } catch {
      Log.warning("last checkpoint failed; the log is replayed at the next start", ["error": error.description])
    }
  }
}

/// One thread in an array.
private final class ReaderThread {
  private var thread: NamedThread?
  init(_ thread: consuming NamedThread) { self.thread = consume thread }
  func join() { thread.take()?.join() }
}
