// HTTPAnnounceClient: announces and scrapes over HTTP/1.1 as a BitTorrent client does (BEP 3, 7, 23, 48), and plain GET
// for health and metrics. One thread at a time.

import Wire

/// A reply of an HTTP server.
public struct HTTPReply: Sendable {
  public let status: Int
  /// Names in lower case.
  public let headers: [String: String]
  public let body: [UInt8]
  public var text: String { String(decoding: body, as: UTF8.self) }
}

/// A client with one connection, kept alive when the server allows it.
public struct HTTPAnnounceClient: ~Copyable {
  /// Where the passkey stands.
  public enum Route: Sendable, CaseIterable {
    /// `/announce/<passkey>`
    case path
    /// `/announce?passkey=`
    case query
  }

  private let endpoint: LoopbackEndpoint
  private var socket: ClientSocket?
  private var pending: [UInt8] = []

  public init(_ endpoint: LoopbackEndpoint) { self.endpoint = endpoint }

  /// Announces and decodes the reply.
  public mutating func announce(
    _ announcement: Announcement, route: Route = .path
  ) throws(HarnessError) -> AnnounceOutcome {
    let reply = try get(Self.target(announcement, route: route))
    guard reply.status == 200 else { throw HarnessError("announce: status \(reply.status): \(reply.text)") }
    return try Self.outcome(reply.body)
  }

  /// The request target of an announce.
  public static func target(_ announcement: Announcement, route: Route) -> String {
    var target =
      switch route {
      case .path: "/announce/\(announcement.passkey)?"
      case .query: "/announce?passkey=\(announcement.passkey)&"
      }
    target += "info_hash=\(escaped(announcement.infoHash.bytes))&peer_id=\(escaped(announcement.peerID.bytes))"
    target += "&port=\(announcement.port)&uploaded=\(announcement.uploaded)&downloaded=\(announcement.downloaded)"
    target += "&left=\(announcement.left)&compact=1"
    if announcement.event != .none { target += "&event=\(announcement.event.text)" }
    if let numwant = announcement.numwant { target += "&numwant=\(numwant)" }
    return target
  }

  /// GET on the connection; a connection that the server closed since the last request is opened again once.
  public mutating func get(_ target: String) throws(HarnessError) -> HTTPReply {
    let request = "GET \(target) HTTP/1.1\r\nHost: \(endpoint.authority)\r\n\r\n"
    if socket != nil {
      if let reply = try? exchange(request) { return reply }
      socket = nil
    }
    pending = []
    socket = try ClientSocket(endpoint, udp: false)
    return try exchange(request)
  }

  /// One request with a body on a connection of its own: the RPC interfaces of real clients.
  public static func request(
    _ method: String, _ target: String, at endpoint: LoopbackEndpoint, headers: [String: String], body: [UInt8]
  ) throws(HarnessError) -> HTTPReply {
    var client = HTTPAnnounceClient(endpoint)
    var head = "\(method) \(target) HTTP/1.1\r\nHost: \(endpoint.authority)\r\nConnection: close\r\n"
    head += "Content-Length: \(body.count)\r\n"
    for (name, value) in headers { head += "\(name): \(value)\r\n" }
    client.socket = try ClientSocket(endpoint, udp: false)
    return try client.exchange(Array((head + "\r\n").utf8) + body)
  }

  private mutating func exchange(_ request: String) throws(HarnessError) -> HTTPReply {
    try exchange(Array(request.utf8))
  }

  private mutating func exchange(_ request: [UInt8]) throws(HarnessError) -> HTTPReply {
    try socket!.send(request)
    let head = try receive { bytes in Self.end(ofHeadIn: bytes) }
    let lines = String(decoding: head, as: UTF8.self).split(separator: "\r\n")
    let words = lines.first?.split(separator: " ", maxSplits: 2) ?? []
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
      throw HarnessError("no status line: \(String(decoding: head, as: UTF8.self))")
    }
    var headers: [String: String] = [:]
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":") else { throw HarnessError("no header line: \(line)") }
      headers[line[..<colon].lowercased()] = line[line.index(after: colon)...].drop { $0 == " " }.description
    }
    guard let length = headers["content-length"].flatMap({ Int($0) }) else {
      throw HarnessError("a reply without Content-Length: \(headers)")
    }
    let body = try receive { bytes in bytes.count >= length ? length : nil }
    if headers["connection"]?.lowercased() == "close" || words[0] == "HTTP/1.0" { socket = nil }
    return HTTPReply(status: status, headers: headers, body: body)
  }

  /// Takes what `end` says out of the bytes received so far, receiving until it says something.
  private mutating func receive(until end: ([UInt8]) -> Int?) throws(HarnessError) -> [UInt8] {
    while true {
      if let count = end(pending) {
        defer { pending.removeFirst(count) }
        return Array(pending[..<count])
      }
      guard let more = try socket!.receive() else { throw HarnessError("no HTTP reply in time") }
      guard !more.isEmpty else { throw HarnessError("the connection ended before the reply did") }
      pending += more
    }
  }

  private static func end(ofHeadIn bytes: [UInt8]) -> Int? {
    guard bytes.count >= 4 else { return nil }
    for index in 0...(bytes.count - 4) where bytes[index..<index + 4].elementsEqual("\r\n\r\n".utf8) {
      return index + 4
    }
    return nil
  }

  /// Percent-encoding of every byte that is not unreserved (RFC 3986 section 2.3).
  public static func escaped(_ bytes: [UInt8]) -> String {
    var text = ""
    for byte in bytes {
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: text.unicodeScalars.append(.init(byte))
      default: text += "%" + Hex.encode([byte])
      }
    }
    return text
  }

  /// The outcome in a bencoded body.
  public static func outcome(_ body: [UInt8]) throws(HarnessError) -> AnnounceOutcome {
    let value: Bencode
    do {
      value = try Bencode.decode(body)
    } catch {
      throw HarnessError("no bencoding (\(error)): \(String(decoding: body, as: UTF8.self))")
    }
    if let reason = value["failure reason"]?.text { return .failure(reason) }
    guard let interval = value["interval"]?.integer else { throw HarnessError("a reply without interval: \(value)") }
    var peers: Set<PeerEndpoint> = []
    for (key, family) in [("peers", IPAddress.Family.v4), ("peers6", .v6)] {
      guard let field = value[key] else { continue }
      guard let bytes = field.bytes, let decoded = PeerEndpoint.decode(compact: bytes, family: family) else {
        throw HarnessError("\(key) is no compact list: \(field)")
      }
      peers.formUnion(decoded)
    }
    return .peers(
      AnnounceReply(
        interval: Int(interval), minInterval: value["min interval"]?.integer.map(Int.init),
        complete: value["complete"]?.integer.map(Int.init), incomplete: value["incomplete"]?.integer.map(Int.init),
        peers: peers, warning: value["warning message"]?.text))
  }
}
