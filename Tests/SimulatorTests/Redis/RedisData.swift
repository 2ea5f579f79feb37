// RedisData: what a Redis holds, as a value: a copy is a dump, a replica, the state a failover goes back to.

struct RedisData {
  enum Value {
    case string([UInt8])
    case hash([[UInt8]: [UInt8]])
    case stream(ModelStream)
  }
  struct Slot {
    var value: Value
    /// Unix milliseconds at which it goes.
    var expires: UInt64?
  }
  private(set) var slots: [[UInt8]: Slot] = [:]

  mutating func removeAll() { slots.removeAll() }

  /// What is there at a moment.
  func slot(_ key: [UInt8], now: UInt64) -> Slot? {
    guard let slot = slots[key] else { return nil }
    if let expires = slot.expires, expires <= now { return nil }
    return slot
  }

  func stream(_ key: String, now: UInt64 = 0) -> ModelStream? {
    guard case .stream(let stream)? = slot(Array(key.utf8), now: now)?.value else { return nil }
    return stream
  }

  mutating func set(_ key: [UInt8], _ value: Value, expires: UInt64?) {
    slots[key] = Slot(value: value, expires: expires)
  }
  mutating func remove(_ key: [UInt8]) -> Slot? { slots.removeValue(forKey: key) }

  /// Changes a stream in place, without copying it.
  mutating func withStream<Result>(_ key: [UInt8], _ body: (inout ModelStream) -> Result) -> Result? {
    guard let found = slots[key], case .stream(var stream) = found.value else { return nil }
    slots[key]!.value = .string([])
    defer { slots[key]!.value = .stream(stream) }
    return body(&stream)
  }

  mutating func withHash<Result>(_ key: [UInt8], _ body: (inout [[UInt8]: [UInt8]]) -> Result) -> Result? {
    guard let found = slots[key], case .hash(var hash) = found.value else { return nil }
    slots[key]!.value = .string([])
    defer { slots[key]!.value = .hash(hash) }
    return body(&hash)
  }

  /// Keys with a beginning, sorted.
  func keys(_ beginning: String) -> [[UInt8]] {
    slots.keys.filter { $0.starts(with: beginning.utf8) }.sorted { $0.lexicographicallyPrecedes($1) }
  }
}
