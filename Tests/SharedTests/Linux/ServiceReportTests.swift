import Glibc
import Simulation
import Synchronization
import Testing

@testable import Linux
@testable import Settings

@Suite("what a service manager is told")
struct ServiceReportTests {
  /// What the test sets.
  private final class Condition: Sendable {
    let health = Mutex(Health(isLive: true, isReady: true, checks: []))
    let isStarted: Atomic<Bool>
    init(isStarted: Bool) { self.isStarted = Atomic(isStarted) }
  }

  /// A loop on a thread of its own whose condition the test sets.
  private final class Daemon {
    let condition: Condition
    private let mailbox: EventLoopMailbox
    private let thread: Mutex<NamedThread?>

    init(_ environment: [String: String], isStarted: Bool = true) throws {
      let condition = Condition(isStarted: isStarted)
      let mailbox = try EventLoopMailbox()
      let thread = try NamedThread(name: "reported") {
        guard let loop = try? EventLoop(mailbox: mailbox) else { return }
        let report = ServiceReport.follow(
          loop, environment: environment, isStarted: { condition.isStarted.load(ordering: .relaxed) },
          probe: { condition.health.withLock { $0 } })
        loop.run()
        report?.stopping("bye")
      }
      self.condition = condition
      self.mailbox = mailbox
      self.thread = Mutex(thread)
    }

    func say(_ health: Health) { condition.health.withLock { $0 = health } }

    func stop() {
      mailbox.post { $0.stop() }
      let running = thread.withLock { thread in
        let running = thread.take()
        return running
      }
      running?.join()
    }
  }

  /// 30 ms: a third of it is the period.
  private static let watchdog = ["WATCHDOG_USEC": "30000", "WATCHDOG_PID": "\(getpid())"]

  @Test(
    "ready comes once, the watchdog is fed while the daemon lives, status when it changes", arguments: [false, true])
  func life(isAbstract: Bool) async throws {
    let directory = try TemporaryDirectory()
    let manager = try NotifyReceiver(in: directory, isAbstract: isAbstract)
    let daemon = try Daemon(Self.watchdog.merging(["NOTIFY_SOCKET": manager.path]) { $1 })
    try await eventually("fed five times") { manager.count(of: "WATCHDOG=1") >= 5 }
    #expect(manager.count(of: "READY=1") == 1)
    #expect(manager.count(of: "STATUS=ready") == 1)
    daemon.say(
      Health(isLive: true, isReady: false, checks: [Health.Check(name: "redis", isOK: false, detail: "gone\nfar")]))
    try await eventually("the new status") { manager.count(of: "STATUS=not ready: redis gone far") == 1 }
    daemon.stop()
    try await eventually("the last words") { manager.lines.suffix(2) == ["STOPPING=1", "STATUS=bye"] }
  }

  @Test("a daemon whose workers stand still is not fed, though the reporting loop runs")
  func stuck() async throws {
    let directory = try TemporaryDirectory()
    let manager = try NotifyReceiver(in: directory)
    let daemon = try Daemon(Self.watchdog.merging(["NOTIFY_SOCKET": manager.path]) { $1 })
    try await eventually("fed") { manager.count(of: "WATCHDOG=1") >= 1 }
    daemon.say(Health(isLive: false, isReady: false))
    try await eventually("the status") { manager.count(of: "STATUS=stuck") == 1 }
    let fed = manager.count(of: "WATCHDOG=1")
    // Two more looks, each seen by what it says.
    for word in ["one", "two"] {
      daemon.say(Health(isLive: false, isReady: false, checks: [Health.Check(name: word, isOK: false, detail: "x")]))
      try await eventually("another look") { manager.count(of: "STATUS=stuck: \(word) x") == 1 }
    }
    #expect(manager.count(of: "WATCHDOG=1") == fed)
    daemon.stop()
  }

  @Test("ready waits for the start, the watchdog does not")
  func start() async throws {
    let directory = try TemporaryDirectory()
    let manager = try NotifyReceiver(in: directory)
    let daemon = try Daemon(Self.watchdog.merging(["NOTIFY_SOCKET": manager.path]) { $1 }, isStarted: false)
    try await eventually("fed three times") { manager.count(of: "WATCHDOG=1") >= 3 }
    #expect(manager.count(of: "READY=1") == 0)
    daemon.condition.isStarted.store(true, ordering: .relaxed)
    try await eventually("ready") { manager.count(of: "READY=1") == 1 }
    daemon.stop()
  }

  @Test("without a service manager there is no report, and a name that is no address is refused")
  func environment() throws {
    #expect(try NotifySocket(environment: [:]) == nil)
    #expect(try NotifySocket(environment: ["NOTIFY_SOCKET": ""]) == nil)
    #expect(throws: SystemError.self) { try NotifySocket(environment: ["NOTIFY_SOCKET": "vsock:2:1"]) }
    let longest = "/" + String(repeating: "n", count: UnixSocketName.maximumPathBytes - 1)
    #expect(try NotifySocket(environment: ["NOTIFY_SOCKET": longest]) != nil)
    #expect(throws: SystemError.self) { try NotifySocket(environment: ["NOTIFY_SOCKET": longest + "n"]) }
  }

  @Test(
    "the watchdog counts for the process it names",
    arguments: [
      ([:], nil), (["WATCHDOG_USEC": "0"], nil), (["WATCHDOG_USEC": "x"], nil), (["WATCHDOG_USEC": "5"], 5000),
      (["WATCHDOG_USEC": "5", "WATCHDOG_PID": "7"], 5000), (["WATCHDOG_USEC": "5", "WATCHDOG_PID": "8"], nil),
      (["WATCHDOG_USEC": "18446744073709551615"], nil),
    ] as [([String: String], UInt64?)])
  func watchdog(environment: [String: String], nanoseconds: UInt64?) {
    #expect(NotifySocket.watchdog(environment, pid: 7) == nanoseconds)
  }

  @Test("credentials are settings by their names, one line feed at the end apart")
  func credentials() throws {
    let directory = try TemporaryDirectory()
    try directory.write("redis://:secret@h/0\n", as: "CONSUMER__REDIS__URL")
    try directory.write("x\n\n", as: "TRACKER__UDP__PRIVATE_KEY")
    try directory.write("no setting", as: "other")
    try directory.write(String(repeating: "a", count: Credentials.maximumBytes), as: "TRACKER__LONGEST")
    try directory.write(String(repeating: "a", count: Credentials.maximumBytes + 1), as: "TRACKER__TOO_LONG")
    let found = Credentials.read(folder: directory.path)
    #expect(found.keys.sorted() == ["CONSUMER__REDIS__URL", "TRACKER__LONGEST", "TRACKER__UDP__PRIVATE_KEY"])
    #expect(found["CONSUMER__REDIS__URL"] == "redis://:secret@h/0")
    #expect(found["TRACKER__UDP__PRIVATE_KEY"] == "x\n")
    #expect(Credentials.read(folder: "/nonexistent").isEmpty)
  }
}
