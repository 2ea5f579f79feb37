// UDPAnnounceClient: announces and scrapes over UDP as a BitTorrent client does (BEP 15, IPv6 as in its later section,
// passkeys as URL data by BEP 41). One thread at a time.

import Linux
import Wire

/// A client with one socket. Lost datagrams are sent again, as BEP 15 wants it, but sooner: this is loopback.
public struct UDPAnnounceClient: ~Copyable {
  /// What stands in the URL data of BEP 41.
  public enum URLData: Sendable, CaseIterable {
    /// `/announce/<passkey>`
    case path
    /// `/announce?passkey=<passkey>`
    case query
  }
  /// BEP 15 waits 15 * 2 ^ n seconds; a reply on loopback that takes a second is lost.
  private static let attempts = 5
  private static let replyMilliseconds = 1000
  /// BEP 15: a connection id is good for a minute from when it was received.
  private static let connectionNanoseconds: UInt64 = 60_000_000_000

  private let family: IPAddress.Family
  private let socket: ClientSocket
  private var connection: (id: UInt64, received: UInt64)?

  public init(_ endpoint: LoopbackEndpoint, from source: IPAddress? = nil) throws(HarnessError) {
    family = endpoint.address.family
    socket = try ClientSocket(endpoint, udp: true, from: source, timeoutMilliseconds: Self.replyMilliseconds)
  }

  /// Announces and decodes the reply; connects first when it has no fresh connection id.
  public mutating func announce(
    _ announcement: Announcement, urlData: URLData = .path
  ) throws(HarnessError) -> AnnounceOutcome {
    let text =
      switch urlData {
      case .path: "/announce/\(announcement.passkey)"
      case .query: "/announce?passkey=\(announcement.passkey)"
      }
    return try announce(announcement, options: Self.urlOptions(Array(text.utf8)))
  }

  /// Announces with these bytes after BEP 15's 98, for tests of broken options.
  public mutating func announce(
    _ announcement: Announcement, options: [UInt8]
  ) throws(HarnessError) -> AnnounceOutcome {
    let reply = try exchange(action: 1, body: Self.body(announcement) + options)
    if let reason = Self.failure(in: reply) { return .failure(reason) }
    // offset: 0 action 4, 4 transaction_id 4, 8 interval 4, 12 leechers 4, 16 seeders 4, 20 peers
    guard reply.count >= 20, Self.number(reply, at: 0) == 1,
      let peers = PeerEndpoint.decode(compact: reply[20...], family: family)
    else { throw HarnessError("no announce reply: \(Hex.encode(reply))") }
    return .peers(
      AnnounceReply(
        interval: Int(Self.number(reply, at: 8)), minInterval: nil, complete: Int(Self.number(reply, at: 16)),
        incomplete: Int(Self.number(reply, at: 12)), peers: peers, warning: nil))
  }

  /// Announces and goes on without waiting for the reply.
  public mutating func send(_ announcement: Announcement) throws(HarnessError) {
    let head = Self.bigEndian(try connectionID()) + Self.bigEndian(UInt32(1)) + Self.bigEndian(UInt32.random(in: 0...9))
    try socket.send(
      head + Self.body(announcement) + Self.urlOptions(Array("/announce/\(announcement.passkey)".utf8)))
  }

  /// offset: 0 connection_id 8, 8 action 4 = 1, 12 transaction_id 4, 16 info_hash 20, 36 peer_id 20, 56 downloaded 8,
  /// 64 left 8, 72 uploaded 8, 80 event 4, 84 ip 4 = 0, 88 key 4, 92 num_want 4 = -1, 96 port 2 (BEP 15); from 16 on.
  private static func body(_ announcement: Announcement) -> [UInt8] {
    var body = announcement.infoHash.bytes + announcement.peerID.bytes
    body += bigEndian(announcement.downloaded) + bigEndian(announcement.left)
    body += bigEndian(announcement.uploaded) + bigEndian(UInt32(announcement.event.rawValue))
    body += bigEndian(UInt32(0)) + bigEndian(UInt32(0x5eed))
    return body + bigEndian(UInt32(bitPattern: announcement.numwant ?? -1)) + bigEndian(announcement.port)
  }

