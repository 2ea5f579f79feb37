// StoreBatch: how a batch of deliveries gets into the database, from top to bottom. All of it in one transaction: each entry
// is recognised, credited to rows in memory, or buried as a dead letter; then the rows are written and committed, and only
// then anything of it is believed. Writer thread.

import Linux
import SQLite
import Wire

/// One entry of a delivery.
private struct BatchItem {
  let delivery: StreamDelivery
  let index: Int
  let id: EntryID

  var entry: StreamEntry { delivery.entries[index] }
  var content: StreamEntry.Content { entry.content }
  var fields: EntryFields? { delivery.fields(at: index) }
  var isDeleted: Bool { if case .deleted = content { true } else { false } }
}

extension StoreWriter {
  /// Applies deliveries: afterwards everything in their `settled` is durable and may be acknowledged. When it throws,
  /// nothing of the batch that failed is in the database, and nothing of it is settled. Returns what became of the entries.
  func apply(_ deliveries: [StreamDelivery]) throws(StoreError) -> StreamCounters {
    var items: [BatchItem] = []
    for delivery in deliveries {
      delivery.settled.removeAll()
      for index in 0..<delivery.count {
        items.append(BatchItem(delivery: delivery, index: index, id: delivery.entries[index].id))
      }
    }
    let before = streams
    // What is not committed yet, the next part last. When the database refuses the values of one entry, its part is halved
    // until that entry is alone.
    var parts = [items[...]]
    while let part = parts.popLast() {
      guard let refusal = try commit(part) else { continue }
      guard part.count > 1 else {
        try commitRefused(part, refusal)
        continue
      }
      Log.warning("batch refused, isolating the entry", ["entries": part.count, "error": refusal.description])
      let middle = part.startIndex + part.count / 2
      parts += [part[middle...], part[..<middle]]
    }
    return StreamCounters.difference(from: before, to: streams)
  }

  /// Tries an entry that was refused once again, as often as the settings say; then it is a dead letter.
  private func commitRefused(_ item: ArraySlice<BatchItem>, _ refusal: SQLiteError) throws(StoreError) {
    var last = refusal
    for _ in 1..<max(1, settings.maximumDeliveries) {
      guard let again = try commit(item) else { return }
      last = again
    }
    let fault = EntryFault.repeatedlyFatal("the database refuses it: \(last.message)")
    if let error = try commit(item, burying: fault) { throw .database(error) }
  }

  /// One transaction for some entries. Returns the error when it is the fault of their values, throws any other. `fault`:
  /// they are buried for it, untried.
  private func commit(_ items: ArraySlice<BatchItem>, burying fault: EntryFault? = nil) throws(StoreError)
    -> SQLiteError?
  {
    var staged = streams
    var touched: Set<Int> = []
    do throws(StoreError) {
      try transaction { () throws(SQLiteError) in
        CrashPoint.reach(.transactionBegun)
        var rest = items
        while let delivery = rest.first?.delivery {
          let mine = rest.prefix { $0.delivery === delivery }
          touched.insert(delivery.streamIndex)
          try stage(mine, fault, &staged[delivery.streamIndex])
          rest = rest[mine.endIndex...]
        }
        try flushRows()
        for index in touched.sorted() { try streamTable.write(&staged[index], before: streams[index], in: database) }
        CrashPoint.reach(.beforeCommit)
      }
    } catch {
      forgetUncommitted()
      if case .database(let error) = error, error.kind == .values { return error }
      throw error
    }
    CrashPoint.reach(.afterCommit)
    streams = staged
    // Committed to a file that is not the database any more: Redis keeps the entries.
    if file?.isInPlace == false { throw .replaced }
    for item in items { item.delivery.settled.append(item.id) }
    sessionTable.forgetIfLarge()
    return nil
  }

  /// Entries of one delivery. Two neighbours of a consecutive reply have nothing between them: a run of them is one range.
  private func stage(_ items: ArraySlice<BatchItem>, _ fault: EntryFault?, _ stream: inout StreamState)
    throws(SQLiteError)
  {
    let source = items[items.startIndex].delivery.source
    let isConsecutive = source != .scattered
    let known = stream.applied
    func mayBeLost(_ id: EntryID) -> Bool { stream.lost.mayHold(id, restoredThrough: stream.restoredThrough) }
    var run: (range: AppliedRanges.Range, index: Int)?
    for item in items {
      let isKnown = isConsecutive ? known.contains(item.id) : stream.applied.contains(item.id)
      // A group is given an entry as new once. A known id is another entry's (Redis lost its end, and its clock is behind),
      // or the group's position is. Among ids of which some were lost the content decides, where it can.
      if isKnown && (stream.isBeyondContent(item.entry) || source != .fresh && !mayBeLost(item.id)) {
        stream.counters.redelivered += 1
      } else {
        try stage(item, fault, isDoubtful: isKnown, &stream)
      }
      // What is gone before it was dealt with stays a gap: it may come back.
      if item.isDeleted { continue }
      if !isConsecutive {
        stream.applied.insert(AppliedRanges.Range(first: item.id, last: item.id))
      } else if let open = run, open.index == item.index - 1 {
        run = (AppliedRanges.Range(first: open.range.first, last: item.id), item.index)
      } else {
        if let open = run { stream.applied.insert(open.range) }
        run = (AppliedRanges.Range(first: item.id, last: item.id), item.index)
      }
    }
    if let open = run { stream.applied.insert(open.range) }
    // Whatever way it came: without a witness for the newest entry the stream would be taken for another one.
    if let item = items.last(where: { !$0.isDeleted }), item.id > known.last ?? .zero, let fields = item.fields {
      stream.addAnchor(
        StreamState.Anchor(id: item.id, hash: hash.raw(of: fields), handled: stream.counters.handled))
    }
  }

