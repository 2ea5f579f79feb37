// ReaderSession: what the reader of one stream does next, without doing it: no socket, clock or file. StreamReader carries
// its actions out; a simulator may as well.
//
// After every connection: is it the same database and the same stream; entries of the past that were never applied, in
// order, pending ones among them; own pending entries, for what is to be acknowledged; then new ones, and once a second the upkeep (ReaderUpkeep.swift). Nothing is acknowledged that the writer
// has not given back as durable. On any error the session begins again, after a pause.

import Redis

struct ReaderSession {
  /// Entries asked for at once: a reply of about half a megabyte ...
  static let maximumReadCount = 1000
  /// ... unless they turn out to be large: what a reply should not exceed.
  private static let replyBytes = 4 << 20
  /// The first time nothing is known of them.
  private static let firstReadCount = 100
  /// How long XREADGROUP waits for entries; a stop is noticed within it. Shorter while acknowledgements are due.
  private static let blockMilliseconds = 200
  private static let blockWhileOutstandingMilliseconds = 10
  private static let waitMilliseconds = 200

  /// One thing to do. It begins with an action (`begin`); what the action leads to may put more before what is planned
  /// (`conclude`).
  enum Step {
    case connect, awaitEarlier, createGroup, claimGroup
    case recognise
    case compareAnchors(StreamCensus)
    /// What waits behind ours, when the newest entry of ours is gone.
    case countWaiting([StreamRecognition.Witness])
    case readOwnPending(after: EntryID)
    case healGaps
    case readPast(StreamSpan, entries: Int)
    /// The ids between which something was lost, as far as they can be entries of then.
    case readLost(LostRange, StreamSpan, entries: Int)
    /// So many of them are there, and durable now.
    case found(LostRange, present: Int64)
    /// Entries that must be durable before the next step.
    case settle(StreamDelivery)
    case drain
    case awaitTurn
    case readNew(acknowledging: [StreamDelivery])
    case acknowledge([StreamDelivery])
    case submit(StreamDelivery)
    case claimStragglers
    case heal(HealRequest)
    /// Which spaces between what was dealt with are empty.
    case lookIntoGaps
    /// What was gone before our time, when recognition could not tell.
    case firstCount
    case survey, recount
    case trim(StreamCensus)
    case store(StreamChange)
    case report(ReaderReport)
    case pause(milliseconds: Int)
    case finish
  }

  /// What is known of a connection and goes with it.
  struct Connection {
    var readCount = ReaderSession.firstReadCount
    /// Carried from call to call: claiming from the beginning each time would never reach the later ones.
    var claimCursor = EntryID.zero
    /// Monotonic nanoseconds; nil: not yet.
    var lastUpkeep: UInt64?
    var lastCount: UInt64?
    /// The group was not there.
    var isGroupNew = false
    /// Monotonic nanoseconds since when Redis counts entries that are nowhere.
    var missingSince: UInt64?
    /// Entries that are missing; to be believed when everything up to an id, which was unread then, is read.
    var missed: MissingEntries?
    /// Where the count came out last.
    var accounted: Accounted?
    /// What Redis had counted when an older state came back, if nothing was new in it when that was seen.
    var restoredCount: Int64?
  }

  let settings: StreamSettings
  /// The database's identity and the key of its anchors.
  let instance: String
  private let hash: EntryHash
  private var backoff: RetryBackoff
  /// What is left to do; the next step is the last one.
  private var plan: [Step]
  /// The step whose action is being carried out.
  private var current: Step?
  private var isConnected = false
  var connection = Connection()
  /// The last request to heal that was done, on whatever connection.
  var healSerial = 0
  /// Monotonic nanoseconds at which trimming was refused; it is tried again, and said again, after a time.
  var trimRefusedAt: UInt64?

  init(
    settings: StreamSettings, instance: String, hash: EntryHash,
    backoff: RetryBackoff = RetryBackoff(firstMilliseconds: 100, maximumMilliseconds: 5000)
  ) {
    self.settings = settings
    self.instance = instance
    self.hash = hash
    self.backoff = backoff
    plan = Self.beginning.reversed()
  }

  /// Reads the past again and ends, at the first error too.
  init(settings: StreamSettings, instance: String, hash: EntryHash, healing request: HealRequest) {
    self.init(settings: settings, instance: instance, hash: hash)
    plan = (Self.recognition + [.heal(request), .drain]).reversed()
  }

