// TrackerConfig: every setting of the tracker, typed, with its default. Made once at start (and again on SIGHUP) on the
// main thread; plain values that any thread may hold. Each section's settings are declared with the layer that they are for.

import Linux
import Settings

/// The tracker's configuration (docs/configuration.md). Defaults are Chihaya's where Chihaya has the setting.
struct TrackerConfig: SettingsSection, Sendable, Equatable {
  /// The `interval` clients are told; whole seconds.
  var announceInterval: Duration = .seconds(30 * 60)
  /// The `min interval` clients are told; whole seconds, at most `announceInterval`, which is the default when shorter.
  var minAnnounceInterval: Duration = .seconds(15 * 60)
  /// Where metrics and health are served, as SocketAddress reads it; nil serves none.
  var metricsAddress: String?
  /// Whether `metrics_addr` serves /debug/pprof/, too: CPU profiles show what runs to all who reach the port (ours).
  var enablePprof = false
  /// `debug`, `info`, `warning` or `error`; `--debug` wins (ours).
  var logLevel = LogLevel.info
  /// Worker threads; 0 means one per core.
  var workers = 0
  /// How long a worker with much to do may wait for more requests before it answers; zero: never (ours).
  var batchDelay: Duration = .milliseconds(1)
  /// nil: no HTTP listener.
  var http: HTTPSettings?
  /// nil: no UDP listener.
  var udp: UDPSettings?
  var storage = StorageSettings()
  /// What runs before the reply, in this order.
  var prehooks: [HookEntry] = []
  /// What runs after the reply, in this order.
  var posthooks: [HookEntry] = []
  /// What `describe()` prints; filled by `load`.
  var effectiveSettings: [EffectiveSetting] = []
  /// What the operator should know and may want; for the log and `--check-config`.
  var warnings: [ConfigProblem] = []

  /// The default place of the file.
  static let defaultPath = "/etc/pt-tracker/tracker.yaml"

  /// Reads `path` (nil: the default path, which may be missing) and the variables `TRACKER__...` over it, and reports every
  /// problem at once.
  static func load(path: String?, environment: [String: String]) throws(ConfigError) -> TrackerConfig {
    let reader = try ConfigReader(
      path: path, defaultPath: defaultPath, rootKeys: ["chihaya", "tracker"], environment: environment,
      prefix: "TRACKER")
    let root = reader.section
    var config = TrackerConfig(read: root)
    root.end()
    if config.http == nil && config.udp == nil && !root.hasProblems {
      root.refuse("http", "neither http.addr nor udp.addr is set: the tracker would listen nowhere")
    }
    (config.effectiveSettings, config.warnings) = try reader.finish()
    return config
  }

  /// From what tests need to what no client waits.
  private static let intervals: ClosedRange<Duration> = .seconds(1) ... .seconds(7 * 86_400)

  static var settings: [Setting<Self>] {
    [
      .duration(
        "announce_interval", \.announceInterval, in: intervals, unit: .seconds(1), .live,
        "how often clients are asked to announce"),
      .derive { $0.minAnnounceInterval = min($0.minAnnounceInterval, $0.announceInterval) },
      .duration(
        "min_announce_interval", \.minAnnounceInterval, in: intervals, unit: .seconds(1), .live, "how often they may"),
      .check { config, root in
        if config.minAnnounceInterval > config.announceInterval {
          let interval = DurationText.text(config.announceInterval)
          root.refuse("min_announce_interval", "expected at most announce_interval, \(interval)")
        }
      },
      .text(
        "metrics_addr", optional: \.metricsAddress, .restart, "`/metrics`, `/health`, `/health/live`, `/health/ready`",
        check: ConfigSection.checkAddress),
      .bool(
        "enable_pprof", \.enablePprof, .restart, "`/debug/pprof/` on `metrics_addr`, see [operations.md](operations.md)"
      ),
      .check { config, root in
        if config.enablePprof && config.metricsAddress == nil {
          root.warn("enable_pprof", "there is no metrics_addr to serve it")
        }
      },
      .word("log_level", \.logLevel, .live, "`debug`, `info`, `warning`, `error`"),
      // More threads than any machine's cores bring nothing.
      .integer("workers", \.workers, in: 0...1024, .restart, "worker threads; 0: one per core"),
      // Ten milliseconds is what a person may notice in a page that waits for a tracker.
      .duration(
        "batch_delay", \.batchDelay, in: .zero ... .milliseconds(10), .live,
        """
        how long a worker with many requests, but not too many, may wait to answer several with one wake-up; `0s`: never, \
        at most `10ms`. An idle worker answers at once
        """),
      .unsupported("max_numwant", "default_numwant", "max_scrape_infohashes", advice: "write it below http and udp"),
      .unsupported("prometheus_addr", advice: "this is metrics_addr now"),
    ] + sections
  }

