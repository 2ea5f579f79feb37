// InheritedSockets: sockets that a service manager bound and handed over (sd_listen_fds(3)): descriptors from 3 on, told
// by LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES. Taken once by the daemon at start; each socket then goes to a worker.

import CLinux
import Glibc

/// What was handed over. Takes ownership of the descriptors; what is not asked for is closed.
public final class InheritedSockets {
  /// What a socket is for: its type, or the name `metrics` (FileDescriptorName=).
  public enum Purpose: String, Sendable {
    case http, udp, metrics
  }

  private struct Socket {
    let handle: Int32
    let address: SocketAddress
    let purpose: Purpose
  }

  /// SD_LISTEN_FDS_START.
  private static let firstDescriptor: Int32 = 3
  /// More than any unit lists; a larger number is a mistake in the environment.
  static let maximumSockets: Int32 = 256

  private var sockets: [Socket] = []

  /// Reads the environment; empty when nothing was handed to this process. Throws when a descriptor is nothing a tracker
  /// can serve, with the name of the call that told.
  public init(environment: [String: String]) throws(SystemError) {
    guard environment["LISTEN_PID"] == "\(getpid())", let text = environment["LISTEN_FDS"] else { return }
    guard let count = Int32(text), count >= 0, count <= Self.maximumSockets else {
      throw SystemError("LISTEN_FDS", subject: text, code: EINVAL)
    }
    let names = (environment["LISTEN_FDNAMES"] ?? "").split(separator: ":", omittingEmptySubsequences: false)
    for index in 0..<Int(count) {
      let number = Self.firstDescriptor + Int32(index)
      sockets.append(try Self.inspect(number, name: index < names.count ? String(names[index]) : ""))
    }
  }

  deinit { for socket in sockets { close(socket.handle) } }

  private static func inspect(_ number: Int32, name: String) throws(SystemError) -> Socket {
    guard fcntl(number, F_SETFD, FD_CLOEXEC) == 0, clinux_set_nonblocking(number) == 0 else {
      throw SystemError("fcntl", subject: "inherited descriptor \(number)")
    }
    let subject = "inherited socket \(number)" + (name.isEmpty ? "" : " (\(name))")
    let type = try option(number, SOL_SOCKET, SO_TYPE, subject)
    guard let address = boundAddress(number) else {
      throw SystemError("getsockname", subject: subject, code: EAFNOSUPPORT)
    }
    if case .host(let ip, _) = address, ip.family == .v6, ip.isUnspecified,
      try option(number, Int32(IPPROTO_IPV6), IPV6_V6ONLY, subject) == 0
    {
      // IPv4 peers would come as ::ffff:a.b.c.d and be taken for IPv6 peers.
      throw SystemError("BindIPv6Only=ipv6-only is missing for the", subject: subject, code: EAFNOSUPPORT)
    }
    let isDatagram = type == Int32(SOCK_DGRAM.rawValue)
    guard isDatagram || type == Int32(SOCK_STREAM.rawValue) else {
      throw SystemError("SO_TYPE", subject: subject, code: EPROTOTYPE)
    }
    if !isDatagram {
      guard try option(number, SOL_SOCKET, SO_ACCEPTCONN, subject) != 0 else {
        throw SystemError("SO_ACCEPTCONN", subject: subject, code: ENOTCONN)
      }
      if case .host = address { try BoundSockets.set(number, Int32(IPPROTO_TCP), TCP_NODELAY, 1, subject) }
    }
    let purpose: Purpose = isDatagram ? .udp : name == Purpose.metrics.rawValue ? .metrics : .http
    return Socket(handle: number, address: address, purpose: purpose)
  }

  private static func option(_ number: Int32, _ level: Int32, _ name: Int32, _ subject: String) throws(SystemError)
    -> Int32
  {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(number, level, name, &value, &length) == 0 else {
      throw SystemError("getsockopt", subject: subject)
    }
    return value
  }

  /// What a descriptor is bound to.
  private static func boundAddress(_ number: Int32) -> SocketAddress? {
    if let endpoint = Endpoint.ofBound(number) { return .host(endpoint.address, port: endpoint.port) }
    return UnixSocketName(ofBound: number).map { .unix(path: $0.path) }
  }

  /// Whether sockets for a purpose were handed over: then the configured address is not opened.
  public func has(_ purpose: Purpose) -> Bool { sockets.contains { $0.purpose == purpose } }

  /// The listeners for each of `workers` threads (the outer array), out of this object's hands.
  public func takeListeners(_ purpose: Purpose, workers: Int) throws(SystemError) -> [[Listener]] {
    try take(purpose, workers) { (handle, address) in Listener(inherited: handle, address: address) }
  }

  /// The datagram sockets for each of `workers` threads.
  public func takeUDP(workers: Int) throws(SystemError) -> [[UDPSocket]] {
    try take(.udp, workers) { (handle, address) throws(SystemError) in
      guard case .host(let ip, let port) = address else { return nil }
      return try UDPSocket(inherited: handle, endpoint: Endpoint(address: ip, port: port))
    }
  }

  /// Each socket goes to one worker; sockets of one address are dealt out in turn, and a worker that gets none of an
  /// address gets a duplicate, so that every worker takes its part of the load.
  private func take<Value>(
    _ purpose: Purpose, _ workers: Int, _ make: (consuming FileDescriptor, SocketAddress) throws(SystemError) -> Value?
  ) throws(SystemError) -> [[Value]] {
    let chosen = sockets.filter { $0.purpose == purpose }
    sockets.removeAll { $0.purpose == purpose }
    var sets: [[Value]] = Array(repeating: [], count: max(1, workers))
    var byAddress: [SocketAddress: [Int32]] = [:]
    for socket in chosen { byAddress[socket.address, default: []].append(socket.handle) }
    for (address, handles) in byAddress {
      for index in 0..<max(sets.count, handles.count) {
        let isOriginal = index < handles.count
        let number = isOriginal ? handles[index] : fcntl(handles[index % handles.count], F_DUPFD_CLOEXEC, 0)
        guard number >= 0 else { throw SystemError("fcntl", subject: address.description) }
        if let value = try make(FileDescriptor(owning: number), address) { sets[index % sets.count].append(value) }
      }
    }
    return sets
  }
}
