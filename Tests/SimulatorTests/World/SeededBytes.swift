// SeededBytes: the random choices of a step, and of backoffs. Values.

import Simulation

/// The random choices of a step.
struct SeededBytes {
  private var random: SeededRandom
  init(_ seed: UInt64) { random = SeededRandom(seed: seed) }
  mutating func next() -> UInt64 { random.next() }
  mutating func below(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
  mutating func within(_ range: ClosedRange<UInt64>) -> UInt64 {
    range.lowerBound + random.next() % (range.upperBound - range.lowerBound + 1)
  }
  mutating func chance(oneIn count: Int) -> Bool { below(count) == 0 }
  mutating func bytes(_ limit: UInt64) -> UInt64 { random.next() % limit + 1 }
}

/// The waits of backoffs.
final class Waits: @unchecked Sendable {
  var random = SeededBytes(0)
  func pick(_ range: ClosedRange<Int>) -> Int { range.lowerBound + random.below(range.count) }
}
