// RedisWire: what may stand in for a socket below a RedisConnection: a simulator's way to put a model of Redis, and every
// fault of a network, where the server would be. Never used by the daemons. One thread.

/// Makes wires, as an address that can be connected to. To be subclassed.
open class RedisDialer: Hashable, @unchecked Sendable {
  public init() {}

  /// A connection, or why there is none.
  open func dial(milliseconds: Int) throws(RedisError) -> RedisWire { throw .unreachable("nobody answers") }

  public static func == (left: RedisDialer, right: RedisDialer) -> Bool { left === right }
  public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

/// One connection. To be subclassed.
open class RedisWire {
  public init() {}

  /// Takes all bytes, whole commands, or throws.
  open func send(_ bytes: UnsafeRawBufferPointer, milliseconds: Int) throws(RedisError) {}

  /// Gives bytes, at least one. When there are none: nil if nothing is to be waited for, else it throws.
  open func receive(into buffer: UnsafeMutableRawBufferPointer, isWaiting: Bool) throws(RedisError) -> Int? { nil }
}
