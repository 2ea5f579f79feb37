// DurationText: durations as people write them in configuration and on the command line. Pure.

/// A duration written like Go's time.ParseDuration, as Chihaya's configuration has it: `30m`, `1h30m`, `500ms`, `0`; also
/// `d` for 24 hours (ours: retention is counted in days).
public enum DurationText {
  /// The longest duration that is accepted: what fits in Int64 nanoseconds, Go's limit too (about 292 years).
  public static let maximumNanoseconds = Int64.max

  /// Nanoseconds per unit.
  private static let units: [(name: [UInt8], nanoseconds: Int64)] = [
    (Array("ns".utf8), 1), (Array("us".utf8), 1_000), (Array("µs".utf8), 1_000), (Array("ms".utf8), 1_000_000),
    (Array("s".utf8), 1_000_000_000), (Array("m".utf8), 60_000_000_000), (Array("h".utf8), 3_600_000_000_000),
    (Array("d".utf8), 86_400_000_000_000),
  ]

  /// The duration of a text, or nil when it is none: one or more of number and unit without spaces, the number with an
  /// optional fraction (`1.5h`, truncated to nanoseconds). Not negative; `0` alone needs no unit.
  public static func parse(_ text: some StringProtocol) -> Duration? {
    let bytes = Array(text.utf8)
    if bytes == [UInt8(ascii: "0")] { return .zero }
    var index = 0
    var total: Int64 = 0
    while index < bytes.count {
      guard let part = parsePart(bytes, &index) else { return nil }
      let (sum, overflow) = total.addingReportingOverflow(part)
      if overflow { return nil }
      total = sum
    }
    return bytes.isEmpty ? nil : .nanoseconds(total)
  }

  private static func parsePart(_ bytes: [UInt8], _ index: inout Int) -> Int64? {
    var whole: Int64 = 0
    var fraction: Int64 = 0
    var fractionScale: Int64 = 1
    var digits = 0
    var afterPoint = false
    scanning: while index < bytes.count {
      switch bytes[index] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        let digit = Int64(bytes[index] - UInt8(ascii: "0"))
        digits += 1
        if !afterPoint {
          let (tens, overflow) = whole.multipliedReportingOverflow(by: 10)
          let (sum, overflowToo) = tens.addingReportingOverflow(digit)
          if overflow || overflowToo { return nil }
          whole = sum
        } else if fractionScale < 1_000_000_000_000_000 {
          // Digits below what a day's nanoseconds can show are dropped.
          fraction = fraction * 10 + digit
          fractionScale *= 10
        }
      case UInt8(ascii: "."):
        if afterPoint { return nil }
        afterPoint = true
      default: break scanning
      }
      index += 1
    }
    var end = index
    while end < bytes.count, bytes[end] != UInt8(ascii: "."),
      !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[end])
    {
      end += 1
    }
    let name = bytes[index..<end]
    guard digits > 0, let unit = units.first(where: { $0.name.elementsEqual(name) }) else { return nil }
    index = end
    let (scaled, overflow) = whole.multipliedReportingOverflow(by: unit.nanoseconds)
    if overflow { return nil }
    let (high, low) = unit.nanoseconds.multipliedFullWidth(by: fraction)
    let (sum, overflowToo) = scaled.addingReportingOverflow(fractionScale.dividingFullWidth((high, low)).quotient)
    return overflowToo ? nil : sum
  }

  /// The shortest exact text: `1h30m`, `500ms`, `0s`. `parse` reads it back to the same duration.
  public static func text(_ duration: Duration) -> String {
    var rest = duration.wholeNanoseconds
    if rest == 0 { return "0s" }
    var text = ""
    for unit in [
      ("h", Int64(3_600_000_000_000)), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000),
      ("ns", 1),
    ]
    where rest >= unit.1 {
      text += "\(rest / unit.1)\(unit.0)"
      rest %= unit.1
    }
    return text
  }
}

extension Duration {
  /// Nanoseconds, rounded towards zero and clamped to Int64.
  public var wholeNanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, overflowToo) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
    return overflow || overflowToo ? (seconds < 0 ? .min : .max) : sum
  }
  /// Milliseconds, rounded towards zero.
  public var wholeMilliseconds: Int { Int(wholeNanoseconds / 1_000_000) }
  /// Seconds, rounded towards zero.
  public var wholeSeconds: Int { Int(components.seconds) }
}
