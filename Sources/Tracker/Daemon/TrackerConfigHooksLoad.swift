// HookConfig's reading: names and options of `prehooks` and `posthooks`. Main thread, part of TrackerConfig.load.

import Linux
import Redis
import Settings
import Wire

extension HookConfig {
  /// The name in the file.
  var name: String {
    switch self {
    case .passkeyApproval: "passkey approval"
    case .trafficPush: "traffic push"
    case .clientApproval: "client approval"
    case .torrentApproval: "torrent approval"
    case .portApproval: "port approval"
    case .intervalVariation: "interval variation"
    }
  }

  private static let names = [
    "passkey approval", "traffic push", "client approval", "torrent approval", "port approval",
    "interval variation",
  ]

  /// Reads a list of hooks; a hook that cannot be read is left out, with its problem reported.
  static func read(_ root: ConfigSection, _ key: String) -> [HookConfig] {
    root.sections(key).compactMap { entry in
      defer { entry.end() }
      let name = entry.requiredString("name", expected: "one of \(names.joined(separator: ", "))") { _ in }
      let options = entry.section("options")
      guard let hook = HookConfig(name, options) else {
        if !name.isEmpty { entry.refuse("name", "unknown hook \(name); \(advice(for: name))") }
        return nil
      }
      options.end()
      return hook
    }
  }

  private init?(_ name: String, _ options: ConfigSection) {
    switch name {
    case "passkey approval": self = .passkeyApproval(PasskeyApprovalOptions(read: options))
    case "traffic push": self = .trafficPush(TrafficPushOptions(read: options))
    case "client approval": self = .clientApproval(ClientApprovalOptions(read: options))
    case "torrent approval": self = .torrentApproval(TorrentApprovalOptions(read: options))
    case "port approval": self = .portApproval(PortApprovalOptions(read: options))
    case "interval variation": self = .intervalVariation(IntervalVariationOptions(read: options))
    default: return nil
    }
  }

  private static func advice(for name: String) -> String {
    if name == "jwt" { return "JSON web tokens are not supported here; use passkey approval" }
    if name == "fixed peer" || name == "fixed peers" { return "it is for Chihaya's own tests; remove it" }
    if let near = Suggestion.nearest(to: name, among: names) { return "did you mean \(near)?" }
    return "known: \(names.joined(separator: ", "))"
  }

  /// A second traffic push would credit every byte twice, and two of any other kind contradict each other.
  static func refuseRepeated(_ prehooks: [HookConfig], _ posthooks: [HookConfig], _ root: ConfigSection) {
    var seen: Set<String> = []
    for (key, hooks) in [("prehooks", prehooks), ("posthooks", posthooks)] {
      for hook in hooks where !seen.insert(hook.name).inserted {
        root.refuse(key, "the hook \(hook.name) is there twice; write it once, in prehooks or in posthooks")
      }
    }
  }
}

extension RedisTimeoutOptions {
  fileprivate init(read options: ConfigSection) {
    let range = TrackerConfigLimits.timeout
    connect = options.duration("redis_connect_timeout", default: connect, in: range)
    read = options.duration("redis_read_timeout", default: read, in: range)
    write = options.duration("redis_write_timeout", default: write, in: range)
  }

  fileprivate static func broker(_ options: ConfigSection) -> String {
    options.requiredString(
      "redis_broker", expected: "redis://[user:]password@host:port/db or redis+unix:///path?db=0",
      shown: ConfigSection.redactRedisURL, check: ConfigSection.checkRedisURL)
  }
}

extension PasskeyApprovalOptions {
  fileprivate static let ttl: ClosedRange<Duration> = .zero ... .seconds(30 * 86_400)

