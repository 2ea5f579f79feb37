// HTTPWriter: bencoded replies (BEP 3, 7, 23, 24, 31, 48) straight into the connection's output buffer, keys sorted as
// raw bytes. Pure but for its scratch memory; called by HTTPFrontend on a worker's thread. No allocation.

import CLinux
import Glibc
import HTTP
import Wire

/// The peers of one reply while they are collected, and the forms of all replies. One per worker.
struct HTTPWriter: ~Copyable {
  private static let compactV4Bytes = IPAddress.Family.v4.compactBytes
  private static let compactV6Bytes = IPAddress.Family.v6.compactBytes

  /// Room for this many peers in each family.
  private let capacity: Int
  /// Sent as `tracker id` (BEP 3): clients send it back, so that a request in a capture names its tracker.
  private let trackerID: [UInt8]
  private let scratch: UnsafeMutableRawPointer

  init(maxNumwant: Int, trackerID: [UInt8]) {
    capacity = maxNumwant
    self.trackerID = trackerID
    scratch = .allocate(byteCount: 4 * PeerSink.slackBytes + maxNumwant * Self.bytesPerPeer, alignment: 16)
  }

  deinit { scratch.deallocate() }

  private static let bytesPerPeer = compactV4Bytes + compactV6Bytes + 2 * PeerID.byteCount

  /// Where the pipeline puts up to `limit` peers of each family; `announce` chooses among them.
  func sink(limit: Int, form: ReplyForm) -> PeerSink {
    var sink = PeerSink()
    sink.v4.peers = scratch
    sink.v6.peers = scratch + capacity * Self.compactV4Bytes + PeerSink.slackBytes
    sink.v4.limit = min(limit, capacity)
    sink.v6.limit = min(limit, capacity)
    if form.contains(.dictionary) && !form.contains(.withoutPeerIDs) {
      let ids = scratch + capacity * (Self.compactV4Bytes + Self.compactV6Bytes) + 2 * PeerSink.slackBytes
      sink.v4.ids = ids
      sink.v6.ids = ids + capacity * PeerID.byteCount + PeerSink.slackBytes
    }
    return sink
  }

  /// How many peers of each family a reply of at most `limit` holds. Those of the client's own family come first, but
  /// a quarter is kept for the other, or a dual-stack client would never hear of it in a large swarm.
  static func shares(_ peers: borrowing PeerSink, of family: IPAddress.Family, limit: Int) -> (v4: Int, v6: Int) {
    let own = family == .v4 ? peers.v4.count : peers.v6.count
    let other = family == .v4 ? peers.v6.count : peers.v4.count
    let otherShown = min(other, max(limit - own, limit / 4))
    let ownShown = min(own, limit - otherShown)
    return family == .v4 ? (ownShown, otherShown) : (otherShown, ownShown)
  }

  /// The reply to an accepted announce.
  func announce(
    _ reply: borrowing AnnounceReply, to address: IPAddress, limit: Int, form: ReplyForm,
    into writer: inout HTTPResponseWriter
  ) {
    writer.begin(.ok, contentType: "text/plain")
    writer.append("d8:completei")
    writer.append(decimal: UInt64(reply.complete))
    writer.append("e10:downloadedi")
    writer.append(decimal: UInt64(reply.downloaded))
    writer.append("e11:external ip")
    Self.append(address, to: &writer)
    writer.append("10:incompletei")
    writer.append(decimal: UInt64(reply.incomplete))
    writer.append("e8:intervali")
    writer.append(decimal: UInt64(reply.intervalSeconds))
    writer.append("e12:min intervali")
    writer.append(decimal: UInt64(reply.minIntervalSeconds))
    writer.append("e5:peers")
    let shares = Self.shares(reply.peers, of: address.family, limit: limit)
    if form.contains(.dictionary) {
      Self.appendDictionaries(reply.peers, shares, into: &writer)
    } else {
      Self.appendCompact(reply.peers.v4.peers, shares.v4 * Self.compactV4Bytes, into: &writer)
      if shares.v6 > 0 {
        writer.append("6:peers6")
        Self.appendCompact(reply.peers.v6.peers, shares.v6 * Self.compactV6Bytes, into: &writer)
      }
    }
    writer.append("10:tracker id")
    trackerID.withUnsafeBytes { Self.append(string: $0, to: &writer) }
    if let warning = reply.warning {
      writer.append("15:warning message")
      Self.append(string: warning, to: &writer)
    }
    writer.append("e")
  }

