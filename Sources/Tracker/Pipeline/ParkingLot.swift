// ParkingLot: announces that wait for a look-up, by what is looked up, and those whose look-up has ended until it is their
// turn to go on. One per worker, on its thread.

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
    /// So much of its source waits that no more may.
    case overShare(limit: Int)
  }

  /// Parked requests of one worker, about 16 MB. A million clients that come back at once after a restart are answered
  /// in waves; those that find the lot full are told to try again. One source never fills it: see SourceShares.
  static let capacity = 65_536

  private var waiting: [UserKey: [Parked]] = [:]
  /// What goes on, the first one first, and how much of each key is in it.
  private var line = Fifo<(key: UserKey, parked: Parked)>()
  private var inLine: [UserKey: Int] = [:]
  /// Those that wait for a look-up and those in the line.
  private(set) var count = 0
  private var shares = SourceShares()

  /// `isKnown`: it is about a known user, and counts for nobody.
  mutating func park(
    _ request: AnnounceRequest, key: UserKey, origin: RequestOrigin, isKnown: Bool
  ) -> Admission {
    let room = Self.capacity - count
    guard room > 0 else { return .full }
    if !isKnown, !shares.take(HostNetwork(of: request.source), room: room) {
      return .overShare(limit: SourceShares.limit(room: room))
    }
    count += 1
    let isFirst = waiting[key] == nil
    waiting[key, default: []].append(Parked(request: request, origin: origin, isKnown: isKnown))
    return isFirst ? .first : .joined
  }

  /// Takes out everything of a key that waits.
  mutating func removeAll(of key: UserKey) {
    for parked in waiting.removeValue(forKey: key) ?? [] { giveBack(parked) }
  }

  private mutating func giveBack(_ parked: Parked) {
    count -= 1
    if !parked.isKnown { shares.giveBack(HostNetwork(of: parked.request.source)) }
  }

  // MARK: going on

  /// Whether something goes on.
  var isGoingOn: Bool { !line.isEmpty }

  /// Whether something of a key does.
  func isGoingOn(_ key: UserKey) -> Bool { inLine[key] != nil }

  /// A look-up has ended: what waited for it goes on, in the order it came.
  mutating func release(_ key: UserKey) {
    guard let parked = waiting.removeValue(forKey: key) else { return }
    inLine[key, default: 0] += parked.count
    for one in parked { line.append((key, one)) }
  }

  /// Has a request go on behind those of a key; false where too much of its source waits.
  mutating func follow(_ key: UserKey, _ request: AnnounceRequest, origin: RequestOrigin) -> Bool {
    let room = Self.capacity - count
    guard room > 0, shares.take(HostNetwork(of: request.source), room: room) else { return false }
    count += 1
    inLine[key, default: 0] += 1
    line.append((key, Parked(request: request, origin: origin, isKnown: false)))
    return true
  }

  /// Takes out what goes on next.
  mutating func next() -> Parked? {
    guard let (key, parked) = line.popFirst() else { return nil }
    inLine[key] = inLine[key].flatMap { $0 > 1 ? $0 - 1 : nil }
    giveBack(parked)
    return parked
  }
}
