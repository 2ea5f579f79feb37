// ConsumerConfig: every setting of the consumer, typed, with its default, its limits and its line in the reference. Made once
// at start on the main thread; plain values that any thread may hold.

import Linux
import Redis
import Settings

/// The consumer's configuration (docs/configuration.md).
struct ConsumerConfig: SettingsSection, Sendable, Equatable {
  var redis = ConsumerRedisConfig()
  /// The SQLite file.
  var databasePath = "/var/lib/pt-tracker/traffic.db"
  /// The aggregation window, aligned to Unix time; whole seconds, and a day is a whole number of windows.
  var window: Duration = .seconds(3600)
  var retention = ConsumerRetentionConfig()
  /// Fatal deliveries after which an entry is a dead letter.
  var deadLetterMaxDeliveries = 5
  /// Metrics and health, as SocketAddress reads it; nil (an empty text in the file): none.
  var adminAddress: String? = "127.0.0.1:6881"
  /// The unix socket for the verbs that write.
  var controlSocketPath = "/run/pt-tracker/consumer.sock"
  /// The directory of self-update reports to import; nil (an empty text in the file): none.
  var updateReportsPath: String? = "/var/lib/pt-tracker/self-update-reports"
  /// What `describe()` prints; filled by `load`.
  var effectiveSettings: [EffectiveSetting] = []
  /// What the operator should know and may want; for the log and `--check-config`.
  var warnings: [ConfigProblem] = []

  /// The default place of the file.
  static let defaultPath = "/etc/pt-tracker/consumer.yaml"

  static let day: Duration = .seconds(86_400)

  /// Reads `path` (nil: the default path, which may be missing) and the variables `CONSUMER__...` over it, and reports every
  /// problem at once.
  static func load(path: String?, environment: [String: String]) throws(ConfigError) -> ConsumerConfig {
    let reader = try ConfigReader(
      path: path, defaultPath: defaultPath, rootKeys: ["consumer"], environment: environment, prefix: "CONSUMER")
    let root = reader.section
    var config = ConsumerConfig(read: root)
    root.end()
    (config.effectiveSettings, config.warnings) = try reader.finish()
    return config
  }

  // Nothing changes while it runs: the consumer takes no SIGHUP.
  static var settings: [Setting<Self>] {
    [
      .section("redis", \.redis),
      .section(
        "database",
        [.text("path", \.databasePath, .restart, "the SQLite file", check: ConfigSection.checkPath)]),
      .duration(
        "window", \.window, in: .seconds(1)...day, unit: .seconds(1), .restart,
        "totals are kept per user, torrent, peer and window"),
      .check { config, root in
        guard day.wholeSeconds % config.window.wholeSeconds != 0 else { return }
        root.refuse("window", "a day must be a whole number of windows; expected 1h, 30m, 15m, 6h, ...")
      },
      .section("retention", \.retention),
      .check { config, root in
        guard config.retention.windows < config.window else { return }
        root.section("retention").refuse(
          "windows", "expected at least one window, \(DurationText.text(config.window))")
      },
      .section(
        "dead_letters",
        [
          .integer(
            "max_deliveries", \.deadLetterMaxDeliveries, in: 1...1000, .restart,
            "fatal deliveries after which an entry is set aside")
        ]),
      .text(
        "admin_addr", optional: \.adminAddress, .restart, "metrics and health; `\"\"` for none",
        check: ConfigSection.checkAddress),
      .text(
        "control_socket", \.controlSocketPath, .restart, "for the verbs that write", check: checkSocketPath),
      .text(
        "task_reports", optional: \.updateReportsPath, .restart, "reports of self-update runs; `\"\"` for none",
        check: ConfigSection.checkPath),
    ]
  }

  private static func checkSocketPath(_ path: String) throws(ConfigComplaint) {
    try ConfigSection.checkPath(path)
    let limit = UnixSocketName.maximumPathBytes
    if path.utf8.count > limit { throw ConfigComplaint("expected a path of at most \(limit) bytes (unix(7))") }
  }

  /// The settings in force as a configuration file, each with its origin, secrets as `***`.
  func describe() -> String { EffectiveSetting.document(effectiveSettings, rootKey: "consumer") }
}

/// `redis:`.
struct ConsumerRedisConfig: SettingsSection, Sendable, Equatable {
  /// A URL that RedisEndpoint reads.
  var url = "redis://127.0.0.1:6379/0"
  var streamKey = "tracker:traffic"
  var group = "group-pt"
  /// This process' name in the group.
  var consumer = "consumer-1"
  /// Streams `<streamKey>:{p0}`...; with 1 the stream is `streamKey` itself.
  var partitions = 1
  /// Timeouts of the connection, the tracker's names and defaults.
  var connectTimeout: Duration = .seconds(15)
  var readTimeout: Duration = .seconds(15)
  var writeTimeout: Duration = .seconds(15)

  /// Wide: it catches a wrong unit, not an unusual site.
  private static let timeouts: ClosedRange<Duration> = .milliseconds(1) ... .seconds(3600)

  static var settings: [Setting<Self>] {
    [
      .text(
        "url", \.url, .restart, "as the tracker's `redis_broker`", shown: ConfigSection.redactRedisURL,
        check: ConfigSection.checkRedisURL),
      .text("stream_key", \.streamKey, .restart, "as the tracker's", check: ConfigSection.checkName),
      .text(
        "group", \.group, .restart, "the consumer group, created from the beginning of the stream",
        check: ConfigSection.checkName),
      .text(
        "consumer", \.consumer, .restart, "this process in the group; a second one needs another name",
        check: ConfigSection.checkName),
      // As many as the tracker's `traffic push` may have.
      .integer("partitions", \.partitions, in: 1...256, .restart, "as the tracker's"),
      .duration("connect_timeout", \.connectTimeout, in: timeouts, .restart, "for a connection to Redis"),
      .duration("read_timeout", \.readTimeout, in: timeouts, .restart, "for a whole reply"),
      .duration("write_timeout", \.writeTimeout, in: timeouts, .restart, "for a command to be taken"),
    ]
  }
}

/// `retention:`: how long each kind of row is kept before it is folded into the next.
struct ConsumerRetentionConfig: SettingsSection, Sendable, Equatable {
  var windows: Duration = .seconds(30 * 86_400)
  var days: Duration = .seconds(730 * 86_400)
  var explain: Duration = .seconds(48 * 3600)

  /// A century: what DurationText reads, rounded down to something a person says.
  private static let times: ClosedRange<Duration> = .seconds(1) ... .seconds(36_500 * 86_400)

  static var settings: [Setting<Self>] {
    [
      .duration(
        "windows", \.windows, in: times, unit: .seconds(1), .restart, "how long windows are kept one by one",
        standard: "30d"),
      .duration(
        "days", \.days, in: times, unit: .seconds(1), .restart, "how long days are", standard: "730d"),
      .duration(
        "explain", \.explain, in: times, unit: .seconds(1), .restart, "how long single entries can be looked up",
        standard: "48h"),
      .check { retention, section in
        if retention.days < ConsumerConfig.day { section.refuse("days", "expected at least one day, 24h") }
      },
    ]
  }
}
