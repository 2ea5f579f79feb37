// SourceShares: how much of a bounded room each source has taken. A plain value of whoever owns the room.
//
// A source may have a part of what is free and no more ("dynamic thresholds", Choudhury and Hahne, 1998): alone it gets a
// fifth of the room, and where many hold all of it, what becomes free goes to those who hold little.

import Wire

/// What each source holds.
struct SourceShares {
  /// A source holds at most one of so many parts of what is free.
  static let parts = 4

  private var held: [HostNetwork: Int] = [:]
  /// What all hold together.
  private(set) var total = 0

  /// What a source may hold while `room` is free.
  static func limit(room: Int) -> Int { room > 0 ? max(1, room / parts) : 0 }

  /// Takes one place for a source that holds less than `budget` and its part of the free `room`.
  mutating func take(_ source: HostNetwork, room: Int, budget: Int = .max) -> Bool {
    let holds = held[source] ?? 0
    guard holds < min(budget, Self.limit(room: room)) else { return false }
    held[source] = holds + 1
    total += 1
    return true
  }

  /// Gives back a place that was taken.
  mutating func giveBack(_ source: HostNetwork) {
    guard let place = held.index(forKey: source) else { return }
    total -= 1
    if held.values[place] > 1 { held.values[place] -= 1 } else { held.remove(at: place) }
  }
}
