// TorturePlan: what a seed's site is made of. A value.

import Simulation

/// The shape of one seed's site.
struct TorturePlan {
  /// Two trackers on one Redis; each announce goes to either.
  var hasTwoTrackers: Bool
  /// A replica and a Sentinel; both daemons find the master by it.
  var hasSentinel: Bool
  /// Relays that cut, reset and swallow between the daemons and Redis.
  var hasProxies: Bool
  /// Database and spools on a file system of their own, which can be filled; needs root.
  var hasSmallDisk: Bool

  init(using random: inout SeededRandom) {
    hasTwoTrackers = random.chance(oneIn: 3)
    hasSentinel = random.chance(oneIn: 3)
    hasProxies = random.chance(oneIn: 3) && !hasSentinel
    hasSmallDisk = random.chance(oneIn: 3) && SmallDisk.isPossible
  }

  var description: String {
    let parts = [
      hasTwoTrackers ? "two trackers" : "one tracker", hasSentinel ? "Sentinel" : nil, hasProxies ? "relays" : nil,
      hasSmallDisk ? "a small disk" : nil,
    ]
    return parts.compactMap { $0 }.joined(separator: ", ")
  }

  /// Where a fault can happen.
  enum Place: Sendable {
    case anywhere, oneRedis, oneRedisAndTracker, sentinel, relays, smallDisk, smallDiskAndOneRedis
  }

  func has(_ place: Place) -> Bool {
    switch place {
    case .anywhere: true
    case .oneRedis: !hasSentinel
    case .oneRedisAndTracker: !hasSentinel && !hasTwoTrackers
    case .sentinel: hasSentinel
    case .relays: hasProxies
    case .smallDisk: hasSmallDisk
    case .smallDiskAndOneRedis: hasSmallDisk && !hasSentinel
    }
  }
}
