// DeliveryQueue: the way from the readers to the writer and back: bounded, so that a writer that stands still stops the
// reading. Any thread.

import Linux

final class DeliveryQueue: Sendable {
  /// Work for the writer thread other than deliveries. Runs between batches.
  typealias Job = @Sendable (StoreWriter) -> Void

  /// What may be on its way at once: some 13,000 entries, twice what the writer commits in a tenth of a second, in an
  /// eighth of the daemon's 64 MB.
  static let capacityBytes = 8 << 20
  /// The writer need not wait for more than this: the rest of the room is for what comes while it commits.
  private static let batchBytes = capacityBytes / 2

  private struct State {
    var waiting: [StreamDelivery] = []
    var waitingEntries = 0
    var waitingBytes = 0
    /// Submitted and not yet taken back by their reader, by stream.
    var outstanding: [Int]
    var outstandingBytes = 0
    var done: [[StreamDelivery]]
    var jobs: [Job] = []
    /// Monotonic nanoseconds at which the oldest waiting delivery came.
    var waitingSince: UInt64 = 0
    var isStopping = false
    /// Monotonic nanoseconds at which the readers are not waited for any more; once stopping.
    var stopDeadline = UInt64.max
    var readersRunning: Int
    /// Others that have a last job for the writer.
    var holds = 0
    /// The writer takes no more jobs.
    var isClosed = false

    /// The writer takes more.
    var hasRoom: Bool { !isStopping && outstandingBytes < DeliveryQueue.capacityBytes }
    /// Nothing more will come.
    func isDeserted(now: UInt64) -> Bool { holds == 0 && (readersRunning == 0 || now >= stopDeadline) }
  }
  private let state: Monitor<State>

  init(streams: Int) {
    state = Monitor(
      State(
        outstanding: .init(repeating: 0, count: streams), done: .init(repeating: [], count: streams),
        readersRunning: streams))
  }

  // MARK: readers

  /// Hands a delivery to the writer; there is room when `room` said so.
  func submit(_ delivery: StreamDelivery) {
    state.withLock { state in
      if state.waiting.isEmpty { state.waitingSince = Clock.monotonicNanoseconds() }
      state.waiting.append(delivery)
      state.waitingEntries += delivery.count
      state.waitingBytes += delivery.byteCount
      state.outstanding[delivery.streamIndex] += 1
      state.outstandingBytes += delivery.byteCount
    }
  }

  /// Waits, a limited time; returns what the writer has given back of a stream, which is taken with it.
  func wait(for what: ReaderWait, stream: Int, milliseconds: Int) -> [StreamDelivery] {
    state.wait(milliseconds: milliseconds) { state in
      let isOver =
        switch what {
        case .turn: state.hasRoom || state.isStopping || !state.done[stream].isEmpty
        case .done: state.outstanding[stream] == 0 || !state.done[stream].isEmpty
        case .room: state.hasRoom || state.isStopping
        }
      return isOver ? what == .room ? [] : Self.takeDone(stream, &state) : nil
    } ?? []
  }

  /// Whether there is room for more, how many deliveries of a stream are outstanding, and whether the daemon stops.
  func room(stream: Int) -> (hasRoom: Bool, outstanding: Int, isStopping: Bool) {
    state.read { ($0.hasRoom, $0.outstanding[stream], $0.isStopping) }
  }

  private static func takeDone(_ stream: Int, _ state: inout State) -> [StreamDelivery] {
    let done = state.done[stream]
    state.done[stream] = []
    state.outstanding[stream] -= done.count
    for delivery in done { state.outstandingBytes -= delivery.byteCount }
    return done
  }

  func readerEnded() { state.withLock { $0.readersRunning -= 1 } }

  // MARK: writer

  /// What the writer is to do next.
  enum Next {
    case deliveries([StreamDelivery])
    case jobs([Job])
    /// The time is up: a moment for maintenance.
    case nothing
    /// No reader is left and nothing is waiting.
    case ended
  }

