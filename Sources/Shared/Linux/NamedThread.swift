// NamedThread: a POSIX thread with a name, started in one place and joined at shutdown.

import CLinux
import Glibc

/// A running thread. `join()` waits for its end; a thread is joined exactly once.
public struct NamedThread: ~Copyable, Sendable {
  private let handle: pthread_t

  /// Starts a thread; `name` shows in `top -H` and is cut to 15 bytes by the kernel. All signals but the profiler's are
  /// blocked in it: they are the main thread's (SignalSource). `stackBytes` is rounded up by the system.
  public init(name: String, stackBytes: Int = 1 << 20, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
    let box = Unmanaged.passRetained(ThreadBody(name: name, run: body))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, stackBytes)
    defer { pthread_attr_destroy(&attributes) }
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    sigdelset(&all, SIGPROF)
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    var handle = pthread_t()
    let code = pthread_create(
      &handle, &attributes,
      { argument in
        let body = Unmanaged<ThreadBody>.fromOpaque(argument!).takeRetainedValue()
        _ = clinux_name_thread(body.name)
        clinux_profile_note_stack()
        body.run()
        return nil
      }, box.toOpaque())
    guard code == 0 else {
      box.release()
      throw SystemError("pthread_create", subject: name, code: code)
    }
    self.handle = handle
  }

  /// Waits until the thread has returned.
  public consuming func join() { pthread_join(handle, nil) }
}

private final class ThreadBody: Sendable {
  let name: String
  let run: @Sendable () -> Void
  init(name: String, run: @escaping @Sendable () -> Void) {
    self.name = name
    self.run = run
  }
}
