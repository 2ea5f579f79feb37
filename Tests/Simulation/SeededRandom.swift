// SeededRandom: the randomness of the simulations: the same seed, the same run. A value.

import Wire

/// SplitMix64 (Steele, Lea, Flood 2014): small, good enough to choose test inputs.
public struct SeededRandom: RandomNumberGenerator, Sendable {
  public let seed: UInt64
  private var state: UInt64

  public init(seed: UInt64) {
    self.seed = seed
    state = seed
  }

  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// Twenty random bytes as an info hash or peer id.
  public mutating func bytes20<Value: Bytes20>(_ type: Value.Type = Value.self) -> Value {
    Value(words: (next(), next(), UInt32(truncatingIfNeeded: next())))
  }

  /// Lower-case hex digits.
  public mutating func hex(digits: Int) -> String {
    (0..<digits).map { _ in String("0123456789abcdef".randomElement(using: &self)!) }.joined()
  }

  public mutating func chance(oneIn count: Int) -> Bool { Int.random(in: 0..<count, using: &self) == 0 }
}
