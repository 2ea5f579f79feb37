// EventQueue: the announces of one partition on their way from the workers to the publisher. Workers put them in, once per
// batch, under one short lock with nothing slow inside; the publisher's thread takes them out in order.
//
// Above a threshold the queue coalesces: of a session it keeps the first announce it holds (the baseline of what follows)
// and the newest one, which says how many it stands for. So memory is bounded by sessions, not by how long Redis is away.
// From half of its capacity on no user may have more waiting than a quarter of what is left: a user who floods it is refused,
// others are until the very end not.

import Linux
import Synchronization

/// The clock that an announce's `order` is by.
enum OrderBasis: UInt8 {
  /// This process' OrderClock.
  case process
  /// The one that the trackers have in common.
  case common
  /// A machine's, when it was spooled by a process that did not know the common one: in another boot, or nobody knows.
  case machine
}

/// An announce in the queue.
struct QueuedAnnounce {
  var record: AnnounceRecord
  /// When it came: later announces of a session have larger ones.
  var order: UInt64
  /// The announces it stands for: `n`.
  var announces: UInt32 = 1
  /// Whether an older announce of the session, with counters no higher, is ahead of it: only then may a newer one take its
  /// place. One whose counters begin anew is what the differences after it are taken from.
  var followsOwn = false
  var basis = OrderBasis.process
  /// Whether it changed since the spool saw it.
  var isDirty = false

  /// Takes a newer announce of the session in, or refuses, because something would be lost: an event that no later
  /// announce repeats, or the moment at which the counters began anew.
  mutating func absorb(_ newer: UnsafePointer<AnnounceRecord>, order: UInt64) -> Bool {
    guard followsOwn, record.event == .none || record.event == newer.pointee.event,
      record.precedes(newer), announces < UInt32.max
    else { return false }
    // What is taken in was known.
    let isGone = record.isGone
    record = newer.pointee
    record.isGone = record.isGone && isGone
    self.order = order
    announces += 1
    return true
  }
}

extension AnnounceRecord {
  /// Whether no counter of a later announce is lower.
  fileprivate func precedes(_ later: UnsafePointer<AnnounceRecord>) -> Bool {
    later.pointee.uploaded >= uploaded && later.pointee.downloaded >= downloaded
  }
}

/// A bounded first-in-first-out queue whose entries are numbered 0, 1, 2, ... without a hole: the numbers are the record
/// numbers of PushScript.
final class EventQueue: Sendable {
  /// What the queue does when; tests make them small.
  struct Limits: Sendable {
    /// More entries than this are refused and counted: 2^20 entries are about 220 MB, and two of them per session make
    /// half a million sessions.
    var capacityEvents = 1 << 20
    /// Entries at which coalescing begins, about a third of a second of the fastest publisher, and at which it ends.
    var coalesceAbove = 16_384
    var coalesceBelow = 1024
    /// So many entries any user may have waiting, as long as there is room.
    var leastShare = 64

    /// Entries that one user may have waiting at a depth. The share shrinks with the room, so that many who flood leave
    /// some, too: n of them take n/(n + 4) of the queue. The first is at its end with an eighth.
    func share(depth: Int) -> Int {
      depth < capacityEvents / 2 ? .max : max(leastShare, (capacityEvents - depth) / 4)
    }
  }

  /// Entries in one block of memory.
  private static let chunkEvents = 1024
  /// Empty blocks that are kept.
  private static let spareChunks = 16

  private struct State: ~Copyable {
    var chunks: [UnsafeMutablePointer<QueuedAnnounce>] = []
    var spares: [UnsafeMutablePointer<QueuedAnnounce>] = []
    /// Numbers of the oldest entry and of the next one; the first chunk begins at the multiple of `chunkEvents` below.
    var head: UInt64 = 0
    var tail: UInt64 = 0
    var index = SessionIndex()
    var isCoalescing = false
    /// What waits of each user, of the entries from `sharesFrom` on: those before it were here when coalescing began.
    var shares = QueueShares()
    var sharesFrom: UInt64 = 0
    /// The publisher sleeps: the next one to put something in wakes it.
    var isWaited = false
    /// Numbers of the entries that changed after the spool saw them; nil while nothing is spooled.
    var dirty: [UInt64]?
    var isClosed = false

