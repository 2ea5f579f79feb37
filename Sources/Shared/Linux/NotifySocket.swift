// NotifySocket: the datagram socket on which a service manager hears how a daemon is (sd_notify(3)), written by ourselves:
// one datagram of `KEY=value` lines. Main thread.

import CLinux
import Glibc

/// The service manager's end, when there is one.
public final class NotifySocket {
  private let handle: FileDescriptor
  private let name: UnixSocketName
  /// What `WATCHDOG_USEC` asks for, nanoseconds: the manager ends a daemon that is silent for longer. Nil: no watchdog.
  public let watchdogNanoseconds: UInt64?

  /// From `NOTIFY_SOCKET` (a path, or `@name` in the abstract namespace) and `WATCHDOG_USEC`, `WATCHDOG_PID`; nil when the
  /// process was not started by a service manager. Throws when the variable is there and cannot be used.
  public convenience init?(environment: [String: String]) throws(SystemError) {
    guard let path = environment["NOTIFY_SOCKET"], !path.isEmpty else { return nil }
    try self.init(path: path, watchdogNanoseconds: Self.watchdog(environment, pid: getpid()))
  }

  private init(path: String, watchdogNanoseconds: UInt64?) throws(SystemError) {
    guard let name = UnixSocketName(pathOrAbstract: path) else {
      throw SystemError("NOTIFY_SOCKET", subject: path, code: EAFNOSUPPORT)
    }
    let number = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw SystemError("socket", subject: path) }
    handle = FileDescriptor(owning: number)
    var patience = timeval(tv_sec: Self.patienceSeconds, tv_usec: 0)
    setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    self.name = name
    self.watchdogNanoseconds = watchdogNanoseconds
  }

  /// sd_watchdog_enabled(3): the variables count for the process they name.
  static func watchdog(_ environment: [String: String], pid: pid_t) -> UInt64? {
    guard let microseconds = environment["WATCHDOG_USEC"].flatMap({ UInt64($0) }), microseconds > 0 else { return nil }
    if let named = environment["WATCHDOG_PID"], named != "\(pid)" { return nil }
    return microseconds.multipliedReportingOverflow(by: 1000).overflow ? nil : microseconds * 1000
  }

  /// How long a message that must arrive waits for a busy manager; a manager that is gone is not waited for at all.
  private static let patienceSeconds = 2

  /// Sends one message; lines without line feeds inside. Returns whether the manager has it: its queue may be full. With
  /// `waits` there is room made for it, for a while.
  @discardableResult
  public func send(_ lines: [String], waits: Bool = false) -> Bool {
    let text = Array(lines.joined(separator: "\n").utf8)
    let flags = Int32(MSG_NOSIGNAL) | (waits ? 0 : Int32(MSG_DONTWAIT))
    let sent = name.withSockaddr { address, length in
      retryingInterrupts { sendto(handle.number, text, text.count, flags, address, length) }
    }
    return sent == text.count
  }
}
