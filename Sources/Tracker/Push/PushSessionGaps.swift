// PushSessionGaps: the part of PushSession for a Redis that has forgotten what it had applied: a failover rolled it back, it
// was flushed, or it came back with an older dump. There is one way for all of them: what the script told of is given back
// as it was, by restore.lua; then Redis is to go on where the window begins. What it told nothing of, because the reply was
// lost, or an earlier process got it, is sent again, under its number. An earlier process' run is asked for like the own:
// run by run, oldest first, until Redis has forgotten nothing of any.

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
    /// The place in `calls` of the one whose reply is next, and how many of its first records are given back.
    var index = 0
    var done = 0
    /// What is: restore.lua compares it.
    var given: PushCall.GivenBack
    var entries: UInt64 = 0

    /// What is left is to have Redis expect what comes next.
    var isGivenBack: Bool { index == calls.count }

    /// What push.lua compares when a gap at `place` is stepped over.
    func gap(at place: UInt64) -> PushCall.Gap { PushCall.Gap(place: place, given: calls.isEmpty ? nil : given) }

    var recordsLeft: Int { records(ofNext: calls.count - index) }

    /// The records of the next so many calls that are not given back yet.
    func records(ofNext calls: Int) -> Int {
      self.calls[index..<index + calls].reduce(-done) { $0 + $1.count }
    }
  }

  /// Asking what Redis still has of each run.
  struct Survey {
    var left: [PushRun]
    /// It had forgotten something: when that is given back all are asked once more.
    var hasGap = false
  }

  /// Asks whether Redis still has what was applied; nil when nothing is held.
  mutating func askWhatIsHeld() -> Action? {
    guard call != nil else { return nil }
    survey = Survey(left: retained.runs)
    return askOfNextRun()
  }

  /// The question that is next; nil when there is none.
  mutating func askOfNextRun() -> Action? {
    guard var asked = survey else { return nil }
    if asked.left.isEmpty, asked.hasGap, retained.runs.count > 1 { asked = Survey(left: retained.runs) }
    guard let run = asked.left.first else {
      survey = nil
      return nil
    }
    asked.left.removeFirst()
    survey = asked
    placeAsked = now
    phase = .verifying(run)
    return .askPlace(call(of: run), next: expected(of: run), gapFrom: nil)
  }

  /// The record that Redis is to expect, or a later one: from there on it is sent, or sent again. A call that was sent again
  /// is held last and is not the newest.
  private func expected(of run: PushRun) -> UInt64 {
    window.first { $0.run == run }?.first ?? retained.end(of: run) ?? 0
  }

  mutating func take(place reply: PushScript.Reply, of run: PushRun) -> Action {
    clock.notice(redisMicroseconds: reply.timeMicroseconds, sent: placeAsked, now: now)
    if isFromFuture(reply.next, of: run) { return abandonRun(found: reply.next) }
    guard reply.status == .gap else { return goOnAfterGap() }
    return beginGap(Gap(run: run, found: reply.next, expected: expected(of: run)))
  }

  /// Redis expects an older record than it should. Of which run that is noticed says nothing of the others.
  mutating func beginGap(_ gap: Gap) -> Action {
    let runs = retained.runs
    if survey == nil, runs.contains(where: { $0 != gap.run }) {
      survey = Survey(left: runs.contains(gap.run) ? runs : runs + [gap.run])
      return discardReplies(.survey)
    }
    survey?.hasGap = true
    tally.gaps += 1
    clock.noticeLoss()
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
    sendAgain(forgotten.filter { !$0.isWhollyRestorable }, of: gap.run)
    let next = window.first { $0.run == gap.run }?.first ?? gap.expected
    givingsBack += 1
    let restoration = Restoration(
      gap: gap, next: next, calls: forgotten.filter(\.isRestorable),
      given: PushCall.GivenBack(process: ownRun.id, turn: givingsBack))
    guard !restoration.calls.isEmpty else { return adopt(restoration) }
    phase = .loadingRestoration(restoration)
    return .loadScript(.restore)
  }

  private mutating func note(_ gap: Gap) {
    let lost = recordsNotHeld(of: gap)
    if gap.found > 0, lost == 0 {
      tally.notes.append(.sendingAgain(records: gap.expected - min(gap.found, gap.expected)))
      return
    }
    if gap.found > 0 { tally.lostToFailover += lost }
    tally.notes.append(.lost(expected: gap.expected, found: gap.found, records: lost))
  }

  /// Of what Redis has forgotten, the records that it cannot be given: those that wait to be sent again are in the window.
  private func recordsNotHeld(of gap: Gap) -> UInt64 {
    guard gap.found < gap.expected else { return 0 }
    let forgotten = gap.found..<gap.expected
    let calls = retained.forgotten(at: gap.found, of: gap.run) + window
    return calls.reduce(UInt64(forgotten.count)) { left, batch in
      batch.run == gap.run ? left - min(left, UInt64(forgotten.clamped(to: batch.first..<batch.end).count)) : left
    }
  }

  /// Puts calls of the run back into the window, before what is there of it and of later runs.
  private mutating func sendAgain(_ calls: [PushBatch], of run: PushRun) {
    retained.remove(calls)
    for batch in calls { batch.beginAnew() }
    let runs = retained.runs
    func rank(_ run: PushRun) -> Int { runs.firstIndex(of: run) ?? runs.count }
    window.insert(contentsOf: calls, at: window.firstIndex { rank($0.run) >= rank(run) } ?? window.count)
  }

  /// What is between the calls of the window, and between them and what is filled next, was given back: it is stepped over.
  /// Not before: a connection that is lost takes the giving back along, and the next call has to be a gap again. It is one
  /// too where Redis has forgotten that once more.
  private mutating func stepOverGivenBack(_ restoration: Restoration) {
    let run = restoration.gap.run
    let calls = window.filter { $0.run == run }
    gapsAhead[run.id] = nil
    if let last = calls.last, last.end < restoration.gap.expected {
      gapsAhead[run.id] = restoration.gap(at: last.end)
    }
    for (before, batch) in zip(calls, calls.dropFirst()) where before.end != batch.first {
      batch.encode(call(of: run), gapFrom: restoration.gap(at: before.end))
    }
  }

  /// Events of the rest of it.
  mutating func continueGap(after event: Event) -> Action {
    switch (phase, event) {
    case (.loadingRestoration(var restoration), .scriptLoaded(let hash)):
      restoration.scriptHash = hash
      return giveBack(restoration)
    case (.restoring(let restoration), .done): return giveBack(restoration)
    case (.restoring(let restoration), .restored(let records, let entries)):
      return goOn(restoration, records: records, entries: entries)
    case (.adopting(let restoration), .reply(let reply, _)):
      // It has forgotten again meanwhile.
      if reply.status == .gap {
        return beginGap(Gap(run: restoration.gap.run, found: reply.next, expected: restoration.gap.expected))
      }
      let run = restoration.gap.run
      counted[run.id] = reply
      counted[run.id]?.next = restoration.next
      stepOverGivenBack(restoration)
      return goOnAfterGap()
    default: preconditionFailure("\(event) while \(phase)")
    }
  }

  private mutating func goOn(_ before: Restoration, records: Int?, entries: UInt64) -> Action {
    restoresOnWay -= 1
    var restoration = before
    restoration.entries += entries
    guard let records else {
      (restoration.index, restoration.done, restoration.given.records) = (0, 0, 0)
      suspended = restoration
      return discardReplies(.giveBack)
    }
    restoration.given.records += UInt32(max(0, records - restoration.done))
    guard records >= restoration.calls[restoration.index].count else {
      restoration.done = records
      suspended = restoration
      return discardReplies(.full)
    }
    restoration.done = 0
    restoration.index += 1
    return giveBack(restoration)
  }

  /// Gives Redis back what is held: its entries, and the snapshots that are missing or older. Several calls are on their
  /// way at once: a quiet partition holds thousands of one announce. One that Redis refuses makes it refuse those behind.
  mutating func giveBack(_ restoration: Restoration) -> Action {
    if restoration.isGivenBack {
      tally.resent += restoration.entries
      if restoration.entries > 0 { tally.notes.append(.gaveBack(records: restoration.entries)) }
      return adopt(restoration)
    }
    if isSpoolDue {
      suspended = restoration
      return writeSpool(.giveBack)
    }
    phase = .restoring(restoration)
    let onWay = restoration.records(ofNext: restoresOnWay)
    let next = restoration.index + restoresOnWay
    guard next < restoration.calls.count,
      restoresOnWay == 0 || onWay + restoration.calls[next].count <= PublisherSettings.restoredRecordsOnWay
    else { return .awaitRestored }
    let isFirst = restoresOnWay == 0
    restoresOnWay += 1
    var given = restoration.given
    given.records += UInt32(max(0, onWay))
    return .restore(
      restoration.calls[next], call(of: restoration.gap.run), scriptHash: restoration.scriptHash, given: given,
      done: isFirst ? restoration.done : 0)
  }

  /// Redis refuses a question or what it is given back: it is asked again over the same connection.
  mutating func holdGap() {
    switch phase {
    case .restoring(let restoration):
      restoresOnWay = max(0, restoresOnWay - 1)
      if !isPreparing { suspended = restoration }
    case .adopting(var restoration):
      // They are told.
      restoration.entries = 0
      if !isPreparing { suspended = restoration }
    case .verifying(let run): survey?.left.insert(run, at: 0)
    default: break
    }
  }

  /// The giving back that waits goes on, if one does.
  mutating func resumeGivingBack() -> Action? {
    guard let restoration = suspended else { return nil }
    suspended = nil
    return giveBack(restoration)
  }

  /// Has Redis expect what comes next, if it has forgotten nothing since it was asked.
  private mutating func adopt(_ restoration: Restoration) -> Action {
    phase = .adopting(restoration)
    return .askPlace(
      call(of: restoration.gap.run), next: restoration.next,
      gapFrom: restoration.gap(at: restoration.gap.found))
  }

  /// Of now: an announce that is given back may not be from the future.
  private func call(of run: PushRun) -> PushCall {
    var call = call!
    call.run = run
    call.nowMicroseconds = clock.microseconds(atMonotonicNanoseconds: now)
    return call
  }

  /// Redis has what it should have of one more run.
  mutating func goOnAfterGap() -> Action {
    if let question = askOfNextRun() { return question }
    if isPreparing { return beginPublishing() }
    noteWell()
    return decide()
  }
}
