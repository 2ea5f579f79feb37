// UserKey: what a passkey is to the tracker after parsing: 128 bits under the process' secret. Small enough for tables
// with millions of users, and nothing that could leak into a log.

import Shared

/// A passkey's keyed hash.
struct UserKey: Hashable, Sendable {
  let high: UInt64
  let low: UInt64
}

extension KeyedHash {
  func userKey(_ passkey: Passkey) -> UserKey {
    let low = hash(passkey)
    return UserKey(high: hash(passkey, continuing: low), low: low)
  }
}
