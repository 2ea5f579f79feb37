// EntryHash: SipHash over an event's fields: the fingerprint of L3. Keyed with a random key of the database, so that
// two entries of one session that look equal cannot be constructed. Pure.

import Wire

struct EntryHash: Sendable {
  private let key: (UInt64, UInt64)

  init(key: (UInt64, UInt64)) { self.key = key }

  /// The hash of every field but the session's key: fingerprints are compared within one session. Of a producer with counters
  /// without those and `dt`, which are others when it is sent again to a Redis that has forgotten the session.
  func fingerprint(of event: TrafficEvent) -> UInt64 {
    var state = SipHash(key: key)
    var address: (UInt64, UInt64) = (0, 0)
    withUnsafeMutableBytes(of: &address) { event.address.store(to: $0.baseAddress!) }
    state.absorb(address.0)
    state.absorb(address.1)
    let small = UInt64(event.addressFamily.rawValue) << 32 | UInt64(event.address.family.rawValue) << 24
    state.absorb(small | UInt64(event.event.rawValue) << 16 | UInt64(event.port))
    state.absorb(event.uploadedDelta)
    state.absorb(event.downloadedDelta)
    state.absorb(event.left)
    let elapsed = event.counters == nil ? event.elapsedSeconds : 0
    state.absorb(UInt64(event.timestamp) << 32 | UInt64(elapsed))
    state.absorb(UInt64(event.intervalSeconds) << 32 | UInt64(event.minIntervalSeconds))
    guard event.counters != nil else {
      // Only where it is: the fingerprints of all others are in databases.
      if event.backwardSeconds > 0 { state.absorb(UInt64(event.backwardSeconds)) }
      return state.finish(byteCount: event.backwardSeconds > 0 ? 72 : 64)
    }
    state.absorb(UInt64(event.announces))
    return state.finish(byteCount: 72)
  }

  private func absorb(_ bytes: UnsafeRawBufferPointer, into state: inout SipHash) {
    state.absorb(UInt64(bytes.count))
    for start in stride(from: 0, to: bytes.count, by: 8) {
      var word: UInt64 = 0
      withUnsafeMutableBytes(of: &word) { $0.copyBytes(from: bytes[start..<min(start + 8, bytes.count)]) }
      state.absorb(word)
    }
  }

  /// The hash of an entry as received: every name and value with its length.
  func raw(of fields: EntryFields) -> UInt64 {
    var state = SipHash(key: key)
    for item in fields.items { item.withUnsafeBytes { absorb($0, into: &state) } }
    return state.finish(byteCount: UInt64(fields.items.count))
  }
}
