// TrackerConfig.load: file and environment into TrackerConfig, every problem reported at once. Main thread, at start and
// on SIGHUP. The hooks are in TrackerConfigHooksLoad.

import Linux
import Settings
import Wire

/// The bounds of the settings. Wide: they catch a wrong unit, not an unusual site.
enum TrackerConfigLimits {
  /// From what tests need to what no client waits.
  static let announceInterval: ClosedRange<Duration> = .seconds(1) ... .seconds(7 * 86_400)
  static let timeout: ClosedRange<Duration> = .milliseconds(1) ... .seconds(3600)
  static let clockSkew: ClosedRange<Duration> = .zero ... .seconds(3600)
  static let housekeeping: ClosedRange<Duration> = .milliseconds(10) ... .seconds(86_400)
  static let peerLifetime: ClosedRange<Duration> = .seconds(1) ... .seconds(14 * 86_400)
  /// More threads than any machine's cores bring nothing.
  static let workers = 0...1024
  /// Ten milliseconds is what a person may notice in a page that waits for a tracker.
  static let batchDelay: ClosedRange<Duration> = .zero ... .milliseconds(10)
  /// 18 bytes for each IPv6 peer: a reply stays below 20 KB.
  static let numwant = 1...1000
  /// What fits a UDP request, generously; each costs a lookup.
  static let scrapeInfohashes = 1...1000
  static let shardCount = 1...65_536
  static let peersPerUser = 1...1000
}

extension TrackerConfig {
  /// Reads `path` (nil: the default path, which may be missing) and the variables `TRACKER__...` over it.
  static func load(path: String?, environment: [String: String]) throws(ConfigError) -> TrackerConfig {
    let reader = try ConfigReader(
      path: path, defaultPath: defaultPath, rootKeys: ["chihaya", "tracker"], environment: environment,
      prefix: "TRACKER")
    var config = TrackerConfig(reader.section)
    (config.effectiveSettings, config.warnings) = try reader.finish()
    return config
  }

  private init(_ root: ConfigSection) {
    readIntervals(root)
    metricsAddress = root.optionalString("metrics_addr", check: ConfigSection.checkAddress)
    enablePprof = root.bool("enable_pprof", default: enablePprof)
    if enablePprof && metricsAddress == nil { root.warn("enable_pprof", "there is no metrics_addr to serve it") }
    let levels = LogLevel.allCases.map { "\($0)" }
    let level = root.string(
      "log_level", default: "\(logLevel)",
      check: { text throws(ConfigComplaint) in
        guard levels.contains(text) else {
          throw ConfigComplaint("expected one of \(levels.joined(separator: ", ")), found \(text)")
        }
      })
    logLevel = LogLevel.allCases.first { "\($0)" == level } ?? logLevel
    workers = root.integer("workers", default: workers, in: TrackerConfigLimits.workers)
    batchDelay = root.duration("batch_delay", default: batchDelay, in: TrackerConfigLimits.batchDelay)
    for key in ["max_numwant", "default_numwant", "max_scrape_infohashes"] {
      root.unsupported(key, "write it below http and udp")
    }
    root.unsupported("prometheus_addr", "this is metrics_addr now")
    if root.has("http") { http = TrackerHTTPConfig(read: root.section("http")) }
    if root.has("udp") { udp = TrackerUDPConfig(read: root.section("udp")) }
    storage = TrackerStorageConfig(read: root.section("storage"), announceInterval: announceInterval)
    prehooks = HookConfig.read(root, "prehooks")
    posthooks = HookConfig.read(root, "posthooks")
    HookConfig.refuseRepeated(prehooks, posthooks, root)
    root.end()
    if http == nil && udp == nil && !root.hasProblems {
      root.refuse("http", "neither http.addr nor udp.addr is set: the tracker would listen nowhere")
    }
  }

