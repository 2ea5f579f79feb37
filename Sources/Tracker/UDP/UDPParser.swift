// UDPParser: bytes of a datagram to a request (BEP 15, BEP 41). Pure; any byte string gives a request or a refusal.
// Called by UDPFrontend on a worker's thread.
//
//   every request:  0 connection id 8 | 8 action 4 | 12 transaction id 4
//   announce:      16 info_hash 20 | 36 peer_id 20 | 56 downloaded 8 | 64 left 8 | 72 uploaded 8 | 80 event 4
//                  84 IP 4 | 88 key 4 | 92 num_want 4 | 96 port 2 | 98 options (BEP 41)
//   scrape:        16 info_hash 20, repeated

import Wire

/// What a datagram asks for.
enum UDPRequest {
  case announce(AnnounceRequest)
  /// The range of the info hashes in the datagram.
  case scrape(Range<Int>)
  case refused(Refusal)
  /// Nothing that this protocol knows.
  case none
}

/// The first sixteen bytes of a request.
struct UDPRequestHead {
  static let byteCount = 16

  let connectionID: UInt64
  let action: UInt32
  /// As it lies in memory: it only goes back.
  let transactionID: UInt32

  init(_ datagram: UnsafeRawBufferPointer) {
    connectionID = UInt64(bigEndian: datagram.loadUnaligned(as: UInt64.self))
    action = UInt32(bigEndian: datagram.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    transactionID = datagram.loadUnaligned(fromByteOffset: 12, as: UInt32.self)
  }
}

/// The parser with the settings it needs.
struct UDPParser: Sendable {
  /// The protocol id of a connect request (BEP 15).
  static let protocolID: UInt64 = 0x417_2710_1980
  static let connectAction: UInt32 = 0
  static let announceAction: UInt32 = 1
  static let scrapeAction: UInt32 = 2

  /// Whether a datagram with this action may be a request. Replies are none: a tracker that answers another one's errors
  /// with errors never ends.
  static func isRequest(_ action: UInt32) -> Bool { action <= scrapeAction }

  /// BEP 21's `paused` in libtorrent; BEP 15 has no number for it.
  static let pausedEvent: UInt32 = 4
  /// The bytes of an announce before its options.
  static let announceByteCount = 98
  /// URL data longer than this is no announce path: a path with a 64-byte passkey, percent-encoded, is below 256.
  static let maximumURLDataBytes = 512

  let routes: RouteTable
  let maxScrapeInfoHashes: Int
  let allowIPSpoofing: Bool

  /// Parses what comes after a valid connection id.
  func parse(_ datagram: UnsafeRawBufferPointer, action: UInt32, from address: IPAddress) -> UDPRequest {
    switch action {
    case Self.announceAction: return parseAnnounce(datagram, from: address)
    case Self.scrapeAction: return parseScrape(datagram)
    default: return .none
    }
  }

  private func parseScrape(_ datagram: UnsafeRawBufferPointer) -> UDPRequest {
    let bytes = datagram.count - UDPRequestHead.byteCount
    guard bytes >= InfoHash.byteCount, bytes % InfoHash.byteCount == 0 else { return .refused(.invalidInfoHash) }
    // Like Chihaya: of a scrape for too many, the first ones are answered.
    let answered = min(bytes, maxScrapeInfoHashes * InfoHash.byteCount)
    return .scrape(UDPRequestHead.byteCount..<UDPRequestHead.byteCount + answered)
  }

  private func parseAnnounce(_ datagram: UnsafeRawBufferPointer, from address: IPAddress) -> UDPRequest {
    guard datagram.count >= Self.announceByteCount, let base = datagram.baseAddress else {
      return .refused(.malformedRequest)
    }
    var request = AnnounceRequest()
    request.infoHash = InfoHash(base + 16)
    request.peerID = PeerID(base + 36)
    request.downloaded = Self.number(base + 56)
    request.left = Self.number(base + 64)
    request.uploaded = Self.number(base + 72)
    request.port = UInt16(bigEndian: base.loadUnaligned(fromByteOffset: 96, as: UInt16.self))
    request.address = address
    request.source = address
    let numwant = Int32(bitPattern: UInt32(bigEndian: base.loadUnaligned(fromByteOffset: 92, as: UInt32.self)))
    request.numwant = numwant < 0 ? nil : UInt32(numwant)
    let event = UInt32(bigEndian: base.loadUnaligned(fromByteOffset: 80, as: UInt32.self))
    // That and what else clients invent are regular announces.
    request.event = UInt8(exactly: event).flatMap { AnnounceEvent(rawValue: $0) } ?? .none
    request.isPaused = event == Self.pausedEvent
    guard request.port != 0 || request.event == .stopped else { return .refused(.invalidPort) }
    let claimed = base.loadUnaligned(fromByteOffset: 84, as: UInt32.self)
    if allowIPSpoofing && claimed != 0 && address.family == .v4 { request.address = IPAddress(v4: claimed) }
    switch passkey(in: UnsafeRawBufferPointer(rebasing: datagram[Self.announceByteCount...])) {
    case .success(let passkey): request.passkey = passkey
    case .failure(let refusal): return .refused(refusal)
    }
    return .announce(request)
  }

  @inline(__always)
  private static func number(_ bytes: UnsafeRawPointer) -> UInt64 {
    UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
  }
}

extension UDPParser {
  private static let endOfOptions: UInt8 = 0
  private static let noOperation: UInt8 = 1
  private static let urlData: UInt8 = 2

  /// The passkey in the URL data of BEP 41: a `passkey` query parameter, or the `:passkey` segment of a route. The data
  /// of several options is one text. Unknown options are skipped by their length, as the BEP asks.
  private func passkey(in options: UnsafeRawBufferPointer) -> Result<Passkey?, Refusal> {
    if options.isEmpty { return .success(nil) }
    return withUnsafeTemporaryAllocation(byteCount: Self.maximumURLDataBytes, alignment: 1) { url in
      var length = 0
      var offset = 0
      while offset < options.count {
        let kind = options[offset]
        offset += 1
        if kind == Self.endOfOptions { break }
        if kind == Self.noOperation { continue }
        guard offset < options.count else { return .failure(.malformedRequest) }
        let size = Int(options[offset])
        offset += 1
        guard offset + size <= options.count else { return .failure(.malformedRequest) }
        if kind == Self.urlData {
          guard length + size <= url.count else { return .failure(.malformedRequest) }
          if size > 0 {
            (url.baseAddress! + length).copyMemory(from: options.baseAddress! + offset, byteCount: size)
          }
          length += size
        }
        offset += size
      }
      return passkey(inURL: UnsafeRawBufferPointer(rebasing: url[..<length]))
    }
  }

  private func passkey(inURL url: UnsafeRawBufferPointer) -> Result<Passkey?, Refusal> {
    let pathEnd = url.firstIndex(of: UInt8(ascii: "?")) ?? url.count
    var text = PasskeyText()
    if let range = routes.match(UnsafeRawBufferPointer(rebasing: url[..<pathEnd]))?.passkey {
      text.segment = UnsafeRawBufferPointer(rebasing: url[range])
    }
    var parameters = QueryParameters(UnsafeRawBufferPointer(rebasing: url[min(pathEnd + 1, url.count)...]))
    while let parameter = parameters.next() {
      if parameter.hasName("passkey") { text.parameter = parameter.value }
    }
    do throws(Refusal) { return .success(try text.passkey()) } catch { return .failure(error) }
  }
}
