// ParkingLot: announces that wait for a look-up, by what is looked up. One per worker, on its thread.

import Wire

/// Parked requests.
struct ParkingLot {
  struct Parked {
    let request: AnnounceRequest
    let origin: RequestOrigin
    let isKnown: Bool
  }
  enum Admission {
    /// The first of its key: the caller asks for the look-up.
    case first
    /// A look-up of this key is under way.
    case joined
    case full
    /// Too much of its source waits.
    case overShare
  }

  /// Parked requests of one worker, about 16 MB. A million clients that come back at once after a restart are answered
  /// in waves; those that find the lot full are told to try again. One source never fills it: see SourceShares.
  static let capacity = 65_536

  private var waiting: [UserKey: [Parked]] = [:]
  private(set) var count = 0
  private var shares = SourceShares()

  /// `isKnown`: it is about a known user, and counts for nobody.
  mutating func park(
    _ request: AnnounceRequest, key: UserKey, origin: RequestOrigin, isKnown: Bool
  ) -> Admission {
    let room = Self.capacity - count
    guard room > 0 else { return .full }
    if !isKnown, !shares.take(HostNetwork(of: request.source), room: room) { return .overShare }
    count += 1
    let isFirst = waiting[key] == nil
    waiting[key, default: []].append(Parked(request: request, origin: origin, isKnown: isKnown))
    return isFirst ? .first : .joined
  }

  /// Takes out everything of a key, in the order it came.
  @discardableResult
  mutating func removeAll(of key: UserKey) -> [Parked] {
    let parked = waiting.removeValue(forKey: key) ?? []
    count -= parked.count
    for one in parked where !one.isKnown { shares.giveBack(HostNetwork(of: one.request.source)) }
    return parked
  }
}
