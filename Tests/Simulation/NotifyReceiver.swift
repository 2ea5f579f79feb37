// NotifyReceiver: plays the service manager's end of NOTIFY_SOCKET (sd_notify(3)). One thread at a time.

import CLinux
import Glibc
import Shared

/// A bound datagram socket and everything that came in on it.
public final class NotifyReceiver {
  /// What NOTIFY_SOCKET is set to.
  public let path: String
  private let handle: FileDescriptor
  private var received: [String] = []

  /// Binds in `directory`, or in the abstract namespace.
  public init(in directory: TemporaryDirectory, isAbstract: Bool = false) throws(HarnessError) {
    path = (isAbstract ? "@" : "") + "\(directory.path)/notify"
    let number = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard number >= 0 else { throw HarnessError("socket: \(String(cString: strerror(errno)))") }
    handle = FileDescriptor(owning: number)
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &name.sun_path) { target in
      for (index, byte) in path.utf8.enumerated() { target[index] = byte }
      if isAbstract { target[0] = 0 }
    }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + path.utf8.count)
    let bound = withUnsafeBytes(of: &name) {
      bind(number, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), length)
    }
    guard bound == 0 else { throw HarnessError("bind \(path): \(String(cString: strerror(errno)))") }
  }

  /// The lines of all messages so far, in order.
  public var lines: [String] {
    var buffer = [UInt8](repeating: 0, count: 8192)
    while true {
      let count = recv(handle.number, &buffer, buffer.count, 0)
      guard count > 0 else { return received }
      received += String(decoding: buffer[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
    }
  }

  /// How often a line has come.
  public func count(of line: String) -> Int { lines.count { $0 == line } }
}
