// SignalSource: SIGTERM, SIGINT and SIGHUP as events of a loop (signalfd(2)); SIGPIPE is ignored. `blockSignals` runs
// first thing in main, before any thread exists; the source itself belongs to the loop's thread.

import CLinux
import Glibc

/// What an operator or systemd asks of a daemon.
public enum DaemonSignal: Sendable, CaseIterable {
  /// SIGTERM
  case terminate
  /// SIGINT
  case interrupt
  /// SIGHUP
  case hangUp

  var number: Int32 {
    switch self {
    case .terminate: SIGTERM
    case .interrupt: SIGINT
    case .hangUp: SIGHUP
    }
  }
}

/// Delivers signals to a closure on the loop's thread; deinit stops that.
public final class SignalSource: EventHandler {
  private let handle: FileDescriptor
  private let deliver: (DaemonSignal) -> Void

  /// Blocks the three signals in the calling thread and the threads it starts, and ignores SIGPIPE: writes to a closed
  /// connection report EPIPE instead.
  public static func blockSignals() {
    var set = daemonSignals()
    pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
  }

  /// Watches the signals on `loop`; they must be blocked (`blockSignals`). The loop holds the source from then on.
  @discardableResult
  public init(loop: EventLoop, deliver: @escaping (DaemonSignal) -> Void) throws(SystemError) {
    var set = daemonSignals()
    let number = signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK))
    guard number >= 0 else { throw SystemError("signalfd") }
    handle = FileDescriptor(owning: number)
    self.deliver = deliver
    _ = try loop.register(number, events: EPOLLIN.rawValue, handler: self)
  }

  public func handle(events: UInt32, loop: EventLoop) {
    var info = signalfd_siginfo()
    let size = MemoryLayout<signalfd_siginfo>.size
    while retryingInterrupts({ read(handle.number, &info, size) }) == size {
      if let signal = DaemonSignal.allCases.first(where: { $0.number == Int32(info.ssi_signo) }) { deliver(signal) }
    }
  }
}

private func daemonSignals() -> sigset_t {
  var set = sigset_t()
  sigemptyset(&set)
  for signal in DaemonSignal.allCases { sigaddset(&set, signal.number) }
  return set
}
