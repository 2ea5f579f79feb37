// PeerLimit: the hook `peer limit` of the traffic-push fork of Chihaya: one client of a user on a torrent. There it counts in
// Redis; here the swarms know, so that all it does is to say so. Plain values; main thread.

import Settings

/// One client of one user on one torrent, whatever `max_peers_per_user` says.
struct PeerLimitOptions: HookOptions {
  static let name = "peer limit"
  static let maxPeersPerUser = 1

  static var settings: [Setting<Self>] {
    [
      .ignored(
        "redis_broker", "redis_connect_timeout", "redis_read_timeout", "redis_write_timeout", "limit_key_prefix",
        "peer_lifetime")
    ]
  }

  func make(_ chain: HookChain) -> (any AnnounceHook)? { nil }
}
