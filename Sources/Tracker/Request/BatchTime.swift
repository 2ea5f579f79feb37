// BatchTime: the time that all requests of a batch have. A plain value, read once per batch on a worker's thread.

import Linux

/// Time as a worker sees it, read once per batch of requests.
struct BatchTime {
  /// CLOCK_MONOTONIC.
  var monotonicNanoseconds: UInt64
  var unixSeconds: Int64

  /// Whole monotonic seconds: what peers are aged by.
  var monotonicSeconds: UInt32 { Self.seconds(monotonicNanoseconds) }

  @inline(__always)
  static func seconds(_ monotonicNanoseconds: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: monotonicNanoseconds / 1_000_000_000)
  }

  static func now() -> BatchTime {
    BatchTime(monotonicNanoseconds: Clock.monotonicNanoseconds(), unixSeconds: Clock.unixSeconds())
  }
}