  private static let recognition: [Step] = [.connect, .awaitEarlier, .createGroup, .claimGroup, .recognise]
  private static let beginning: [Step] =
    recognition + [
      .report(.connected), .healGaps, .readOwnPending(after: .zero), .firstCount, .report(.caughtUp), .awaitTurn,
    ]

  /// What to do after an event.
  mutating func next(after event: ReaderEvent, _ situation: ReaderSituation) -> ReaderAction {
    if case .failed(let error) = event {
      isConnected = false
      let pause = backoff.next()
      plan = Self.beginning.reversed()
      first([.report(.lost(error, retryMilliseconds: pause)), .pause(milliseconds: pause)])
    } else if let step = current {
      conclude(step, event, situation)
    }
    if situation.isStopping { plan = (isConnected ? [.finish] : []) + plan.compactMap(\.atTheEnd) }
    while let step = plan.popLast() {
      guard let action = begin(step, situation) else { continue }
      current = step
      return action
    }
    current = nil
    return .end
  }

  /// Puts steps before everything that is planned.
  mutating func first(_ steps: [Step]) { plan.append(contentsOf: steps.reversed()) }

  // MARK: beginning a step

  /// The action of a step; nil when there is nothing to do.
  private mutating func begin(_ step: Step, _ situation: ReaderSituation) -> ReaderAction? {
    switch step {
    case .connect: return .connect
    // What an earlier connection left with the writer must be settled first: its entries are pending for us, and are read
    // again afterwards.
    case .awaitEarlier, .drain, .finish: return situation.outstanding > 0 ? wait(for: .done) : nil
    case .createGroup: return .ask(.createGroup)
    case .claimGroup: return .ask(.claimGroup(for: instance, replacing: settings.adoptsGroup))
    case .recognise: return .ask(.census)
    case .countWaiting: return .ask(.survey(beyond: situation.known.applied.last ?? .zero, isExact: true))
    case .compareAnchors: return .ask(.entries(situation.known.anchors.map(\.id)))
    case .readOwnPending(let after): return .ask(.ownPending(after: after, count: connection.readCount))
    case .healGaps, .heal: return .ask(.census)
    case .readPast(let span, _): return .ask(.range(span, count: connection.readCount))
    case .readLost(_, let span, _): return .ask(.range(span, count: connection.readCount))
    case .found(let row, let present): return .store(.found(row, present: present))
    case .settle(let delivery):
      if situation.hasRoom { return .submit(delivery) }
      // What this reader has not taken back counts, too: without that there may never be room.
      return wait(for: situation.outstanding > 0 ? .done : .room)
    case .awaitTurn: return wait(for: .turn)
    case .readNew(let done):
      let block = situation.outstanding > 0 ? Self.blockWhileOutstandingMilliseconds : Self.blockMilliseconds
      return .ask(.new(count: connection.readCount, blockMilliseconds: block, acknowledging: done))
    case .acknowledge(let done): return .ask(.acknowledge(done))
    case .submit(let delivery): return .submit(delivery)
    case .store(let change): return .store(change)
    case .report(let report): return .report(report)
    case .pause(let milliseconds): return .pause(milliseconds: milliseconds)
    case .claimStragglers, .lookIntoGaps, .firstCount, .survey, .recount, .trim: return beginUpkeep(step, situation)
    }
  }

  private func wait(for what: ReaderWait) -> ReaderAction { .wait(for: what, milliseconds: Self.waitMilliseconds) }

  // MARK: concluding a step

