// ParkingLot: announces that wait for a passkey look-up, by user. One per worker, on its thread.

import Shared

/// Parked requests.
struct ParkingLot {
  struct Parked {
    let request: AnnounceRequest
    let origin: RequestOrigin
  }
  enum Admission {
    /// The first of its user: the caller asks for the look-up.
    case first
    /// A look-up of this user is under way.
    case joined
    case full
  }

  /// Parked requests of one worker, about 16 MB. A million clients that come back at once after a restart are answered
  /// in waves; those that find the lot full are told to try again.
  static let capacity = 65_536

  private var waiting: [UserKey: [Parked]] = [:]
  private(set) var count = 0

  mutating func park(_ request: AnnounceRequest, user: UserKey, origin: RequestOrigin) -> Admission {
    guard count < Self.capacity else { return .full }
    count += 1
    let isFirst = waiting[user] == nil
    waiting[user, default: []].append(Parked(request: request, origin: origin))
    return isFirst ? .first : .joined
  }

  /// Takes out everything of a user, in the order it came.
  @discardableResult
  mutating func removeAll(of user: UserKey) -> [Parked] {
    let parked = waiting.removeValue(forKey: user) ?? []
    count -= parked.count
    return parked
  }
}
