// Settings that `http:` and `udp:` have alike, beside RequestLimits.

import Settings

extension Setting {
  /// Chihaya measures response times only when told to; here ResponseMetrics measures a batch with two readings of the
  /// clock, which costs nothing that could be measured, and always does.
  static func requestTiming(_ path: WritableKeyPath<Root, Bool>) -> Setting {
    let key = "enable_request_timing"
    return Setting(key, path, .restart, "accepted for Chihaya's sake: response times are always on `/metrics`") {
      let isEnabled = $0.bool(key, default: $1)
      if isEnabled {
        $0.warn(key, "response times are always on /metrics, at no measurable cost: this changes nothing")
      }
      return isEnabled
    }
  }

  static func ipSpoofing(_ path: WritableKeyPath<Root, Bool>) -> Setting {
    .bool("allow_ip_spoofing", path, .live, "believe the `ip` parameter; lets any client point peers at a victim")
  }
}
