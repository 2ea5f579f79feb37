// AnnounceReply: what an accepted announce is answered with, and where its peers are written. Prepared by a writer,
// filled by the pipeline, on a worker's thread; the memory belongs to the writer.

/// Memory for the peers of one reply. A family without memory is not collected. Every pointer has
/// `PeerSink.slackBytes` more than its limit needs, because peers are stored in whole words.
struct PeerSink {
  /// Room that must follow the last peer in `v4` and `v6`.
  static let slackBytes = 8

  /// Compact IPv4 peers: 4 bytes of address and 2 of port, network order (BEP 23).
  var v4: UnsafeMutableRawPointer?
  /// Compact IPv6 peers: 16 bytes of address and 2 of port (BEP 7).
  var v6: UnsafeMutableRawPointer?
  /// The 20-byte peer ids in the order of `v4` and `v6`; nil for compact replies.
  var v4IDs: UnsafeMutableRawPointer?
  var v6IDs: UnsafeMutableRawPointer?
  /// Peers wanted: numwant or the default, and no more than there is room for.
  var v4Limit = 0
  var v6Limit = 0
  /// Peers written.
  var v4Count = 0
  var v6Count = 0
}

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

/// Swarm counts of a scrape (BEP 48, BEP 15).
struct ScrapeCounts: Equatable {
  var complete: UInt32 = 0
  var downloaded: UInt32 = 0
  var incomplete: UInt32 = 0
}
