// AnnounceRequest: one announce after parsing, whichever transport it came by. Filled by the HTTP and UDP parsers, read
// by the pipeline, on a worker's thread. A plain value: it is copied when the request is parked.

import Wire

/// What a client asked for (BEP 3, 7, 15, 23, 41). In an order that leaves no gaps: it is copied some times on its way, and up to
/// 256 bytes in a few instructions.
struct AnnounceRequest {
  /// `left` of a client that does not know yet what it needs (BEP 15: -1).
  static let unknownLeft = UInt64.max

  var infoHash = InfoHash(words: (0, 0, 0))
  /// Whether the request was parked for a look-up before, by the number of the hook (see AnnouncePipeline).
  var lookedUp: UInt32 = 0
  var peerID = PeerID(words: (0, 0, 0))
  /// The listening port; 0 only with `stopped`, after which nobody connects.
  var port: UInt16 = 0
  var event = AnnounceEvent.none
  /// The event `paused`: nothing is downloaded any more, although something may be left (BEP 21).
  var isPaused = false
  /// From the route, the query or BEP 41 URL data; nil when the client sent none.
  var passkey: Passkey?
  /// Bytes as reported since `started`.
  var uploaded: UInt64 = 0
  var downloaded: UInt64 = 0
  /// Bytes missing until the torrent is complete; 0 for a seeder, and only for one.
  var left: UInt64 = 0
  /// Where the request came from, or the address the client may speak for (real_ip_header, ip=).
  var address = IPAddress(v4: 0)
  /// Where the tracker saw it come from, by the word of trusted proxies: limits are counted by it, whatever `ip=` says.
  var source = IPAddress(v4: 0)
  /// A second address of the other family that the client named (BEP 7), when the config allows that.
  var otherAddress: IPAddress?
  /// When it came, CLOCK_MONOTONIC, if it was parked since; 0: in this batch.
  var arrivedNanoseconds: UInt64 = 0
  /// Peers wanted; nil when absent or negative ("your default").
  var numwant: UInt32?
}
