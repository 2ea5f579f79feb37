// StreamEntry: stream entries as another tracker might write them: the first fourteen fields. Pure.

import Linux
import Wire

/// Entries that a test puts on the stream itself.
public enum StreamEntry {
  /// A legal one. Each `session` is a session of its own.
  public static func legal(passkey: String, session: Int, uploaded: UInt64) -> [(name: String, value: String)] {
    [
      ("passkey", passkey), ("infohash", String(repeating: "c0", count: 20)),
      ("peer_id", Hex.encode((0..<20).map { UInt8(truncatingIfNeeded: session >> ($0 % 2 * 8)) })), ("port", "6881"),
      ("ip", "192.0.2.1"), ("af", "IPv4"), ("du", "\(uploaded)"), ("dd", "0"), ("left", "0"), ("event", "none"),
      ("ts", "\(Clock.unixSeconds())"), ("dt", "0"), ("interval", "60"), ("min_interval", "1"),
    ]
  }
}

extension Site {
  /// Adds an entry and returns its id.
  @discardableResult
  public func addToStream(_ fields: [(name: String, value: String)]) throws -> String {
    try redisText(["XADD", "tracker:traffic", "*"] + fields.flatMap { [$0.name, $0.value] })
  }
}
