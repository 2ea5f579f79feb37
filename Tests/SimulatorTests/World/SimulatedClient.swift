// SimulatedClient: a BitTorrent client: counters that grow, begin anew, stop, complete. A value.

struct SimulatedClient {
  /// How it reaches the site.
  enum Reach { case first, any, all, dualStack }
  let index: Int
  var name: SessionName
  var reach: Reach
  var uploaded: UInt64
  var downloaded: UInt64 = 0
  var left: UInt64
  var life = 0
  /// A tracker knows that it is there.
  var isStarted = false
  var hasCompleted = false
  /// What it said last, and to whom.
  var last: TrueAnnounce?

  /// The next announce.
  mutating func advance(_ how: Step.Announcing, _ random: inout SeededBytes) -> TrueEvent {
    switch how {
    case .restart, .restartAnew:
      uploaded = random.chance(oneIn: 3) ? random.bytes(50_000) : 0
      downloaded = 0
      life += 1
      isStarted = false
    case .move, .complete, .stop:
      if isStarted {
        uploaded += random.bytes(1_000_000)
        let part = min(left, random.bytes(400_000))
        downloaded += part
        left -= part
      }
    case .idle, .again: break
    }
    guard isStarted else {
      isStarted = true
      return .started
    }
    switch how {
    case .stop:
      isStarted = false
      return .stopped
    case .complete where !hasCompleted:
      downloaded += left
      left = 0
      hasCompleted = true
      return .completed
    default: return .none
    }
  }
}
