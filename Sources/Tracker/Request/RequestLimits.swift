// RequestLimits: what a client may ask for, the same settings below `http:` and `udp:`. A plain value; read on every
// worker's thread.

import Settings

/// Limits on peers and scrapes.
struct RequestLimits: SettingsSection, Sendable, Equatable {
  /// The most peers a reply holds.
  var maxNumwant = 100
  /// Peers in a reply when the client does not say.
  var defaultNumwant = 50
  /// Infohashes in one scrape; of a scrape asking for more the first ones are answered.
  var maxScrapeInfohashes = 50

  /// 18 bytes for each IPv6 peer: a reply stays below 20 KB.
  private static let numwantRange = 1...1000
  /// What fits a UDP request, generously; each costs a lookup.
  private static let scrapeRange = 1...1000

  static var settings: [Setting<Self>] {
    [
      .integer("max_numwant", \.maxNumwant, in: numwantRange, .live, "most peers in a reply"),
      .derive { $0.defaultNumwant = min($0.defaultNumwant, $0.maxNumwant) },
      .integer(
        "default_numwant", \.defaultNumwant, in: numwantRange, .live, "peers in a reply when the client does not say"),
      .check { limits, section in
        if limits.defaultNumwant > limits.maxNumwant {
          section.refuse("default_numwant", "expected at most max_numwant, \(limits.maxNumwant)")
        }
      },
      .integer("max_scrape_infohashes", \.maxScrapeInfohashes, in: scrapeRange, .live, "most torrents in a scrape"),
    ]
  }

  /// Peers for a reply to a client that wants this many; nil: it does not say.
  @inline(__always)
  func peers(_ numwant: UInt32?) -> Int {
    if let numwant { min(Int(numwant), maxNumwant) } else { min(defaultNumwant, maxNumwant) }
  }
}
