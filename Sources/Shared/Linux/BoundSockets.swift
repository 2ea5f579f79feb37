// BoundSockets: how TCP and UDP sockets are bound, for Listener and UDPSocket: families, port sharing among workers,
// and port 0. Called by the daemon at start.

import CLinux
import Glibc
import Wire

enum BoundSockets {
  enum Kind {
    case tcp, udp
    var type: __socket_type { self == .tcp ? SOCK_STREAM : SOCK_DGRAM }
  }

  /// A connection is handed over when its first bytes are there, so that they are read without waiting for an event; one
  /// that stays silent for this long is handed over all the same (tcp(7), TCP_DEFER_ACCEPT) and meets its timeouts.
  private static let deferAcceptSeconds: Int32 = 1

  /// How often a wildcard with port 0 is tried again because the port the kernel chose for IPv4 is taken on IPv6.
  private static let portChoiceAttempts = 16

  /// Binds `address` for each worker and lets `finish` make a `Socket` of each descriptor. Outer array: workers.
  static func open<Socket>(
    _ address: SocketAddress, workers: Int, kind: Kind,
    finish: (consuming FileDescriptor, Endpoint) throws(SystemError) -> Socket
  ) throws(SystemError) -> [[Socket]] {
    switch address {
    case .unix: throw SystemError("bind", subject: address.description, code: EAFNOSUPPORT)
    case .host(let ip, let port):
      return try openAll([Endpoint(address: ip, port: port)], workers, kind, finish)
    case .wildcard(let port):
      let families = [IPAddress.unspecifiedV4, .unspecifiedV6].filter { isSupported($0.family) }
      guard !families.isEmpty else { throw SystemError("socket", subject: address.description, code: EAFNOSUPPORT) }
      if families.count == 1 {
        let missing: IPAddress.Family = families[0].family == .v4 ? .v6 : .v4
        Log.info("address family not available", ["address": address.description, "family": missing.text])
      }
      var attempt = 1
      while true {
        do throws(SystemError) {
          return try openAll(families.map { Endpoint(address: $0, port: port) }, workers, kind, finish)
        } catch {
          guard port == 0, error.code == EADDRINUSE, attempt < portChoiceAttempts else { throw error }
          attempt += 1
        }
      }
    }
  }

  /// All endpoints for all workers. Once the kernel has chosen a port, the rest take the same.
  private static func openAll<Socket>(
    _ endpoints: [Endpoint], _ workers: Int, _ kind: Kind,
    _ finish: (consuming FileDescriptor, Endpoint) throws(SystemError) -> Socket
  ) throws(SystemError) -> [[Socket]] {
    var sets: [[Socket]] = []
    var port = endpoints[0].port
    if workers > 1 && port != 0 { for endpoint in endpoints { try refuseTaken(endpoint, kind) } }
    for _ in 0..<max(1, workers) {
      var set: [Socket] = []
      for endpoint in endpoints {
        let wanted = Endpoint(address: endpoint.address, port: port)
        let handle = try bound(wanted, kind, isShared: workers > 1)
        let actual = Endpoint.ofBound(handle.number) ?? wanted
        port = actual.port
        set.append(try finish(handle, actual))
      }
      sets.append(set)
    }
    return sets
  }

  /// SO_REUSEPORT would let a second tracker of the same user share the port in silence; binding once without it
  /// finds out.
  private static func refuseTaken(_ endpoint: Endpoint, _ kind: Kind) throws(SystemError) {
    _ = try bound(endpoint, kind, isShared: false)
  }

  private static func bound(_ endpoint: Endpoint, _ kind: Kind, isShared: Bool) throws(SystemError) -> FileDescriptor {
    let subject = endpoint.description
    let isV6 = endpoint.address.family == .v6
    let number = socket(isV6 ? AF_INET6 : AF_INET, flags(kind.type), 0)
    guard number >= 0 else { throw SystemError("socket", subject: subject) }
    let handle = FileDescriptor(owning: number)
    // TCP: connections in TIME_WAIT must not prevent a restart. UDP: SO_REUSEADDR would share the port.
    if kind == .tcp { try set(handle.number, SOL_SOCKET, SO_REUSEADDR, 1, subject) }
    if isShared { try set(handle.number, SOL_SOCKET, SO_REUSEPORT, 1, subject) }
    if isV6 { try set(handle.number, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1, subject) }
    // Accepted connections inherit it (tcp(7)): replies are written whole, there is nothing to wait for.
    if kind == .tcp {
      try set(handle.number, Int32(IPPROTO_TCP), TCP_NODELAY, 1, subject)
      try set(handle.number, Int32(IPPROTO_TCP), TCP_DEFER_ACCEPT, deferAcceptSeconds, subject)
    }
    guard endpoint.withSockaddr({ bind(handle.number, $0, $1) }) == 0 else {
      throw SystemError("bind", subject: subject)
    }
    return handle
  }

  static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32, _ subject: String)
    throws(SystemError)
  {
    var value = value
    guard setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size)) == 0 else {
      throw SystemError("setsockopt", subject: subject)
    }
  }

  static func flags(_ type: __socket_type) -> Int32 {
    Int32(type.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
  }

  /// Whether the host can bind addresses of the family: the module may be missing, or IPv6 switched off by sysctl.
  private static func isSupported(_ family: IPAddress.Family) -> Bool {
    let number = socket(family == .v4 ? AF_INET : AF_INET6, flags(SOCK_DGRAM), 0)
    guard number >= 0 else { return false }
    let handle = FileDescriptor(owning: number)
    let any = Endpoint(address: family == .v4 ? .unspecifiedV4 : .unspecifiedV6, port: 0)
    return any.withSockaddr { bind(handle.number, $0, $1) } == 0
  }
}
