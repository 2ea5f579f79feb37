// UDPSocket: a bound datagram socket. Opened by the daemon at start, one set per worker thread, each then used by its
// worker only (recvmmsg/sendmmsg on `descriptor`; `Endpoint(sockaddr:)` reads the senders).

import CLinux
import Glibc

/// Owns one bound datagram descriptor (non-blocking); deinit closes it.
public final class UDPSocket: Sendable {
  private let handle: FileDescriptor
  /// What it is bound to; port 0 has become the port the kernel chose.
  public let endpoint: Endpoint

  /// For recvmmsg(2), sendmmsg(2) and epoll.
  public var descriptor: Int32 { handle.number }

  /// What is asked of the kernel for received and for outgoing datagrams: 4 MB hold about 10,000 announces, a quarter
  /// of a second at 40,000/s. The kernel silently caps it at net.core.rmem_max and wmem_max.
  public static let defaultBufferBytes: Int32 = 4 << 20

  /// Opens `address` once for each of `workers` threads: the outer array has one element per worker, the inner one
  /// socket per family. See `Listener.open` for wildcards. A unix address is refused with EAFNOSUPPORT.
  public static func open(_ address: SocketAddress, workers: Int, bufferBytes: Int32 = defaultBufferBytes)
    throws(SystemError) -> [[UDPSocket]]
  {
    try BoundSockets.open(address, workers: workers, kind: .udp) { (handle, endpoint) throws(SystemError) in
      try BoundSockets.set(handle.number, SOL_SOCKET, SO_RCVBUF, bufferBytes, endpoint.description)
      try BoundSockets.set(handle.number, SOL_SOCKET, SO_SNDBUF, bufferBytes, endpoint.description)
      return UDPSocket(handle: try reportingDestination(handle, endpoint), endpoint: endpoint)
    }
  }

  /// On a wildcard socket every datagram comes with the address it was sent to (`clinux_reply_from`): without, the kernel
  /// chooses the source of a reply, and on a host with several addresses that need not be the one the client asked.
  /// Clients drop replies from strangers.
  private static func reportingDestination(
    _ handle: consuming FileDescriptor, _ endpoint: Endpoint
  ) throws(SystemError) -> FileDescriptor {
    switch endpoint.address {
    case .unspecifiedV4:
      try BoundSockets.set(handle.number, Int32(IPPROTO_IP), IP_PKTINFO, 1, endpoint.description)
    case .unspecifiedV6:
      try BoundSockets.set(handle.number, Int32(IPPROTO_IPV6), IPV6_RECVPKTINFO, 1, endpoint.description)
    default: break
    }
    return handle
  }

  /// A socket that was bound already (InheritedSockets).
  convenience init(inherited handle: consuming FileDescriptor, endpoint: Endpoint) throws(SystemError) {
    self.init(handle: try Self.reportingDestination(handle, endpoint), endpoint: endpoint)
  }

  private init(handle: consuming FileDescriptor, endpoint: Endpoint) {
    self.handle = handle
    self.endpoint = endpoint
  }
}
