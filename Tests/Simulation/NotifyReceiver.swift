// NotifyReceiver: plays the service manager's end of NOTIFY_SOCKET (sd_notify(3)): a thread of its own takes every message
// at once, as systemd does; a socket that is not read is full after ten.

import CLinux
import Glibc
import Linux
import Synchronization

/// A bound datagram socket and everything that came in on it.
public final class NotifyReceiver: Sendable {
  /// What NOTIFY_SOCKET is set to.
  public let path: String
  private let received: Received
  private let thread: Mutex<NamedThread?>

  private final class Received: Sendable {
    let lines = Mutex<[String]>([])
    let isDone = Atomic<Bool>(false)
  }

  /// Binds in `directory`, or in the abstract namespace.
  public init(in directory: TemporaryDirectory, isAbstract: Bool = false) throws {
    let path = (isAbstract ? "@" : "") + "\(directory.path)/notify"
    self.path = path
    let number = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw HarnessError("socket: \(String(cString: strerror(errno)))") }
    let handle = FileDescriptor(owning: number)
    // The pause between two looks at `isDone`.
    var timeout = timeval(tv_sec: 0, tv_usec: 20_000)
    setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
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
    let received = Received()
    self.received = received
    let descriptor = handle.release()
    thread = Mutex(
      try NamedThread(name: "notify") {
        let handle = FileDescriptor(owning: descriptor)
        var buffer = [UInt8](repeating: 0, count: 8192)
        while !received.isDone.load(ordering: .relaxed) {
          let count = recv(handle.number, &buffer, buffer.count, 0)
          guard count > 0 else { continue }
          let lines = String(decoding: buffer[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
          received.lines.withLock { $0 += lines }
        }
      })
  }

  deinit {
    received.isDone.store(true, ordering: .relaxed)
    let running = thread.withLock { $0.take() }
    running?.join()
  }

  /// The lines of all messages so far, in order.
  public var lines: [String] { received.lines.withLock { $0 } }

  /// How often a line has come.
  public func count(of line: String) -> Int { lines.count { $0 == line } }
}
