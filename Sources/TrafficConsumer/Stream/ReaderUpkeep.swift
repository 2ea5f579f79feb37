// The part of ReaderSession that looks after the stream once a second: stragglers, requests to heal, the count that shows
// that every entry is accounted for or finds what is missing, trimming.

extension ReaderSession {
  private static let upkeepNanoseconds: UInt64 = 1_000_000_000
  /// The count needs a moment without entries in flight; under constant load one is made this often.
  private static let forcedCountNanoseconds: UInt64 = 30_000_000_000
  private static let gapsPerTurn = 1000
  /// An ACL is corrected by a person; whoever reads the log need not read it more often.
  private static let trimRefusalNanoseconds: UInt64 = 3_600_000_000_000
  /// So many ranges ask for a count, which joins them: some ten seconds of heavy reading. Not more often than this: a
  /// reader that is far behind cannot be counted.
  private static let countRanges = 2000
  private static let rangesCountNanoseconds: UInt64 = 5_000_000_000

  /// The steps of the upkeep if it is due. `isIdle`: the stream had nothing new.
  mutating func upkeep(isIdle: Bool, _ situation: ReaderSituation) -> [Step] {
    let now = situation.monotonicNanoseconds
    func isDue(_ last: UInt64?, after nanoseconds: UInt64) -> Bool { last.map { now &- $0 >= nanoseconds } ?? true }
    guard isDue(connection.lastUpkeep, after: Self.upkeepNanoseconds) else { return [] }
    connection.lastUpkeep = now
    var steps = [Step.claimStragglers]
    if let request = situation.healRequest, request.serial > healSerial { steps.append(.heal(request)) }
    let isForced =
      isDue(connection.lastCount, after: Self.forcedCountNanoseconds)
      || situation.known.applied.ranges.count > Self.countRanges
        && isDue(connection.lastCount, after: Self.rangesCountNanoseconds)
    if isIdle || isForced { steps.append(.drain) }
    return steps + [.survey]
  }

  func beginUpkeep(_ step: Step, _ situation: ReaderSituation) -> ReaderAction? {
    switch step {
    case .claimStragglers:
      return .ask(
        .claim(
          idleMilliseconds: settings.claimIdleMilliseconds, cursor: connection.claimCursor, count: connection.readCount)
      )
    case .lookIntoGaps:
      // The one before the first range stays: what was there before is not ours to judge.
      let gaps = situation.known.applied.gaps.dropFirst().prefix(Self.gapsPerTurn)
        .filter { situation.known.lost.parts(of: $0).isEmpty }
      return gaps.isEmpty ? nil : .ask(.empty(gaps))
    case .firstCount where situation.known.counters.addedBefore != nil: return nil
    case .firstCount, .survey, .recount:
      return .ask(.survey(beyond: situation.known.applied.last ?? .zero, isExact: situation.outstanding == 0))
    case .trim(let census):
      if let refused = trimRefusedAt,
        situation.monotonicNanoseconds &- refused < Self.trimRefusalNanoseconds
      {
        return nil
      }
      guard let floor = trimFloor(census, situation) else { return nil }
      return .ask(.trim(below: floor, ifDeliveredTo: census.lastDeliveredID))
    default: return nil
    }
  }

  mutating func concludeUpkeep(_ step: Step, _ event: ReaderEvent, _ situation: ReaderSituation) {
    switch (step, event) {
    case (.claimStragglers, .claimed(let claimed)): take(claimed)
    case (.heal(let request), .census(let census)):
      let span = StreamSpan(after: request.from.predecessor, through: census.lastDeliveredID, isClosed: true)
      first([.readPast(span, entries: 0), .healGaps, .report(.healed(serial: request.serial))])
    case (.report(.healed(let serial)), _): healSerial = serial
    case (.lookIntoGaps, .empty(let gaps)): if !gaps.isEmpty { first([.store(.closeGaps(gaps))]) }
    case (.survey, .survey(let survey)): surveyed(survey, situation)
    case (.firstCount, .survey(let survey)), (.recount, .survey(let survey)): recounted(survey, situation)
    case (.trim, .trimRefused(let text)):
      trimRefusedAt = situation.monotonicNanoseconds
      first([.report(.trimRefused(text))])
    case (.trim, .trimmed(let entries, let floor)): if entries > 0 { first([.report(.trimmed(entries, below: floor))]) }
    default: break
    }
  }

  /// Takes over what a dead consumer of the group has left.
  private mutating func take(_ claimed: ClaimedEntries) {
    connection.claimCursor = claimed.cursor
    learn(from: claimed.delivery)
    let entries = claimed.delivery.count
    first(
      (claimed.vanished.isEmpty ? [] : [.store(.vanished(claimed.vanished))])
        + (entries == 0 ? [] : [.report(.claimed(entries: entries)), .submit(claimed.delivery)]))
  }

