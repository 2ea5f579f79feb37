// EntryHash: SipHash-2-4 (Aumasson, Bernstein 2012) over an event's fields: the fingerprint of L3. Keyed with a random key
// of the database, so that nobody can construct two entries of one session that look equal. Pure.

import Shared

struct EntryHash: Sendable {
  private let key: (UInt64, UInt64)

  init(key: (UInt64, UInt64)) { self.key = key }

  /// The hash of every field but the session's key: fingerprints are compared within one session.
  func fingerprint(of event: TrafficEvent) -> UInt64 {
    var state = SipState(key)
    var address: (UInt64, UInt64) = (0, 0)
    withUnsafeMutableBytes(of: &address) { event.address.store(to: $0.baseAddress!) }
    state.absorb(address.0)
    state.absorb(address.1)
    let small = UInt64(event.addressFamily.rawValue) << 32 | UInt64(event.address.family.rawValue) << 24
    state.absorb(small | UInt64(event.event.rawValue) << 16 | UInt64(event.port))
    state.absorb(event.uploadedDelta)
    state.absorb(event.downloadedDelta)
    state.absorb(event.left)
    state.absorb(UInt64(event.timestamp) << 32 | UInt64(event.elapsedSeconds))
    state.absorb(UInt64(event.intervalSeconds) << 32 | UInt64(event.minIntervalSeconds))
    return state.finish(byteCount: 64)
  }

  /// The hash of an entry as received: every name and value with its length.
  func raw(of fields: DeadLetterFields) -> UInt64 {
    var state = SipState(key)
    for bytes in fields.items {
      state.absorb(UInt64(bytes.count))
      var rest = bytes[...]
      while !rest.isEmpty {
        var word: UInt64 = 0
        withUnsafeMutableBytes(of: &word) { $0.copyBytes(from: rest.prefix(8)) }
        state.absorb(word)
        rest = rest.dropFirst(8)
      }
    }
    return state.finish(byteCount: UInt64(fields.items.count))
  }
}

private struct SipState {
  private var v0: UInt64
  private var v1: UInt64
  private var v2: UInt64
  private var v3: UInt64

  init(_ key: (UInt64, UInt64)) {
    v0 = key.0 ^ 0x736f_6d65_7073_6575
    v1 = key.1 ^ 0x646f_7261_6e64_6f6d
    v2 = key.0 ^ 0x6c79_6765_6e65_7261
    v3 = key.1 ^ 0x7465_6462_7974_6573
  }

  mutating func absorb(_ word: UInt64) {
    v3 ^= word
    round()
    round()
    v0 ^= word
  }

  mutating func finish(byteCount: UInt64) -> UInt64 {
    absorb(byteCount << 56)
    v2 ^= 0xff
    for _ in 0..<4 { round() }
    return v0 ^ v1 ^ v2 ^ v3
  }

  private mutating func round() {
    v0 &+= v1
    v1 = rotated(v1, 13) ^ v0
    v0 = rotated(v0, 32)
    v2 &+= v3
    v3 = rotated(v3, 16) ^ v2
    v0 &+= v3
    v3 = rotated(v3, 21) ^ v0
    v2 &+= v1
    v1 = rotated(v1, 17) ^ v2
    v2 = rotated(v2, 32)
  }

  private func rotated(_ value: UInt64, _ bits: UInt64) -> UInt64 { value << bits | value >> (64 - bits) }
}
