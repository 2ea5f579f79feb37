// LongestWait: how long new users waited, and what went wrong. A lock guards the notes; any thread.

import Synchronization

/// How long they waited, and what went wrong.
final class LongestWait: Sendable {
  private struct Notes {
    var count = 0
    var nanoseconds: UInt64 = 0
    var failures: Set<String> = []
  }
  private let notes = Mutex(Notes())
  var count: Int { notes.withLock(\.count) }
  var milliseconds: UInt64 { notes.withLock(\.nanoseconds) / 1_000_000 }
  var failures: [String] { notes.withLock { $0.failures.sorted() } }

  func note(_ nanoseconds: UInt64, _ failure: String?) {
    notes.withLock { notes in
      notes.count += 1
      notes.nanoseconds = max(notes.nanoseconds, nanoseconds)
      if let failure { notes.failures.insert(failure) }
    }
  }
}
