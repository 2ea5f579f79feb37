// HookConfig: the `prehooks` and `posthooks` a tracker can run, with their options. Plain values.

import Wire

/// One entry of `prehooks` or `posthooks`.
enum HookConfig: Sendable, Equatable {
  case passkeyApproval(PasskeyApprovalOptions)
  case trafficPush(TrafficPushOptions)
  case clientApproval(ClientApprovalOptions)
  case torrentApproval(TorrentApprovalOptions)
  case portApproval(PortApprovalOptions)
  case intervalVariation(IntervalVariationOptions)
}

/// Timeouts of a hook's Redis connection, the names and defaults of Chihaya's Redis storage.
struct RedisTimeoutOptions: Sendable, Equatable {
  var connect: Duration = .seconds(15)
  var read: Duration = .seconds(15)
  var write: Duration = .seconds(15)
}

/// `passkey approval`: who may announce, by a Redis set and optionally an origin.
struct PasskeyApprovalOptions: Sendable, Equatable {
  /// A URL that RedisEndpoint reads.
  var redisBroker: String
  var timeouts = RedisTimeoutOptions()
  /// The Redis set of valid passkeys.
  var setKey = "pt:passkeys"
  /// The origin asked about a passkey that the set does not have; nil: none.
  var httpURL: String?
  var httpAPIKeyHeader = "X-API-Key"
  /// Sent to the origin; nil: no such header. A secret.
  var httpAPIKey: String?
  var httpTimeout: Duration = .seconds(5)
  /// How long a yes is remembered.
  var cacheTTL: Duration = .seconds(300)
  /// How long a no is remembered.
  var negativeCacheTTL: Duration = .seconds(30)
}

/// `traffic push`: announce deltas to a Redis stream.
struct TrafficPushOptions: Sendable, Equatable {
  /// A URL that RedisEndpoint reads.
  var redisBroker: String
  var timeouts = RedisTimeoutOptions()
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
}

/// `client approval`: by the beginning of the peer id. A prefix without a dash also counts behind the peer id's leading
/// dash, so that Chihaya's client ids of six bytes (`TR2940` for `-TR2940-...`) work unchanged. At most one of the lists
/// has members.
struct ClientApprovalOptions: Sendable, Equatable {
  var whitelist: [String] = []
  var blacklist: [String] = []
}

/// `torrent approval`: by infohash. At most one of the lists has members, those of the files included.
struct TorrentApprovalOptions: Sendable, Equatable {
  var whitelist: [InfoHash] = []
  var blacklist: [InfoHash] = []
  /// A live set of approved torrents (ours); nil: only the lists count.
  var redisSet: RedisSetOptions?
}

/// A Redis set whose members are approved.
struct RedisSetOptions: Sendable, Equatable {
  /// A URL that RedisEndpoint reads.
  var redisBroker: String
  var timeouts = RedisTimeoutOptions()
  /// Members are infohashes of 40 lower-case hex digits.
  var setKey = "pt:torrents"
  var cacheTTL: Duration = .seconds(300)
  var negativeCacheTTL: Duration = .seconds(30)
}

/// `port approval` (ours): listening ports that are refused.
struct PortApprovalOptions: Sendable, Equatable {
  var blacklist: [ClosedRange<UInt16>] = []
}

/// `interval variation`: some replies get longer intervals, so that announces spread out.
struct IntervalVariationOptions: Sendable, Equatable {
  /// Above 0, at most 1.
  var modifyResponseProbability: Double
  /// 1 to this many seconds are added.
  var maxIncreaseDeltaSeconds: Int
  /// Whether `min interval` grows by the same.
  var modifyMinInterval = false
}
