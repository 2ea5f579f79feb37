// Clock: the clocks of the daemons. The data path reads them once per batch and passes the value on.

import Glibc

/// Readings of the system's clocks.
public enum Clock {
  /// CLOCK_MONOTONIC in nanoseconds: for timeouts, expiry and durations.
  public static func monotonicNanoseconds() -> UInt64 { read(CLOCK_MONOTONIC) }

  /// CLOCK_BOOTTIME in nanoseconds: for what another process of the same boot is to understand.
  public static func bootNanoseconds() -> UInt64 { read(CLOCK_BOOTTIME) }

  /// CLOCK_REALTIME in whole Unix seconds: for what leaves the process.
  public static func unixSeconds() -> Int64 { Int64(read(CLOCK_REALTIME) / 1_000_000_000) }

  /// CLOCK_REALTIME in nanoseconds since 1970.
  public static func unixNanoseconds() -> UInt64 { read(CLOCK_REALTIME) }

  private static func read(_ id: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(id, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }
}