  /// Seeders, snatches and leechers of each torrent, in the order asked.
  public mutating func scrape(
    _ infoHashes: [InfoHash]
  ) throws(HarnessError) -> [(complete: Int, downloaded: Int, incomplete: Int)] {
    let reply = try exchange(action: 2, body: infoHashes.flatMap(\.bytes))
    if let reason = Self.failure(in: reply) { throw HarnessError("scrape refused: \(reason)") }
    guard reply.count == 8 + 12 * infoHashes.count, Self.number(reply, at: 0) == 2 else {
      throw HarnessError("no scrape reply: \(Hex.encode(reply))")
    }
    return infoHashes.indices.map { index in
      let at = 8 + 12 * index
      return (
        Int(Self.number(reply, at: at)), Int(Self.number(reply, at: at + 4)), Int(Self.number(reply, at: at + 8))
      )
    }
  }

  /// BEP 41: option 2 with at most 255 bytes each, as many as the text needs, then option 0 (end of options).
  public static func urlOptions(_ text: [UInt8]) -> [UInt8] {
    var options: [UInt8] = []
    var rest = text[...]
    while !rest.isEmpty {
      let part = rest.prefix(255)
      options += [2, UInt8(part.count)] + part
      rest = rest.dropFirst(255)
    }
    return options + [0]
  }

  /// Sends a request and returns its reply. A connection id that the tracker no longer knows (it was restarted) is
  /// replaced once, as clients do.
  private mutating func exchange(action: UInt32, body: [UInt8]) throws(HarnessError) -> [UInt8] {
    let isReused = connection != nil
    let reply = try exchangeOnce(action: action, body: body)
    guard isReused, Self.failure(in: reply)?.lowercased().contains("connection id") == true else { return reply }
    connection = nil
    return try exchangeOnce(action: action, body: body)
  }

  private mutating func exchangeOnce(action: UInt32, body: [UInt8]) throws(HarnessError) -> [UInt8] {
    var id = try connectionID()
    for attempt in 0..<Self.attempts {
      let transaction = UInt32.random(in: .min ... .max)
      try socket.send(Self.bigEndian(id) + Self.bigEndian(action) + Self.bigEndian(transaction) + body)
      if let reply = try receive(transaction) { return reply }
      // A restarted tracker need not know the id and may stay silent (BEP 15): ask for a new one.
      if attempt == 1 {
        connection = nil
        id = try connectionID()
      }
    }
    throw HarnessError("no UDP reply to \(Self.attempts) datagrams")
  }

  private mutating func connectionID() throws(HarnessError) -> UInt64 {
    let now = Clock.monotonicNanoseconds()
    if let connection, now - connection.received < Self.connectionNanoseconds { return connection.id }
    for _ in 0..<Self.attempts {
      let transaction = UInt32.random(in: .min ... .max)
      // The magic number of BEP 15, action 0.
      try socket.send(
        Self.bigEndian(UInt64(0x417_2710_1980)) + Self.bigEndian(UInt32(0)) + Self.bigEndian(transaction))
      guard let reply = try receive(transaction) else { continue }
      guard reply.count >= 16, Self.number(reply, at: 0) == 0 else {
        throw HarnessError("no connect reply: \(Hex.encode(reply))")
      }
      let id = UInt64(Self.number(reply, at: 8)) << 32 | UInt64(Self.number(reply, at: 12))
      connection = (id, now)
      return id
    }
    throw HarnessError("no UDP reply to \(Self.attempts) connects")
  }

  /// The reply to this transaction, nil when none came in time; replies to earlier ones are passed over.
  private func receive(_ transaction: UInt32) throws(HarnessError) -> [UInt8]? {
    let deadline = Clock.monotonicNanoseconds() + UInt64(Self.replyMilliseconds) * 1_000_000
    repeat {
      guard let reply = try socket.receive() else { return nil }
      if reply.count >= 8, Self.number(reply, at: 4) == transaction { return reply }
    } while Clock.monotonicNanoseconds() < deadline
    return nil
  }

  /// BEP 15: action 3, then the text.
  private static func failure(in reply: [UInt8]) -> String? {
    guard number(reply, at: 0) == 3 else { return nil }
    return String(decoding: reply[8...].prefix { $0 != 0 }, as: UTF8.self)
  }

  private static func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }

  private static func number(_ bytes: [UInt8], at offset: Int) -> UInt32 {
    bytes[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
  }
}
