// AnnounceRecord: what an accepted announce leaves for the traffic stream. Made by the workers, owned by the queue after.

import Wire

/// One accepted announce as the client reported it: cumulative counters; the delta is the script's job.
struct AnnounceRecord {
  var passkey: Passkey
  var infoHash: InfoHash
  var peerID: PeerID
  var address: IPAddress
  var port: UInt16
  var event: AnnounceEvent
  /// A `stopped` of a session that is not in the swarm: unless Redis has its snapshot, it never was, or all that is known of
  /// it is that it ended, and the script credits and keeps nothing.
  var isGone = false
  /// Bytes since `started`, as reported (BEP 3).
  var uploaded: UInt64
  var downloaded: UInt64
  var left: UInt64
  /// Unix seconds of the announce.
  var timestamp: Int64
  /// As sent in the reply.
  var intervalSeconds: UInt32
  var minIntervalSeconds: UInt32
  /// When a request came that was parked since, CLOCK_MONOTONIC; 0: just now.
  var arrivedNanoseconds: UInt64 = 0
}

/// Where the records of accepted announces go: TrafficPush.
protocol AnnounceRecordSink: AnyObject, Sendable {
  /// Takes a worker's records, once per batch, in the order of the announces. On the worker's thread; never waits for
  /// anything outside the process. The memory is the caller's again afterwards.
  func enqueue(_ records: UnsafeBufferPointer<AnnounceRecord>)
}
