// TrackerReload: what of a new configuration takes effect while the tracker runs (SIGHUP), and what must wait for a
// restart. Pure; called by TrackerDaemon on the main thread.

import Settings

/// The outcome of comparing the running configuration with a new one.
struct TrackerReload {
  /// The running configuration with everything from the new one that may change now.
  private(set) var merged: TrackerConfig
  /// Names of settings that change now, and of those that need a restart.
  private(set) var applied: [String] = []
  private(set) var needRestart: [String] = []

  init(running: TrackerConfig, new: TrackerConfig) {
    merged = running
    merged.announceInterval = new.announceInterval
    merged.minAnnounceInterval = new.minAnnounceInterval
    merged.logLevel = new.logLevel
    merged.batchDelay = new.batchDelay
    merged.storage.excludeOwnPeers = new.storage.excludeOwnPeers
    merged.storage.maxPeersPerUser = new.storage.maxPeersPerUser
    merged.storage.peerLifetime = new.storage.peerLifetime
    if let http = new.http { merged.http?.takeLive(http) }
    if let udp = new.udp { merged.udp?.takeLive(udp) }
    merged.prehooks = Self.hooks(running.prehooks, new.prehooks)
    merged.posthooks = Self.hooks(running.posthooks, new.posthooks)
    merged.effectiveSettings = new.effectiveSettings
    compare(running, new)
  }

  private mutating func compare(_ running: TrackerConfig, _ new: TrackerConfig) {
    let old = Dictionary(running.effectiveSettings.map { ($0.path, $0.shown) }) { first, _ in first }
    let wanted = Dictionary(new.effectiveSettings.map { ($0.path, $0.shown) }) { first, _ in first }
    for path in Set(old.keys).union(wanted.keys).sorted(by: { $0.lexicographicallyPrecedes($1) })
    where old[path] != wanted[path] {
      let name = EffectiveSetting(path: path, shown: "", origin: .builtIn).name
      if isLive(path, new) { applied.append(name) } else { needRestart.append(name) }
    }
    // Secrets and the contents of files are not shown, and still may have changed.
    if needRestart.isEmpty && (merged.prehooks != new.prehooks || merged.posthooks != new.posthooks) {
      needRestart.append("hooks")
    }
    let hooksChanged = merged.prehooks != running.prehooks || merged.posthooks != running.posthooks
    if hooksChanged && !applied.contains(where: { $0.contains("hooks[") }) { applied.append("lists from files") }
  }

  /// Top-level and listener settings that may change at any time.
  private static let livePaths: Set<[String]> = [
    ["announce_interval"], ["min_announce_interval"], ["log_level"], ["batch_delay"],
    ["storage", "config", "exclude_own_peers"], ["storage", "config", "max_peers_per_user"],
    ["storage", "config", "peer_lifetime"],
    ["http", "read_timeout"], ["http", "write_timeout"], ["http", "idle_timeout"], ["http", "enable_keepalive"],
    ["http", "announce_routes"], ["http", "scrape_routes"], ["http", "allow_ip_spoofing"],
    ["http", "real_ip_header"], ["http", "trusted_proxies"], ["http", "max_numwant"], ["http", "default_numwant"],
    ["http", "max_scrape_infohashes"], ["udp", "allow_ip_spoofing"], ["udp", "max_numwant"],
    ["udp", "default_numwant"], ["udp", "max_scrape_infohashes"],
  ]
  /// Options of `torrent approval` that belong to its connection.
  private static let connectionOptions: Set<String> = [
    "redis_broker", "redis_connect_timeout", "redis_read_timeout", "redis_write_timeout", "set_key", "cache_ttl",
    "negative_cache_ttl",
  ]

  private func isLive(_ path: [String], _ new: TrackerConfig) -> Bool {
    if Self.livePaths.contains(path) { return true }
    guard path.count >= 3, let index = Int(path[1]), path[2] == "options" else { return false }
    let hooks = path[0] == "prehooks" ? merged.prehooks : merged.posthooks
    guard index < hooks.count else { return false }
    switch hooks[index] {
    case .passkeyApproval, .trafficPush: return false
    case .torrentApproval: return path.count < 4 || !Self.connectionOptions.contains(path[3])
    case .clientApproval, .portApproval, .intervalVariation: return true
    }
  }

  /// The new lists in the running order; hooks that come, go or move need a restart.
  private static func hooks(_ running: [HookConfig], _ new: [HookConfig]) -> [HookConfig] {
    guard running.map(\.name) == new.map(\.name) else { return running }
    return zip(running, new).map { old, new in
      switch (old, new) {
      case (.torrentApproval(let old), .torrentApproval(var lists)):
        lists.redisSet = old.redisSet
        return .torrentApproval(lists)
      case (.clientApproval, _), (.portApproval, _), (.intervalVariation, _): return new
      default: return old
      }
    }
  }
}

extension TrackerHTTPConfig {
  fileprivate mutating func takeLive(_ new: TrackerHTTPConfig) {
    readTimeout = new.readTimeout
    writeTimeout = new.writeTimeout
    idleTimeout = new.idleTimeout
    enableKeepalive = new.enableKeepalive
    announceRoutes = new.announceRoutes
    scrapeRoutes = new.scrapeRoutes
    allowIPSpoofing = new.allowIPSpoofing
    realIPHeader = new.realIPHeader
    trustedProxies = new.trustedProxies
    limits = new.limits
  }
}

extension TrackerUDPConfig {
  fileprivate mutating func takeLive(_ new: TrackerUDPConfig) {
    allowIPSpoofing = new.allowIPSpoofing
    limits = new.limits
  }
}
