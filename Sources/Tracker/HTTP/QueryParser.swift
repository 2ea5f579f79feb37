// QueryParser: path and query of a request to an announce or a scrape (BEP 3, 7, 23, 48), by one scan over the bytes.
// Pure; any byte string gives a request or a refusal. Called by HTTPFrontend on a worker's thread. Budget: 300 ns for an
// announce of 350 bytes, no allocation.
//
// Values are decoded as clients send them: %XX with digits of either case, other bytes as they are, `+` stays plus. Of a
// repeated key the last value counts, as in Chihaya; different info_hash values in one announce are refused. Unknown keys
// are ignored, and so are empty values of keys that are not required.

import Glibc
import Wire

/// What of the reply depends on the request's query.
struct ReplyForm: OptionSet {
  let rawValue: UInt8
  /// `compact=0`: peers as dictionaries.
  static let dictionary = ReplyForm(rawValue: 1)
  /// `no_peer_id=1`: dictionaries without `peer id`.
  static let withoutPeerIDs = ReplyForm(rawValue: 2)
}

/// The parser with the settings it needs.
struct QueryParser: Sendable {
  let routes: RouteTable
  let maxScrapeInfoHashes: Int
  let allowIPSpoofing: Bool

  /// Parses an announce. `passkeySegment` is the `:passkey` part of the path, still encoded. `address` is the client's as the tracker sees it.
  func parseAnnounce(
    query: UnsafeRawBufferPointer, passkeySegment: UnsafeRawBufferPointer?, from address: IPAddress
  ) throws(Refusal) -> (request: AnnounceRequest, form: ReplyForm) {
    var scan = AnnounceScan()
    var parameters = QueryParameters(query)
    while let parameter = parameters.next() { try scan.take(parameter) }
    var request = try scan.finish()
    request.passkey = try PasskeyText(segment: passkeySegment, parameter: scan.passkey).passkey()
    request.address = address
    request.source = address
    if allowIPSpoofing { try scan.claimAddresses(for: &request) }
    return (request, scan.form)
  }

  /// Parses a scrape into `infoHashes`, which has room for `maxScrapeInfoHashes`; returns how many there are, sorted and
  /// without repetitions, and the passkey, found as for an announce. As with Chihaya, of a scrape for too many the
  /// first ones are answered.
  func parseScrape(
    query: UnsafeRawBufferPointer, passkeySegment: UnsafeRawBufferPointer?, into infoHashes: UnsafeMutableRawPointer
  ) throws(Refusal) -> (count: Int, passkey: Passkey?) {
    var count = 0
    var passkeyText: UnsafeRawBufferPointer?
    var parameters = QueryParameters(query)
    while let parameter = parameters.next() {
      if parameter.hasName("passkey") { passkeyText = parameter.value }
      guard count < maxScrapeInfoHashes, parameter.hasName("info_hash") else { continue }
      let target = infoHashes + count * InfoHash.byteCount
      guard PercentEncoding.decode(parameter.value, exactly: InfoHash.byteCount, to: target) else {
        throw .invalidInfoHash
      }
      if Self.insertSorted(infoHashes, count) { count += 1 }
    }
    guard count > 0 else { throw .invalidInfoHash }
    return (count, try PasskeyText(segment: passkeySegment, parameter: passkeyText).passkey())
  }

  /// Moves entry `count` to its place among the sorted ones before it; false when it is there already. Bencoding wants
  /// dictionary keys sorted as raw bytes (BEP 3), and a scrape asks for a few dozen at most.
  private static func insertSorted(_ hashes: UnsafeMutableRawPointer, _ count: Int) -> Bool {
    let size = InfoHash.byteCount
    let new = InfoHash(hashes + count * size)
    var place = count
    while place > 0 {
      let order = memcmp(hashes + (place - 1) * size, hashes + count * size, size)
      if order == 0 { return false }
      if order < 0 { break }
      place -= 1
    }
    memmove(hashes + (place + 1) * size, hashes + place * size, (count - place) * size)
    new.store(to: hashes + place * size)
    return true
  }
}

/// What the scan of an announce has found so far. Passkey and addresses stay encoded until the scan is over.
private struct AnnounceScan {
  private(set) var form: ReplyForm = []
  private(set) var passkey: UnsafeRawBufferPointer?
  private var request = AnnounceRequest()
  private var found: Found = []
  private var ip: UnsafeRawBufferPointer?
  private var ipv4: UnsafeRawBufferPointer?
  private var ipv6: UnsafeRawBufferPointer?

  private struct Found: OptionSet {
    let rawValue: UInt8
    static let infoHash = Found(rawValue: 1)
    static let peerID = Found(rawValue: 2)
    static let port = Found(rawValue: 4)
    static let uploaded = Found(rawValue: 8)
    static let downloaded = Found(rawValue: 16)
    static let left = Found(rawValue: 32)
  }

