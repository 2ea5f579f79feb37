// OrderClock: the clock that an announce's `order` is read from. It runs with CLOCK_MONOTONIC, so that a step of the wall
// clock does not turn two announces around; what it differs from Redis' clock is added when a call is encoded
// (PushSession). A value; any thread.

import Linux

/// Microseconds since 1970, by the wall clock as it was when the process began.
struct OrderClock: Sendable {
  /// By which another process of the same boot knows what its readings mean, whatever the wall clock was.
  struct Anchor: Sendable, Equatable {
    /// A checksum of the boot's name.
    var boot: UInt32
    /// What the clock is ahead of CLOCK_BOOTTIME.
    var aheadMicroseconds: Int64
  }

  /// The process' own.
  static let process = OrderClock(
    wallNanoseconds: Clock.unixNanoseconds(), atMonotonicNanoseconds: Clock.monotonicNanoseconds(),
    bootNanoseconds: Clock.bootNanoseconds(), boot: Boot.name)

  private let startMicroseconds: UInt64
  private let startNanoseconds: UInt64
  /// Nil where the boot has no name.
  let anchor: Anchor?

  init(
    wallNanoseconds: UInt64, atMonotonicNanoseconds start: UInt64, bootNanoseconds: UInt64 = 0, boot: String? = nil
  ) {
    startMicroseconds = wallNanoseconds / 1000
    startNanoseconds = start
    anchor = boot.map {
      Anchor(
        boot: max(1, CRC32.checksum($0)),
        aheadMicroseconds: Int64(bitPattern: wallNanoseconds / 1000 &- bootNanoseconds / 1000))
    }
  }

  /// The reading at a moment of CLOCK_MONOTONIC, before the start too.
  func microseconds(atMonotonicNanoseconds moment: UInt64) -> UInt64 {
    startMicroseconds &+ UInt64(bitPattern: Int64(bitPattern: moment &- startNanoseconds) / 1000)
  }

  /// What it is ahead of another process' clock, exactly; nil where the machine was started in between.
  func ahead(of other: Anchor?) -> Int64? {
    guard let anchor, let other, anchor.boot == other.boot else { return nil }
    return anchor.aheadMicroseconds &- other.aheadMicroseconds
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
