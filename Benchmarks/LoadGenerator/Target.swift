// Target: the address of the tracker under test, and sockets connected to it. Used by both load loops.

import CLinux
import Glibc

/// A system call that failed.
struct LoadError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
  /// With the text of errno.
  init(call: String) { description = "\(call): \(String(cString: strerror(errno)))" }
}

/// Where the tracker listens.
struct Target {
  private var v4 = sockaddr_in()
  private var v6 = sockaddr_in6()
  let isV6: Bool
  /// IP_BIND_ADDRESS_NO_PORT (ip(7)), which Glibc's module lacks.
  private static let bindAddressNoPort: Int32 = 24
  /// The sockets take source addresses of their own: the tracker is on 127.0.0.0/8.
  private let isLoopback: Bool

  init(host: String, port: UInt16) throws(LoadError) {
    isV6 = host.utf8.contains(UInt8(ascii: ":"))
    isLoopback = host.hasPrefix("127.")
    if isV6 {
      v6.sin6_family = sa_family_t(AF_INET6)
      v6.sin6_port = port.bigEndian
      guard inet_pton(AF_INET6, host, &v6.sin6_addr) == 1 else { throw LoadError("\(host): not an address") }
    } else {
      v4.sin_family = sa_family_t(AF_INET)
      v4.sin_port = port.bigEndian
      guard inet_pton(AF_INET, host, &v4.sin_addr) == 1 else { throw LoadError("\(host): not an address") }
    }
  }

  /// A non-blocking socket, bound to the `index`th address from 127.0.0.2 on.
  func socket(type: __socket_type, index: Int) throws(LoadError) -> Int32 {
    let kind = Int32(type.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = Glibc.socket(isV6 ? AF_INET6 : AF_INET, kind, 0)
    guard descriptor >= 0 else { throw LoadError(call: "socket") }
    guard isLoopback else { return descriptor }
    if type == SOCK_STREAM {
      // ip(7): the port is chosen by connect, which knows the other end, so that ports do not run out.
      Self.set(descriptor, Int32(IPPROTO_IP), Self.bindAddressNoPort, 1)
    }
    var source = sockaddr_in()
    source.sin_family = sa_family_t(AF_INET)
    source.sin_addr.s_addr = (0x7f00_0002 + UInt32(index)).bigEndian
    let bound = withUnsafeBytes(of: &source) {
      bind(descriptor, $0.bindMemory(to: sockaddr.self).baseAddress, socklen_t($0.count))
    }
    guard bound == 0 else {
      close(descriptor)
      throw LoadError(call: "bind")
    }
    return descriptor
  }

  /// connect(2); 0 or an errno value.
  func connect(_ descriptor: Int32) -> Int32 {
    let result =
      isV6
      ? withUnsafeBytes(of: v6) {
        Glibc.connect(descriptor, $0.bindMemory(to: sockaddr.self).baseAddress, socklen_t($0.count))
      }
      : withUnsafeBytes(of: v4) {
        Glibc.connect(descriptor, $0.bindMemory(to: sockaddr.self).baseAddress, socklen_t($0.count))
      }
    return result == 0 ? 0 : errno
  }

  /// Resets a TCP connection and makes its socket one that can connect again (connect(2), AF_UNSPEC). The address it is
  /// bound to stays; the port is chosen anew.
  func disconnect(_ descriptor: Int32) {
    var nowhere = sockaddr()
    nowhere.sa_family = sa_family_t(AF_UNSPEC)
    Glibc.connect(descriptor, &nowhere, socklen_t(MemoryLayout<sockaddr>.size))
  }

  /// setsockopt(2) with a number.
  static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
    withUnsafePointer(to: value) {
      _ = setsockopt(descriptor, level, option, $0, socklen_t(MemoryLayout<Int32>.size))
    }
  }
}
