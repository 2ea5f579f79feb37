// Pacemaker: when the next request of an offered rate is due, and the timer that wakes the loop for it. Used by both load
// loops.
//
// Requests are due at even distances and are sent one by one when they are due, as independent clients would: a burst
// would let the tracker batch more than its real clients do. What was due while the machine did something else is sent at
// once when the loop runs again.

import CLinux
import Glibc

/// The schedule of an offered rate.
struct Pacemaker: ~Copyable {
  /// For epoll: readable when something is due. Set anew each time, so that it need not be read.
  let timer: Int32
  private let intervalNanoseconds: Double
  private let startNanoseconds: UInt64
  private var given: UInt64 = 0

  init(rate: Double, startNanoseconds: UInt64) throws(LoadError) {
    timer = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK) | Int32(TFD_CLOEXEC))
    guard timer >= 0 else { throw LoadError(call: "timerfd_create") }
    intervalNanoseconds = 1e9 / rate
    self.startNanoseconds = startNanoseconds
  }

  deinit { close(timer) }

  /// When the next request is due.
  @inline(__always)
  var nextNanoseconds: UInt64 { startNanoseconds + UInt64(Double(given) * intervalNanoseconds) }

  /// The next request has been sent, or has been given up.
  mutating func advance() { given += 1 }

  /// Wakes epoll at the next due time.
  func arm() {
    var setting = itimerspec()
    let next = nextNanoseconds
    setting.it_value.tv_sec = Int(next / 1_000_000_000)
    setting.it_value.tv_nsec = Int(next % 1_000_000_000)
    timerfd_settime(timer, Int32(TFD_TIMER_ABSTIME), &setting, nil)
  }
}
