// TimeText: times as people write them on the command line, and as tables show them. Pure.

import Glibc
import Settings

enum TimeText {
  /// `2026-01-31T12:00:00Z` of Unix seconds.
  static func iso(_ seconds: Int64) -> String {
    var time = time_t(seconds)
    var parts = tm()
    gmtime_r(&time, &parts)
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 40) { buffer in
      strftime(buffer.baseAddress!, 40, "%Y-%m-%dT%H:%M:%SZ", &parts)
      return String(cString: buffer.baseAddress!)
    }
  }

  /// `2026-01-31`, the UTC day of Unix seconds.
  static func day(_ seconds: Int64) -> String { String(iso(seconds).prefix(10)) }

  /// Unix seconds of a text: a number of them, `now`, `today`, `yesterday` (00:00 UTC), a duration ago (`2h`, `7d`), or
  /// ISO 8601: `2026-01-31`, `2026-01-31T12:00`, `2026-01-31T12:00:30Z`, `...+02:00`; without a zone it is UTC.
  static func parse(_ text: String, now: Int64) -> Int64? {
    switch text {
    case "now": return now
    case "today": return now - now % 86_400
    case "yesterday": return now - now % 86_400 - 86_400
    default: break
    }
    if !text.isEmpty, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) { return Int64(text) }
    if let duration = DurationText.parse(text) { return now - duration.components.seconds }
    return iso(text)
  }

  private static func iso(_ text: String) -> Int64? {
    var scanner = DigitScanner(text)
    guard let year = scanner.digits(4), scanner.skip("-"), let month = scanner.digits(2), scanner.skip("-"),
      let day = scanner.digits(2), (1...12).contains(month), (1...31).contains(day)
    else { return nil }
    var parts = tm()
    parts.tm_year = Int32(year - 1900)
    parts.tm_mon = Int32(month - 1)
    parts.tm_mday = Int32(day)
    var offset: Int64 = 0
    if scanner.skip("T") || scanner.skip(" ") {
      guard let hour = scanner.digits(2), scanner.skip(":"), let minute = scanner.digits(2), hour < 24, minute < 60
      else {
        return nil
      }
      parts.tm_hour = Int32(hour)
      parts.tm_min = Int32(minute)
      if scanner.skip(":") {
        guard let second = scanner.digits(2), second <= 60 else { return nil }
        parts.tm_sec = Int32(second)
      }
      guard let found = zone(&scanner) else { return nil }
      offset = found
    }
    guard scanner.isAtEnd else { return nil }
    let seconds = timegm(&parts)
    // timegm(3) carries the 31st of a short month over into the next.
    guard parts.tm_mday == Int32(day) else { return nil }
    return Int64(seconds) - offset
  }

  /// Seconds east of UTC.
  private static func zone(_ scanner: inout DigitScanner) -> Int64? {
    if scanner.isAtEnd || scanner.skip("Z") { return 0 }
    let sign: Int64
    if scanner.skip("+") { sign = 1 } else if scanner.skip("-") { sign = -1 } else { return nil }
    guard let hours = scanner.digits(2) else { return nil }
    _ = scanner.skip(":")
    guard let minutes = scanner.digits(2), hours < 24, minutes < 60 else { return nil }
    return sign * Int64(hours * 3600 + minutes * 60)
  }
}

private struct DigitScanner {
  private var rest: Substring.UTF8View
  init(_ text: String) { rest = text[...].utf8 }
  var isAtEnd: Bool { rest.isEmpty }

  mutating func skip(_ character: Unicode.Scalar) -> Bool {
    guard let first = rest.first, UInt32(first) == character.value else { return false }
    rest = rest.dropFirst()
    return true
  }

  mutating func digits(_ count: Int) -> Int? {
    let taken = rest.prefix(count)
    guard taken.count == count, taken.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
    rest = rest.dropFirst(count)
    return taken.reduce(0) { $0 * 10 + Int($1 - 0x30) }
  }
}
