// HostNetwork: what counts as one host where limits are by address. Pure; fit for the announce path.

/// An IPv4 address, or the IPv6 network of 2^64 addresses that one subscriber has at least (RFC 6177).
public struct HostNetwork: Hashable, Sendable, CustomStringConvertible {
  /// The address, or the first of the network.
  private let address: IPAddress

  public init(of address: IPAddress) {
    self.address = address.family == .v4 ? address : IPAddress(family: .v6, high: address.high, low: 0)
  }

  public var description: String { address.family == .v4 ? "\(address)" : "\(address)/64" }
}
