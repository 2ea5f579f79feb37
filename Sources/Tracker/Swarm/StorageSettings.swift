// StorageSettings: the section `storage:` of the configuration. Plain values; main thread.

import Settings

/// `storage:` with `name: memory`.
struct StorageSettings: SettingsSection, Sendable, Equatable {
  var name = memory
  /// How often stale peers are looked for.
  var gcInterval: Duration = .seconds(3 * 60)
  /// How long a peer stays after its last announce; unless given a minute more than the announce interval. Chihaya's
  /// built-in 30 minutes are its interval, at which every peer would come and go; its example file has the minute too.
  var peerLifetime: Duration = .seconds(31 * 60)
  /// Lock-striped parts of the swarm table.
  var shardCount = 1024
  /// Accepted for Chihaya's sake: the gauges are counted when they are read.
  var prometheusReportingInterval: Duration = .seconds(1)
  /// Whether a user's other sessions are left out of their peer list (ours).
  var excludeOwnPeers = true
  /// Sessions of one user on one torrent (ours).
  var maxPeersPerUser = 3
  /// Sessions of one user in all swarms (ours); 0: no limit.
  var maxSessionsPerUser = SessionLimits().sessions
  /// New sessions of one user in an hour (ours); 0: no limit.
  var maxNewSessionsPerHour = SessionLimits().newPerHour
  /// Snatches of one user that are counted, ever (ours); 0: no limit.
  var maxSnatchesPerUser = SwarmPolicy().maxSnatchesPerUser
  /// The file that keeps the snatch counts over a restart (ours); nil: they begin at 0.
  var snatchPath: String?

  private static let memory = "memory"
  private static let housekeeping: ClosedRange<Duration> = .milliseconds(10) ... .seconds(86_400)
  private static let sessions = 0...UserBudgets.maximum
  private static let lifetimes: ClosedRange<Duration> = .seconds(1) ... .seconds(14 * 86_400)

  var sessionLimits: SessionLimits { SessionLimits(sessions: maxSessionsPerUser, newPerHour: maxNewSessionsPerHour) }

  static var settings: [Setting<Self>] {
    [
      .text("name", \.name, .restart, "the only one there is"),
      .check { storage, section in
        guard storage.name != memory else { return }
        let advice =
          storage.name == "redis"
          ? "write `name: memory` and remove the redis_ settings: peers are kept in memory here"
          : "write `name: memory`"
        section.refuse("name", "the storage \(storage.name) is not supported; \(advice)")
      },
      .section("config", if: { $0.name == memory }, config),
    ]
  }

  private static var config: [Setting<Self>] {
    [
      .unsupported(
        "redis_broker", "redis_read_timeout", "redis_write_timeout", "redis_connect_timeout",
        advice: "belongs to the storage redis, which is not supported; remove it"),
      .duration(
        "gc_interval", \.gcInterval, in: housekeeping, .restart,
        "how often peers that stopped announcing are looked for"),
      .duration(
        "peer_lifetime", \.peerLifetime, in: lifetimes, .live, "how long a peer is kept", standard: "interval + 1m"),
      .integer("shard_count", \.shardCount, in: 1...65_536, .restart, "lock-striped parts of the swarm table"),
      .duration(
        "prometheus_reporting_interval", \.prometheusReportingInterval, in: housekeeping,
        .restart, "accepted for Chihaya's sake: the storage gauges are counted when `/metrics` is read"),
      .bool("exclude_own_peers", \.excludeOwnPeers, .live, "leave a user's other clients out of the peer list"),
      .integer("max_peers_per_user", \.maxPeersPerUser, in: 1...1000, .live, "clients of one user on one torrent"),
      .integer(
        "max_sessions_per_user", \.maxSessionsPerUser, in: sessions, .live,
        "sessions of one user on all torrents, a client on a torrent is one; a new one is refused, `0`: no limit"),
      .integer(
        "max_new_sessions_per_hour", \.maxNewSessionsPerHour, in: sessions, .live,
        "new ones of one user in an hour, or at once; `0`: no limit"),
      .integer(
        "max_snatches_per_user", \.maxSnatchesPerUser, in: 0...10_000_000, .live,
        "completed torrents of one user that are counted and kept, ever; `0`: no limit"),
      .check { _, section in
        if section.has("enable_dual_stack_peers"), !section.bool("enable_dual_stack_peers", default: true) {
          section.warn("enable_dual_stack_peers", "clients always get peers of both families; this changes nothing")
        }
      },
      .text("snatch_path", optional: \.snatchPath, .restart, "keeps who completed what over a restart"),
    ]
  }
}
