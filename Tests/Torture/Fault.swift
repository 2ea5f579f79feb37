// Fault: one thing that goes wrong, what it may cost, and who must say so. The table is the list of all; values, no state.

import Simulation

/// One row of the table.
struct Fault: Sendable {
  /// What a fault may cost, as docs/accounting.md and docs/redis.md have it.
  enum Loss: Sendable, CustomStringConvertible {
    case nothing
    /// What the next announce of the session says again; the announce itself is not counted.
    case announces
    /// Bytes. One of these counters must grow when some are missing (a tracker's metric, or a key of `status`).
    case bytes(reportedBy: [String])
    /// Bytes that nobody can count: who would is dead.
    case bytesOfTheDead

    var description: String {
      switch self {
      case .nothing: "loses nothing"
      case .announces: "loses announces, their bytes come with the next"
      case .bytes(let counters): "may lose bytes, counted by \(counters.joined(separator: ", "))"
      case .bytesOfTheDead: "may lose bytes that nobody counts"
      }
    }
  }

  let name: String
  var loss = Loss.nothing
  /// Where it can happen.
  var needs = TorturePlan.Place.anywhere
  /// Everything is compared before and after it, so that what is missing is known to be by it.
  var isToldApart = false
  let happens: @Sendable (Torture) async throws -> Void

  static let table = ofConsumer + ofStream + ofTracker + ofSpool + ofRedis
}

/// What the faults since the totals were last compared may cost together.
struct Losses {
  var names: [String] = []
  var counters: Set<String> = []
  var announcesMayBeMissing = false
  var bytesMayBeMissing = false
  var someAreNotCounted = false

  mutating func add(_ fault: Fault) {
    names.append(fault.name)
    switch fault.loss {
    case .nothing: break
    case .announces: announcesMayBeMissing = true
    case .bytes(let counters):
      (announcesMayBeMissing, bytesMayBeMissing) = (true, true)
      self.counters.formUnion(counters)
    case .bytesOfTheDead: (announcesMayBeMissing, bytesMayBeMissing, someAreNotCounted) = (true, true, true)
    }
  }
}
