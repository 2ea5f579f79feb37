// ConsumerConfig: every setting of the consumer, typed, with its default. Made once at start on the main thread; plain
// values that any thread may hold.

import Settings

/// The consumer's configuration (contract section 5).
struct ConsumerConfig: Sendable, Equatable {
  var redis = ConsumerRedisConfig()
  /// `database.path`: the SQLite file.
  var databasePath = "/var/lib/pt-tracker/traffic.db"
  /// The aggregation window, aligned to Unix time; whole seconds, and a day is a whole number of windows.
  var window: Duration = .seconds(3600)
  var retention = ConsumerRetentionConfig()
  /// `dead_letters.max_deliveries`: after so many fatal deliveries an entry is a dead letter.
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

  /// The settings in force as a configuration file, each with its origin, secrets as `***`.
  func describe() -> String { EffectiveSetting.document(effectiveSettings, rootKey: "consumer") }
}

/// `redis:`.
struct ConsumerRedisConfig: Sendable, Equatable {
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
}

/// `retention:`: how long each kind of row is kept before it is folded into the next.
struct ConsumerRetentionConfig: Sendable, Equatable {
  var windows: Duration = .seconds(30 * 86_400)
  var days: Duration = .seconds(730 * 86_400)
  var explain: Duration = .seconds(48 * 3600)
}
