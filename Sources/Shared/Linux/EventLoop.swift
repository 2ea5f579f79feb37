// EventLoop: one epoll instance, its timers and its mailbox, run by one thread. Everything but `EventLoopMailbox` belongs
// to that thread. Level-triggered unless a source asks for EPOLLET (epoll(7)).

import CLinux
import Glibc
import Synchronization

/// What a descriptor's readiness is given to, on the loop's thread.
public protocol EventHandler: AnyObject {
  /// `events` is the EPOLL* bit set of epoll_ctl(2). The descriptor may be deregistered and closed in here.
  func handle(events: UInt32, loop: EventLoop)
}

/// What the readiness of many alike descriptors is given to, on the loop's thread: the owner keeps their state in a
/// table, and the loop hands back the entry's index and generation instead of keeping an object for each.
public protocol EventTable: AnyObject {
  /// `events` is the EPOLL* bit set. The entry may have been reused since the event was fetched: compare generations.
  func handle(events: UInt32, index: UInt32, generation: UInt32)
}

/// The loop of one thread. Not Sendable: other threads talk to it through its mailbox.
public final class EventLoop {
  /// Names one registration. Ids are never reused, so an event that was fetched before its descriptor was closed, and
  /// its slot taken again, is recognised and dropped.
  public struct Registration: Equatable {
    fileprivate let slot: UInt32
    fileprivate let id: UInt32
  }

  private struct Slot {
    var handler: (any EventHandler)?
    var id: UInt32
    var descriptor: Int32
  }

  /// Names an EventTable of this loop.
  public struct TableNumber: Equatable {
    fileprivate let tag: UInt64
  }

  /// Entries of one table: the index has 24 bits of the event's user data.
  public static let maximumTableEntries = 1 << 24

  /// Events fetched by one epoll_wait: enough to amortise the call, small enough to keep timers punctual.
  private static let eventsPerWait = 256

  private let epoll: FileDescriptor
  private var slots: [Slot] = []
  private var freeSlots: [UInt32] = []
  private var nextID: UInt32 = 1
  private var tables: [(any EventTable)?] = []
  private var timers = TimerHeap()
  private var afterBatch: [() -> Void] = []
  /// Sources that are asked at every turn instead of being watched.
  private var polled: [Registration] = []
  private var moderation = WakeModeration(delayNanoseconds: 0)
  private var requests = 0
  private var isStopping = false
  /// What the loop's owner wants to find again in a letter: its own objects on this thread.
  public var context: AnyObject?
  /// For other threads.
  public let mailbox: EventLoopMailbox
  /// CLOCK_MONOTONIC as of the current batch of events, nanoseconds.
  public private(set) var nowNanoseconds: UInt64 = Clock.monotonicNanoseconds()

  public init(mailbox: EventLoopMailbox) throws(SystemError) {
    let number = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard number >= 0 else { throw SystemError("epoll_create1") }
    epoll = FileDescriptor(owning: number)
    self.mailbox = mailbox
    guard
      clinux_epoll_ctl(number, EPOLL_CTL_ADD, mailbox.wakeDescriptor, EPOLLIN.rawValue, Self.mailboxTag) == 0
    else { throw SystemError("epoll_ctl") }
  }

  // User data of an event: 8 bits table (0: single descriptors, 255: the mailbox), 32 bits generation, 24 bits index.
  private static let mailboxTag = UInt64.max
  private static let tableShift: UInt64 = 56
  private static let generationShift: UInt64 = 24
  private static let maximumTables = 254

  private static func tag(index: UInt32, generation: UInt32) -> UInt64 {
    UInt64(generation) << generationShift | UInt64(index)
  }

  /// Adds a table; the loop holds it until `removeTable`.
  public func addTable(_ table: any EventTable) -> TableNumber {
    let index: Int
    if let free = tables.firstIndex(where: { $0 == nil }) {
      tables[free] = table
      index = free
    } else {
      precondition(tables.count < Self.maximumTables, "too many event tables on one loop")
      tables.append(table)
      index = tables.count - 1
    }
    return TableNumber(tag: UInt64(index + 1) << Self.tableShift)
  }

  /// Lets a table go; its descriptors must be closed.
  public func removeTable(_ number: TableNumber) { tables[Int(number.tag >> Self.tableShift) - 1] = nil }

  /// Watches a table's descriptor. Closing it ends that, if it has no duplicate (epoll(7)).
  public func watch(_ descriptor: Int32, events: UInt32, table: TableNumber, index: UInt32, generation: UInt32)
    throws(SystemError)
  {
    let tag = table.tag | Self.tag(index: index, generation: generation)
    guard clinux_epoll_ctl(epoll.number, EPOLL_CTL_ADD, descriptor, events, tag) == 0 else {
      throw SystemError("epoll_ctl")
    }
  }

