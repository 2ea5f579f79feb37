// PublisherSignal: how workers wake a publisher, how TrafficPush stops it, and what it says about its health. Any thread.

import CLinux
import Glibc
import Linux
import Synchronization

/// The only thing besides the queue that a publisher shares with other threads.
final class PublisherSignal: Sendable {
  private let wake: FileDescriptor
  /// Records of an earlier process that the publisher has still to send.
  let restoredLeft = Atomic<Int>(0)
  /// What Redis' clock is ahead of this machine's, milliseconds.
  let clockOffsetMilliseconds = Atomic<Int>(0)
  private let stopping = Atomic<Bool>(false)
  /// Why nothing gets through at the moment; nil when it does.
  private let trouble = Mutex<String?>("not connected yet")

  init() throws(SystemError) {
    let number = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard number >= 0 else { throw SystemError("eventfd") }
    wake = FileDescriptor(owning: number)
  }

  /// There is something in the queue.
  func wakeUp() { eventfd_write(wake.number, 1) }

  /// Publish what is queued, then end.
  func stop() {
    stopping.store(true, ordering: .sequentiallyConsistent)
    wakeUp()
  }

  var isStopping: Bool { stopping.load(ordering: .sequentiallyConsistent) }

  func setTrouble(_ reason: String?) { trouble.withLock { $0 = reason } }
  var currentTrouble: String? { trouble.withLock { $0 } }

  /// Sleeps until `wakeUp` or `stop`, or until the time is over (false). `isGathering`: after a wake-up wait a
  /// little for more. A wait that is for the clock (`isGathering` false) goes on when it is woken, unless it is to stop.
  @discardableResult
  func wait(milliseconds: Int32, isGathering: Bool) -> Bool {
    let end = Clock.monotonicNanoseconds() + UInt64(milliseconds) * 1_000_000
    while !isStopping {
      let now = Clock.monotonicNanoseconds()
      if now >= end { return false }
      let left = Int32((end - now + 999_999) / 1_000_000)
      var poll = pollfd(fd: wake.number, events: Int16(POLLIN), revents: 0)
      guard Glibc.poll(&poll, 1, left) > 0 else { continue }
      var value: eventfd_t = 0
      eventfd_read(wake.number, &value)
      if isGathering {
        if !isStopping { gather() }
        return true
      }
    }
    return true
  }

  private func gather() {
    var poll = pollfd(fd: wake.number, events: Int16(POLLIN), revents: 0)
    _ = Glibc.poll(&poll, 1, PublisherSettings.gatherMilliseconds)
  }
}
