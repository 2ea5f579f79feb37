// UDPSettings: the section `udp:` of the configuration. Plain values; main thread.

import Settings

/// `udp:`.
struct UDPSettings: SettingsSection, Sendable, Equatable {
  /// As SocketAddress reads it. Empty: no UDP listener.
  var address = ""
  /// The tolerance for a connection id's time.
  var maxClockSkew: Duration = .seconds(10)
  /// The secret behind connection ids; nil: made at start and never shown.
  var privateKey: String?
  /// Accepted for Chihaya's sake; see ResponseMetrics.
  var enableRequestTiming = false
  var allowIPSpoofing = false
  var limits = RequestLimits()

  /// In Chihaya's example file, which the whole world has.
  private static let exampleKeys = [
    "paste a random string here that will be used to hmac connection IDs", "paste a long random string here",
  ]

  /// The hash that makes a key of the text is known and fast, and one connection id tells whether a guess is right: 16 random
  /// hexadecimal digits, 64 bits, are the least that is out of reach.
  private static let leastKeyCharacters = 16
  /// A text of fewer different ones repeats something.
  private static let leastDifferentCharacters = 6

  private static func canBeGuessed(_ key: String) -> Bool {
    key.count < leastKeyCharacters || Set(key).count < leastDifferentCharacters
  }

  static var settings: [Setting<Self>] {
    [
      .text("addr", \.address, .restart, "`host:port`, `:port` or `[::]:port`; none: no UDP", check: checkAddress),
      .duration(
        "max_clock_skew", \.maxClockSkew, in: .zero ... .seconds(3600), .restart,
        "tolerance for the age of a connection id"),
      .text(
        "private_key", optional: \.privateKey, .restart, "the secret behind connection ids", standard: "made at start",
        shown: { _ in ConfigSection.redacted }),
      .requestTiming(\.enableRequestTiming),
      .ipSpoofing(\.allowIPSpoofing),
      .group(\.limits, RequestLimits.settings),
      .check { udp, section in
        if let privateKey = udp.privateKey, exampleKeys.contains(privateKey) {
          section.warn(
            "private_key", "this is the text of the example file, which everybody knows; replace or remove it")
        } else if let privateKey = udp.privateKey, canBeGuessed(privateKey) {
          section.warn(
            "private_key",
            "a short text can be guessed from one connection id; write \(leastKeyCharacters) or more random characters "
              + "(openssl rand -hex 16), or remove it")
        }
        if udp.address.isEmpty { section.warn("addr", "not set: there is no UDP listener") }
      },
    ]
  }

  private static func checkAddress(_ text: String) throws(ConfigComplaint) {
    if text.hasPrefix("unix:") { throw ConfigComplaint("expected host:port; a unix socket is for http only") }
    if !text.isEmpty { try ConfigSection.checkAddress(text) }
  }
}
