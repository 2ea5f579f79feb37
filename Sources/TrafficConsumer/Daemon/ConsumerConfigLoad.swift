// ConsumerConfig.load: file and environment into ConsumerConfig, every problem reported at once. Main thread, at start.

import Linux
import Redis
import Settings

/// The bounds of the settings. Wide: they catch a wrong unit, not an unusual site.
enum ConsumerConfigLimits {
  static let timeout: ClosedRange<Duration> = .milliseconds(1) ... .seconds(3600)
  static let day: Duration = .seconds(86_400)
  /// A century: what DurationText reads, rounded down to something a person says.
  static let retention: ClosedRange<Duration> = .seconds(1) ... .seconds(36_500 * 86_400)
  /// As many as the tracker's `traffic push` may have.
  static let partitions = 1...256
  static let deliveries = 1...1000
  /// sun_path (unix(7)).
  static let socketPathBytes = UnixSocketName.maximumPathBytes
}

extension ConsumerConfig {
  /// Reads `path` (nil: the default path, which may be missing) and the variables `CONSUMER__...` over it.
  static func load(path: String?, environment: [String: String]) throws(ConfigError) -> ConsumerConfig {
    let reader = try ConfigReader(
      path: path, defaultPath: defaultPath, rootKeys: ["consumer"], environment: environment, prefix: "CONSUMER")
    var config = ConsumerConfig(reader.section)
    (config.effectiveSettings, config.warnings) = try reader.finish()
    return config
  }

  private init(_ root: ConfigSection) {
    redis = ConsumerRedisConfig(read: root.section("redis"))
    let database = root.section("database")
    databasePath = database.string("path", default: databasePath, check: ConfigSection.checkPath)
    database.end()
    window = root.duration("window", default: window, in: .seconds(1)...ConsumerConfigLimits.day, unit: .seconds(1))
    if ConsumerConfigLimits.day.wholeSeconds % window.wholeSeconds != 0 {
      root.refuse("window", "a day must be a whole number of windows; expected 1h, 30m, 15m, 6h, ...")
    }
    retention = ConsumerRetentionConfig(read: root.section("retention"), window: window)
    let deadLetters = root.section("dead_letters")
    deadLetterMaxDeliveries = deadLetters.integer(
      "max_deliveries", default: deadLetterMaxDeliveries, in: ConsumerConfigLimits.deliveries)
    deadLetters.end()
    adminAddress = root.optionalString("admin_addr", default: adminAddress, check: ConfigSection.checkAddress)
    controlSocketPath = root.string("control_socket", default: controlSocketPath, check: Self.checkSocketPath)
    updateReportsPath = root.optionalString("task_reports", default: updateReportsPath, check: ConfigSection.checkPath)
    root.end()
  }

  private static func checkSocketPath(_ path: String) throws(ConfigComplaint) {
    try ConfigSection.checkPath(path)
    let limit = ConsumerConfigLimits.socketPathBytes
    if path.utf8.count > limit { throw ConfigComplaint("expected a path of at most \(limit) bytes (unix(7))") }
  }
}

extension ConsumerRedisConfig {
  fileprivate init(read section: ConfigSection) {
    url = section.string(
      "url", default: url, shown: ConfigSection.redactRedisURL, check: ConfigSection.checkRedisURL)
    streamKey = section.string("stream_key", default: streamKey, check: ConfigSection.checkName)
    group = section.string("group", default: group, check: ConfigSection.checkName)
    consumer = section.string("consumer", default: consumer, check: ConfigSection.checkName)
    partitions = section.integer("partitions", default: partitions, in: ConsumerConfigLimits.partitions)
    let timeouts = ConsumerConfigLimits.timeout
    connectTimeout = section.duration("connect_timeout", default: connectTimeout, in: timeouts)
    readTimeout = section.duration("read_timeout", default: readTimeout, in: timeouts)
    writeTimeout = section.duration("write_timeout", default: writeTimeout, in: timeouts)
    section.end()
  }
}

extension ConsumerRetentionConfig {
  fileprivate init(read section: ConfigSection, window: Duration) {
    let range = ConsumerConfigLimits.retention
    windows = section.duration("windows", default: windows, in: range, unit: .seconds(1))
    days = section.duration("days", default: days, in: range, unit: .seconds(1))
    explain = section.duration("explain", default: explain, in: range, unit: .seconds(1))
    if windows < window {
      section.refuse("windows", "expected at least one window, \(DurationText.text(window))")
    }
    if days < ConsumerConfigLimits.day { section.refuse("days", "expected at least one day, 24h") }
    section.end()
  }
}