  private static var sections: [Setting<Self>] {
    [
      .section("http", \.http, isUsed: { !$0.address.isEmpty }),
      .section("udp", \.udp, isUsed: { !$0.address.isEmpty }),
      .derive { $0.storage.peerLifetime = $0.announceInterval + .seconds(60) },
      .section("storage", \.storage),
      .check { config, root in
        if config.storage.peerLifetime <= config.announceInterval {
          root.section("storage").section("config").warn(
            "peer_lifetime", "not longer than announce_interval: peers disappear before they announce again")
        }
      },
      .hooks("prehooks", \.prehooks, "hooks in their order, see below"),
      .hooks("posthooks", \.posthooks, "more hooks, behind those"),
      .check { HookEntry.refuseRepeated([("prehooks", $0.prehooks), ("posthooks", $0.posthooks)], $1) },
      .check { $0.judgeSnapshots(in: $1) },
      .check { $0.judgePasskeys(in: $1) },
      .check { config, root in
        if config.limitsPeers {
          root.section("storage").section("config").warn(
            "max_peers_per_user", "the hook peer limit makes this 1; without it what is written here counts")
        }
      },
    ]
  }

  /// Why nothing would be credited, if so: a snapshot that may be gone before its client announces again makes that
  /// announce a first one.
  var snapshotComplaint: String? {
    for case let push as TrafficPushOptions in (prehooks + posthooks).map(\.options)
    where push.leastSnapshotLife <= announceInterval {
      return "snapshots may be gone \(DurationText.text(push.leastSnapshotLife)) after an announce (7/8 of last_ttl, "
        + "\(DurationText.text(push.lastTTL))), before the next one (announce_interval, "
        + "\(DurationText.text(announceInterval))), which would credit nothing"
    }
    return nil
  }

  /// Refuses what `snapshotComplaint` says; warns where one late announce is enough. Not after other problems: one of the
  /// two values may be a default then.
  private func judgeSnapshots(in root: ConfigSection) {
    guard !root.hasProblems else { return }
    for (key, hooks) in [("prehooks", prehooks), ("posthooks", posthooks)] where !hooks.isEmpty {
      for (entry, hook) in zip(root.sections(key), hooks) {
        guard let push = hook.options as? TrafficPushOptions else { continue }
        if let snapshotComplaint {
          entry.section("options").refuse("last_ttl", snapshotComplaint)
        } else if push.lastTTL < announceInterval * 2 {
          entry.section("options").warn(
            "last_ttl", "shorter than twice announce_interval: a client that announces late may be credited nothing")
        }
      }
    }
  }

  /// Warns where traffic is pushed of passkeys that nobody has approved: a site may want that while it moves, not unawares.
  private func judgePasskeys(in root: ConfigSection) {
    guard !root.hasProblems && !approvesPasskeys else { return }
    for (key, hooks) in [("prehooks", prehooks), ("posthooks", posthooks)] where !hooks.isEmpty {
      for (entry, hook) in zip(root.sections(key), hooks) where hook.options is TrafficPushOptions {
        entry.warn(
          "name", "without the hook passkey approval, traffic is credited to whatever passkey a client claims to have")
      }
    }
  }

  /// Whether only approved passkeys may announce.
  var approvesPasskeys: Bool { (prehooks + posthooks).contains { $0.options is PasskeyApprovalOptions } }

  private var limitsPeers: Bool { (prehooks + posthooks).contains { $0.options is PeerLimitOptions } }

  /// Clients of one user on one torrent.
  var maxPeersPerUser: Int { limitsPeers ? PeerLimitOptions.maxPeersPerUser : storage.maxPeersPerUser }

  /// `batchDelay` as an event loop takes it; the limits keep it small.
  var batchDelayNanoseconds: UInt64 { UInt64(batchDelay.wholeNanoseconds) }

  /// The settings in force as a configuration file, each with its origin, secrets as `***`.
  func describe() -> String { EffectiveSetting.document(effectiveSettings, rootKey: "chihaya") }
}

extension Setting {
  /// A list of hooks: see HookEntry.
  fileprivate static func hooks(
    _ key: String, _ path: WritableKeyPath<Root, [HookEntry]>, _ meaning: String
  ) -> Setting {
    Setting(key, path, .restart, meaning) { section, _ in HookEntry.read(section, key, kinds: HookRegistry.kinds) }
  }
}
