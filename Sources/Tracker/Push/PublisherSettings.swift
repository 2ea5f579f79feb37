// PublisherSettings: what the publisher of a partition is given, and the times and sizes it works with. A value.

import Redis

/// From the options of `traffic push`; the same for all partitions.
struct PublisherSettings: Sendable {
  var endpoint: RedisEndpoint
  var timeouts: RedisTimeouts
  var ttlSeconds: Int
  var maximumStreamLength: Int
  var creditFirstAnnounce: Bool
  var maximumBytesPerSecond: UInt64
  /// The first wait after a failure; it doubles up to `longestWaitMilliseconds`.
  var retryMilliseconds: Int
  /// Failures in a row after which Redis counts as away.
  var retryCount: Int
  var partitionCount: Int

  /// A Redis that is back is noticed within this time.
  static let longestWaitMilliseconds = 5000
  /// How often a full stream is looked at again, at first and at last.
  static let fullWaitMilliseconds = 50...1000
  /// Script calls on their way at once: the next is encoded and sent while Redis works on the last.
  static let window = 2
  /// Records on their way at once to a Redis that is given back what it lost: two whole calls, or hundreds of small ones.
  static let restoredRecordsOnWay = 2 * PushBatch.maximumRecords
  /// After waking up, wait this long for company: one call for many announces instead of one each.
  static let gatherMilliseconds: Int32 = 5
  /// Applied calls that are held for sending again after a failover, in bytes of requests: about 60,000 announces. That is
  /// half a second of the fastest publisher, many times the delay of a healthy replica, and with 50,000 peers every
  /// session's last announce.
  static let retainedBytes = 16 << 20
  /// The same; tests make it small.
  var retainedBytes = Self.retainedBytes
  /// Records in one call; tests make it small.
  var recordsPerCall = PushBatch.maximumRecords
  /// A run that was silent for longer begins anew: Redis forgets it after `PushScript.stateSeconds`.
  static let runIdleSeconds: UInt64 = UInt64(PushScript.stateSeconds) / 2
  /// A publisher with nothing to do looks this often whether its connection still lives.
  static let idleCheckMilliseconds = 1000
  /// No wait is longer without a look at the spool.
  static let spoolSliceMilliseconds = 500
  /// While Redis is away, connecting and loading the script may take this long: the spool is written by this thread too.
  static let awayConnectMilliseconds = 1000
  /// Redis must be away for this long before a spool is written: a restart of Redis is not worth a file.
  static let spoolAfterNanoseconds: UInt64 = 2_000_000_000
  /// Pause between two writes of the spool: what a kill may cost of the events that are not repeated (`stopped`).
  static let spoolPauseNanoseconds: UInt64 = 1_000_000_000
  /// Seconds between two log lines about refused counters.
  static let refusalLogSeconds: UInt64 = 60
  /// How long a shutdown waits for Redis to take what is queued.
  static let flushMilliseconds = 5000
}
