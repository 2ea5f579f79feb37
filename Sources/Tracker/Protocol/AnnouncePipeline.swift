// AnnouncePipeline: what happens to an announce between parser and writer: the hooks in the order of the config, the
// swarm, the traffic record. One per worker, on its thread; the swarms, caches and queues behind it are shared.

import Shared

/// Time as a worker sees it, read once per batch of requests.
struct BatchTime {
  /// CLOCK_MONOTONIC.
  var monotonicNanoseconds: UInt64
  var unixSeconds: Int64

  /// Whole monotonic seconds: what peers are aged by.
  var monotonicSeconds: UInt32 { UInt32(truncatingIfNeeded: monotonicNanoseconds / 1_000_000_000) }

  static func now() -> BatchTime {
    BatchTime(monotonicNanoseconds: Clock.monotonicNanoseconds(), unixSeconds: Clock.unixSeconds())
  }
}

/// A frontend that can answer a request later.
protocol ParkedRequestReceiver: AnyObject {
  /// The lookup a parked request waited for has ended: announce it again (with no origin: it may not park twice) and
  /// write the result. On the worker's thread.
  func resume(_ request: AnnounceRequest, origin: RequestOrigin)
}
