// ClientReplay: announces as real clients write them, and what each must get back and leave in the stream: the scenarios of
// client-announces.json, put on the wire byte for byte. A scenario is one session of one user; one after the other.

import Foundation
import Simulation
import Wire

/// One session as a client tells it.
struct ClientReplay: Decodable, CustomStringConvertible {
  let name: String
  let client: String
  let version: String
  /// Where the bytes are from: `captured`, or the client's sources that they follow.
  let source: String
  let steps: [Step]
  /// `event du dd left family` of each entry that lands in the stream.
  let stream: [String]

  /// One announce.
  struct Step: Decodable {
    let via: Via
    /// The request's text over HTTP; the datagram in hex over UDP.
    let bytes: String
    /// `seeders leechers snatches` that come of it (`1p`: a leecher that is a partial seed), or `failure` and its reason.
    let reply: String
  }

  enum Via: String, Decodable {
    case http4, http6, udp4, udp6
    var isUDP: Bool { self == .udp4 || self == .udp6 }
    var family: IPAddress.Family { self == .http4 || self == .udp4 ? .v4 : .v6 }
  }

  var description: String { "\(client) \(version): \(name)" }

  static func all() throws -> [ClientReplay] {
    let path = Repository.path("Tests/IntegrationTests/Replay/client-announces.json")
    return try JSONDecoder().decode([ClientReplay].self, from: Data(contentsOf: URL(fileURLWithPath: path)))
  }
}

extension ClientReplay.Step {
  /// Whether peers come back: the client asks for some (BEP 15: event, num_want), and stays.
  var wantsPeers: Bool {
    if via.isUDP { return datagram[83] != 3 && datagram[92..<96] != [0, 0, 0, 0] }
    return !bytes.contains("&event=stopped") && !bytes.contains("&numwant=0")
  }

  /// BEP 15's transaction id.
  var transaction: ArraySlice<UInt8> { datagram[12..<16] }

  /// The datagram; its first eight bytes are a connection id of the tracker that it was sent to then.
  private var datagram: [UInt8] { Hex.decode(bytes.utf8) ?? [] }

  var infoHash: InfoHash {
    if via.isUDP { return datagram.withUnsafeBytes { InfoHash($0.baseAddress! + 16) } }
    let start = bytes.range(of: "info_hash=")!.upperBound
    let raw = Self.unescaped(bytes[start...].prefix { $0 != "&" && $0 != " " })
    return raw.withUnsafeBytes { InfoHash($0.baseAddress!) }
  }

  /// Empty without one.
  var passkey: String {
    if via.isUDP { return String(decoding: datagram.dropFirst(100 + "/announce/".utf8.count), as: UTF8.self) }
    return String(bytes.dropFirst("GET /announce/".count).prefix { $0 != "?" })
  }

  private static func unescaped(_ text: Substring) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let first = rest.popFirst() {
      guard first == UInt8(ascii: "%") else {
        bytes.append(first)
        continue
      }
      bytes += Hex.decode(rest.prefix(2)) ?? []
      rest = rest.dropFirst(2)
    }
    return bytes
  }

  /// Sends the bytes and returns those of the reply: the whole of it over HTTP.
  func send(to endpoints: TrackerEndpoints) throws -> [UInt8] {
    let port = via.isUDP ? endpoints.udpPort : endpoints.httpPort
    let socket = try ClientSocket(via.family == .v4 ? .v4(port) : .v6(port), udp: via.isUDP)
    return via.isUDP ? try exchange(socket) : try request(socket)
  }

  private func exchange(_ socket: borrowing ClientSocket) throws -> [UInt8] {
    // BEP 15: the magic number, action 0, a transaction id.
    try socket.send([0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4])
    guard let connected = try socket.receive(), connected.count == 16 else { throw HarnessError("no connect reply") }
    try socket.send(Array(connected[8...]) + datagram[8...])
    guard let reply = try socket.receive() else { throw HarnessError("no announce reply") }
    guard reply.count >= 8, reply[4..<8] == datagram[12..<16] else {
      throw HarnessError("not this transaction's: \(Hex.encode(reply))")
    }
    return reply
  }

  /// Reads to the end that Content-Length says.
  private func request(_ socket: borrowing ClientSocket) throws -> [UInt8] {
    try socket.send(Array(bytes.utf8))
    var reply: [UInt8] = []
    while true {
      if let (head, body) = Self.split(reply),
        let length = head.firstMatch(of: /Content-Length: (\d+)/).flatMap({ Int($0.1) }), body.count >= length
      {
        return reply
      }
      guard let more = try socket.receive(), !more.isEmpty else { throw HarnessError("no whole HTTP reply") }
      reply += more
    }
  }

  /// Head and body of an HTTP reply, once the head is whole.
  static func split(_ reply: [UInt8]) -> (head: String, body: ArraySlice<UInt8>)? {
    guard let end = Data(reply).range(of: Data("\r\n\r\n".utf8)) else { return nil }
    return (String(decoding: reply[..<end.lowerBound], as: UTF8.self), reply[end.upperBound...])
  }
}
