// SocketAddress: where a daemon listens, as operators write it, and Endpoint: one IP address with a port, as the kernel
// hands it over. Pure values; any thread.

import CLinux
import Glibc
import Wire

/// Why a text is no listening address.
public enum SocketAddressError: Error, Equatable, Sendable, CustomStringConvertible {
  case missingPort(String)
  case invalidPort(String)
  case invalidHost(String)
  case invalidUnixPath(String)

  public var description: String {
    switch self {
    case .missingPort(let text):
      "\"\(text)\" has no port; expected host:port, :port, [v6]:port or unix:/path"
    case .invalidPort(let text): "\"\(text)\": the port must be a number from 0 to 65535"
    case .invalidHost(let text):
      "\"\(text)\": the host must be an IP address (IPv6 in brackets), \"localhost\" or empty; names are not resolved"
    case .invalidUnixPath(let text):
      "\"\(text)\": expected unix: and an absolute path of at most \(UnixSocketName.maximumPathBytes) bytes"
    }
  }
}

/// A listening address.
public enum SocketAddress: Hashable, Sendable, CustomStringConvertible {
  /// All addresses of the host, IPv4 and IPv6 (two sockets): what Go, and so Chihaya, makes of `:6969`,
  /// `0.0.0.0:6969` and `[::]:6969`.
  case wildcard(port: UInt16)
  /// One address.
  case host(IPAddress, port: UInt16)
  /// A stream socket in the file system.
  case unix(path: String)

  /// sun_path holds 108 bytes with its final zero (unix(7)).
  public static let maximumUnixPathBytes = 107

  /// Parses `host:port`, `:port`, `[v6]:port` or `unix:/path`. Port 0 lets the kernel choose.
  public init(_ text: String) throws(SocketAddressError) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst(5))
      guard path.hasPrefix("/"), path.utf8.count <= UnixSocketName.maximumPathBytes, !path.utf8.contains(0) else {
        throw .invalidUnixPath(text)
      }
      self = .unix(path: path)
      return
    }
    guard let colon = text.lastIndex(of: ":"), !text.hasSuffix("]") else { throw .missingPort(text) }
    let digits = text[text.index(after: colon)...]
    guard !digits.isEmpty else { throw .missingPort(text) }
    guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits) else {
      throw .invalidPort(text)
    }
    var host = text[..<colon]
    let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
    if isBracketed { host = host.dropFirst().dropLast() }
    if host.isEmpty && !isBracketed {
      self = .wildcard(port: port)
    } else if host == "localhost" {
      self = .host(.loopbackV4, port: port)
    } else if let address = IPAddress(host), (address.family == .v6) == isBracketed {
      self = address.isUnspecified ? .wildcard(port: port) : .host(address, port: port)
    } else {
      throw .invalidHost(text)
    }
  }

  /// `:6969`, `127.0.0.1:6969`, `[::1]:6969` or `unix:/path`; parses back to the same value.
  public var description: String {
    switch self {
    case .wildcard(let port): ":\(port)"
    case .host(let address, let port): Endpoint(address: address, port: port).description
    case .unix(let path): "unix:\(path)"
    }
  }

  /// The port, nil for a unix socket.
  public var port: UInt16? {
    switch self {
    case .wildcard(let port), .host(_, let port): port
    case .unix: nil
    }
  }
}

/// An IP address and a port: a peer of a connection, or one concrete address to bind.
public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
  public let address: IPAddress
  public let port: UInt16

  @inlinable
  public init(address: IPAddress, port: UInt16) {
    self.address = address
    self.port = port
  }

  /// Reads what recvmsg(2), accept(2) or getsockname(2) left; nil when the family is neither AF_INET nor AF_INET6.
  ///
  /// | offset | sockaddr_in | sockaddr_in6 |
  /// |---|---|---|
  /// | 0 | family, 2 bytes native | the same |
  /// | 2 | port, network order | the same |
  /// | 4 | 4 bytes address | 4 bytes flow information |
  /// | 8 | | 16 bytes address |
  @inlinable
  public init?(sockaddr bytes: UnsafeRawPointer) {
    let family = Int32(bytes.loadUnaligned(as: sa_family_t.self))
    let port = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    if family == AF_INET {
      self.init(address: IPAddress(v4: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)), port: port)
    } else if family == AF_INET6 {
      self.init(address: IPAddress(v6: bytes + 8), port: port)
    } else {
      return nil
    }
  }

  /// Calls `body` with the sockaddr_in or sockaddr_in6; it is not valid after.
  public func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    var storage = sockaddr_storage()
    return withUnsafeMutableBytes(of: &storage) { bytes in
      let base = bytes.baseAddress!
      let isV4 = address.family == .v4
      base.storeBytes(of: sa_family_t(isV4 ? AF_INET : AF_INET6), as: sa_family_t.self)
      base.storeBytes(of: port.bigEndian, toByteOffset: 2, as: UInt16.self)
      address.store(to: base + (isV4 ? 4 : 8))
      let length = isV4 ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
      return body(UnsafeRawPointer(base).assumingMemoryBound(to: sockaddr.self), socklen_t(length))
    }
  }

  /// The endpoint a bound descriptor has: what port 0 became.
  static func ofBound(_ descriptor: Int32) -> Endpoint? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutableBytes(of: &storage) { bytes in
      let name = bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
      return getsockname(descriptor, name, &length) == 0 ? Endpoint(sockaddr: bytes.baseAddress!) : nil
    }
  }

  public var description: String { address.family == .v4 ? "\(address):\(port)" : "[\(address)]:\(port)" }
}