  /// One entry that was not dealt with before, as far as its id tells. `isDoubtful`: the id was dealt with, and there is
  /// reason to believe that with another entry, or not at all: what it says decides.
  private func stage(_ item: BatchItem, _ fault: EntryFault?, isDoubtful: Bool, _ stream: inout StreamState)
    throws(SQLiteError)
  {
    // One that became a letter under this id: what became of that has been decided.
    if isDoubtful, try burials.letter(item.id, holding: item.fields, of: stream) != nil {
      stream.counters.redelivered += 1
      return
    }
    let result: Result<Credit, EntryFault>
    var letter: Int64?
    var isForgotten = false
    switch item.content {
    case .deleted: return isDoubtful ? () : stream.noteVanished(item.id, at: settings.unixSeconds())
    case .fault(let place):
      result = .failure(item.delivery.faults[Int(place)])
      letter = try burials.earlierLetter(holding: item.fields, of: stream)
    case .event(let event):
      // It may decode now, or fit; but what became of it then has been decided.
      if event.timestamp <= stream.returnsThrough && burials.hasLetters {
        letter = try burials.earlierLetter(holding: item.fields, of: stream)
      }
      isForgotten = !isDoubtful && stream.isForgotten(event, item.id)
      if let fault {
        stream.newestAnnounce = max(stream.newestAnnounce, event.timestamp)
        result = .failure(fault)
      } else if letter != nil || isForgotten {
        result = .success(Credit(rule: .duplicate, sums: TrafficSums(), counters: nil))
      } else {
        stream.newestAnnounce = max(stream.newestAnnounce, event.timestamp)
        result = try credit(
          event, id: item.id, isDoubtful: isDoubtful, mayHaveReturned: event.timestamp <= stream.returnsThrough)
      }
    }
    let isRepeated: Bool
    switch result {
    case .success(let credit): isRepeated = credit.rule == .duplicate
    case .failure:
      isRepeated = if letter != nil { true } else { try burials.isLetter(item.id, holding: item.fields, of: stream) }
    }
    let deliveries = fault == nil ? 1 : settings.maximumDeliveries
    if let letter { try burials.noteReturn(of: letter, as: item.id, deliveries: deliveries, in: stream) }
    if isDoubtful && isRepeated {
      stream.counters.redelivered += 1
      return
    }
    // A broken one may be a letter that was purged; of those that an earlier version purged nothing is known.
    let isBroken = if case .failure = result { true } else { false }
    let isCounted = isDoubtful && isBroken
    stream.noteDealtWith(
      item.id, isNew: !isRepeated, isDecided: !isForgotten && !(isCounted && stream.isBeforeUpgrade(item.id)),
      isCounted: isCounted,
      announced: item.entry.announced)
    if letter != nil {
      stream.counters.duplicates += 1
      return
    }
    switch result {
    case .success where isRepeated: stream.counters.duplicates += 1
    case .success:
      stream.counters.applied += 1
      if case .event(let event) = item.content, event.backwardSeconds > 0 { stream.counters.backward += 1 }
    case .failure(let reason):
      stream.counters.dead += 1
      try burials.bury(item.id, item.fields, reason, deliveries: deliveries, of: stream)
    }
  }

