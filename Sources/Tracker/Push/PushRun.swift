// PushRun: the name of a publisher's numbering, and of the generations that its records begin. Pure.

/// A publisher's run: the numbering of its records. It ends when the tracker ends without a spool.
struct PushRun: Equatable {
  /// Names the run's state in Redis.
  let id: UInt64
  /// The generation of record n, if it begins one, is this plus n, modulo 2^48: drawn at random, it does not repeat within a
  /// session when clocks jump or snapshots are lost.
  let generationBase: UInt64

  init() {
    id = UInt64.random(in: 1...UInt64.max)
    generationBase = UInt64.random(in: 0..<(1 << 48))
  }

  init(id: UInt64, generationBase: UInt64) {
    self.id = id
    self.generationBase = generationBase
  }

  /// The name of the generation that record `number` begins, if it begins one: eight characters of base 64 (RFC 4648,
  /// section 5), the first in the lowest byte.
  func generationName(_ number: UInt64) -> UInt64 {
    var rest = generationBase &+ number
    var name: UInt64 = 0
    for _ in 0..<8 {
      name = name << 8 | UInt64(Self.alphabet[Int(rest & 63)])
      rest >>= 6
    }
    return name
  }

  private static let alphabet: InlineArray<64, UInt8> = {
    var letters = InlineArray<64, UInt8>(repeating: 0)
    for (index, letter) in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8.enumerated() {
      letters[index] = letter
    }
    return letters
  }()
}
