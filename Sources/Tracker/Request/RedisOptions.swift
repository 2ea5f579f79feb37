// RedisOptions: what every hook with a Redis connection is told about it. Plain values.

import Redis
import Settings

/// Timeouts of a hook's Redis connection, the names and defaults of Chihaya's Redis storage.
struct RedisTimeoutOptions: SettingsSection, Sendable, Equatable {
  var connect: Duration = .seconds(15)
  var read: Duration = .seconds(15)
  var write: Duration = .seconds(15)

  /// Wide: it catches a wrong unit, not an unusual site.
  static let range: ClosedRange<Duration> = .milliseconds(1) ... .seconds(3600)

  static var settings: [Setting<Self>] {
    [
      .duration("redis_connect_timeout", \.connect, in: range, .restart, "for a new connection"),
      .duration("redis_read_timeout", \.read, in: range, .restart, "for an answer"),
      .duration("redis_write_timeout", \.write, in: range, .restart, "for a question to leave"),
    ]
  }
}

extension Setting {
  /// `redis_broker`: a URL that RedisEndpoint reads.
  static func redisBroker(_ path: WritableKeyPath<Root, String>) -> Setting {
    .text(
      "redis_broker", needed: path, expected: "redis://[user:]password@host:port/db or redis+unix:///path?db=0",
      .restart, "`redis://[user:]password@host:port/db` or `redis+unix:///path?db=N`",
      shown: ConfigSection.redactRedisURL,
      check: ConfigSection.checkRedisURL)
  }
}
