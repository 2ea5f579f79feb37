// IPAddress: an IPv4 or IPv6 address as a value of 17 bytes, in network byte order. No allocation but for its text.

import CLinux
import Glibc

/// An address without port. IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2) become IPv4 on the way in.
public struct IPAddress: Hashable, Sendable, CustomStringConvertible {
  /// The family, as the traffic stream names it.
  public enum Family: UInt8, Sendable {
    case v4 = 4
    case v6 = 6
    /// `IPv4` or `IPv6`.
    public var text: String { self == .v4 ? "IPv4" : "IPv6" }
  }

  /// IPv6: the first and last eight bytes as they lie in memory. IPv4: `low`'s first four bytes in memory, rest zero.
  @usableFromInline let high: UInt64
  @usableFromInline let low: UInt64
  /// The last: what follows an address in a value may use the seven bytes behind it.
  public let family: Family

  /// The four bytes of an IPv4 address as they lie in memory (network order, `in_addr.s_addr`).
  @inlinable
  public init(v4 networkOrder: UInt32) {
    family = .v4
    high = 0
    low = UInt64(networkOrder)
  }

  /// Sixteen bytes in network order; the pointer need not be aligned.
  @inlinable
  public init(v6 bytes: UnsafeRawPointer) {
    let high = bytes.loadUnaligned(as: UInt64.self)
    let low = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    // ::ffff:a.b.c.d
    if high == 0 && UInt32(truncatingIfNeeded: low) == UInt32(0xffff).bigEndian {
      self.init(v4: UInt32(truncatingIfNeeded: low >> 32))
    } else {
      self.init(family: .v6, high: high, low: low)
    }
  }

  @usableFromInline
  init(family: Family, high: UInt64, low: UInt64) {
    self.family = family
    self.high = high
    self.low = low
  }

  /// Dotted or colon form as inet_pton(3) takes it, or nil.
  public init?(_ text: some StringProtocol) {
    let text = String(text)
    var v4 = in_addr()
    var v6 = in6_addr()
    if inet_pton(AF_INET, text, &v4) == 1 {
      self.init(v4: v4.s_addr)
    } else if inet_pton(AF_INET6, text, &v6) == 1 {
      self = withUnsafeBytes(of: &v6) { IPAddress(v6: $0.baseAddress!) }
    } else {
      return nil
    }
  }

  /// The same from bytes, without allocation.
  public init?(ascii text: UnsafeRawBufferPointer) {
    // INET6_ADDRSTRLEN counts the final zero.
    guard !text.isEmpty, text.count < Int(INET6_ADDRSTRLEN), !text.contains(0) else { return nil }
    let parsed: IPAddress? = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { buffer in
      memcpy(buffer.baseAddress!, text.baseAddress!, text.count)
      buffer[text.count] = 0
      var v4 = in_addr()
      if inet_pton(AF_INET, buffer.baseAddress!, &v4) == 1 { return IPAddress(v4: v4.s_addr) }
      var v6 = in6_addr()
      guard inet_pton(AF_INET6, buffer.baseAddress!, &v6) == 1 else { return nil }
      return withUnsafeBytes(of: &v6) { IPAddress(v6: $0.baseAddress!) }
    }
    guard let parsed else { return nil }
    self = parsed
  }

  /// IPv4 only: the four bytes as they lie in memory.
  @inlinable public var v4NetworkOrder: UInt32 { UInt32(truncatingIfNeeded: low) }

  /// How many bytes `store` writes: 4 or 16.
  @inlinable public var byteCount: Int { family == .v4 ? 4 : 16 }

  /// Writes the 4 or 16 bytes in network order.
  @inlinable
  public func store(to target: UnsafeMutableRawPointer) {
    if family == .v4 {
      target.storeBytes(of: v4NetworkOrder, as: UInt32.self)
    } else {
      target.storeBytes(of: high, as: UInt64.self)
      target.storeBytes(of: low, toByteOffset: 8, as: UInt64.self)
    }
  }

  /// The text form of inet_ntop(3).
  public var description: String {
    withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { bytes in
      store(to: bytes.baseAddress!)
      return withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
        _ = inet_ntop(
          family == .v4 ? AF_INET : AF_INET6, bytes.baseAddress!, text.baseAddress!, socklen_t(INET6_ADDRSTRLEN))
        return String(cString: text.baseAddress!)
      }
    }
  }
}

extension IPAddress {
  /// 127.0.0.1.
  public static let loopbackV4 = IPAddress(v4: UInt32(0x7f00_0001).bigEndian)
  /// 0.0.0.0.
  public static let unspecifiedV4 = IPAddress(v4: 0)
  /// `::`.
  public static let unspecifiedV6 = IPAddress(family: .v6, high: 0, low: 0)
  /// Whether it is 0.0.0.0 or `::`, which stand for no address (RFC 1122, RFC 4291 section 2.5.2).
  @inlinable public var isUnspecified: Bool { high == 0 && low == 0 }
}
