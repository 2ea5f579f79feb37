// ServiceReport: what the service manager is told of a daemon: that it has started, how it is, that it stops; and the
// watchdog's food. Belongs to the main thread's loop: when that loop stands still, nothing is fed.

/// The running commentary of one daemon.
public final class ServiceReport {
  /// How often the daemon's health is looked at when the watchdog does not ask for more.
  private static let periodNanoseconds: UInt64 = 1_000_000_000
  /// A status line is for one line of `systemctl status`.
  private static let maximumStatusCharacters = 200

  private let socket: NotifySocket
  private let probe: () -> Health
  private let isStarted: () -> Bool
  private var isReadySent = false
  private var isStoppingSent = false
  private var lastStatus = ""

  /// Follows a daemon on `loop`. Says READY=1 as soon as `isStarted`, feeds the watchdog while `probe` says live, and
  /// repeats as status what is not well. Does nothing without a service manager.
  public static func follow(
    _ loop: EventLoop, environment: [String: String], isStarted: @escaping () -> Bool = { true },
    probe: @escaping () -> Health
  ) -> ServiceReport? {
    let found: NotifySocket?
    do throws(SystemError) {
      found = try NotifySocket(environment: environment)
    } catch {
      Log.warning("the service manager cannot be told anything", ["error": error.description])
      return nil
    }
    guard let socket = found else { return nil }
    let report = ServiceReport(socket, isStarted, probe)
    // Twice per deadline and more: sd_watchdog_enabled(3) advises half.
    let period = min(periodNanoseconds, (socket.watchdogNanoseconds ?? .max) / 3)
    report.tick()
    loop.repeatEvery(nanoseconds: max(1, period)) { report.tick() }
    return report
  }

  private init(_ socket: NotifySocket, _ isStarted: @escaping () -> Bool, _ probe: @escaping () -> Health) {
    self.socket = socket
    self.isStarted = isStarted
    self.probe = probe
  }

  /// A reload begins.
  public func reloading() {
    socket.send(["RELOADING=1", "MONOTONIC_USEC=\(Clock.monotonicNanoseconds() / 1000)"], waits: true)
  }

  /// A reload has ended, with or without success.
  public func reloaded() { socket.send(["READY=1"], waits: true) }

  /// The daemon takes itself down.
  public func stopping(_ reason: String) {
    isStoppingSent = true
    socket.send(["STOPPING=1", "STATUS=\(Self.line(reason))"], waits: true)
  }

  private func tick() {
    let health = probe()
    var lines: [String] = []
    let saysReady = !isReadySent && isStarted()
    if saysReady { lines.append("READY=1") }
    if health.isLive && socket.watchdogNanoseconds != nil { lines.append("WATCHDOG=1") }
    let status = Self.status(health)
    let saysStatus = status != lastStatus && !isStoppingSent
    if saysStatus { lines.append("STATUS=\(status)") }
    // What a busy manager did not take is said again at the next turn.
    guard !lines.isEmpty, socket.send(lines) else { return }
    if saysReady { isReadySent = true }
    if saysStatus { lastStatus = status }
  }

  /// `ready: 2 running`, or what keeps it from being so.
  static func status(_ health: Health) -> String {
    let bad = health.checks.filter { !$0.isOK }
    let state = !health.isLive ? "stuck" : health.isReady ? "ready" : "not ready"
    let told = (bad.isEmpty ? health.checks : bad).map { "\($0.name) \($0.detail)" }
    return line(told.isEmpty ? state : "\(state): \(told.joined(separator: "; "))")
  }

  private static func line(_ text: String) -> String {
    String(text.map { $0.isNewline ? " " : $0 }.prefix(maximumStatusCharacters))
  }
}
