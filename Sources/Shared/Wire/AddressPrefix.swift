// AddressPrefix: a CIDR block, such as the addresses of trusted proxies. Pure; `contains` is fit for the announce path.

/// An IPv4 or IPv6 prefix (RFC 4632, RFC 4291 section 2.3); one address is a prefix of full length.
public struct AddressPrefix: Hashable, Sendable, CustomStringConvertible {
  /// The first address; bits behind `length` are zero.
  public let address: IPAddress
  /// 0...32 for IPv4, 0...128 for IPv6.
  public let length: Int
  @usableFromInline let mask: (high: UInt64, low: UInt64)

  /// `10.0.0.0/8`, `2001:db8::/32`, `::1`; nil for anything else, also when bits behind the length are set.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let address = IPAddress(parts[0]) else { return nil }
    // The mapped form ::ffff:0:0/96 became IPv4: its length would count other bits.
    if address.family == .v4 && parts[0].contains(":") && parts.count == 2 { return nil }
    let bits = address.byteCount * 8
    var length = bits
    if parts.count == 2 {
      guard let number = Int(parts[1]), (0...bits).contains(number), String(number) == parts[1] else { return nil }
      length = number
    }
    self.address = address
    self.length = length
    // IPAddress keeps network order: masks are made in host order and swapped.
    func ones(_ count: Int) -> UInt64 { count <= 0 ? 0 : count >= 64 ? .max : ~(UInt64.max >> UInt64(count)) }
    mask =
      address.family == .v4
      ? (0, UInt64(UInt32(truncatingIfNeeded: ones(length) >> 32).bigEndian))
      : (ones(length).bigEndian, ones(length - 64).bigEndian)
    guard address.high & ~mask.high == 0, address.low & ~mask.low == 0 else { return nil }
  }

  /// Whether the address lies in the prefix; never across families.
  @inlinable
  public func contains(_ other: IPAddress) -> Bool {
    other.family == address.family && other.high & mask.high == address.high && other.low & mask.low == address.low
  }

  public static func == (left: AddressPrefix, right: AddressPrefix) -> Bool {
    left.address == right.address && left.length == right.length
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(address)
    hasher.combine(length)
  }

  public var description: String { "\(address)/\(length)" }
}
