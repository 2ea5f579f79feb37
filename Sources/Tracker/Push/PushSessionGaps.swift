// PushSessionGaps: the part of PushSession for a Redis that has forgotten what it had applied: a failover rolled it back, it
// was flushed, or it came back with an older dump.

import Redis

extension PushSession {
  /// The giving back of what is held, in progress.
  struct Restoration {
    /// What Redis is to expect afterwards.
    var next: UInt64
    var scriptHash = ""
    /// The place in `retained` of the call at hand.
    var index = 0
    var records: UInt64 = 0
  }

  /// Redis expects an older record than `expected`, the oldest of the window or the next one.
  mutating func beginGap(serverNext: UInt64, expected: UInt64) -> Action {
    tally.gaps += 1
    return discardReplies(.gap(serverNext: serverNext, expected: expected))
  }

  /// Redis expects a record of this run that was never sent: what this run had applied is not known. A new run sends the
  /// window again; where it was applied the snapshots say so, and it adds nothing.
  mutating func abandonRun(found: UInt64) -> Action {
    tally.abandonedRuns += 1
    tally.notes.append(.abandonedRun(expected: window.last?.end ?? retained.end ?? 0, found: found))
    return discardReplies(.abandonRun)
  }

  mutating func closeGap(serverNext: UInt64, expected: UInt64) -> Action {
    let isNewToServer = serverNext == 0
    if !isNewToServer, let again = retained.takeBack(from: serverNext) {
      // Rolled back to a moment we remember: the same calls again give the same entries.
      tally.notes.append(.sendingAgain(records: expected - serverNext))
      for batch in again { batch.isSent = false }
      window.insert(contentsOf: again, at: 0)
      counted.next = serverNext
      return goOnAfterGap()
    }
    let held = retained.first ?? expected
    if !isNewToServer { tally.lostToFailover += held > serverNext ? held - serverNext : 0 }
    tally.notes.append(.lost(expected: expected, found: serverNext, heldFrom: held))
    let restoration = Restoration(next: expected)
    guard !retained.isEmpty else { return adopt(expected) }
    phase = .loadingRestoration(restoration)
    return .loadScript(.restore)
  }

  /// Events of the rest of it.
  mutating func continueGap(after event: Event) -> Action {
    switch (phase, event) {
    case (.loadingRestoration(var restoration), .scriptLoaded(let hash)):
      restoration.scriptHash = hash
      return giveBack(restoration)
    case (.restoring(var restoration), .restored(let entries)):
      guard entries >= 0 else {
        return fail(.server(RedisServerError(line: "FULL the stream has reached max_stream_length")))
      }
      restoration.records += UInt64(entries)
      restoration.index += 1
      return giveBack(restoration)
    case (.adopting(let next), .reply(let reply, _)):
      counted = reply
      counted.next = next
      return goOnAfterGap()
    default: preconditionFailure("\(event) while \(phase)")
    }
  }

  /// Gives Redis back what is held: its entries, and the snapshots that are missing or older.
  private mutating func giveBack(_ restoration: Restoration) -> Action {
    var restoration = restoration
    while restoration.index < retained.count, !retained[restoration.index].isRestorable { restoration.index += 1 }
    guard restoration.index < retained.count else {
      tally.resent += restoration.records
      tally.notes.append(.gaveBack(records: restoration.records))
      return adopt(restoration.next)
    }
    phase = .restoring(restoration)
    return .restore(retained[restoration.index], call!, scriptHash: restoration.scriptHash)
  }

  /// Has Redis expect record `next`.
  private mutating func adopt(_ next: UInt64) -> Action {
    phase = .adopting(next: next)
    return .askPlace(call!, next: next, acceptGap: true)
  }

  private mutating func goOnAfterGap() -> Action { isPreparing ? beginPublishing() : decide() }
}
