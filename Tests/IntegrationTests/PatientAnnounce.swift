// PatientAnnounce: an announce whose client waits while the test goes on.

import Linux
import Simulation
import Synchronization
import Testing

/// An announce that waits for its reply on a thread of its own.
final class PatientAnnounce: Sendable {
  private let result = Mutex<Result<AnnounceOutcome, any Error>?>(nil)
  private let thread = Mutex<NamedThread?>(nil)

  init(
    _ announcement: Announcement, _ announce: @escaping @Sendable (Announcement) throws -> AnnounceOutcome
  ) throws {
    var started: NamedThread? = try NamedThread(name: "late") { [self] in
      let outcome = Result { try announce(announcement) }
      result.withLock { $0 = outcome }
    }
    thread.withLock { $0 = started.take() }
  }

  /// Its reply, once.
  func outcome() throws -> AnnounceOutcome {
    let running = thread.withLock { $0.take() }
    running?.join()
    return try #require(result.withLock { $0 }).get()
  }
}