  /// A refusal: what clients show to their users. With a `retry in` (BEP 31, whole minutes) comes an `interval` for the
  /// clients that know nothing else.
  func refusal(_ refusal: Refusal, into writer: inout HTTPResponseWriter) {
    writer.begin(.ok, contentType: "text/plain")
    writer.append("d14:failure reason")
    Self.append(string: refusal.text, to: &writer)
    if let seconds = refusal.retryInSeconds {
      writer.append("8:intervali")
      writer.append(decimal: UInt64(seconds))
      writer.append("e12:min intervali")
      writer.append(decimal: UInt64(seconds))
      writer.append("e8:retry ini")
      writer.append(decimal: UInt64((seconds + 59) / 60))
      writer.append("e")
    }
    writer.append("e")
  }

  /// A scrape reply (BEP 48, 21): begin it, add the torrents in the order of their info hashes, end it.
  func beginScrape(into writer: inout HTTPResponseWriter) {
    writer.begin(.ok, contentType: "text/plain")
    writer.append("d5:filesd")
  }

  func scrapeEntry(_ infoHash: InfoHash, _ counts: ScrapeCounts, into writer: inout HTTPResponseWriter) {
    writer.append("20:")
    infoHash.store(to: writer.reserve(InfoHash.byteCount))
    writer.advance(by: InfoHash.byteCount)
    writer.append("d8:completei")
    writer.append(decimal: UInt64(counts.complete))
    writer.append("e10:downloadedi")
    writer.append(decimal: UInt64(counts.downloaded))
    writer.append("e11:downloadersi")
    writer.append(decimal: UInt64(counts.downloaders))
    writer.append("e10:incompletei")
    writer.append(decimal: UInt64(counts.incomplete))
    writer.append("ee")
  }

  func endScrape(into writer: inout HTTPResponseWriter) { writer.append("ee") }

  // MARK: parts

  private static func append(string text: StaticString, to writer: inout HTTPResponseWriter) {
    writer.append(decimal: UInt64(text.utf8CodeUnitCount))
    writer.append(":")
    writer.append(text)
  }

  private static func append(string bytes: UnsafeRawBufferPointer, to writer: inout HTTPResponseWriter) {
    writer.append(decimal: UInt64(bytes.count))
    writer.append(":")
    writer.append(bytes)
  }

  /// The 4 or 16 raw bytes as a string (BEP 24).
  private static func append(_ address: IPAddress, to writer: inout HTTPResponseWriter) {
    writer.append(decimal: UInt64(address.byteCount))
    writer.append(":")
    address.store(to: writer.reserve(address.byteCount))
    writer.advance(by: address.byteCount)
  }

  private static func appendCompact(
    _ peers: UnsafeMutableRawPointer?, _ byteCount: Int, into writer: inout HTTPResponseWriter
  ) {
    append(string: UnsafeRawBufferPointer(start: peers, count: byteCount), to: &writer)
  }

  /// BEP 3's list of dictionaries, IPv4 and IPv6 in one list; keys `ip`, `peer id`, `port`.
  private static func appendDictionaries(
    _ peers: borrowing PeerSink, _ shares: (v4: Int, v6: Int), into writer: inout HTTPResponseWriter
  ) {
    writer.append("l")
    append(peers.v4, count: shares.v4, .v4, to: &writer)
    append(peers.v6, count: shares.v6, .v6, to: &writer)
    writer.append("e")
  }

  private static func append(
    _ buffer: PeerBuffer, count: Int, _ family: IPAddress.Family, to writer: inout HTTPResponseWriter
  ) {
    guard let peers = buffer.peers else { return }
    for index in 0..<count {
      appendDictionary(
        UnsafeRawPointer(peers + index * family.compactBytes), family,
        buffer.ids.map { $0 + index * PeerID.byteCount }, into: &writer)
    }
  }

  private static func appendDictionary(
    _ compact: UnsafeRawPointer, _ family: IPAddress.Family, _ id: UnsafeMutableRawPointer?,
    into writer: inout HTTPResponseWriter
  ) {
    writer.append("d2:ip")
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
      inet_ntop(family == .v4 ? AF_INET : AF_INET6, compact, text.baseAddress!, socklen_t(INET6_ADDRSTRLEN))
      append(string: UnsafeRawBufferPointer(start: text.baseAddress!, count: strlen(text.baseAddress!)), to: &writer)
    }
    if let id {
      writer.append("7:peer id20:")
      writer.append(UnsafeRawBufferPointer(start: id, count: PeerID.byteCount))
    }
    writer.append("4:porti")
    let port = UInt16(bigEndian: compact.loadUnaligned(fromByteOffset: family.compactBytes - 2, as: UInt16.self))
    writer.append(decimal: UInt64(port))
    writer.append("ee")
  }
}
