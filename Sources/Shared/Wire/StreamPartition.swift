// StreamPartition: which stream a user's announces go to, and how its keys are named. The tracker writes by it, the consumer
// reads by it. Pure.

/// One of the parts that the traffic of a site is split into: `partitions` of both configurations.
public struct StreamPartition: Hashable, Sendable {
  /// 0 up to `count` - 1.
  public let index: Int
  public let count: Int

  /// All partitions of a site that has `count`, at least one.
  public static func all(_ count: Int) -> [StreamPartition] {
    (0..<max(1, count)).map { StreamPartition(index: $0, count: count) }
  }

  /// A key's name in this partition: `<key>:{p0}`; with one partition the plain name. The braces make all keys of a
  /// partition share a slot of a Redis Cluster (cluster specification, "hash tags").
  public func name(_ key: String) -> String { count <= 1 ? key : "\(key):{p\(index)}" }

  /// The partition of a passkey: FNV-1a, 64 bits, of its bytes, modulo the number of partitions. This is a promise to
  /// sites that compute it themselves; changing it would move users between streams.
  @inlinable
  public static func index(of passkey: Passkey, count: Int) -> Int {
    guard count > 1 else { return 0 }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    passkey.withBytes { bytes in
      for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    }
    return Int(hash % UInt64(count))
  }
}
