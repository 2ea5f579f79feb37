// PeerSink: where the peers of one reply are written. Prepared by a writer, filled by the swarm, on a worker's thread; the
// memory belongs to the writer.

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
