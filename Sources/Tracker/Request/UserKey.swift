// UserKey: what a passkey is to the tracker after parsing: 128 bits under the process' secret. Small enough for tables
// with millions of users, and nothing that could leak into a log. Info hashes get one too where they are looked up.

import Wire

/// The keyed hash of something that is a member of a set, or not.
struct UserKey: Hashable, Sendable {
  let high: UInt64
  let low: UInt64
}

extension KeyedHash {
  @inline(__always)
  func userKey(_ passkey: Passkey) -> UserKey {
    let low = hash(passkey)
    return UserKey(high: hash(passkey, continuing: low), low: low)
  }

  func userKey(_ infoHash: InfoHash) -> UserKey {
    let low = hash(infoHash)
    return UserKey(high: hash(InfoHash(words: (infoHash.words.1, infoHash.words.0 ^ low, infoHash.words.2))), low: low)
  }
}