  /// Changes the watched bits of a table's descriptor.
  public func rewatch(_ descriptor: Int32, events: UInt32, table: TableNumber, index: UInt32, generation: UInt32) {
    let tag = table.tag | Self.tag(index: index, generation: generation)
    let result = clinux_epoll_ctl(epoll.number, EPOLL_CTL_MOD, descriptor, events, tag)
    precondition(result == 0, "epoll_ctl of a watched descriptor failed")
  }

  /// Watches a descriptor for the EPOLL* bits. The caller keeps owning it and deregisters before closing.
  public func register(_ descriptor: Int32, events: UInt32, handler: any EventHandler) throws(SystemError)
    -> Registration
  {
    let slot: UInt32
    if let free = freeSlots.popLast() {
      slot = free
    } else {
      slot = UInt32(slots.count)
      slots.append(Slot(handler: nil, id: 0, descriptor: -1))
    }
    let id = nextID
    nextID = nextID == UInt32.max - 1 ? 1 : nextID + 1
    guard
      clinux_epoll_ctl(epoll.number, EPOLL_CTL_ADD, descriptor, events, Self.tag(index: slot, generation: id)) == 0
    else {
      let error = SystemError("epoll_ctl")
      freeSlots.append(slot)
      throw error
    }
    slots[Int(slot)] = Slot(handler: handler, id: id, descriptor: descriptor)
    return Registration(slot: slot, id: id)
  }

  /// Changes the watched bits.
  public func modify(_ registration: Registration, events: UInt32) {
    let slot = slots[Int(registration.slot)]
    precondition(slot.id == registration.id, "stale registration")
    let tag = Self.tag(index: registration.slot, generation: registration.id)
    let result = clinux_epoll_ctl(epoll.number, EPOLL_CTL_MOD, slot.descriptor, events, tag)
    precondition(result == 0, "epoll_ctl of a registered descriptor failed")
  }

  /// Stops watching; call it before the descriptor is closed.
  public func deregister(_ registration: Registration) {
    let slot = slots[Int(registration.slot)]
    precondition(slot.id == registration.id, "stale registration")
    _ = clinux_epoll_ctl(epoll.number, EPOLL_CTL_DEL, slot.descriptor, 0, 0)
    polled.removeAll { $0 == registration }
    slots[Int(registration.slot)] = Slot(handler: nil, id: 0, descriptor: -1)
    freeSlots.append(registration.slot)
  }

  /// Takes the descriptor out of epoll: its handler is called at every turn, with no events, and the loop does not wait.
  /// For a descriptor that always has something: the kernel then need not report each arrival and departure.
  public func poll(_ registration: Registration) {
    let slot = slots[Int(registration.slot)]
    precondition(slot.id == registration.id && !polled.contains(registration), "stale registration")
    _ = clinux_epoll_ctl(epoll.number, EPOLL_CTL_DEL, slot.descriptor, 0, 0)
    polled.append(registration)
  }

  /// Watches a polled descriptor for input again; false when the kernel has no memory for that: it stays polled.
  public func unpoll(_ registration: Registration) -> Bool {
    let slot = slots[Int(registration.slot)]
    precondition(slot.id == registration.id, "stale registration")
    let tag = Self.tag(index: registration.slot, generation: registration.id)
    guard clinux_epoll_ctl(epoll.number, EPOLL_CTL_ADD, slot.descriptor, EPOLLIN.rawValue, tag) == 0 else {
      return false
    }
    polled.removeAll { $0 == registration }
    return true
  }

  /// Lets a loop with much to do, but not too much, sleep up to `delayNanoseconds` before it looks for more; 0 for never.
  public func moderateWakes(delayNanoseconds: UInt64) {
    guard moderation.delayNanoseconds != delayNanoseconds else { return }
    moderation = WakeModeration(delayNanoseconds: delayNanoseconds)
  }

  /// Tells how many requests a handler has served: what moderation goes by.
  public func noteRequests(_ count: Int) { requests += count }

  /// Runs `body` once, `delayNanoseconds` from now, on the loop's thread.
  public func schedule(afterNanoseconds delayNanoseconds: UInt64, _ body: @escaping () -> Void) {
    timers.insert(deadline: Clock.monotonicNanoseconds() &+ delayNanoseconds, body)
  }

