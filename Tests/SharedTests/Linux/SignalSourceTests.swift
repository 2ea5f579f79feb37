import Glibc
import Linux
import Synchronization
import Testing

@Suite("signals")
struct SignalSourceTests {
  @Test("the three signals arrive as events of the loop, and SIGPIPE does not kill")
  func signals() throws {
    let received = Received()
    let thread = try NamedThread(name: "signals") {
      SignalSource.blockSignals()
      let loop = try! EventLoop(mailbox: try! EventLoopMailbox())
      try! SignalSource(loop: loop) { signal in
        let count = received.list.withLock { list in
          list.append(signal)
          return list.count
        }
        if count == DaemonSignal.allCases.count { loop.stop() }
      }
      // To this thread: the test process has others that do not block them.
      for number in [SIGTERM, SIGINT, SIGHUP, SIGPIPE] { pthread_kill(pthread_self(), number) }
      loop.run()
    }
    thread.join()
    #expect(Set(received.list.withLock { $0 }) == [.terminate, .interrupt, .hangUp])
  }

  private final class Received: Sendable {
    let list = Mutex<[DaemonSignal]>([])
  }
}
