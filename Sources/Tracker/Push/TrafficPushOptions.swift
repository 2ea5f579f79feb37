// TrafficPushOptions: the options of the hook `traffic push`. Plain values; main thread.

import Redis
import Settings

/// Announce deltas to a Redis stream.
struct TrafficPushOptions: SettingsSection, Sendable, Equatable {
  /// A URL that RedisEndpoint reads.
  var redisBroker = ""
  var timeouts = RedisTimeoutSettings()
  var streamKey = "tracker:traffic"
  /// The snapshot of a session is the hash `<lastKeyPrefix>:<passkey>:<infohash>:<peer_id>`.
  var lastKeyPrefix = "tracker:last"
  /// Attempts after the first before the batch goes back to the queue.
  var retryCount = 3
  var retryInterval: Duration = .seconds(1)
  /// How long a snapshot outlives its last announce; whole seconds.
  var lastTTL: Duration = .seconds(24 * 3600)
  /// Entries in the stream at which the script answers FULL; 0: no limit.
  var maxStreamLength = 0
  /// Streams `<streamKey>:{p0}`...; with 1 the stream is `streamKey` itself.
  var partitions = 1
  /// Where the queue survives a restart; nil: it does not.
  var spoolPath: String?
  /// Whether the counters of a session's first announce are credited as reported.
  var creditFirstAnnounce = false
  /// Bytes in one direction that no client moves in a second: an announce that reports more is refused; 0: no limit.
  var maxBytesPerSecond = 0

  private static let lastTTLs: ClosedRange<Duration> = .seconds(1) ... .seconds(365 * 86_400)
  /// Streams of one site; each has a connection and a thread.
  private static let partitionRange = 1...256
  /// Up to 10 Tbit/s: with an hour of grace the script's product stays exact for centuries.
  private static let rates = 0...1_250_000_000_000

  /// What push.lua leaves of `lastTTL` when it renews a snapshot's only once in an eighth of it (TTL_STEPS).
  var leastSnapshotLife: Duration { .seconds(lastTTL.wholeSeconds - max(1, lastTTL.wholeSeconds / 8)) }

  static var settings: [Setting<Self>] {
    [
      .redisBroker(\.redisBroker),
      .group(\.timeouts, RedisTimeoutSettings.settings(prefix: "redis_")),
      .text("stream_key", \.streamKey, .restart, "the stream", check: ConfigSection.checkName),
      .text(
        "last_key_prefix", \.lastKeyPrefix, .restart, "snapshots are `<prefix>:<passkey>:<infohash>:<peer_id>`",
        check: ConfigSection.checkName),
      .integer("retry_count", \.retryCount, in: 0...1000, .restart, "attempts before a batch waits in the queue"),
      .duration("retry_interval", \.retryInterval, in: RedisTimeoutSettings.range, .restart, "the pause between them"),
      .duration(
        "last_ttl", \.lastTTL, in: lastTTLs, unit: .seconds(1),
        .restart,
        """
        how long a snapshot lives from its last announce: this long at most, 7/8 of it at least, which must be longer than \
        `announce_interval`; below twice that a warning says that late announces may credit nothing
        """),
      .integer(
        "max_stream_length", \.maxStreamLength, in: 0...1_000_000_000_000,
        .restart, "entries at which the tracker holds back, losing nothing; 0: no limit"),
      .integer(
        "partitions", \.partitions, in: partitionRange,
        .restart, "streams `<stream_key>:{p0}`, ...; the consumer has the same number"),
      .text(
        "spool_path", optional: \.spoolPath, .restart, "keeps over a restart what Redis has not taken",
        check: ConfigSection.checkPath),
      .integer(
        "max_bytes_per_second", \.maxBytesPerSecond, in: rates,
        .restart,
        """
        refuses and counts an announce of more bytes in one direction than this times the seconds since the session's last \
        one, plus an hour; 0: only the 2^53 of a counter; 12500000000 (100 Gbit/s) hits no honest client
        """),
      .bool(
        "credit_first_announce", \.creditFirstAnnounce,
        .restart, "credits what a client reports at first sight; lets users mint bytes"),
      .check { options, section in
        if options.creditFirstAnnounce {
          section.warn("credit_first_announce", "any valid passkey with a new peer id is credited what it claims")
        }
      },
    ]
  }
}
