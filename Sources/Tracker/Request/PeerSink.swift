// PeerSink: where the peers of one reply are written. Prepared by a writer, filled by the swarm, on a worker's thread; the
// memory belongs to the writer.

import Wire

/// Memory for the peers of one reply in one family.
struct PeerBuffer {
  /// Compact peers in network order: 4 bytes of address and 2 of port (BEP 23), or 16 and 2 (BEP 7). Nil: the family is not
  /// collected.
  var peers: UnsafeMutableRawPointer?
  /// The 20-byte peer ids in the order of `peers`; nil for compact replies.
  var ids: UnsafeMutableRawPointer?
  /// Peers wanted: numwant or the default, and no more than there is room for.
  var limit = 0
  /// Peers written.
  var count = 0
}

/// Memory for the peers of one reply. Every pointer has `slackBytes` more than its limit needs, because peers are stored in
/// whole words.
struct PeerSink {
  /// Room that must follow the last peer.
  static let slackBytes = 8

  var v4 = PeerBuffer()
  var v6 = PeerBuffer()
}

extension IPAddress.Family {
  /// A peer in compact form.
  var compactBytes: Int { self == .v4 ? 6 : 18 }
}