  private mutating func conclude(_ step: Step, _ event: ReaderEvent, _ situation: ReaderSituation) {
    switch (step, event) {
    case (.connect, .connected):
      isConnected = true
      connection = Connection()
    // Not acknowledged: read again as pending, they are recognised.
    case (.awaitEarlier, .waited): first([.awaitEarlier])
    case (.createGroup, .groupCreated(let isNew)):
      connection.isGroupNew = isNew
      if isNew { first([.report(.groupCreated)]) }
    case (.claimGroup, .groupOwner(let owner)): if owner != instance { plan = [.report(.foreignGroup(owner: owner))] }
    case (.recognise, .census(let census)): recognise(census, situation.known)
    case (.compareAnchors(let census), .found(let entries)): compare(census, entries, situation.known)
    case (.countWaiting(let witnesses), .survey(let survey)):
      judge(survey.census, waiting: survey.unread, witnesses, situation.known)
    case (.readOwnPending, .entries(let delivery)): pendingAgain(delivery)
    case (.healGaps, .census(let census)): readGaps(of: situation.known, through: census.lastDeliveredID)
    case (.readPast(let span, let entries), .entries(let delivery)): pastRead(span, entries, delivery)
    case (.readLost(let row, let span, let entries), .entries(let delivery)):
      lostRead(row, span, entries, delivery, situation.known)
    case (.settle(let delivery), .waited(let done)): first(acknowledgement(of: done) + [.settle(delivery)])
    case (.settle, .done): first([.drain])
    case (.drain, .waited(let done)): first(acknowledgement(of: done) + [.drain])
    case (.awaitTurn, .waited(let done)):
      first(situation.hasRoom ? [.readNew(acknowledging: done)] : acknowledgement(of: done) + [.awaitTurn])
    case (.readNew, .entries(let delivery)): newRead(delivery, situation)
    case (.report(.caughtUp), _): backoff.reset()
    case (.finish, .waited(let done)):
      // With a writer in trouble the rest stays pending.
      isConnected = !done.isEmpty || !situation.isWriterInTrouble
      first(acknowledgement(of: done))
    default: concludeUpkeep(step, event, situation)
    }
  }

  private func acknowledgement(of done: [StreamDelivery]) -> [Step] { done.isEmpty ? [] : [.acknowledge(done)] }

  /// The first look at a stream, or the next. What goes after the first is lost.
  private mutating func recognise(_ census: StreamCensus, _ known: StreamState) {
    if known.applied.last != nil {
      first([.compareAnchors(census)])
    } else if known.counters.addedBefore == nil, let gone = census.gone {
      first([.store(.goneBefore(gone))])
    } else if let counted = known.counted {
      follow(.judge(nothingAppliedOf: counted, census, isGroupNew: connection.isGroupNew), [], census, known)
    }
  }

  /// Compares what the stream holds now with what is remembered of it.
  private mutating func compare(_ census: StreamCensus, _ entries: [EntryFields?], _ known: StreamState) {
    let witnesses = zip(known.anchors, entries).map { anchor, fields in
      StreamRecognition.Witness(
        id: anchor.id, state: fields.map { hash.raw(of: $0) == anchor.hash ? .same : .changed } ?? .gone)
    }
    if witnesses.last?.state == .gone { return first([.countWaiting(witnesses)]) }
    judge(census, waiting: 0, witnesses, known)
  }

  private mutating func judge(
    _ census: StreamCensus, waiting: Int64, _ witnesses: [StreamRecognition.Witness], _ known: StreamState
  ) {
    let verdict = StreamRecognition.judge(
      witnesses, lastApplied: known.applied.last ?? .zero, counted: known.counted, waiting: waiting,
      hasLossBehind: known.lost.reaches(behind: known.applied.last ?? .zero), census, isGroupNew: connection.isGroupNew)
    follow(verdict, witnesses, census, known)
  }

  private mutating func follow(
    _ verdict: StreamRecognition, _ witnesses: [StreamRecognition.Witness], _ census: StreamCensus, _ known: StreamState
  ) {
    if verdict != .same {
      (connection.accounted, connection.missed, connection.restoredCount) = (nil, nil, nil)
    }
    var end = census.lastGeneratedID
    switch verdict {
    case .same: break
    case .rolledBack(let common):
      // The older state has not the next entry of ours. Where its end is not behind that either, nothing was added to it,
      // unless Redis' clock is behind.
      if let next = witnesses.first(where: { $0.id > common })?.id {
        if end < next { connection.restoredCount = census.entriesAdded }
        end = min(end, next.predecessor)
      }
      let there = Set(witnesses.lazy.filter { $0.state == .same }.map(\.id))
      let begin = known.beginOfCount(through: common, there: there, firstEntry: census.firstEntryID)
      first([.report(.rolledBack(to: begin)), .store(.rollBack(to: begin, restoredThrough: end))])
    case .another: first([.report(.newEpoch), .store(.newEpoch(goneBefore: census.gone, restoredThrough: end))])
    case .remade:
      // All that Redis ever counted in it is to be read.
      let before: Int64? = census.entriesAdded == nil ? nil : 0
      first([.report(.newEpoch), .store(.newEpoch(goneBefore: before, restoredThrough: .zero))])
    }
  }

