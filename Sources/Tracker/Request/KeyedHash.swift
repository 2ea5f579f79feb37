// KeyedHash: the hash of the tracker's own tables. Keyed with the process' secret, so that an outsider cannot choose
// info hashes or passkeys that collide. Pure; any thread. Not a MAC: nothing it makes leaves the process.

import CLinux
import Wire

/// A multiply-and-fold hash of fixed-size identifiers under a secret key.
struct KeyedHash: Sendable {
  private let key: (UInt64, UInt64, UInt64, UInt64)

  /// A key from the kernel's random source (getrandom(2)).
  init() {
    var key: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    let got = withUnsafeMutableBytes(of: &key) { getrandom($0.baseAddress, $0.count, 0) }
    precondition(got == 32, "getrandom gives up to 256 bytes at once")
    self.key = key
  }

  /// A chosen key, for tests that must repeat.
  init(seed: UInt64) { key = (seed, seed &* 0x9e37_79b9_7f4a_7c15, ~seed, seed &+ 0x2545_f491_4f6c_dd1d) }

  @inline(__always)
  private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let product = left.multipliedFullWidth(by: right)
    return product.high ^ product.low
  }

  @inline(__always)
  func hash(_ value: some Bytes20) -> UInt64 {
    let words = value.words
    return Self.fold(
      Self.fold(words.0 ^ key.0, words.1 ^ key.1) ^ UInt64(words.2), key.2 ^ UInt64(words.2) << 32 | 1)
  }

  /// The identity of a user inside this process; with `continuing` the first hash, 64 more bits of it.
  func hash(_ passkey: Passkey, continuing: UInt64 = 0) -> UInt64 {
    passkey.withBytes { bytes in
      var state = key.3 ^ UInt64(bytes.count) ^ continuing
      var offset = 0
      while offset < bytes.count {
        var chunk: (UInt64, UInt64) = (0, 0)
        let length = min(16, bytes.count - offset)
        withUnsafeMutableBytes(of: &chunk) {
          $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + length]))
        }
        state = Self.fold(chunk.0 ^ key.0 ^ state, chunk.1 ^ key.1)
        offset += 16
      }
      return Self.fold(state ^ key.2, key.3 | 1)
    }
  }
}