    func pointer(_ number: UInt64) -> UnsafeMutablePointer<QueuedAnnounce> {
      let chunkEvents = UInt64(EventQueue.chunkEvents)
      return chunks[Int(number / chunkEvents - head / chunkEvents)] + Int(number % chunkEvents)
    }

    deinit { for chunk in chunks + spares { chunk.deallocate() } }
  }

  /// What became of a worker's batch.
  struct Outcome {
    var queued = 0
    var coalesced = 0
    var refused = 0
    /// Of users who have more than their share waiting.
    var beyondShare = 0
    var mustWake = false
  }

  let limits: Limits
  /// Guards `state`; the compiler cannot see it because records come by pointer.
  private let lock = Mutex(())
  nonisolated(unsafe) private var state = State()
  private let secret = UInt64.random(in: UInt64.min...UInt64.max)

  init(limits: Limits = Limits()) { self.limits = limits }

  private func locked<Result>(_ body: (inout State) -> Result) -> Result {
    lock.withLock { _ in body(&state) }
  }

  /// Puts records in. From a worker's thread; holds the lock for less than 100 ns a record. `order` is now, in Unix
  /// microseconds: before the replies are on the wire, so that a client's next announce, to whichever tracker, is later.
  func append(_ records: UnsafeBufferPointer<AnnounceRecord>, order: UInt64 = OrderClock.nowMicroseconds()) -> Outcome {
    locked { state in
      var outcome = Outcome()
      for index in records.indices {
        let record = records.baseAddress! + index
        let arrived = record.pointee.arrivedNanoseconds
        let order = arrived == 0 ? order : OrderClock.process.microseconds(atMonotonicNanoseconds: arrived)
        append(record, order, to: &state, &outcome)
      }
      outcome.mustWake = state.isWaited && state.tail > state.head
      if outcome.mustWake { state.isWaited = false }
      return outcome
    }
  }

  private func append(
    _ record: UnsafePointer<AnnounceRecord>, _ order: UInt64, to state: inout State, _ outcome: inout Outcome
  ) {
    let depth = state.tail - state.head
    if depth >= UInt64(limits.coalesceAbove) && !state.isCoalescing {
      state.isCoalescing = true
      state.sharesFrom = state.tail
    }
    var previous: UInt64?
    var user: UInt64 = 0
    var hash: UInt64 = 0
    if state.isCoalescing {
      user = record.pointee.userHash(secret: secret)
      hash = record.pointee.sessionHash(secret: secret, user: user)
      let head = state.head
      previous = state.index.find(hash) { number in
        number >= head && state.pointer(number).pointee.record.isSameSession(as: record)
      }
      if let previous, state.pointer(previous).pointee.absorb(record, order: order) {
        markDirty(previous, &state)
        outcome.coalesced += 1
        return
      }
    }
    guard depth < UInt64(limits.capacityEvents), !state.isClosed else {
      outcome.refused += 1
      return
    }
    if state.isCoalescing {
      guard state.shares.waiting(user) < limits.share(depth: Int(depth)) else {
        outcome.beyondShare += 1
        return
      }
      state.shares.enter(user)
      state.index.note(hash, number: state.tail, insteadOf: previous, head: state.head)
    }
    let followsOwn = previous.map { state.pointer($0).pointee.record.precedes(record) } ?? false
    put(QueuedAnnounce(record: record.pointee, order: order, followsOwn: followsOwn), &state)
    outcome.queued += 1
  }