  private mutating func pendingAgain(_ delivery: StreamDelivery) {
    guard let last = delivery.entries.last?.id else { return }
    learn(from: delivery)
    first([.report(.pendingAgain(entries: delivery.count)), .settle(delivery), .readOwnPending(after: last)])
  }

  /// Applies what lies between the applied ranges and up to the group's position: entries that were acknowledged without
  /// being applied, that a deleted consumer took along, that were there before the group, or that an older backup of the
  /// database has not seen. And what was lost, should it be there again: before trimming takes it.
  private mutating func readGaps(of known: StreamState, through end: EntryID) {
    let (applied, lost) = (known.applied, known.lost)
    var spans = applied.gaps.filter { !lost.covers($0) }.map { gap in
      StreamSpan(after: gap.after, through: gap.before, isClosed: false)
    }
    let last = applied.last ?? .zero
    if last < end { spans.append(StreamSpan(after: last, through: end, isClosed: true)) }
    let places = lost.places(restoredThrough: known.restoredThrough)
    first(
      spans.map { .readPast($0, entries: 0) }
        + places.map { row, end in
          .readLost(row, StreamSpan(after: row.first.predecessor, through: end, isClosed: true), entries: 0)
        })
  }

  /// Those that were credited with a later announce cannot be told from those that were dealt with; their number can. Not
  /// of those that nothing tells of: they are not credited, and may be what is missing.
  private mutating func lostRead(
    _ row: LostRange, _ span: StreamSpan, _ entries: Int, _ delivery: StreamDelivery, _ known: StreamState
  ) {
    // Where Redis' clock is behind, ids of an earlier epoch's are given to others.
    func isOfThen(_ entry: StreamEntry) -> Bool {
      row.epoch == known.epoch || entry.announced.map(row.mayHold(announced:)) ?? true
    }
    let present = entries + delivery.entries.count { !known.isBeyondContent($0) && isOfThen($0) }
    guard let last = delivery.entries.last?.id, last < span.through else {
      first(
        (delivery.count > 0 ? [.settle(delivery)] : [])
          + (Int64(present) > row.total - row.entries ? [.found(row, present: Int64(present))] : []))
      return
    }
    learn(from: delivery)
    let rest = StreamSpan(after: last, through: span.through, isClosed: true)
    first([.settle(delivery), .readLost(row, rest, entries: present)])
  }

  private mutating func pastRead(_ span: StreamSpan, _ entries: Int, _ delivery: StreamDelivery) {
    guard let last = delivery.entries.last?.id else {
      if entries > 0 { first([.report(.pastRead(entries: entries))]) }
      return
    }
    learn(from: delivery)
    let rest = StreamSpan(after: last, through: span.through, isClosed: span.isClosed)
    first([.settle(delivery), .readPast(rest, entries: entries + delivery.count)])
  }

  private mutating func newRead(_ delivery: StreamDelivery, _ situation: ReaderSituation) {
    learn(from: delivery)
    let isIdle = delivery.count == 0
    first((isIdle ? [] : [.submit(delivery)]) + upkeep(isIdle: isIdle, situation) + [.awaitTurn])
  }

  /// Learns from a reply how many entries to ask for.
  mutating func learn(from delivery: StreamDelivery) {
    guard delivery.count > 0 else { return }
    let average = max(1, delivery.byteCount / delivery.count)
    connection.readCount = max(1, min(Self.maximumReadCount, Self.replyBytes / average, connection.readCount * 4))
  }
}

extension ReaderSession.Step {
  /// What of a planned step is done although the daemon stops: what was read is committed, what is committed acknowledged.
  fileprivate var atTheEnd: Self? {
    switch self {
    // What was concluded is written down: Redis names an entry that was claimed and is gone once only.
    case .acknowledge, .submit, .store, .report(.claimed), .report(.newEpoch),
      .report(.rolledBack), .report(.lost):
      self
    case .readNew(let done): done.isEmpty ? nil : .acknowledge(done)
    default: nil
    }
  }
}