  fileprivate init(read options: ConfigSection) {
    self.init(redisBroker: RedisTimeoutOptions.broker(options))
    timeouts = RedisTimeoutOptions(read: options)
    setKey = options.string("set_key", default: setKey, check: ConfigSection.checkName)
    httpURL = options.optionalString("http_url", shown: Self.redactURL, check: Self.checkURL)
    httpAPIKeyHeader = options.string(
      "http_api_key_header", default: httpAPIKeyHeader, check: TrackerHTTPConfig.checkHeaderName)
    httpAPIKey = options.optionalString("http_api_key", shown: { _ in ConfigSection.redacted })
    httpTimeout = options.duration("http_timeout", default: httpTimeout, in: TrackerConfigLimits.timeout)
    cacheTTL = options.duration("cache_ttl", default: cacheTTL, in: Self.ttl)
    negativeCacheTTL = options.duration("negative_cache_ttl", default: negativeCacheTTL, in: Self.ttl)
    if httpAPIKey != nil && httpURL == nil {
      options.warn("http_api_key", "there is no http_url to send it to")
    }
  }

  /// http or https, a host, and no fragment, behind which nothing could be appended.
  private static func checkURL(_ text: String) throws(ConfigComplaint) {
    let scheme = ["https://", "http://"].first { text.hasPrefix($0) }
    let host = text.dropFirst(scheme?.count ?? 0).prefix { !"/?".contains($0) }
    let isPrintable = text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "#") }
    guard scheme != nil, !host.isEmpty, !host.hasSuffix("@"), isPrintable else {
      throw ConfigComplaint("expected a URL such as https://pt.example.com/api/passkey/verify")
    }
  }

  /// The URL with its user information and the values of its query withheld: either may be a credential.
  static func redactURL(_ text: String) -> String {
    let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    var base = String(parts[0])
    if let scheme = base.firstRange(of: "://") {
      let authority = base[scheme.upperBound...].prefix { $0 != "/" }
      if let at = authority.lastIndex(of: "@") {
        base.replaceSubrange(scheme.upperBound..<at, with: ConfigSection.redacted)
      }
    }
    guard parts.count == 2 else { return base }
    let query = parts[1].split(separator: "&", omittingEmptySubsequences: false).map { pair in
      let name = pair.prefix { $0 != "=" }
      return name.count + 1 >= pair.count ? String(pair) : "\(name)=\(ConfigSection.redacted)"
    }
    return base + "?" + query.joined(separator: "&")
  }
}

extension TrafficPushOptions {
  /// Streams of one site; each has a connection and a thread.
  private static let partitionRange = 1...256
  /// Up to 10 Tbit/s: with an hour of grace the script's product stays exact for centuries.
  private static let rateRange = 0...1_250_000_000_000
  private static let lastTTLRange: ClosedRange<Duration> = .seconds(1) ... .seconds(365 * 86_400)

  fileprivate init(read options: ConfigSection) {
    self.init(redisBroker: RedisTimeoutOptions.broker(options))
    timeouts = RedisTimeoutOptions(read: options)
    streamKey = options.string("stream_key", default: streamKey, check: ConfigSection.checkName)
    lastKeyPrefix = options.string("last_key_prefix", default: lastKeyPrefix, check: ConfigSection.checkName)
    retryCount = options.integer("retry_count", default: retryCount, in: 0...1000)
    retryInterval = options.duration("retry_interval", default: retryInterval, in: TrackerConfigLimits.timeout)
    lastTTL = options.duration("last_ttl", default: lastTTL, in: Self.lastTTLRange, unit: .seconds(1))
    maxStreamLength = options.integer("max_stream_length", default: maxStreamLength, in: 0...1_000_000_000_000)
    partitions = options.integer("partitions", default: partitions, in: Self.partitionRange)
    spoolPath = options.optionalString("spool_path", check: ConfigSection.checkPath)
    maxBytesPerSecond = options.integer("max_bytes_per_second", default: maxBytesPerSecond, in: Self.rateRange)
    creditFirstAnnounce = options.bool("credit_first_announce", default: creditFirstAnnounce)
    if creditFirstAnnounce {
      options.warn("credit_first_announce", "any valid passkey with a new peer id is credited what it claims")
    }
  }
}

extension ClientApprovalOptions {
  fileprivate init(read options: ConfigSection) {
    whitelist = options.strings("whitelist", default: [], check: Self.checkPrefix)
    blacklist = options.strings("blacklist", default: [], check: Self.checkPrefix)
    refuseBoth(options, whitelist.isEmpty, blacklist.isEmpty)
  }

