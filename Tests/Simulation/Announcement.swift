// Announcement: what a simulated client tells a tracker, and the reply as the client understands it. Values.

import Wire

/// One announce as a client means it; the clients put it on the wire.
public struct Announcement: Sendable {
  public var passkey: String
  public var infoHash: InfoHash
  public var peerID: PeerID
  public var port: UInt16
  public var uploaded: UInt64
  public var downloaded: UInt64
  public var left: UInt64
  public var event: AnnounceEvent
  public var numwant: Int32?

  public init(
    passkey: String, infoHash: InfoHash, peerID: PeerID, port: UInt16 = 6881, uploaded: UInt64 = 0,
    downloaded: UInt64 = 0, left: UInt64 = 0, event: AnnounceEvent = .none, numwant: Int32? = nil
  ) {
    self.passkey = passkey
    self.infoHash = infoHash
    self.peerID = peerID
    self.port = port
    self.uploaded = uploaded
    self.downloaded = downloaded
    self.left = left
    self.event = event
    self.numwant = numwant
  }
}

/// A tracker's reply to an announce.
public enum AnnounceOutcome: Equatable, Sendable {
  case peers(AnnounceReply)
  /// BEP 3's `failure reason`, BEP 15's action 3.
  case failure(String)

  /// The reply, or an error that shows the refusal.
  public func reply() throws(HarnessError) -> AnnounceReply {
    switch self {
    case .peers(let reply): return reply
    case .failure(let reason): throw HarnessError("the tracker refused the announce: \(reason)")
    }
  }
}

/// The numbers and peers of a reply.
public struct AnnounceReply: Equatable, Sendable {
  /// Seconds.
  public var interval: Int
  /// Seconds; BEP 15 has none.
  public var minInterval: Int?
  /// BEP 15 calls them seeders and leechers.
  public var complete: Int?
  public var incomplete: Int?
  public var peers: Set<PeerEndpoint>
  public var warning: String?
}

/// A peer of a compact list (BEP 23: 6 bytes, BEP 7: 18 bytes).
public struct PeerEndpoint: Hashable, Sendable, CustomStringConvertible {
  public var address: IPAddress
  public var port: UInt16
  public init(address: IPAddress, port: UInt16) {
    self.address = address
    self.port = port
  }
  public var description: String { "\(address) \(port)" }

  /// The peers of a compact list, or nil when its length is no multiple.
  static func decode(compact bytes: some Collection<UInt8>, family: IPAddress.Family) -> Set<PeerEndpoint>? {
    let bytes = Array(bytes)
    let size = family == .v4 ? 4 : 16
    guard bytes.count.isMultiple(of: size + 2) else { return nil }
    var peers: Set<PeerEndpoint> = []
    for start in stride(from: 0, to: bytes.count, by: size + 2) {
      let address = bytes[start..<start + size].withUnsafeBytes { raw in
        family == .v4
          ? IPAddress(v4: raw.loadUnaligned(as: UInt32.self)) : IPAddress(v6: raw.baseAddress!)
      }
      let port = UInt16(bytes[start + size]) << 8 | UInt16(bytes[start + size + 1])
      peers.insert(PeerEndpoint(address: address, port: port))
    }
    return peers
  }
}
