// AttackThread: a thread of an attacker or an honest user. Started by whoever makes it, ended by `end`.

import Foundation
import Simulation
import Synchronization

/// A thread that does the same again until it is told to end.
final class AttackThread: Sendable {
  private let isToEnd = Atomic<Bool>(false)
  private let hasEnded = Atomic<Bool>(false)

  /// `body` gets the number of its round.
  init(_ name: String, _ body: @escaping @Sendable (_ round: Int) -> Void) {
    let thread = Thread { [self] in
      var round = 0
      while !isToEnd.load(ordering: .relaxed) {
        body(round)
        round += 1
      }
      hasEnded.store(true, ordering: .releasing)
    }
    thread.name = name
    thread.start()
  }

  /// Waits for the end of the round.
  func end() async throws {
    isToEnd.store(true, ordering: .relaxed)
    try await eventually("a thread ends") { self.hasEnded.load(ordering: .acquiring) }
  }
}
