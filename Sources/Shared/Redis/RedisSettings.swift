// The settings that every Redis connection of both daemons has: its URL, with a password in it, and its timeouts.

import Settings

/// Timeouts of a Redis connection; the defaults are those of Chihaya's Redis storage.
public struct RedisTimeoutSettings: Sendable, Equatable {
  public var connect: Duration = .seconds(15)
  public var read: Duration = .seconds(15)
  public var write: Duration = .seconds(15)

  public init() {}

  /// Wide: it catches a wrong unit, not an unusual site.
  public static let range: ClosedRange<Duration> = .milliseconds(1) ... .seconds(3600)

  /// `connect_timeout` and so on, each behind `prefix`.
  public static func settings(prefix: String = "") -> [Setting<Self>] {
    [
      .duration(prefix + "connect_timeout", \.connect, in: range, .restart, "for a new connection"),
      .duration(prefix + "read_timeout", \.read, in: range, .restart, "for an answer"),
      .duration(prefix + "write_timeout", \.write, in: range, .restart, "for a question to leave"),
    ]
  }

  /// As a connection takes them, none longer than `maximumMilliseconds`.
  public func timeouts(maximumMilliseconds: Int = .max) -> RedisTimeouts {
    RedisTimeouts(
      connectMilliseconds: min(connect.wholeMilliseconds, maximumMilliseconds),
      readMilliseconds: min(read.wholeMilliseconds, maximumMilliseconds),
      writeMilliseconds: min(write.wholeMilliseconds, maximumMilliseconds))
  }
}

extension Setting {
  /// `redis_broker`, which has no default.
  public static func redisBroker(_ path: WritableKeyPath<Root, String>) -> Setting {
    .text(
      "redis_broker", needed: path, expected: "redis://[user:]password@host:port/db or redis+unix:///path?db=0",
      .restart, "`redis://[user:]password@host:port/db` or `redis+unix:///path?db=N`",
      shown: ConfigSection.redactRedisURL, check: ConfigSection.checkRedisURL)
  }
}

extension ConfigSection {
  /// Why a text is no Redis URL, if it is none.
  public static func checkRedisURL(_ text: String) throws(ConfigComplaint) {
    do throws(RedisURLError) {
      _ = try RedisEndpoint(url: text)
    } catch {
      throw ConfigComplaint(error.description)
    }
  }

  /// A Redis URL without its password; all of it is withheld when it is none.
  public static func redactRedisURL(_ text: String) -> String { (try? RedisEndpoint(url: text))?.redacted ?? redacted }
}