  /// Lag for the metrics, and when nothing is in flight the arithmetic that finds lost entries, and trimming.
  private mutating func surveyed(_ survey: StreamSurvey, _ situation: ReaderSituation) {
    guard situation.outstanding == 0 else { return first([.report(.surveyed(survey))]) }
    connection.lastCount = situation.monotonicNanoseconds
    first([.report(.surveyed(survey))] + accounting(survey, situation) + [.trim(survey.census)])
  }

  /// What follows from a count when nothing is in flight.
  private mutating func accounting(_ survey: StreamSurvey, _ situation: ReaderSituation) -> [Step] {
    guard let added = survey.census.entriesAdded else { return [.lookIntoGaps] }
    // Too far behind to be counted.
    guard !survey.isUnreadCut else { return [] }
    let known = situation.known
    // It went back under the same connection.
    guard survey.census.lastGeneratedID >= known.applied.last ?? .zero else { return [.recognise, .healGaps] }
    if let counted = known.counted, added < counted { return [.recognise, .healGaps, .recount] }
    guard known.counters.addedBefore != nil else { return [.healGaps, .recount] }
    let missing = known.missing(added: added, unread: survey.unread)
    guard missing != 0 else { return accounted(survey, known) }
    // Pending entries of others may be what is missing: they are claimed when their time has come.
    let (now, since) = (situation.monotonicNanoseconds, connection.missingSince ?? situation.monotonicNanoseconds)
    connection.missingSince = since
    let patience = UInt64(settings.claimIdleMilliseconds) * 2 * 1_000_000
    let mayBePending = missing > 0 && missing <= survey.census.pending && now &- since < patience
    // Before entries are called lost, what the stream still has is looked through.
    return mayBePending ? [] : [.healGaps, .recount]
  }

  private mutating func accounted(_ survey: StreamSurvey, _ known: StreamState) -> [Step] {
    (connection.missingSince, connection.missed) = (nil, nil)
    connection.accounted = Accounted(
      through: survey.position, counted: known.counters.handled + known.lost.entries)
    return known.hasOpenGaps ? [.store(.accounted(through: survey.position))] : []
  }

  /// The count after what the stream still has of the past was read: now everything up to the position is dealt with or
  /// nowhere.
  private mutating func recounted(_ survey: StreamSurvey, _ situation: ReaderSituation) {
    guard situation.outstanding == 0, !survey.isUnreadCut, let added = survey.census.entriesAdded else { return }
    let known = situation.known
    let missing = known.missing(added: added, unread: survey.unread)
    guard let before = known.counters.addedBefore, missing >= 0 else {
      // Gone before our time, or back from there.
      return first([.store(.goneBefore(missing))])
    }
    if missing == 0 { return first(accounted(survey, known)) }
    var now = MissingEntries(
      entries: missing, through: survey.census.lastGeneratedID, counted: added - before,
      since: connection.accounted ?? Accounted(through: known.accountedTo, counted: known.accountedHandled))
    if let restored = connection.restoredCount {
      // What was dealt with since then may all have been new.
      now.older = min(missing, max(0, known.missing(added: restored, unread: 0)))
    }
    if survey.unread == 0 {
      connection.missed = nil
      first([.store(.lost(now))])
    } else if var missed = connection.missed {
      // Some of what is missing may have been deleted among what is still unread, and must not be looked for below it.
      guard survey.position >= missed.through else { return }
      connection.missed = nil
      missed.entries = min(missing, missed.entries)
      missed.older = min(now.older, missed.entries)
      first([.store(.lost(missed))])
    } else {
      connection.missed = now
    }
  }

  /// Below what the stream may be trimmed: what is committed, older than a minute, in the last backup if there is one, and
  /// needed by no other group. Nil when there is nothing below it.
  private func trimFloor(_ census: StreamCensus, _ situation: ReaderSituation) -> EntryID? {
    guard settings.trims, let first = census.firstEntryID else { return nil }
    let known = situation.known
    guard let settled = known.settledEnd(from: first) else { return nil }
    let (now, age) = (situation.unixMilliseconds, settings.trimAgeMilliseconds)
    var floor = min(settled, EntryID(milliseconds: now > age ? now - age : 0, sequence: 0))
    if let backup = known.backupFloor { floor = min(floor, backup) }
    if let others = census.neededByOthers { floor = min(floor, others) }
    // Whatever is believed to be applied: what this group was never given stays.
    floor = min(floor, census.lastDeliveredID)
    return first < floor ? floor : nil
  }
}
