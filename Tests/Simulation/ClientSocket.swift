// ClientSocket: a blocking client socket with a timeout. One thread at a time.

import CLinux
import Glibc
import Linux
import Wire

/// Where something listens on this machine.
public struct LoopbackEndpoint: Hashable, Sendable {
  public var address: IPAddress
  public var port: UInt16
  public init(_ address: IPAddress, port: UInt16) {
    self.address = address
    self.port = port
  }
  public static func v4(_ port: UInt16) -> LoopbackEndpoint { LoopbackEndpoint(IPAddress("127.0.0.1")!, port: port) }
  public static func v6(_ port: UInt16) -> LoopbackEndpoint { LoopbackEndpoint(IPAddress("::1")!, port: port) }

  /// Whether this machine has ::1.
  public static let hasIPv6 = (try? ClientSocket(.v6(9), udp: true)) != nil

  /// `host:port` as a URL wants it.
  public var authority: String { address.family == .v4 ? "\(address):\(port)" : "[\(address)]:\(port)" }

  /// Calls `body` with the socket address.
  public func withSocketAddress<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    var storage = sockaddr_in6()
    return withUnsafeMutableBytes(of: &storage) { bytes in
      if address.family == .v4 {
        var v4 = sockaddr_in()
        v4.sin_family = sa_family_t(AF_INET)
        v4.sin_port = port.bigEndian
        address.store(to: &v4.sin_addr)
        bytes.storeBytes(of: v4, as: sockaddr_in.self)
      } else {
        var v6 = sockaddr_in6()
        v6.sin6_family = sa_family_t(AF_INET6)
        v6.sin6_port = port.bigEndian
        address.store(to: &v6.sin6_addr)
        bytes.storeBytes(of: v6, as: sockaddr_in6.self)
      }
      let length = address.family == .v4 ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
      return body(bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(length))
    }
  }
}

/// A connected socket. Closed when the value goes away.
public struct ClientSocket: ~Copyable {
  private let descriptor: FileDescriptor

  /// Connects; every read and write fails after `timeoutMilliseconds`. `source`: the address it comes from, such as another
  /// loopback address.
  public init(
    _ endpoint: LoopbackEndpoint, udp: Bool, from source: IPAddress? = nil, timeoutMilliseconds: Int = 10_000
  ) throws(HarnessError) {
    descriptor = try Self.connected(to: endpoint, udp: udp, from: source)
    setTimeout(milliseconds: timeoutMilliseconds)
  }

  private static func connected(
    to endpoint: LoopbackEndpoint, udp: Bool, from source: IPAddress?
  ) throws(HarnessError) -> FileDescriptor {
    let kind = udp ? SOCK_DGRAM : SOCK_STREAM
    let family = endpoint.address.family == .v4 ? AF_INET : AF_INET6
    let number = socket(family, Int32(kind.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw HarnessError("socket: \(String(cString: strerror(errno)))") }
    let isBound = source.map { LoopbackEndpoint($0, port: 0).withSocketAddress { bind(number, $0, $1) == 0 } } ?? true
    let code = endpoint.withSocketAddress { address, length in
      isBound && connect(number, address, length) == 0 ? 0 : errno
    }
    guard code == 0 else {
      close(number)
      throw HarnessError("connect \(endpoint.authority): \(String(cString: strerror(code)))")
    }
    return FileDescriptor(owning: number)
  }

  public func setTimeout(milliseconds: Int) {
    var time = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor.number, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  /// Makes the close a reset (RST) instead of an orderly end: what the other side has not read is lost.
  public func resetAtClose() {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor.number, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  public func send(_ bytes: [UInt8]) throws(HarnessError) {
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes { rest in
        retryingInterrupts {
          Glibc.send(descriptor.number, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
        }
      }
      guard count >= 0 else { throw HarnessError("send: \(String(cString: strerror(errno)))") }
      sent += count
    }
  }

  /// What one receive brings (UDP: a datagram); empty at the end of a stream, nil on timeout.
  public func receive(atMost limit: Int = 65536) throws(HarnessError) -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: limit)
    let count = retryingInterrupts { recv(descriptor.number, &buffer, limit, 0) }
    if count >= 0 { return Array(buffer[..<count]) }
    if errno == EAGAIN { return nil }
    throw HarnessError("receive: \(String(cString: strerror(errno)))")
  }
}
