// SwarmExpiry: the thread "expiry" that takes silent peers out of the swarms every `gc_interval`, and that
// writes the snatches down.

import Linux
import Settings
import Synchronization

/// Runs SwarmStore.expire on time.
final class SwarmExpiry {
  /// A crash loses at most this much of the snatch counts.
  private static let flushPeriodNanoseconds: UInt64 = 1_000_000_000

  private let mailbox: EventLoopMailbox
  private var thread: NamedThread?
  private let lifetime: Lifetime

  /// How long a peer stays after its last announce, whole seconds; changes with a reload.
  private final class Lifetime: Sendable {
    let seconds: Atomic<UInt32>
    init(_ duration: Duration) { seconds = Atomic(UInt32(clamping: duration.wholeSeconds)) }
  }

  init(store: SwarmStore, snatches: SnatchLedger, storage: StorageSettings, metrics: MetricRegistry)
    throws(SystemError)
  {
    let mailbox = try EventLoopMailbox()
    self.mailbox = mailbox
    let lifetime = Lifetime(storage.peerLifetime)
    self.lifetime = lifetime
    let duration = metrics.histogram(
      "chihaya_storage_gc_duration_milliseconds", help: "The time it takes to look for stale peers.",
      upperBounds: [0.1, 1, 9.375, 18.75, 37.5, 75, 150, 300, 600, 1200, 2400, 4800])
    let expired = metrics.counter("tracker_peers_expired_total", help: "Peers that went without `stopped`.")
    thread = try NamedThread(name: "expiry") {
      do {
        let loop = try EventLoop(mailbox: mailbox)
        loop.repeatEvery(nanoseconds: UInt64(storage.gcInterval.wholeNanoseconds)) {
          let start = Clock.monotonicNanoseconds()
          let now = UInt32(truncatingIfNeeded: start / 1_000_000_000)
          expired.add(UInt64(store.expire(before: now &- lifetime.seconds.load(ordering: .relaxed))))
          store.budgets.sweep(nowSeconds: now)
          duration.observe(Double(Clock.monotonicNanoseconds() - start) / 1_000_000)
        }
        loop.repeatEvery(nanoseconds: Self.flushPeriodNanoseconds) { snatches.flush() }
        loop.run()
        snatches.flush()
      } catch {
        Log.error("expiry cannot run", ["error": "\(error)"])
      }
    }
  }

  /// Follows a reloaded configuration from the next sweep on.
  func update(_ storage: StorageSettings) {
    lifetime.seconds.store(UInt32(clamping: storage.peerLifetime.wholeSeconds), ordering: .relaxed)
  }

  func stop() {
    mailbox.post { loop in loop.stop() }
    let running = thread.take()
    running?.join()
  }
}
