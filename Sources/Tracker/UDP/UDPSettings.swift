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
