// PushSessionReplies: the part of PushSession that takes the answers to calls: what was applied, counted, held, and what
// to do with an answer that cannot be.

extension PushSession {
  mutating func take(_ reply: PushScript.Reply, tails: UnsafeRawBufferPointer?) -> Action {
    if run == ownRun { lastReply = now } else { lastEarlierReply = now }
    let oldest = window[0]
    clock.notice(redisMicroseconds: reply.timeMicroseconds, sent: oldest.sentAt, now: now)
    if reply.status == .untimely { return discardReplies(.readClock) }
    if isFromFuture(reply.next, of: run) || skipsUnsent(reply, of: oldest) { return abandonRun(found: reply.next) }
    if reply.status == .gap { return beginGap(Gap(run: run, found: reply.next, expected: oldest.first)) }
    count(reply, of: oldest, tails: tails)
    return reply.next >= oldest.end ? succeed(oldest) : discardReplies(.full)
  }

  private mutating func count(_ reply: PushScript.Reply, of batch: PushBatch, tails: UnsafeRawBufferPointer?) {
    tally.published += reply.applied
    if reply.applied > 0, let tails { batch.keepTails(tails, of: reply.applied, next: reply.next) }
    let counted = counted[run.id] ?? PushScript.Reply(status: .done, next: 0)
    let before = max(counted.next, batch.first)
    // An earlier process may have had more applied than it knew.
    let known = min(reply.next, window.last { $0.run == run }?.end ?? batch.end)
    if known > before + reply.applied { tally.duplicates += known - before - reply.applied }
    tally.counts.add(reply.counts, since: counted.counts)
    // A client that lies does so at every announce.
    if reply.counts.impossible > counted.counts.impossible, refusalLog.next(now: now) != nil {
      tally.notes.append(.refused)
    }
    self.counted[run.id] = reply
    self.counted[run.id]?.next = known
  }

  private mutating func succeed(_ batch: PushBatch) -> Action {
    window.removeFirst()
    if let encoding = retained.hold(batch, pool: &pool), encodings.count < PublisherSettings.window {
      encodings.append(encoding)
    }
    isDelayed = false
    failures = 0
    backoff.reset()
    fullBackoff.reset()
    lastProgress = now
    setRedisTrouble(nil)
    // In the own run's numbers.
    let next = window.first { $0.run == ownRun }?.first ?? queue.next
    return isAsking ? disconnect(.asked(next: next)) : spoolAfterSuccess(next: next)
  }

  /// The stream is full, and the replies to the rest of the window, which said GAP, are read: what Redis did not take is
  /// sent again after a while.
  mutating func holdBack() -> Action {
    tally.full += 1
    setRedisTrouble("the stream has reached max_stream_length")
    guard !isStopping else {
      failures += 1
      return decide()
    }
    return pause(milliseconds: fullBackoff.next())
  }

  /// Whether Redis expects a record of the own run that was never sent: another process had its name, or its numbers.
  func isFromFuture(_ next: UInt64, of run: PushRun) -> Bool {
    let last = window.last { $0.run == run }
    return run == ownRun && next > max(last?.end ?? 0, retained.end(of: run) ?? 0, runBegin)
  }

  /// Whether Redis took records of a call of the own run that it sees for the first time for applied ones.
  private func skipsUnsent(_ reply: PushScript.Reply, of batch: PushBatch) -> Bool {
    run == ownRun && batch.sends == 1 && reply.status != .gap && reply.next > batch.first + reply.applied
  }
}

extension PushScript.Reply.Counts {
  /// Refused because no client can have moved so much.
  fileprivate var impossible: UInt64 { implausible + tooLarge }

  /// Adds what `new` has more than `old`.
  fileprivate mutating func add(_ new: Self, since old: Self) {
    func growth(_ count: KeyPath<Self, UInt64>) -> UInt64 {
      new[keyPath: count] > old[keyPath: count] ? new[keyPath: count] - old[keyPath: count] : 0
    }
    guard new != old else { return }
    resets += growth(\.resets)
    late += growth(\.late)
    tooLarge += growth(\.tooLarge)
    wrongType += growth(\.wrongType)
    implausible += growth(\.implausible)
    unannounced += growth(\.unannounced)
    unknown += growth(\.unknown)
  }
}
