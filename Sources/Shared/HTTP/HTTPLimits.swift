// HTTPLimits: what one HTTP listener allows its clients. A plain value.

import Linux
import Wire

/// The limits of an HTTPServer that an operator may set. The sizes of requests are constants of HTTPRequestParser.
public struct HTTPLimits: Sendable {
  /// From the first byte of a request (or from accept) until it is complete; a client that sends a byte now and then
  /// does not extend it.
  public var readTimeoutNanoseconds: UInt64
  /// From the moment the kernel's send buffer is full until all that is owed to the client is taken; not extended by
  /// progress either.
  public var writeTimeoutNanoseconds: UInt64
  /// How long a persistent connection may wait for its next request.
  public var idleTimeoutNanoseconds: UInt64
  /// Whether connections persist at all; without it every reply says `Connection: close`.
  public var keepsAlive: Bool
  /// Connections of one server (one worker). For further ones those that have waited longest are closed, see
  /// HTTPEviction; where none may be, the new one is.
  public var maximumConnections: Int
  /// The same for one HostNetwork; 0: no limit but the other.
  public var maximumPerAddress: Int
  /// Proxies: many clients speak from these addresses, and `maximumPerAddress` is not for them. Neither is it for a unix
  /// socket's peers.
  public var proxies: [AddressPrefix]

  /// 20,000 per worker: twice the 10,000 idle keep-alive connections the tracker is measured with.
  public static let defaultMaximumConnections = 20_000

  /// Replies to pipelined requests that are gathered before they are sent; parsing goes on when they are.
  public static let pipelinedOutputBytes = 65536

  public init(
    readTimeoutNanoseconds: UInt64 = 5_000_000_000, writeTimeoutNanoseconds: UInt64 = 5_000_000_000,
    idleTimeoutNanoseconds: UInt64 = 30_000_000_000, keepsAlive: Bool = true,
    maximumConnections: Int = defaultMaximumConnections, maximumPerAddress: Int = 0, proxies: [AddressPrefix] = []
  ) {
    self.readTimeoutNanoseconds = readTimeoutNanoseconds
    self.writeTimeoutNanoseconds = writeTimeoutNanoseconds
    self.idleTimeoutNanoseconds = idleTimeoutNanoseconds
    self.keepsAlive = keepsAlive
    self.maximumConnections = maximumConnections
    self.maximumPerAddress = maximumPerAddress
    self.proxies = proxies
  }

  /// What a connection from `peer` is counted under; nil when it is not.
  func network(of peer: Endpoint?) -> HostNetwork? {
    guard maximumPerAddress > 0, let peer, !proxies.contains(where: { $0.contains(peer.address) }) else { return nil }
    return HostNetwork(of: peer.address)
  }
}