  /// Waits for work. Deliveries are handed out together, once `batchEntries` wait or the first has waited
  /// `batchMilliseconds`.
  func next(batchEntries: Int, batchMilliseconds: Int, idleMilliseconds: Int) -> Next {
    let end = Clock.monotonicNanoseconds() &+ UInt64(idleMilliseconds) &* 1_000_000
    while true {
      let now = Clock.monotonicNanoseconds()
      var wakeAt = end
      let next = state.wait(milliseconds: 0) { state -> Next? in
        if !state.jobs.isEmpty {
          defer { state.jobs = [] }
          return .jobs(state.jobs)
        }
        guard !state.waiting.isEmpty else {
          guard state.isDeserted(now: now) else { return now >= end ? .nothing : nil }
          state.isClosed = true
          return .ended
        }
        let due = state.waitingSince &+ UInt64(batchMilliseconds) &* 1_000_000
        let isBatch = state.waitingEntries >= batchEntries || state.waitingBytes >= Self.batchBytes
        guard isBatch || now >= due || state.isStopping || state.readersRunning == 0 else {
          wakeAt = due
          return nil
        }
        defer {
          state.waiting = []
          state.waitingEntries = 0
          state.waitingBytes = 0
        }
        return .deliveries(state.waiting)
      }
      if let next { return next }
      let hadWaiting = wakeAt != end
      let pause = Int((wakeAt &- min(now, wakeAt)) / 1_000_000) + 1
      // Until the deadline, or until something arrives that changes it.
      _ = state.wait(milliseconds: pause) { state -> Bool? in
        let isNew = !state.jobs.isEmpty || (!hadWaiting && !state.waiting.isEmpty)
        let isBatch = state.waitingEntries >= batchEntries || state.waitingBytes >= Self.batchBytes
        let isOver = state.holds == 0 && state.readersRunning == 0
        return isNew || isBatch || state.isStopping && !state.waiting.isEmpty || isOver ? true : nil
      }
    }
  }

  /// Gives deliveries back to their readers.
  func finish(_ deliveries: [StreamDelivery]) {
    state.withLock { state in
      for delivery in deliveries { state.done[delivery.streamIndex].append(delivery) }
    }
  }

  /// Has the writer do a job; false when there is no writer any more. A job that was taken is done, unless the writer could
  /// not even begin (`isClosed` says so then).
  @discardableResult
  func post(_ job: @escaping Job) -> Bool {
    state.withLock { state in
      if !state.isClosed { state.jobs.append(job) }
      return !state.isClosed
    }
  }

  /// The writer takes no more jobs, and will do none.
  func close() {
    state.withLock { state in
      state.isClosed = true
      state.jobs = []
    }
  }
  var isClosed: Bool { state.read { $0.isClosed } }

  /// Keeps the writer until `release`, for a job that must not be left out; false when the daemon stops already.
  func hold() -> Bool {
    state.withLock { state in
      if !state.isStopping { state.holds += 1 }
      return !state.isStopping
    }
  }
  func release() { state.withLock { $0.holds -= 1 } }

  func stop() {
    let deadline = Clock.monotonicNanoseconds() &+ UInt64(Self.stopMilliseconds) &* 1_000_000
    state.withLock { state in
      state.isStopping = true
      state.stopDeadline = min(state.stopDeadline, deadline)
    }
  }

  /// How long readers may take to acknowledge what is committed. One that is still in a call then waits for a Redis that
  /// does not answer (its timeouts may be longer); what it has not acknowledged is delivered again and recognised. Far
  /// below the unit's TimeoutStopSec.
  private static let stopMilliseconds = 3000
  /// No reader runs any more.
  var haveReadersEnded: Bool { state.read { $0.readersRunning == 0 } }
  var isStopping: Bool { state.read { $0.isStopping } }

  /// Waits until the daemon is told to stop; false when the time is up first.
  func waitForStop(milliseconds: Int) -> Bool {
    state.wait(milliseconds: milliseconds) { $0.isStopping ? true : nil } ?? false
  }
}
