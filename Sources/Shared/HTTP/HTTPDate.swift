// HTTPDate: the `Date` line of replies (RFC 9110 section 6.6.1), made once a second. One per server, on its loop's thread.

import Glibc
import Linux

/// The current time as `Date: Sun, 06 Nov 1994 08:49:37 GMT` with its CRLF. RFC 9110 wants it of every server that has a
/// clock, so it is in every reply; an announce pays 37 bytes and one copy for it.
struct HTTPDate: ~Copyable {
  static let byteCount = 37

  private let memory = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 8)
  /// CLOCK_MONOTONIC nanoseconds at which the second is over.
  private var validUntil: UInt64 = 0

  deinit { memory.deallocate() }

  /// The line. `nowNanoseconds` is CLOCK_MONOTONIC; `unixNanoseconds` is asked when a second is over.
  mutating func line(
    nowNanoseconds: UInt64, unixNanoseconds: () -> UInt64 = Clock.unixNanoseconds
  ) -> UnsafeRawBufferPointer {
    if nowNanoseconds >= validUntil {
      let time = unixNanoseconds()
      Self.write(unixSeconds: Int(time / 1_000_000_000), to: memory)
      validUntil = nowNanoseconds &+ (1_000_000_000 - time % 1_000_000_000)
    }
    return UnsafeRawBufferPointer(start: memory, count: Self.byteCount)
  }

  /// IMF-fixdate (RFC 9110 section 5.6.7); strftime(3) would follow the locale.
  private static func write(unixSeconds: Int, to target: UnsafeMutableRawPointer) {
    let days: StaticString = "SunMonTueWedThuFriSat"
    let months: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"
    let pattern: StaticString = "Date: ---, 00 --- 0000 00:00:00 GMT\r\n"
    target.copyMemory(from: pattern.utf8Start, byteCount: byteCount)
    var seconds = time_t(unixSeconds)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    (target + 6).copyMemory(from: days.utf8Start + 3 * Int(parts.tm_wday), byteCount: 3)
    (target + 14).copyMemory(from: months.utf8Start + 3 * Int(parts.tm_mon), byteCount: 3)
    func put(_ number: Int, at offset: Int) {
      target.storeBytes(of: UInt8(0x30 + number / 10 % 10), toByteOffset: offset, as: UInt8.self)
      target.storeBytes(of: UInt8(0x30 + number % 10), toByteOffset: offset + 1, as: UInt8.self)
    }
    let year = Int(parts.tm_year) + 1900
    put(Int(parts.tm_mday), at: 11)
    put(year / 100, at: 18)
    put(year % 100, at: 20)
    put(Int(parts.tm_hour), at: 23)
    put(Int(parts.tm_min), at: 26)
    put(Int(parts.tm_sec), at: 29)
  }
}
