// OrderClock: the clock that an announce's `order` is read from. It runs with CLOCK_MONOTONIC, so that a step of the wall
// clock does not turn two announces around; what it differs from Redis' clock is added when a call is encoded
// (PushSession). A value; any thread.

import Linux

/// Microseconds since 1970, by the wall clock as it was when the process began.
struct OrderClock: Sendable {
  /// The process' own.
  static let process = OrderClock(
    wallNanoseconds: Clock.unixNanoseconds(), atMonotonicNanoseconds: Clock.monotonicNanoseconds())

  private let startMicroseconds: UInt64
  private let startNanoseconds: UInt64

  init(wallNanoseconds: UInt64, atMonotonicNanoseconds start: UInt64) {
    startMicroseconds = wallNanoseconds / 1000
    startNanoseconds = start
  }

  /// The reading at a moment of CLOCK_MONOTONIC, before the start too.
  func microseconds(atMonotonicNanoseconds moment: UInt64) -> UInt64 {
    startMicroseconds &+ UInt64(bitPattern: Int64(bitPattern: moment &- startNanoseconds) / 1000)
  }

  static func nowMicroseconds() -> UInt64 {
    process.microseconds(atMonotonicNanoseconds: Clock.monotonicNanoseconds())
  }
}

extension UInt64 {
  /// A reading with a correction, never below 0.
  func corrected(byMicroseconds correction: Int64) -> UInt64 {
    correction >= 0 ? self &+ UInt64(correction) : self - Swift.min(self, correction.magnitude)
  }
}
