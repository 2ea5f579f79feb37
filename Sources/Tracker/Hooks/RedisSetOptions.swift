// RedisSetOptions: the Redis set of those who may, as the options of two hooks describe it, and the resolver that asks it.
// Plain values; main thread.

import Redis
import Settings

/// A Redis set whose members are approved.
struct RedisSetOptions: SettingsSection, Sendable, Equatable {
  /// A URL that RedisEndpoint reads.
  var redisBroker = ""
  var timeouts = RedisTimeoutSettings()
  var setKey = "pt:torrents"
  /// How long a yes is remembered.
  var cacheTTL: Duration = .seconds(300)
  /// How long a yes is used that could not be checked again: a night, and what an operator needs to see to it.
  var staleTTL: Duration = .seconds(86_400)
  /// How long a yes of the origin is remembered, where that is longer: it is slow, and most clients announce every half hour.
  var originTTL: Duration = .seconds(3600)
  /// How long a no is remembered.
  var negativeCacheTTL: Duration = .seconds(30)

  /// A client waits for the answer: what takes longer than this is no answer to it, and "try again" is a better one.
  private static let maximumMilliseconds = 2000
  private static let ttlSeconds = 0...30 * 86_400
  private static let secondsKey = "cache_ttl_seconds"
  private static let ttl: ClosedRange<Duration> = .zero ... .seconds(ttlSeconds.upperBound)

  static var settings: [Setting<Self>] { connection + lifetimes }

  static var originLifetime: [Setting<Self>] {
    [
      .duration(
        "origin_ttl", \.originTTL, in: ttl, .restart,
        "how long a yes of `http_url` is remembered, if that is longer than `cache_ttl`")
    ]
  }

  static var connection: [Setting<Self>] {
    [
      .redisBroker(\.redisBroker),
      .group(\.timeouts, RedisTimeoutSettings.settings(prefix: "redis_")),
      .text("set_key", \.setKey, .restart, "the set of those who may", check: ConfigSection.checkName),
    ]
  }

  static var lifetimes: [Setting<Self>] {
    [
      Setting("cache_ttl", \.cacheTTL, .restart, "how long a yes is remembered") { section, standard in
        section.has(secondsKey) ? standard : section.duration("cache_ttl", default: standard, in: ttl)
      },
      Setting(
        secondsKey, \.cacheTTL, .restart, "`cache_ttl` as a number, as Chihaya's fork has it", standard: "",
        read: readSeconds),
      .duration("negative_cache_ttl", \.negativeCacheTTL, in: ttl, .restart, "how long a no is"),
      .duration(
        "stale_ttl", \.staleTTL, in: ttl, .restart,
        "how long a yes is used that could not be checked again: Redis or `http_url` away"),
    ]
  }

  private static func readSeconds(_ section: ConfigSection, _ standard: Duration) -> Duration {
    guard section.has(secondsKey) else { return standard }
    if section.has("cache_ttl") { section.refuse(secondsKey, "cache_ttl is there, too: write one of them") }
    return .seconds(section.integer(secondsKey, default: Int(standard.wholeSeconds), in: ttlSeconds))
  }

  /// The resolver of a hook: `member` says in logs and metrics what is in the set.
  func resolver(
    _ chain: HookChain, hook: String, member: String, origin: OriginCheck? = nil, maximumWaitingPerSource: Int? = nil
  ) throws -> MembershipResolver {
    try chain.service(hook) {
      let rules = MembershipRules(
        endpoint: try RedisEndpoint(url: redisBroker),
        timeouts: timeouts.timeouts(maximumMilliseconds: Self.maximumMilliseconds), setKey: setKey,
        name: member, origin: origin, maximumWaitingPerSource: maximumWaitingPerSource)
      let cache = ApprovalCache(
        approvedSeconds: UInt32(clamping: cacheTTL.wholeSeconds),
        refusedSeconds: UInt32(clamping: negativeCacheTTL.wholeSeconds),
        originSeconds: origin == nil ? 0 : UInt32(clamping: originTTL.wholeSeconds),
        staleSeconds: UInt32(clamping: staleTTL.wholeSeconds))
      return try MembershipResolver(rules: rules, cache: cache, metrics: chain.metrics)
    }
  }
}
