// SessionRefusals: counts the sessions that their users' budgets refused, and says so in the log, never whose. Called by
// workers, while no swarm is locked.

import Linux
import Synchronization

/// `tracker_sessions_refused_total` and its line in the log.
final class SessionRefusals: Sendable {
  private let sessions: Counter
  private let newSessions: Counter
  private let log = Mutex((sessions: rareLog, newSessions: rareLog))

  private static var rareLog: RareLog { RareLog(pauseNanoseconds: 60_000_000_000) }

  init(_ metrics: MetricRegistry) {
    func counter(_ limit: String) -> Counter {
      metrics.counter(
        "tracker_sessions_refused_total", help: "New sessions beyond what one user may have, by setting.",
        labels: [("limit", limit)])
    }
    sessions = counter("max_sessions_per_user")
    newSessions = counter("max_new_sessions_per_hour")
  }

  func note(_ limit: SessionLimit) {
    switch limit {
    case .clientsOnTorrent: return
    case .sessions:
      sessions.add()
      guard log.withLock({ $0.sessions.next() }) != nil else { return }
      write("max_sessions_per_user", sessions)
    case .newSessions:
      newSessions.add()
      guard log.withLock({ $0.newSessions.next() }) != nil else { return }
      write("max_new_sessions_per_hour", newSessions)
    }
  }

  private func write(_ setting: String, _ counter: Counter) {
    Log.warning(
      "a user has more sessions than one may: new ones are refused",
      ["limit": setting, "refused_total": counter.current])
  }
}
