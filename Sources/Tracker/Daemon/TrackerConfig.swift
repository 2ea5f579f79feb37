// TrackerConfig: every setting of the tracker, typed, with its default. Made once at start (and again on SIGHUP) on the
// main thread; plain values that any thread may hold.

import Linux
import Settings
import Wire

/// The tracker's configuration (contract section 2). Defaults are Chihaya's where Chihaya has the setting.
struct TrackerConfig: Sendable, Equatable {
  /// The `interval` clients are told; whole seconds.
  var announceInterval: Duration = .seconds(30 * 60)
  /// The `min interval` clients are told; whole seconds, at most `announceInterval`, which is the default when shorter.
  var minAnnounceInterval: Duration = .seconds(15 * 60)
  /// Where metrics and health are served, as SocketAddress reads it; nil serves none.
  var metricsAddress: String?
  /// Whether `metrics_addr` serves /debug/pprof/, too: CPU profiles show what runs, to everybody who reaches the port (ours).
  var enablePprof = false
  /// `debug`, `info`, `warning` or `error`; `--debug` wins (ours).
  var logLevel = LogLevel.info
  /// Worker threads; 0 means one per core.
  var workers = 0
  /// How long a worker with much to do may wait for more requests before it answers; zero: never (ours).
  var batchDelay: Duration = .milliseconds(1)
  /// nil: no HTTP listener.
  var http: TrackerHTTPConfig?
  /// nil: no UDP listener.
  var udp: TrackerUDPConfig?
  var storage = TrackerStorageConfig()
  /// What runs before the reply, in this order.
  var prehooks: [HookConfig] = []
  /// What runs after the reply, in this order.
  var posthooks: [HookConfig] = []
  /// What `describe()` prints; filled by `load`.
  var effectiveSettings: [EffectiveSetting] = []
  /// What the operator should know and may want; for the log and `--check-config`.
  var warnings: [ConfigProblem] = []

  /// Whether only approved passkeys may announce.
  var approvesPasskeys: Bool {
    (prehooks + posthooks).contains { if case .passkeyApproval = $0 { true } else { false } }
  }

  /// `batchDelay` as an event loop takes it; the limits keep it small.
  var batchDelayNanoseconds: UInt64 { UInt64(batchDelay.wholeNanoseconds) }

  /// The default place of the file.
  static let defaultPath = "/etc/pt-tracker/tracker.yaml"

  /// The settings in force as a configuration file, each with its origin, secrets as `***`.
  func describe() -> String { EffectiveSetting.document(effectiveSettings, rootKey: "chihaya") }
}

/// Limits on what a client may ask for, the same settings for HTTP and UDP.
struct RequestLimits: Sendable, Equatable {
  /// The most peers a reply holds.
  var maxNumwant = 100
  /// Peers in a reply when the client does not say.
  var defaultNumwant = 50
  /// Infohashes in one scrape; a scrape asking for more is answered for the first so many.
  var maxScrapeInfohashes = 50
}

/// `http:`.
struct TrackerHTTPConfig: Sendable, Equatable {
  /// As SocketAddress reads it; also `unix:/path` for a reverse proxy.
  var address: String
  var readTimeout: Duration = .seconds(2)
  var writeTimeout: Duration = .seconds(2)
  var enableKeepalive = false
  var idleTimeout: Duration = .seconds(30)
  var enableRequestTiming = false
  /// Routes with `:name` parameters, such as `/announce/:passkey`.
  var announceRoutes = ["/announce", "/announce/:passkey"]
  var scrapeRoutes = ["/scrape", "/scrape/:passkey"]
  var allowIPSpoofing = false
  /// Lower case; nil: the peer's address is the connection's.
  var realIPHeader: String?
  /// Addresses and prefixes (`10.0.0.0/8`, `::1`) whose `realIPHeader` counts. A unix socket's peer is always trusted.
  var trustedProxies: [AddressPrefix] = []
  var limits = RequestLimits()
}

/// `udp:`.
struct TrackerUDPConfig: Sendable, Equatable {
  /// As SocketAddress reads it.
  var address: String
  /// The tolerance for a connection id's time.
  var maxClockSkew: Duration = .seconds(10)
  /// The secret behind connection ids; nil: made at start and never shown.
  var privateKey: String?
  var enableRequestTiming = false
  var allowIPSpoofing = false
  var limits = RequestLimits()
}

/// `storage:` with `name: memory`.
struct TrackerStorageConfig: Sendable, Equatable {
  /// How often stale peers are looked for.
  var gcInterval: Duration = .seconds(3 * 60)
  /// How long a peer stays after its last announce; unless given a minute more than the announce interval. Chihaya's
  /// built-in 30 minutes are its interval, at which every peer would come and go; its example file has the minute too.
  var peerLifetime: Duration = .seconds(31 * 60)
  /// Lock-striped parts of the swarm table.
  var shardCount = 1024
  /// How often the storage gauges are brought up to date.
  var prometheusReportingInterval: Duration = .seconds(1)
  /// Whether a user's other sessions are left out of his peer list (ours).
  var excludeOwnPeers = true
  /// Sessions of one user on one torrent (ours).
  var maxPeersPerUser = 3
  /// The file that keeps the snatch counts over a restart (ours); nil: they begin at 0.
  var snatchPath: String?
}