  private func put(_ announce: QueuedAnnounce, _ state: inout State) {
    if state.tail % UInt64(Self.chunkEvents) == 0 || state.chunks.isEmpty {
      state.chunks.append(state.spares.popLast() ?? .allocate(capacity: Self.chunkEvents))
    }
    let number = state.tail
    state.tail += 1
    state.pointer(number).initialize(to: announce)
  }

  private func markDirty(_ number: UInt64, _ state: inout State) {
    guard state.dirty != nil, !state.pointer(number).pointee.isDirty else { return }
    state.pointer(number).pointee.isDirty = true
    state.dirty!.append(number)
  }

  /// Takes up to `maximum` of the oldest entries out and appends them to `batch`; returns the number of the first. When
  /// there are none and `willWait` is set, the next `append` asks for a wake-up. On the publisher's thread.
  func take(_ maximum: Int, into batch: inout [QueuedAnnounce], willWait: Bool) -> UInt64 {
    locked { state in
      let first = state.head
      let count = Int(min(UInt64(maximum), state.tail - first))
      if count == 0 && willWait { state.isWaited = true }
      for _ in 0..<count {
        let announce = state.pointer(state.head)
        batch.append(announce.pointee)
        if state.isCoalescing && state.head >= state.sharesFrom {
          state.shares.leave(announce.pointee.record.userHash(secret: secret))
        }
        state.head += 1
        if state.head % UInt64(Self.chunkEvents) == 0 { recycleFirstChunk(&state) }
      }
      if state.isCoalescing, state.tail - state.head <= UInt64(limits.coalesceBelow) {
        state.isCoalescing = false
        state.index.removeAll()
        state.shares.removeAll()
      }
      return first
    }
  }

  private func recycleFirstChunk(_ state: inout State) {
    let chunk = state.chunks.removeFirst()
    if state.spares.count < Self.spareChunks { state.spares.append(chunk) } else { chunk.deallocate() }
  }

  /// How many entries wait.
  var depth: Int { locked { Int($0.tail - $0.head) } }
  /// The number of the oldest entry, or of the first that will come.
  var next: UInt64 { locked { $0.head } }
  var isCoalescing: Bool { locked { $0.isCoalescing } }

  /// The most entries that wait of one user; 0 while the queue does not coalesce. Looks at some users under one hold of the
  /// lock, no announce waits long.
  var highestShare: Int {
    var (most, at) = (0, 0)
    while let more = locked({ $0.shares.most(from: at, count: 4096) }) {
      most = max(most, more)
      at += 4096
    }
    return most
  }

  /// Refuses everything from now on.
  func close() { locked { $0.isClosed = true } }

  // MARK: spool

  /// Visits the entries from `number` on, and those below it that changed since the last visit; returns the number after
  /// the last. `isComplete` visits all of them. At most `chunkEvents` entries are copied under one lock.
  func visitChanges(from number: UInt64, isComplete: Bool, _ body: (UInt64, QueuedAnnounce) -> Void) -> UInt64 {
    var copied: [(UInt64, QueuedAnnounce)] = []
    var next = locked { state in
      for changed in state.dirty ?? [] where changed >= state.head {
        state.pointer(changed).pointee.isDirty = false
        if !isComplete && changed < number { copied.append((changed, state.pointer(changed).pointee)) }
      }
      state.dirty = []
      return isComplete ? state.head : max(number, state.head)
    }
    while true {
      for (number, announce) in copied { body(number, announce) }
      copied.removeAll(keepingCapacity: true)
      let start = next
      next = locked { state in
        let end = min(state.tail, max(start, state.head) + UInt64(Self.chunkEvents))
        for number in max(start, state.head)..<max(end, max(start, state.head)) {
          copied.append((number, state.pointer(number).pointee))
        }
        return max(end, start)
      }
      if copied.isEmpty { return next }
    }
  }

  /// Nothing is spooled any more: changes need not be remembered.
  func forgetChanges() {
    locked { state in
      for changed in state.dirty ?? [] where changed >= state.head { state.pointer(changed).pointee.isDirty = false }
      state.dirty = nil
    }
  }
}
