// AnnounceReply: what an accepted announce is answered with. Prepared by a writer, filled by the pipeline, on a worker's
// thread.

/// The numbers of a reply.
struct AnnounceReply {
  var peers = PeerSink()
  /// Seeders, leechers and snatches of the swarm after this announce.
  var complete: UInt32 = 0
  var incomplete: UInt32 = 0
  var downloaded: UInt32 = 0
  var intervalSeconds: UInt32 = 0
  var minIntervalSeconds: UInt32 = 0
  /// Shown by clients without being an error (BEP 3 extension `warning message`).
  var warning: StaticString?
}

/// How an announce ended.
enum AnnounceOutcome {
  /// Write the reply.
  case accepted
  /// Write the reason.
  case refused(Refusal)
  /// The pipeline keeps the request; the frontend that `RequestOrigin` names will be called with it again.
  case parked
}