  private mutating func readIntervals(_ root: ConfigSection) {
    let range = TrackerConfigLimits.announceInterval
    announceInterval = root.duration("announce_interval", default: announceInterval, in: range, unit: .seconds(1))
    minAnnounceInterval = root.duration(
      "min_announce_interval", default: min(minAnnounceInterval, announceInterval), in: range, unit: .seconds(1))
    if minAnnounceInterval > announceInterval {
      root.refuse("min_announce_interval", "expected at most announce_interval, \(DurationText.text(announceInterval))")
    }
  }
}

extension RequestLimits {
  fileprivate init(read section: ConfigSection) {
    maxNumwant = section.integer("max_numwant", default: maxNumwant, in: TrackerConfigLimits.numwant)
    defaultNumwant = section.integer(
      "default_numwant", default: min(defaultNumwant, maxNumwant), in: TrackerConfigLimits.numwant)
    if defaultNumwant > maxNumwant {
      section.refuse("default_numwant", "expected at most max_numwant, \(maxNumwant)")
    }
    maxScrapeInfohashes = section.integer(
      "max_scrape_infohashes", default: maxScrapeInfohashes, in: TrackerConfigLimits.scrapeInfohashes)
  }
}

extension TrackerHTTPConfig {
  /// nil when no address is given: Chihaya then serves no HTTP.
  fileprivate init?(read section: ConfigSection) {
    defer { section.end() }
    let address = section.optionalString("addr", check: ConfigSection.checkAddress)
    let proxy = "HTTPS is the reverse proxy's job here: put nginx or Caddy in front (examples in dist/) and remove this"
    section.unsupported("https_addr", proxy)
    section.unsupported("tls_cert_path", proxy)
    section.unsupported("tls_key_path", proxy)
    section.unsupported("enable_legacy_php_urls", "add /announce.php and /scrape.php to the routes in place of this")
    section.unsupported("request_timeout", "write read_timeout and write_timeout")
    self.init(address: address ?? "")
    let timeouts = TrackerConfigLimits.timeout
    readTimeout = section.duration("read_timeout", default: readTimeout, in: timeouts)
    writeTimeout = section.duration("write_timeout", default: writeTimeout, in: timeouts)
    enableKeepalive = section.bool("enable_keepalive", default: enableKeepalive)
    idleTimeout = section.duration("idle_timeout", default: idleTimeout, in: timeouts)
    enableRequestTiming = section.bool("enable_request_timing", default: enableRequestTiming)
    announceRoutes = Self.routes(section, "announce_routes", default: announceRoutes)
    scrapeRoutes = Self.routes(section, "scrape_routes", default: scrapeRoutes)
    allowIPSpoofing = section.bool("allow_ip_spoofing", default: allowIPSpoofing)
    realIPHeader = section.optionalString("real_ip_header", check: Self.checkHeaderName)?.lowercased()
    trustedProxies = section.list(
      "trusted_proxies", default: [], shown: { JSONText.quoted("\($0)") }, convert: Self.addressPrefix)
    limits = RequestLimits(read: section)
    guard let address else {
      section.warn("addr", "not set: there is no HTTP listener")
      return nil
    }
    if realIPHeader != nil && trustedProxies.isEmpty && !address.hasPrefix("unix:") {
      section.warn("real_ip_header", "counts from trusted_proxies only, and there are none: the header is ignored")
    }
  }

  private static func routes(_ section: ConfigSection, _ key: String, default fallback: [String]) -> [String] {
    let routes = section.strings(key, default: fallback, check: checkRoute)
    if routes.isEmpty { section.refuse(key, "expected at least one route, such as \(fallback[0])") }
    return routes
  }

  private static func addressPrefix(_ text: String) throws(ConfigComplaint) -> AddressPrefix {
    guard let prefix = AddressPrefix(text) else {
      throw ConfigComplaint("expected an address or prefix such as 127.0.0.1 or 10.0.0.0/8, found \(text)")
    }
    return prefix
  }

