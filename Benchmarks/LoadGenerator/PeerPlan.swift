// PeerPlan: who announces what. Each peer sits in one torrent and speaks from one socket, that is from one address, so that
// swarms fill as they do with real clients; they all have the same size, so that every reply carries the same work.

/// Numbers without a pattern that are the same in every run (xorshift64).
struct RandomSource {
  private var state: UInt64 = 88_172_645_463_325_252

  @inline(__always)
  mutating func next() -> UInt64 {
    state ^= state << 7
    state ^= state >> 9
    return state
  }

  /// 0 up to and without `bound`.
  @inline(__always)
  mutating func below(_ bound: UInt64) -> UInt64 { next().multipliedFullWidth(by: bound).high }
}

/// The population.
struct PeerPlan {
  let peersPerSocket: UInt64
  let sockets: UInt32
  let torrents: UInt32
  let hasUniquePorts: Bool

  /// 2^32 divided by the golden ratio; it scatters info hashes and swarms.
  static let scatter: UInt32 = 2_654_435_761

  init(_ options: LoadOptions, sockets: Int) {
    peersPerSocket = UInt64(options.peers / sockets)
    self.sockets = UInt32(sockets)
    torrents = UInt32(options.torrents)
    hasUniquePorts = options.hasUniquePorts
  }

  /// The `index`th peer of a socket.
  @inline(__always)
  func peer(_ index: UInt64, of socket: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: index) &* sockets &+ UInt32(socket)
  }

  @inline(__always)
  func torrent(of peer: UInt32) -> UInt32 { ((peer / sockets) &* Self.scatter) % torrents }

  /// The first eight bytes of a torrent's info hash as one number; the other twelve are 0.
  @inline(__always)
  static func infoHashHead(_ torrent: UInt32) -> UInt64 { UInt64(torrent &* scatter) << 32 | UInt64(torrent) }

  /// A port that peers of one socket may share, or one that no other has (up to 64,000 peers a socket).
  @inline(__always)
  func udpPort(of peer: UInt32) -> UInt16 {
    if hasUniquePorts { return UInt16(1024 + (peer / sockets) % 64_000) }
    return UInt16(truncatingIfNeeded: peer) | 0x8000
  }

  /// The port in an HTTP announce.
  @inline(__always)
  static func httpPort(of peer: UInt32) -> UInt32 { 1024 + peer % 60_000 }
}
