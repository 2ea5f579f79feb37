// Heartbeat: shows from outside that a thread's loop still moves. Beaten by the loop's own timer, read by the health probe
// (and by the watchdog of systemd), any thread.

import Synchronization

/// When a loop last came round.
public final class Heartbeat: Sendable {
  /// The time between two beats, and the time without a beat after which a loop counts as stuck.
  public static let periodNanoseconds: UInt64 = 1_000_000_000
  public static let stuckNanoseconds: UInt64 = 10_000_000_000

  private let last = Atomic<UInt64>(Clock.monotonicNanoseconds())

  public init() {}

  /// Beats from now on, about once a second, as long as the loop runs.
  public func follow(_ loop: EventLoop) {
    loop.repeatEvery(nanoseconds: Self.periodNanoseconds) { [self] in
      last.store(Clock.monotonicNanoseconds(), ordering: .relaxed)
    }
  }

  /// Whether the loop has come round lately.
  public var isAlive: Bool { Clock.monotonicNanoseconds() &- last.load(ordering: .relaxed) < Self.stuckNanoseconds }
}
