// PasskeyApproval: the hook `passkey approval`. Decides from the cache; what the cache does not know is looked up by the
// resolver's thread while the request is parked.

import Redis
import Settings

/// Who may announce, by a Redis set and optionally an origin.
struct PasskeyApprovalOptions: HookOptions {
  static let name = "passkey approval"

  /// The set of valid passkeys.
  var redisSet = RedisSetOptions(setKey: "pt:passkeys")
  /// The origin asked about a passkey that the set does not have; nil: none.
  var httpURL: String?
  var httpAPIKeyHeader = "X-API-Key"
  /// Sent to the origin; nil: no such header. A secret.
  var httpAPIKey: String?
  var httpTimeout: Duration = .seconds(5)
  /// Look-ups of passkeys that are not known, of one source, that wait at once. A cold start finds some thousand users behind
  /// one address of a provider: Redis answers for as many in milliseconds, an origin in seconds, and who is turned away comes
  /// again.
  var maxLookupsPerAddress = 1000

  static var settings: [Setting<Self>] {
    [
      .group(\.redisSet, RedisSetOptions.connection),
      .text(
        "http_url", optional: \.httpURL, .restart,
        "the site's check, asked when the set does not know; `?passkey=` is added",
        shown: redactURL, check: checkURL),
      .text(
        "http_api_key_header", \.httpAPIKeyHeader, .restart, "the header of `http_api_key`",
        check: ConfigSection.checkHeaderName),
      .text(
        "http_api_key", optional: \.httpAPIKey, .restart, "sent to `http_url`; a secret",
        shown: { _ in ConfigSection.redacted }),
      .duration("http_timeout", \.httpTimeout, in: RedisTimeoutSettings.range, .restart, "for an answer of `http_url`"),
      .integer(
        "max_lookups_per_address", \.maxLookupsPerAddress, in: 1...100_000, .restart,
        "passkeys of one IPv4 address or IPv6 /64 that wait at once to be looked up; more are refused, known users never"
      ),
      .group(\.redisSet, RedisSetOptions.originLifetime),
      .group(\.redisSet, RedisSetOptions.lifetimes),
      .unsupported(
        "encryption_key",
        advice: "passkeys that the site encrypts (AES-256-GCM) are not supported: "
          + "write plain passkeys into announce URLs and remove this line"),
      .check { options, section in
        if options.httpAPIKey != nil && options.httpURL == nil {
          section.warn("http_api_key", "there is no http_url to send it to")
        }
      },
    ]
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
  private static func redactURL(_ text: String) -> String {
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

  func make(_ chain: HookChain) throws -> (any AnnounceHook)? {
    let origin = httpURL.flatMap {
      OriginCheck(
        url: $0, apiKeyHeader: httpAPIKeyHeader, apiKey: httpAPIKey,
        timeoutSeconds: Double(httpTimeout.wholeMilliseconds) / 1000)
    }
    return PasskeyApproval(
      resolver: try redisSet.resolver(
        chain, hook: Self.name, member: "passkey", origin: origin,
        maximumWaitingPerSource: maxLookupsPerAddress))
  }
}

/// Who may announce, by passkey.
final class PasskeyApproval: AnnounceHook {
  private let resolver: MembershipResolver

  init(resolver: MembershipResolver) { self.resolver = resolver }

  var guardsScrapes: Bool { true }

  func check(_ request: borrowing AnnounceRequest, _ context: inout AnnounceContext) -> HookVerdict {
    guard let user = context.user, let passkey = request.passkey else { return .refuse(.missingPasskey) }
    return resolver.verdict(
      on: user, nowSeconds: context.time.monotonicSeconds, from: request.source, refusal: .unapprovedPasskey,
      .passkey(passkey))
  }
}