  /// A peer id has twenty bytes (BEP 3).
  private static func checkPrefix(_ text: String) throws(ConfigComplaint) {
    guard (1...20).contains(text.utf8.count) else {
      throw ConfigComplaint("expected the first 1 to 20 bytes of a peer id, such as TR2940 or -TR2940-, found \(text)")
    }
  }
}

extension TorrentApprovalOptions {
  fileprivate init(read options: ConfigSection) {
    let instead = "this is another Chihaya fork's form; write whitelist or blacklist with the infohashes"
    options.unsupported("initial_source", instead)
    options.unsupported("configuration", instead)
    whitelist = Self.infoHashes(options, "whitelist") + Self.file(options, "whitelist_file")
    blacklist = Self.infoHashes(options, "blacklist") + Self.file(options, "blacklist_file")
    if options.has("redis_broker") { redisSet = RedisSetOptions(read: options) }
    refuseBoth(options, whitelist.isEmpty, blacklist.isEmpty)
  }

  private static func infoHashes(_ options: ConfigSection, _ key: String) -> [InfoHash] {
    options.list(key, default: [], shown: { JSONText.quoted("\($0)") }, convert: infoHash)
  }

  private static func infoHash(_ text: String) throws(ConfigComplaint) -> InfoHash {
    guard let hash = InfoHash(hex: text) else {
      throw ConfigComplaint("expected an infohash of 40 hex digits, found \(text)")
    }
    return hash
  }
}

extension TorrentApprovalOptions {
  private static func file(_ options: ConfigSection, _ key: String) -> [InfoHash] {
    var infoHashes: [InfoHash] = []
    _ = options.optionalString(
      key, check: { path throws(ConfigComplaint) in infoHashes = try InfoHashFile.read(path) })
    return infoHashes
  }
}

extension RedisSetOptions {
  fileprivate init(read options: ConfigSection) {
    self.init(redisBroker: RedisTimeoutOptions.broker(options))
    timeouts = RedisTimeoutOptions(read: options)
    setKey = options.string("set_key", default: setKey, check: ConfigSection.checkName)
    cacheTTL = options.duration("cache_ttl", default: cacheTTL, in: PasskeyApprovalOptions.ttl)
    negativeCacheTTL = options.duration("negative_cache_ttl", default: negativeCacheTTL, in: PasskeyApprovalOptions.ttl)
  }
}

extension PortApprovalOptions {
  fileprivate init(read options: ConfigSection) {
    blacklist = options.list("blacklist", default: [], shown: Self.shown, convert: Self.range)
  }

  private static func shown(_ range: ClosedRange<UInt16>) -> String {
    JSONText.quoted(range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)-\(range.upperBound)")
  }

  private static func range(_ text: String) throws(ConfigComplaint) -> ClosedRange<UInt16> {
    let bounds = text.split(separator: "-", omittingEmptySubsequences: false).map { UInt16($0) }
    guard let low = bounds[0], let high = bounds[bounds.count - 1], bounds.count <= 2, 1 <= low, low <= high else {
      throw ConfigComplaint("expected a port or a range such as 6881-6889, found \(text)")
    }
    return low...high
  }
}

/// Chihaya refuses the two together too: a white list leaves nothing to a black one.
private func refuseBoth(_ options: ConfigSection, _ noWhitelist: Bool, _ noBlacklist: Bool) {
  if !noWhitelist && !noBlacklist { options.refuse("blacklist", "expected whitelist or blacklist, found both") }
}

extension IntervalVariationOptions {
  fileprivate init(read options: ConfigSection) {
    let probability = options.fraction("modify_response_probability", default: 0)
    let delta = options.integer("max_increase_delta", default: 0, in: 0...86_400)
    self.init(modifyResponseProbability: probability, maxIncreaseDeltaSeconds: delta)
    modifyMinInterval = options.bool("modify_min_interval", default: modifyMinInterval)
    if probability == 0 {
      options.refuse("modify_response_probability", "expected a number above 0, at most 1, such as 0.2")
    }
    if delta == 0 { options.refuse("max_increase_delta", "expected a number of seconds from 1 to 86400") }
  }
}