  /// Takes one `key=value`. The length of the name tells most apart.
  mutating func take(_ parameter: QueryParameter) throws(Refusal) {
    let value = parameter.value
    switch parameter.name.count {
    case 2 where parameter.hasName("ip"): ip = value
    case 4 where parameter.hasName("left"):
      request.left = try Self.left(value)
      found.insert(.left)
    case 4 where parameter.hasName("port"):
      guard let port = UInt16(exactly: try Self.number(value, else: .invalidPort)) else { throw .invalidPort }
      request.port = port
      found.insert(.port)
    case 4 where parameter.hasName("ipv4"): ipv4 = value
    case 4 where parameter.hasName("ipv6"): ipv6 = value
    case 5 where parameter.hasName("event"):
      request.event = Self.event(value)
      request.isPaused = QueryParameter.equalsFolded(value, "paused")
    case 7 where parameter.hasName("peer_id"):
      request.peerID = try Self.bytes20(value, else: .invalidPeerID)
      found.insert(.peerID)
    case 7 where parameter.hasName("numwant"): request.numwant = try Self.numwant(value)
    case 7 where parameter.hasName("compact"): set(.dictionary, value.count == 1 && value[0] == UInt8(ascii: "0"))
    case 7 where parameter.hasName("passkey"): passkey = value
    case 8 where parameter.hasName("uploaded"):
      request.uploaded = try Self.number(value, else: .invalidUploaded)
      found.insert(.uploaded)
    case 9 where parameter.hasName("info_hash"):
      let infoHash: InfoHash = try Self.bytes20(value, else: .invalidInfoHash)
      guard !found.contains(.infoHash) || infoHash == request.infoHash else { throw .invalidInfoHash }
      request.infoHash = infoHash
      found.insert(.infoHash)
    case 10 where parameter.hasName("downloaded"):
      request.downloaded = try Self.number(value, else: .invalidDownloaded)
      found.insert(.downloaded)
    case 10 where parameter.hasName("no_peer_id"):
      set(.withoutPeerIDs, !value.isEmpty && !(value.count == 1 && value[0] == UInt8(ascii: "0")))
    default: break
    }
  }

  private mutating func set(_ option: ReplyForm, _ isSet: Bool) {
    if isSet { form.insert(option) } else { form.remove(option) }
  }

  /// What BEP 3 requires must be there.
  func finish() throws(Refusal) -> AnnounceRequest {
    guard found.contains(.infoHash) else { throw .invalidInfoHash }
    guard found.contains(.peerID) else { throw .invalidPeerID }
    guard found.contains(.port), request.port != 0 || request.event == .stopped else { throw .invalidPort }
    guard found.contains(.uploaded) else { throw .invalidUploaded }
    guard found.contains(.downloaded) else { throw .invalidDownloaded }
    guard found.contains(.left) else { throw .invalidLeft }
    return request
  }

  /// `ip=` (BEP 3) and `ipv4=`, `ipv6=` (BEP 7), which a client may only say of itself when the operator allows it:
  /// with them, downloaders can be sent to a victim's address.
  func claimAddresses(for request: inout AnnounceRequest) throws(Refusal) {
    if let ip, !ip.isEmpty {
      guard let claimed = Self.address(ip) else { throw .invalidAddress }
      request.address = claimed
    }
    let other = request.address.family == .v4 ? ipv6 : ipv4
    if let other, let claimed = Self.address(other), claimed.family != request.address.family {
      request.otherAddress = claimed
    }
  }

  /// The address of an encoded `addr`, `v4:port` or `[v6]:port`.
  private static func address(_ encoded: UnsafeRawBufferPointer) -> IPAddress? {
    withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { buffer in
      guard let count = PercentEncoding.decode(encoded, atMost: buffer.count, to: buffer.baseAddress!) else {
        return nil
      }
      return HostText.address(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
  }

  private static func bytes20<Value: Bytes20>(
    _ value: UnsafeRawBufferPointer, else refusal: Refusal
  ) throws(Refusal) -> Value {
    var words: (UInt64, UInt64, UInt64) = (0, 0, 0)
    let decoded = withUnsafeMutableBytes(of: &words) { target in
      PercentEncoding.decode(value, exactly: Value.byteCount, to: target.baseAddress!)
    }
    guard decoded else { throw refusal }
    return Value(words: (words.0, words.1, UInt32(truncatingIfNeeded: words.2)))
  }

  /// Decimal digits that fit 64 bits.
  private static func number(_ value: UnsafeRawBufferPointer, else refusal: Refusal) throws(Refusal) -> UInt64 {
    // Twenty digits at most: nothing longer fits, but for leading zeros, which no client sends.
    guard value.count >= 1, value.count <= 20 else { throw refusal }
    var number: UInt64 = 0
    for byte in value {
      guard byte >= 0x30, byte <= 0x39 else { throw refusal }
      let (tens, overflow) = number.multipliedReportingOverflow(by: 10)
      let (sum, overflowToo) = tens.addingReportingOverflow(UInt64(byte - 0x30))
      if overflow || overflowToo { throw refusal }
      number = sum
    }
    return number
  }

  /// Negative means "your default", as -1 does in BEP 15; more than fits is as good as the most that fits.
  private static func numwant(_ value: UnsafeRawBufferPointer) throws(Refusal) -> UInt32? {
    if value.isEmpty { return nil }
    if value[0] == UInt8(ascii: "-") {
      _ = try number(UnsafeRawBufferPointer(rebasing: value[1...]), else: .invalidNumwant)
      return nil
    }
    return UInt32(clamping: try number(value, else: .invalidNumwant))
  }

  /// Whatever is negative stands for "not known yet", as the largest number does in BEP 15: the client is no seeder.
  private static func left(_ value: UnsafeRawBufferPointer) throws(Refusal) -> UInt64 {
    guard value.first == UInt8(ascii: "-") else { return try number(value, else: .invalidLeft) }
    _ = try number(UnsafeRawBufferPointer(rebasing: value[1...]), else: .invalidLeft)
    return AnnounceRequest.unknownLeft
  }

  /// Letters of either case, as Chihaya takes them. Everything else is a regular announce: empty, `paused` (BEP 21), and what
  /// clients invent.
  private static func event(_ value: UnsafeRawBufferPointer) -> AnnounceEvent {
    switch value.count {
    case 7 where QueryParameter.equalsFolded(value, "started"): .started
    case 7 where QueryParameter.equalsFolded(value, "stopped"): .stopped
    case 9 where QueryParameter.equalsFolded(value, "completed"): .completed
    default: .none
    }
  }
}