  /// httprouter's syntax as far as it is supported: literal segments and `:name`.
  private static func checkRoute(_ route: String) throws(ConfigComplaint) {
    guard route.hasPrefix("/"), route.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "?") }) else {
      throw ConfigComplaint("expected a path that begins with /, such as /announce/:passkey, found \(route)")
    }
    var names: Set<Substring> = []
    for segment in route.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
      if segment.hasPrefix(":") && !names.insert(segment).inserted {
        throw ConfigComplaint("\(segment) is there twice in \(route); each parameter has one place")
      }
      if segment == ":" { throw ConfigComplaint("a parameter needs a name, such as :passkey, in \(route)") }
      if segment.hasPrefix("*") {
        throw ConfigComplaint("catch-all parameters are not supported; write the routes out: \(route)")
      }
    }
  }

  /// token of RFC 9110 section 5.6.2.
  static func checkHeaderName(_ name: String) throws(ConfigComplaint) {
    let marks = "!#$%&'*+-.^_`|~".utf8
    guard
      name.utf8.allSatisfy({
        $0 < 0x80 && (Character(Unicode.Scalar($0)).isLetter || $0 >= 0x30 && $0 <= 0x39) || marks.contains($0)
      })
    else { throw ConfigComplaint("expected the name of an HTTP header, such as X-Real-IP, found \(name)") }
  }
}

extension TrackerUDPConfig {
  /// In Chihaya's example file: everybody knows it.
  private static let exampleKeys = [
    "paste a random string here that will be used to hmac connection IDs", "paste a long random string here",
  ]

  /// nil when no address is given: Chihaya then serves no UDP.
  fileprivate init?(read section: ConfigSection) {
    defer { section.end() }
    let address = section.optionalString("addr", check: Self.checkAddress)
    self.init(address: address ?? "")
    maxClockSkew = section.duration("max_clock_skew", default: maxClockSkew, in: TrackerConfigLimits.clockSkew)
    privateKey = section.optionalString("private_key", shown: { _ in ConfigSection.redacted })
    enableRequestTiming = section.bool("enable_request_timing", default: enableRequestTiming)
    allowIPSpoofing = section.bool("allow_ip_spoofing", default: allowIPSpoofing)
    limits = RequestLimits(read: section)
    if let privateKey, Self.exampleKeys.contains(privateKey) {
      section.warn("private_key", "this is the text of the example file, which everybody knows; replace or remove it")
    }
    guard address != nil else {
      section.warn("addr", "not set: there is no UDP listener")
      return nil
    }
  }

  private static func checkAddress(_ text: String) throws(ConfigComplaint) {
    if text.hasPrefix("unix:") { throw ConfigComplaint("expected host:port; a unix socket is for http only") }
    try ConfigSection.checkAddress(text)
  }
}

extension TrackerStorageConfig {
  fileprivate init(read section: ConfigSection, announceInterval: Duration) {
    defer { section.end() }
    let name = section.string("name", default: "memory")
    let config = section.section("config")
    guard name == "memory" else {
      let advice =
        name == "redis"
        ? "write `name: memory` and remove the redis_ settings: peers are kept in memory here" : "write `name: memory`"
      section.refuse("name", "the storage \(name) is not supported; \(advice)")
      return
    }
    for key in ["redis_broker", "redis_read_timeout", "redis_write_timeout", "redis_connect_timeout"] {
      config.unsupported(key, "belongs to the storage redis, which is not supported; remove it")
    }
    gcInterval = config.duration("gc_interval", default: gcInterval, in: TrackerConfigLimits.housekeeping)
    peerLifetime = config.duration(
      "peer_lifetime", default: announceInterval + .seconds(60), in: TrackerConfigLimits.peerLifetime)
    shardCount = config.integer("shard_count", default: shardCount, in: TrackerConfigLimits.shardCount)
    prometheusReportingInterval = config.duration(
      "prometheus_reporting_interval", default: prometheusReportingInterval, in: TrackerConfigLimits.housekeeping)
    excludeOwnPeers = config.bool("exclude_own_peers", default: excludeOwnPeers)
    maxPeersPerUser = config.integer(
      "max_peers_per_user", default: maxPeersPerUser, in: TrackerConfigLimits.peersPerUser)
    snatchPath = config.optionalString("snatch_path")
    if peerLifetime <= announceInterval {
      config.warn("peer_lifetime", "not longer than announce_interval: peers disappear before they announce again")
    }
    config.end()
  }
}
