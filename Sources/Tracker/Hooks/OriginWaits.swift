// OriginWaits: the known users who wait for the origin, because the set no longer has them: each until its answer, or until
// that has taken too long, whichever is first. Owned by a MembershipResolver; any thread.

import Synchronization

/// Who is to be told when the origin has answered, and has not been told before.
final class OriginWaits: Sendable {
  private struct State {
    var next: UInt64 = 0
    var waiting: [UInt64: MembershipResolver.Waiting] = [:]
  }
  private let state = Mutex(State())

  /// The number under which it waits; nil for one that waits for its answer however long that takes: a stranger's, or one
  /// nobody waits for.
  func begin(_ question: MembershipResolver.Waiting) -> UInt64? {
    guard question.isKnown, question.receiver != nil else { return nil }
    return state.withLock { state in
      state.next += 1
      state.waiting[state.next] = question
      return state.next
    }
  }

  /// Whether it still waited.
  func end(_ number: UInt64) -> Bool { state.withLock { $0.waiting.removeValue(forKey: number) != nil } }

  /// All that still wait, none of which does after this.
  func endAll() -> [MembershipResolver.Waiting] {
    state.withLock { state in
      defer { state.waiting = [:] }
      return Array(state.waiting.values)
    }
  }
}
