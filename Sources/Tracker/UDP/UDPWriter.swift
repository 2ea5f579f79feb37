// UDPWriter: replies of BEP 15 straight into a send buffer. Pure; called by UDPFrontend on a worker's thread. Every
// function returns the length of the reply. Transaction ids come and go as they lie in memory.
//
//   connect   0 action 0 | 4 transaction id | 8 connection id 8
//   announce  0 action 1 | 4 transaction id | 8 interval | 12 leechers | 16 seeders | 20 peers, 6 or 18 bytes each
//   scrape    0 action 2 | 4 transaction id | 8 (seeders | snatches | leechers), 12 bytes per info hash
//   error     0 action 3 | 4 transaction id | 8 message

import Glibc
import Wire

/// Layout of the replies.
enum UDPWriter {
  /// The bytes before the peers of an announce reply.
  static let announceHeadBytes = 20
  /// What fits an Ethernet frame without fragments: 1500 less the IP and UDP headers.
  static let maximumReplyBytesV4 = 1472
  static let maximumReplyBytesV6 = 1452
  /// Peers that fit one datagram.
  static let maximumPeersV4 = (maximumReplyBytesV4 - announceHeadBytes) / IPAddress.Family.v4.compactBytes
  static let maximumPeersV6 = (maximumReplyBytesV6 - announceHeadBytes) / IPAddress.Family.v6.compactBytes
  /// Info hashes whose scrape reply fits one datagram; a request with more does not fit one either.
  static let maximumScrapeInfoHashes = (maximumReplyBytesV6 - 8) / 12
  /// The send buffer of one reply.
  static let bufferBytes = 2048

  @inline(__always)
  private static func head(_ action: UInt32, _ transactionID: UInt32, _ target: UnsafeMutableRawPointer) {
    target.storeBytes(of: action.bigEndian, as: UInt32.self)
    target.storeBytes(of: transactionID, toByteOffset: 4, as: UInt32.self)
  }

  static func connect(_ id: UInt64, transactionID: UInt32, to target: UnsafeMutableRawPointer) -> Int {
    head(UDPParser.connectAction, transactionID, target)
    target.storeBytes(of: id.bigEndian, toByteOffset: 8, as: UInt64.self)
    return 16
  }

  /// Where the pipeline puts the peers: behind the head that `announce` writes afterwards.
  static func sink(for family: IPAddress.Family, limit: Int, in target: UnsafeMutableRawPointer) -> PeerSink {
    var sink = PeerSink()
    let peers = target + announceHeadBytes
    if family == .v4 {
      sink.v4 = PeerBuffer(peers: peers, limit: min(limit, maximumPeersV4))
    } else {
      sink.v6 = PeerBuffer(peers: peers, limit: min(limit, maximumPeersV6))
    }
    return sink
  }

  static func announce(
    _ reply: borrowing AnnounceReply, transactionID: UInt32, to target: UnsafeMutableRawPointer
  ) -> Int {
    head(UDPParser.announceAction, transactionID, target)
    target.storeBytes(of: reply.intervalSeconds.bigEndian, toByteOffset: 8, as: UInt32.self)
    target.storeBytes(of: reply.incomplete.bigEndian, toByteOffset: 12, as: UInt32.self)
    target.storeBytes(of: reply.complete.bigEndian, toByteOffset: 16, as: UInt32.self)
    return announceHeadBytes + reply.peers.v4.count * IPAddress.Family.v4.compactBytes
      + reply.peers.v6.count * IPAddress.Family.v6.compactBytes
  }

  static func scrapeHead(transactionID: UInt32, to target: UnsafeMutableRawPointer) -> Int {
    head(UDPParser.scrapeAction, transactionID, target)
    return 8
  }

  static func scrapeEntry(_ counts: ScrapeCounts, to target: UnsafeMutableRawPointer) -> Int {
    target.storeBytes(of: counts.complete.bigEndian, as: UInt32.self)
    target.storeBytes(of: counts.downloaded.bigEndian, toByteOffset: 4, as: UInt32.self)
    target.storeBytes(of: counts.incomplete.bigEndian, toByteOffset: 8, as: UInt32.self)
    return 12
  }

  static func refusal(_ refusal: Refusal, transactionID: UInt32, to target: UnsafeMutableRawPointer) -> Int {
    head(3, transactionID, target)
    let text = refusal.text
    memcpy(target + 8, text.utf8Start, text.utf8CodeUnitCount)
    return 8 + text.utf8CodeUnitCount
  }
}
