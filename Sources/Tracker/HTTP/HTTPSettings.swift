// HTTPSettings: the section `http:` of the configuration. Plain values; main thread.

import HTTP
import Settings
import Wire

/// `http:`.
struct HTTPSettings: SettingsSection, Sendable, Equatable {
  /// As SocketAddress reads it; also `unix:/path` for a reverse proxy. Empty: no HTTP listener.
  var address = ""
  var readTimeout: Duration = .seconds(2)
  var writeTimeout: Duration = .seconds(2)
  var enableKeepalive = false
  var idleTimeout: Duration = .seconds(30)
  /// Accepted for Chihaya's sake; see ResponseMetrics.
  var enableRequestTiming = false
  /// Routes with `:name` parameters, such as `/announce/:passkey`.
  var announceRoutes = ["/announce", "/announce/:passkey"]
  var scrapeRoutes = ["/scrape", "/scrape/:passkey"]
  var allowIPSpoofing = false
  /// Lower case; nil: the peer's address is the connection's.
  var realIPHeader: String?
  /// Addresses and prefixes (`10.0.0.0/8`, `::1`) whose `realIPHeader` counts. A unix socket's peer is always trusted.
  var trustedProxies: [AddressPrefix] = []
  /// Connections of one IPv4 address, or one IPv6 network of 64 bits, to one worker (ours). A household has a few, a
  /// seedbox host with a hundred clients some hundred (libtorrent opens up to 50 at once for its announces); twenty
  /// addresses are needed to fill a worker's table.
  var maxConnectionsPerAddress = 1000
  var limits = RequestLimits()

  /// Wide: it catches a wrong unit, not an unusual site.
  private static let timeouts: ClosedRange<Duration> = .milliseconds(1) ... .seconds(3600)
  /// As many as a worker's table may have: more is no limit.
  private static let connections = 0...HTTPLimits.defaultMaximumConnections

  static var settings: [Setting<Self>] {
    [
      .text(
        "addr", \.address,
        .restart,
        "`host:port`, `:port`, `[::]:port` (a wildcard listens on IPv4 and IPv6) or `unix:/path`; none: no HTTP",
        check: { text throws(ConfigComplaint) in if !text.isEmpty { try ConfigSection.checkAddress(text) } }),
      .unsupported(
        "https_addr", "tls_cert_path", "tls_key_path",
        advice:
          "HTTPS is the reverse proxy's job here: put nginx or Caddy in front (examples in dist/) and remove this"),
      .unsupported(
        "enable_legacy_php_urls", advice: "add /announce.php and /scrape.php to the routes in place of this"),
      .unsupported("request_timeout", advice: "write read_timeout and write_timeout"),
      .duration("read_timeout", \.readTimeout, in: timeouts, .live, "for the head of a request"),
      .duration("write_timeout", \.writeTimeout, in: timeouts, .live, "for a client to take its reply"),
      .bool("enable_keepalive", \.enableKeepalive, .live, "more than one request per connection"),
      .duration(
        "idle_timeout", \.idleTimeout, in: timeouts, .live, "how long a kept connection may wait for its next request"),
      .requestTiming(\.enableRequestTiming),
      .texts(
        "announce_routes", \.announceRoutes, .live, "paths; `:passkey` is the user's key", check: checkRoute),
      .texts(
        "scrape_routes", \.scrapeRoutes, .live, "the same for scrapes; see below", check: checkRoute),
      .check { http, section in
        for (key, routes, example) in [
          ("announce_routes", http.announceRoutes, "/announce"), ("scrape_routes", http.scrapeRoutes, "/scrape"),
        ] where routes.isEmpty { section.refuse(key, "expected at least one route, such as \(example)") }
      },
      .ipSpoofing(\.allowIPSpoofing),
      Setting(
        "real_ip_header", \.realIPHeader, .live, "the client's address behind a reverse proxy, such as `x-real-ip`"
      ) { $0.optionalString("real_ip_header", default: $1, check: ConfigSection.checkHeaderName)?.lowercased() },
      .list(
        "trusted_proxies", \.trustedProxies, .live,
        "addresses and prefixes whose header counts; a unix socket's peer always does", shown: { "\($0)" },
        convert: addressPrefix),
      .integer(
        "max_connections_per_address", \.maxConnectionsPerAddress, in: connections, .live,
        """
        connections of one IPv4 address or IPv6 /64 to a worker: a new one takes the place of those that wait longest; \
        `0`: no limit. Trusted proxies have none
        """),
      .group(\.limits, RequestLimits.settings),
      .check { http, section in
        if http.address.isEmpty {
          section.warn("addr", "not set: there is no HTTP listener")
        } else if http.realIPHeader != nil && http.trustedProxies.isEmpty && !http.address.hasPrefix("unix:") {
          section.warn(
            "real_ip_header", "counts from trusted_proxies only, and there are none: the header is ignored")
        }
      },
    ]
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

  /// The routes as requests are matched with them.
  var routes: RouteTable { RouteTable(announceRoutes: announceRoutes, scrapeRoutes: scrapeRoutes) }
}
