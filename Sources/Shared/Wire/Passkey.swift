// Passkey: a user's key, held inline so that the announce path never allocates for it.

import Glibc

/// A user's passkey: 1 to 64 printable ASCII characters without space (sites use 32 or 40 hex digits; 64 leaves room for
/// SHA-256). It is a secret: never log it, never use it as a metric label.
public struct Passkey: Hashable, Sendable {
  /// The longest accepted passkey in bytes: 64 hex digits of a SHA-256, twice what the common sites use.
  public static let maximumLength = 64

  @usableFromInline
  typealias Storage = (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
  @usableFromInline var storage: Storage
  /// The number of bytes, 1...64.
  public let count: Int

  /// Copies the bytes, or nil when they are no passkey.
  @inlinable
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= 1, bytes.count <= Passkey.maximumLength else { return nil }
    for byte in bytes where byte <= 0x20 || byte >= 0x7f { return nil }
    storage = (0, 0, 0, 0, 0, 0, 0, 0)
    count = bytes.count
    withUnsafeMutableBytes(of: &storage) { $0.copyMemory(from: bytes) }
  }

  /// The passkey of a text, or nil when it is none.
  public init?(_ text: some StringProtocol) {
    var copy = String(text)
    guard let passkey = copy.withUTF8({ Passkey(UnsafeRawBufferPointer($0)) }) else { return nil }
    self = passkey
  }

  /// Calls `body` with the bytes; they are not valid after it.
  @inlinable
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try withUnsafeBytes(of: storage) { try body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
  }

  /// The text, for code off the announce path (Redis keys, stream entries).
  public var text: String { withBytes { String(decoding: $0, as: UTF8.self) } }

  @inlinable
  public static func == (left: Passkey, right: Passkey) -> Bool {
    // Unused bytes are zero, so the words may be compared whole.
    left.count == right.count && left.storage.0 == right.storage.0 && left.storage.1 == right.storage.1
      && left.storage.2 == right.storage.2 && left.storage.3 == right.storage.3 && left.storage.4 == right.storage.4
      && left.storage.5 == right.storage.5 && left.storage.6 == right.storage.6 && left.storage.7 == right.storage.7
  }

  @inlinable
  public func hash(into hasher: inout Hasher) { withBytes { hasher.combine(bytes: $0) } }
}