  /// Runs `body` about every `periodNanoseconds` until the loop ends.
  public func repeatEvery(nanoseconds periodNanoseconds: UInt64, _ body: @escaping () -> Void) {
    schedule(afterNanoseconds: periodNanoseconds) { [unowned self] in
      body()
      repeatEvery(nanoseconds: periodNanoseconds, body)
    }
  }

  /// Runs `body` after each batch of events, before the next wait: the place to send what the batch produced.
  public func afterEachBatch(_ body: @escaping () -> Void) { afterBatch.append(body) }

  /// Ends `run` after the current batch.
  public func stop() { isStopping = true }

  /// Serves events, timers and mail until `stop()`.
  public func run() {
    withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: Self.eventsPerWait) { events in
      while !isStopping {
        let count = wait(events)
        nowNanoseconds = Clock.monotonicNanoseconds()
        for index in 0..<max(0, count) { dispatch(events.baseAddress! + index) }
        for source in polled { slots[Int(source.slot)].handler?.handle(events: 0, loop: self) }
        while let due = timers.popDue(at: nowNanoseconds) { due() }
        for body in afterBatch { body() }
        if moderation.delayNanoseconds > 0 { noteTurn() }
      }
    }
  }

  private func noteTurn() {
    let now = Clock.monotonicNanoseconds()
    moderation.note(requests: requests, busyNanoseconds: now &- nowNanoseconds, nowNanoseconds: now)
    requests = 0
  }

  /// Waits for events, a timer or mail.
  private func wait(_ events: UnsafeMutableBufferPointer<epoll_event>) -> Int {
    let most = Int32(events.count)
    if !polled.isEmpty { return Int(epoll_wait(epoll.number, events.baseAddress, most, 0)) }
    if moderation.isDelaying && sleepBeforeNextTimer() {
      let count = epoll_wait(epoll.number, events.baseAddress, most, 0)
      if count != 0 { return Int(count) }
    }
    return Int(epoll_wait(epoll.number, events.baseAddress, most, waitMilliseconds()))
  }

  /// Sleeps for the moderation's delay, unless a timer is due before its end; whether it did.
  private func sleepBeforeNextTimer() -> Bool {
    let delay = moderation.delayNanoseconds
    if let deadline = timers.nextDeadline, deadline < Clock.monotonicNanoseconds() &+ delay { return false }
    var time = timespec(tv_sec: Int(delay / 1_000_000_000), tv_nsec: Int(delay % 1_000_000_000))
    nanosleep(&time, nil)
    return true
  }

  private func dispatch(_ event: UnsafeMutablePointer<epoll_event>) {
    let tag = clinux_epoll_data(event)
    if tag == Self.mailboxTag {
      mailbox.drain(loop: self)
      return
    }
    let table = Int(tag >> Self.tableShift)
    let generation = UInt32(truncatingIfNeeded: tag >> Self.generationShift)
    let index = UInt32(tag & UInt64(Self.maximumTableEntries - 1))
    if table != 0 {
      tables[table - 1]?.handle(events: event.pointee.events, index: index, generation: generation)
      return
    }
    let slot = slots[Int(index)]
    guard slot.id == generation, let handler = slot.handler else { return }
    handler.handle(events: event.pointee.events, loop: self)
  }

  private func waitMilliseconds() -> Int32 {
    guard let deadline = timers.nextDeadline else { return -1 }
    let now = Clock.monotonicNanoseconds()
    return deadline <= now ? 0 : Int32(min((deadline - now + 999_999) / 1_000_000, 60_000))
  }
}

/// The way into a loop from other threads.
public final class EventLoopMailbox: Sendable {
  private let wake: FileDescriptor
  private let letters = Mutex<[@Sendable (EventLoop) -> Void]>([])

  public init() throws(SystemError) {
    let number = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard number >= 0 else { throw SystemError("eventfd") }
    wake = FileDescriptor(owning: number)
  }

  fileprivate var wakeDescriptor: Int32 { wake.number }

  /// Has `letter` run on the loop's thread. Letters run in the order they were posted. Never blocks on the loop.
  public func post(_ letter: @escaping @Sendable (EventLoop) -> Void) {
    let wasEmpty = letters.withLock { letters in
      letters.append(letter)
      return letters.count == 1
    }
    if wasEmpty { eventfd_write(wake.number, 1) }
  }

  fileprivate func drain(loop: EventLoop) {
    var value: eventfd_t = 0
    eventfd_read(wake.number, &value)
    let batch = letters.withLock { letters in
      let batch = letters
      letters.removeAll()
      return batch
    }
    for letter in batch { letter(loop) }
  }
}
