// ParkingLot: announces that wait for a look-up, by what is looked up. One per worker, on its thread.

/// Parked requests.
struct ParkingLot {
  struct Parked {
    let request: AnnounceRequest
    let origin: RequestOrigin
  }
  enum Admission {
    /// The first of its key: the caller asks for the look-up.
    case first
    /// A look-up of this key is under way.
    case joined
    case full
  }

  /// Parked requests of one worker, about 16 MB. A million clients that come back at once after a restart are answered
  /// in waves; those that find the lot full are told to try again.
  static let capacity = 65_536

  private var waiting: [UserKey: [Parked]] = [:]
  private(set) var count = 0

  mutating func park(_ request: AnnounceRequest, key: UserKey, origin: RequestOrigin) -> Admission {
    guard count < Self.capacity else { return .full }
    count += 1
    let isFirst = waiting[key] == nil
    waiting[key, default: []].append(Parked(request: request, origin: origin))
    return isFirst ? .first : .joined
  }

  /// Takes out everything of a key, in the order it came.
  @discardableResult
  mutating func removeAll(of key: UserKey) -> [Parked] {
    let parked = waiting.removeValue(forKey: key) ?? []
    count -= parked.count
    return parked
  }
}
