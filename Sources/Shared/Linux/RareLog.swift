// RareLog: decides when a frequent event may be logged again. A plain value of the thread that logs; where several threads
// log the same event, it lies in a Mutex.

/// Lets one line pass, then none for a while, and counts those in between.
public struct RareLog: Sendable {
  private let pauseNanoseconds: UInt64
  private var quietUntil: UInt64 = 0
  private var suppressed = 0

  public init(pauseNanoseconds: UInt64) { self.pauseNanoseconds = pauseNanoseconds }

  /// The number of lines suppressed since the last one when this one may be written, else nil. `now` is monotonic,
  /// nanoseconds.
  public mutating func next(now: UInt64 = Clock.monotonicNanoseconds()) -> Int? {
    guard now >= quietUntil else {
      suppressed += 1
      return nil
    }
    quietUntil = now &+ pauseNanoseconds
    defer { suppressed = 0 }
    return suppressed
  }
}
