// RetryBackoff: how long to wait before the next attempt. A value; the caller waits. Any thread, one owner.

/// Exponential waits with jitter: attempt n waits between half of and the whole of `min(first * 2^n, maximum)`, so that
/// many clients of a server that comes back do not arrive together.
public struct RetryBackoff: Sendable {
  /// The wait the first attempt is measured by, and the longest one, in milliseconds.
  public let firstMilliseconds: Int
  public let maximumMilliseconds: Int
  private var step: Int
  private let random: @Sendable (ClosedRange<Int>) -> Int

  /// `random` picks from a range; tests pass their own.
  public init(
    firstMilliseconds: Int, maximumMilliseconds: Int,
    random: @escaping @Sendable (ClosedRange<Int>) -> Int = { Int.random(in: $0) }
  ) {
    precondition(firstMilliseconds >= 1 && maximumMilliseconds >= firstMilliseconds)
    self.firstMilliseconds = firstMilliseconds
    self.maximumMilliseconds = maximumMilliseconds
    self.random = random
    step = firstMilliseconds
  }

  /// The wait before the next attempt, in milliseconds; the one after it is about twice as long.
  public mutating func next() -> Int {
    let whole = step
    step = min(maximumMilliseconds, step > maximumMilliseconds / 2 ? maximumMilliseconds : step * 2)
    return random(max(1, whole / 2)...whole)
  }

  /// After a success: start from the first wait again.
  public mutating func reset() { step = firstMilliseconds }
}
