// RareLog: decides when a frequent event may be logged again. A pure value, owned by the thread that logs.

/// Lets one line pass, then none for a while, and counts those in between.
struct RareLog {
  private let pauseNanoseconds: UInt64
  private var quietUntil: UInt64 = 0
  private var suppressed = 0

  init(pauseNanoseconds: UInt64) { self.pauseNanoseconds = pauseNanoseconds }

  /// The number of lines suppressed since the last one when this one may be written, else nil. `now` is monotonic.
  mutating func next(now: UInt64) -> Int? {
    guard now >= quietUntil else {
      suppressed += 1
      return nil
    }
    quietUntil = now &+ pauseNanoseconds
    defer { suppressed = 0 }
    return suppressed
  }
}