  /// Applies one event to the rows in memory. The inner result is the entry's own fault. `isDoubtful`: an announce that adds
  /// nothing is one that was credited.
  func credit(_ event: TrafficEvent, id: EntryID, isDoubtful: Bool = false, mayHaveReturned: Bool = false)
    throws(SQLiteError) -> Result<Credit, EntryFault>
  {
    let session = try sessionTable.session(of: event)
    let row = sessionTable.sessions[session]
    var counters: CreditedCounters?
    if let generation = event.counters?.generation {
      counters = try sessionTable.counters(of: session, generation: generation)
    }
    var context = CreditContext(
      ledger: row.ledger, counters: counters,
      isFirstSnatch: event.completes ? try sessionTable.isFirstSnatch(session: session) : false,
      userSums: sessionTable.users[row.user].sums, torrentSums: sessionTable.torrents[row.torrent].sums)
    context.mayHaveReturned = mayHaveReturned
    if let order = event.lateBeginning(counters), let generation = event.counters?.generation,
      try sessionTable.withheld.begin(session: row.id, generation, at: order)
    {
      context.beginning = order
    }
    try claimTime(of: event, session, &context)
    // With counters and something to credit they say all.
    let hasOnlyContent = event.counters == nil || event.mayComeIdle(isFirst: counters == nil)
    let fingerprint = EntryFingerprint(
      arrivedMilliseconds: id.milliseconds, hash: hasOnlyContent ? hash.fingerprint(of: event) : 0)
    if event.counters == nil && row.ledger.reachesBack(id.milliseconds) {
      context.isRepeated = try sessionTable.isRepeated(fingerprint, of: session)
    }
    var credit: Credit
    do throws(EntryFault) {
      credit = try aggregator.credit(
        event, arrivedMilliseconds: id.milliseconds, fingerprint: fingerprint.hash, context: &context)
    } catch {
      return .failure(error)
    }
    if isDoubtful && credit.sums.addsNothing && credit.rule != .withheld && context.beginning == nil {
      return .success(Credit(rule: .duplicate, sums: TrafficSums(), counters: nil))
    }
    try sessionTable.add(credit, of: event, ledger: context.ledger, to: session)
    if !credit.sums.isEmpty {
      windowTable.add(credit.sums, start: aggregator.windowStart(of: event.timestamp), session: session)
    }
    try noteBeginning(of: event, session, context, isFirst: counters == nil)
    if context.beginning != nil { try release(session, with: &credit, of: event) }
    explanationTable.add(credit, of: event, id: id, session: row.id)
    return .success(credit)
  }

  /// When its bytes were moved, and whether another generation was credited then.
  private func claimTime(of event: TrafficEvent, _ session: Int, _ context: inout CreditContext) throws(SQLiteError) {
    guard let generation = event.counters?.generation, let claim = TimeClaim(event, credited: context.counters) else {
      return
    }
    context.claim = claim
    context.isClaimedTwice = try sessionTable.isCredited(claim, of: session, besides: generation)
    guard context.isClaimedTwice, let unseen = event.unseenBefore(context.counters) else { return }
    // What is missing before it may have been credited; of its own bytes it says when they were moved.
    context.unseen = Withheld(
      claim: claim, uploaded: Int64(unseen.uploaded - (context.counters?.uploaded ?? 0)),
      downloaded: Int64(unseen.downloaded - (context.counters?.downloaded ?? 0)))
    context.counters = unseen
    context.claim = TimeClaim(event, credited: unseen)
    context.isClaimedTwice =
      try context.claim.map { claim throws(SQLiteError) in
        try sessionTable.isCredited(claim, of: session, besides: generation)
      } ?? false
  }

  /// Remembers of which generations the beginning is still to come, before anything that is credited of them.
  private func noteBeginning(of event: TrafficEvent, _ session: Int, _ context: CreditContext, isFirst: Bool)
    throws(SQLiteError)
  {
    guard context.claim != nil || context.unseen != nil, let order = event.order,
      let generation = event.counters?.generation
    else { return }
    let id = sessionTable.sessions[session].id
    if isFirst {
      // One that is passed over says nothing of when its counters were.
      if context.isPassedOver(event) { return }
      try sessionTable.withheld.noteUnbegun(session: id, generation, seen: order)
    } else if let time = context.counters?.time, order <= time.reached {
      // It began before all that was known of it: a `started` that came late.
      _ = try sessionTable.withheld.forgetUnbegun(session: id, generation)
    }
  }

  /// What was withheld as long as it was not known when a generation began comes with its beginning.
  private func release(_ session: Int, with credit: inout Credit, of event: TrafficEvent) throws(SQLiteError) {
    let bytes = try sessionTable.release(session: session)
    guard !bytes.isEmpty else { return }
    let released = Credit(rule: .healed, sums: bytes, counters: nil)
    try sessionTable.add(released, of: event, ledger: sessionTable.sessions[session].ledger, to: session)
    windowTable.add(bytes, start: aggregator.windowStart(of: event.timestamp), session: session)
    credit.sums.add(bytes)
    credit.rule = .healed
  }

  /// Writes what `credit` gathered, inside the open transaction.
  func flushRows() throws(SQLiteError) {
    try explanationTable.flush()
    try sessionTable.flush()
    try windowTable.flush(sessions: sessionTable)
  }

  /// Forgets what a transaction that was rolled back had gathered.
  func forgetUncommitted() {
    sessionTable.forget()
    windowTable.forget()
    explanationTable.forget()
  }
}
