// Listener: a listening stream socket, TCP or unix. Opened by the daemon at start, one set per worker thread, each then
// used by its worker only.

import CLinux
import Glibc

/// Owns one listening descriptor (non-blocking); deinit closes it and takes a unix socket's file away.
public final class Listener: Sendable {
  private let handle: FileDescriptor
  /// What it is bound to; port 0 has become the port the kernel chose.
  public let address: SocketAddress
  /// The file to remove at the end; nil for TCP and for all workers' copies but the first.
  private let ownedFile: OwnedSocketFile?

  /// For accept(2) and epoll.
  public var descriptor: Int32 { handle.number }
  /// Whether peers have no IP address.
  public var isUnix: Bool { if case .unix = address { true } else { false } }

  /// Whether a service manager owns the socket and goes on listening when this process has ended.
  private let isInherited: Bool
  /// Whether other threads accept from the same queue.
  public var isShared: Bool { isUnix || isInherited }

  /// Refuses connections from now on, though the descriptor stays open (shutdown(2) of a listening socket). The copies
  /// that workers have of a unix socket stop with it. An inherited socket goes on: its queue is the next process'.
  public func stopListening() { if !isInherited { _ = shutdown(descriptor, Int32(SHUT_RDWR)) } }

  /// Connections the kernel completes ahead of accept(2); it caps this at net.core.somaxconn. 4096 is that cap's
  /// default since Linux 5.4: a reannounce storm after a restart fills less than it.
  public static let backlog: Int32 = 4096
  /// Unix sockets: owner and group, so that the proxy's user gets in by group and no other user does.
  public static let defaultUnixMode: mode_t = 0o660

  /// Opens `address` once for each of `workers` threads: the outer array has one element per worker. A wildcard is two
  /// listeners (IPv4; IPv6 with IPV6_V6ONLY) where the host has both families, and a log line where it lacks one.
  /// Several workers share a TCP port by SO_REUSEPORT, a unix socket by duplicates of one descriptor.
  public static func open(_ address: SocketAddress, workers: Int, unixMode: mode_t = defaultUnixMode)
    throws(SystemError) -> [[Listener]]
  {
    if case .unix(let path) = address { return try openUnix(path, workers: workers, mode: unixMode) }
    return try BoundSockets.open(address, workers: workers, kind: .tcp) { (handle, endpoint) throws(SystemError) in
      guard listen(handle.number, backlog) == 0 else {
        throw SystemError("listen", subject: endpoint.description)
      }
      return Listener(handle: handle, address: .host(endpoint.address, port: endpoint.port), ownedFile: nil)
    }
  }

  /// A socket that was bound and is listening already (InheritedSockets): a unix socket's file stays when this goes.
  convenience init(inherited handle: consuming FileDescriptor, address: SocketAddress) {
    self.init(handle: handle, address: address, ownedFile: nil, isInherited: true)
  }

  private init(
    handle: consuming FileDescriptor, address: SocketAddress, ownedFile: OwnedSocketFile?, isInherited: Bool = false
  ) {
    self.isInherited = isInherited
    self.handle = handle
    self.address = address
    self.ownedFile = ownedFile
  }

  deinit { ownedFile?.remove() }

  private static func openUnix(_ path: String, workers: Int, mode: mode_t) throws(SystemError) -> [[Listener]] {
    let first = try unixSocket(path)
    try OwnedSocketFile.clearStale(path)
    // The mode of the unbound socket becomes the file's (less the umask), so there is no moment at which it is open to
    // others; chmod then gives what the umask took.
    fchmod(first.number, mode)
    guard unixName(path).withSockaddr({ bind(first.number, $0, $1) }) == 0 else {
      throw SystemError("bind", subject: path)
    }
    let file = OwnedSocketFile(path: path)
    guard chmod(path, mode) == 0 else { throw SystemError("chmod", subject: path) }
    guard listen(first.number, backlog) == 0 else { throw SystemError("listen", subject: path) }
    var sets: [[Listener]] = []
    for _ in 1..<max(1, workers) {
      let copy = fcntl(first.number, F_DUPFD_CLOEXEC, 0)
      guard copy >= 0 else { throw SystemError("fcntl", subject: path) }
      sets.append([Listener(handle: FileDescriptor(owning: copy), address: .unix(path: path), ownedFile: nil)])
    }
    sets.insert([Listener(handle: first, address: .unix(path: path), ownedFile: file)], at: 0)
    return sets
  }
}

/// The file of a bound unix socket. Removed by its owner only while it still is the same file.
private struct OwnedSocketFile: Sendable {
  private let path: String
  private let device: dev_t
  private let inode: ino_t

  init(path: String) {
    var status = stat()
    lstat(path, &status)
    self.path = path
    device = status.st_dev
    inode = status.st_ino
  }

  func remove() {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_dev == device, status.st_ino == inode else { return }
    unlink(path)
  }

  /// Removes a socket file without a listener, left by a process that was killed. Refuses when there is a listener, and
  /// when the path is anything but a socket.
  static func clearStale(_ path: String) throws(SystemError) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else { throw SystemError("bind", subject: path, code: EEXIST) }
    let probe = try unixSocket(path)
    let connected = unixName(path).withSockaddr { connect(probe.number, $0, $1) }
    guard connected != 0, errno == ECONNREFUSED || errno == ENOENT else {
      throw SystemError("bind", subject: path, code: EADDRINUSE)
    }
    guard unlink(path) == 0 || errno == ENOENT else { throw SystemError("unlink", subject: path) }
  }
}

private func unixSocket(_ path: String) throws(SystemError) -> FileDescriptor {
  let number = socket(AF_UNIX, BoundSockets.flags(SOCK_STREAM), 0)
  guard number >= 0 else { throw SystemError("socket", subject: path) }
  return FileDescriptor(owning: number)
}

/// The name of a path whose length SocketAddress has checked.
private func unixName(_ path: String) -> UnixSocketName {
  guard let name = UnixSocketName(path: path) else { preconditionFailure("unix socket path too long") }
  return name
}
