// Bytes20: the fixed 20-byte identifiers of BitTorrent (BEP 3): info hashes and peer ids. Values, no allocation.

/// Twenty raw bytes held in registers' worth of integers, compared and hashed without a loop.
public protocol Bytes20: Hashable, Sendable, CustomStringConvertible {
  /// The bytes as they lie in memory: two 8-byte words and one 4-byte word, native order.
  var words: (UInt64, UInt64, UInt32) { get }
  init(words: (UInt64, UInt64, UInt32))
}

extension Bytes20 {
  /// How many bytes one holds.
  @inlinable public static var byteCount: Int { 20 }

  /// Reads 20 bytes; the pointer need not be aligned.
  @inlinable
  public init(_ bytes: UnsafeRawPointer) {
    self.init(
      words: (
        bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
        bytes.loadUnaligned(fromByteOffset: 16, as: UInt32.self)
      ))
  }

  /// Exactly 40 hex digits of either case, or nil.
  public init?(hex: some StringProtocol) {
    let digits = Array(hex.utf8)
    guard let bytes = Hex.decode(digits), bytes.count == Self.byteCount else { return nil }
    self = bytes.withUnsafeBytes { Self($0.baseAddress!) }
  }

  /// Writes the 20 bytes; the pointer need not be aligned.
  @inlinable
  public func store(to target: UnsafeMutableRawPointer) {
    target.storeBytes(of: words.0, as: UInt64.self)
    target.storeBytes(of: words.1, toByteOffset: 8, as: UInt64.self)
    target.storeBytes(of: words.2, toByteOffset: 16, as: UInt32.self)
  }

  /// The bytes as an array, for code off the hot path.
  public var bytes: [UInt8] {
    [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
      store(to: UnsafeMutableRawPointer(buffer.baseAddress!))
      count = Self.byteCount
    }
  }

  /// 40 lower-case hex digits.
  public var hex: String { Hex.encode(bytes) }
  public var description: String { hex }
}

/// A torrent's info hash (BEP 3; the truncated form of BEP 52 for v2 torrents).
public struct InfoHash: Bytes20 {
  public let words: (UInt64, UInt64, UInt32)
  @inlinable public init(words: (UInt64, UInt64, UInt32)) { self.words = words }
  @inlinable public static func == (left: InfoHash, right: InfoHash) -> Bool { left.words == right.words }
  @inlinable public func hash(into hasher: inout Hasher) {
    hasher.combine(words.0)
    hasher.combine(words.1)
    hasher.combine(words.2)
  }
}

/// A client's peer id (BEP 3, BEP 20).
public struct PeerID: Bytes20 {
  public let words: (UInt64, UInt64, UInt32)
  @inlinable public init(words: (UInt64, UInt64, UInt32)) { self.words = words }
  @inlinable public static func == (left: PeerID, right: PeerID) -> Bool { left.words == right.words }
  @inlinable public func hash(into hasher: inout Hasher) {
    hasher.combine(words.0)
    hasher.combine(words.1)
    hasher.combine(words.2)
  }
}

/// Hexadecimal text. Pure.
public enum Hex {
  /// Lower-case digits.
  public static func encode(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// The bytes of an even number of digits of either case, or nil.
  public static func decode(_ digits: some Collection<UInt8>) -> [UInt8]? {
    guard digits.count.isMultiple(of: 2) else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(digits.count / 2)
    var high: UInt8?
    for digit in digits {
      guard let value = value(of: digit) else { return nil }
      if let left = high {
        bytes.append(left << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    return bytes
  }

  /// The value of one digit, or nil.
  @inlinable
  public static func value(of digit: UInt8) -> UInt8? {
    switch digit {
    case 0x30...0x39: digit - 0x30
    case 0x41...0x46: digit - 0x41 + 10
    case 0x61...0x66: digit - 0x61 + 10
    default: nil
    }
  }
}
