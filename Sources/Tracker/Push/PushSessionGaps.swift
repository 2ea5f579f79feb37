// PushSessionGaps: the part of PushSession for a Redis that has forgotten what it had applied: a failover rolled it back, it
// was flushed, or it came back with an older dump. There is one way for all of them: what the script told of is given back
// as it was, by restore.lua; then Redis is to go on where the window begins. What it told nothing of, because the reply was
// lost, is sent again.

import Redis

extension PushSession {
  /// What Redis has forgotten: it expects record `found` of `run`, and `expected` is the next.
  struct Gap {
    var run: PushRun
    var found: UInt64
    var expected: UInt64
  }

  /// The giving back of what is held, in progress.
  struct Restoration {
    var gap: Gap
    /// What Redis is to expect afterwards.
    var next: UInt64
    var calls: [PushBatch]
    var scriptHash = ""
    /// The place in `calls` of the one at hand, and the records before it: restore.lua compares them.
    var index = 0
    var given: UInt64 = 0
    var entries: UInt64 = 0
  }

  /// Redis expects an older record than it should.
  mutating func beginGap(_ gap: Gap) -> Action {
    tally.gaps += 1
    return discardReplies(.gap(gap))
  }

  /// Redis expects a record of this run that was never sent: what this run had applied is not known. A new run sends the
  /// window again; where it was applied the snapshots say so, and it adds nothing.
  mutating func abandonRun(found: UInt64) -> Action {
    tally.abandonedRuns += 1
    tally.notes.append(.abandonedRun(expected: window.last?.end ?? retained.end(of: run) ?? 0, found: found))
    return discardReplies(.abandonRun)
  }

  mutating func close(_ gap: Gap) -> Action {
    note(gap)
    let forgotten = retained.forgotten(at: gap.found, of: gap.run)
    if gap.run == run { sendAgain(forgotten.filter { $0.run == run && !$0.isWhollyRestorable }, gap) }
    let next = gap.run == run ? window.first?.first ?? gap.expected : gap.expected
    let restoration = Restoration(gap: gap, next: next, calls: forgotten.filter(\.isRestorable))
    guard !restoration.calls.isEmpty else { return adopt(restoration) }
    phase = .loadingRestoration(restoration)
    return .loadScript(.restore)
  }

  private mutating func note(_ gap: Gap) {
    let held = retained.first(of: gap.run) ?? gap.expected
    if gap.found > 0, held <= gap.found {
      tally.notes.append(.sendingAgain(records: gap.expected - gap.found))
      return
    }
    if gap.found > 0 { tally.lostToFailover += held - gap.found }
    tally.notes.append(.lost(expected: gap.expected, found: gap.found, heldFrom: held))
  }

  /// Puts calls of the run back into the window, before what is there. What is between them was given back: it is stepped
  /// over.
  private mutating func sendAgain(_ calls: [PushBatch], _ gap: Gap) {
    retained.remove(calls)
    for batch in calls { batch.isSent = false }
    window.insert(contentsOf: calls, at: 0)
    guard let last = calls.last else { return }
    if last === window.last, last.end != gap.expected { gapAhead = last.end }
    for (before, batch) in zip(window, window.dropFirst()) where before.end != batch.first {
      batch.encode(call!, gapFrom: before.end)
    }
  }

  /// Events of the rest of it.
  mutating func continueGap(after event: Event) -> Action {
    switch (phase, event) {
    case (.loadingRestoration(var restoration), .scriptLoaded(let hash)):
      restoration.scriptHash = hash
      return giveBack(restoration)
    case (.restoring(let restoration), .restored(let entries)): return goOn(restoration, entries: entries)
    case (.adopting(let restoration), .reply(let reply, _)):
      // It has forgotten again meanwhile.
      if reply.status == .gap {
        return beginGap(Gap(run: restoration.gap.run, found: reply.next, expected: restoration.gap.expected))
      }
      if restoration.gap.run == run {
        counted = reply
        counted.next = restoration.next
      }
      return goOnAfterGap()
    default: preconditionFailure("\(event) while \(phase)")
    }
  }

  private mutating func goOn(_ before: Restoration, entries: Int64) -> Action {
    var restoration = before
    switch entries {
    case 0...:
      restoration.entries += UInt64(entries)
      restoration.given += UInt64(restoration.calls[restoration.index].count)
      restoration.index += 1
    case -1:
      suspended = restoration
      return holdBack()
    default:
      restoration.index = 0
      restoration.given = 0
    }
    return giveBack(restoration)
  }

  /// Gives Redis back what is held: its entries, and the snapshots that are missing or older.
  mutating func giveBack(_ restoration: Restoration) -> Action {
    guard restoration.index < restoration.calls.count else {
      tally.resent += restoration.entries
      tally.notes.append(.gaveBack(records: restoration.entries))
      return adopt(restoration)
    }
    phase = .restoring(restoration)
    return .restore(
      restoration.calls[restoration.index], call(of: restoration), scriptHash: restoration.scriptHash,
      given: restoration.given)
  }

  /// Has Redis expect what comes next, if it has forgotten nothing since it was asked.
  private mutating func adopt(_ restoration: Restoration) -> Action {
    phase = .adopting(restoration)
    return .askPlace(
      call(of: restoration), next: restoration.next,
      gapFrom: PushCall.Gap(place: restoration.gap.found, given: restoration.given))
  }

  private func call(of restoration: Restoration) -> PushCall {
    var call = call!
    call.run = restoration.gap.run
    return call
  }

  mutating func goOnAfterGap() -> Action { isPreparing ? beginPublishing() : decide() }
}
