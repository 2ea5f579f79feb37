// The part of ReaderSession that looks after the stream once a second: stragglers, requests to heal, gaps, the count that
// finds lost entries, trimming.

extension ReaderSession {
  private static let upkeepNanoseconds: UInt64 = 1_000_000_000
  /// The count needs a moment without entries in flight; under constant load one is made this often.
  private static let forcedCountNanoseconds: UInt64 = 30_000_000_000
  private static let gapsPerTurn = 1000

  /// The steps of the upkeep if it is due. `isIdle`: the stream had nothing new.
  mutating func upkeep(isIdle: Bool, _ situation: ReaderSituation) -> [Step] {
    let now = situation.monotonicNanoseconds
    func isDue(_ last: UInt64?, after nanoseconds: UInt64) -> Bool { last.map { now &- $0 >= nanoseconds } ?? true }
    guard isDue(connection.lastUpkeep, after: Self.upkeepNanoseconds) else { return [] }
    connection.lastUpkeep = now
    var steps = [Step.claimStragglers]
    if let request = situation.healRequest, request.serial > connection.healSerial { steps.append(.heal(request)) }
    steps.append(.closeGaps)
    if isIdle || isDue(connection.lastCount, after: Self.forcedCountNanoseconds) { steps.append(.drain) }
    return steps + [.survey]
  }

  func beginUpkeep(_ step: Step, _ situation: ReaderSituation) -> ReaderAction? {
    switch step {
    case .claimStragglers:
      return .ask(
        .claim(
          idleMilliseconds: settings.claimIdleMilliseconds, cursor: connection.claimCursor, count: connection.readCount)
      )
    case .closeGaps:
      // The one before the first range stays: what was there before is not ours to judge.
      let gaps = situation.known.applied.gaps.dropFirst().prefix(Self.gapsPerTurn)
      return gaps.isEmpty ? nil : .ask(.empty(Array(gaps)))
    case .survey, .recount: return .ask(.survey)
    case .trim(let census):
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
      first([.readPast(span, entries: 0), .report(.healed(serial: request.serial))])
    case (.report(.healed(let serial)), _): connection.healSerial = serial
    case (.closeGaps, .empty(let gaps)): if !gaps.isEmpty { first([.store(.closeGaps(gaps))]) }
    case (.survey, .survey(let survey)): surveyed(survey, situation)
    case (.recount, .survey(let survey)):
      guard let added = survey.census.entriesAdded else { return }
      first([.store(.count(added: added, waiting: survey.waiting))])
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
    var steps = [Step.report(.surveyed(survey))]
    if let added = survey.census.entriesAdded {
      let known = situation.known
      // Before entries are called lost, what the stream still has is looked through.
      if known.missing(added: added, waiting: survey.waiting) != 0 || known.counters.addedBefore == nil {
        steps += [.healGaps, .recount]
      }
    }
    first(steps + [.trim(survey.census)])
  }

  /// Below what the stream may be trimmed: what is committed, older than a minute, in the last backup if there is one, and
  /// needed by no other group. Nil when there is nothing below it.
  private func trimFloor(_ census: StreamCensus, _ situation: ReaderSituation) -> EntryID? {
    guard settings.trims, let first = census.firstEntryID else { return nil }
    let known = situation.known
    guard let applied = known.applied.ranges.first(where: { $0.first <= first && first <= $0.last }) else { return nil }
    let (now, age) = (situation.unixMilliseconds, settings.trimAgeMilliseconds)
    var floor = min(applied.last, EntryID(milliseconds: now > age ? now - age : 0, sequence: 0))
    if let backup = known.backupFloor { floor = min(floor, backup) }
    if let others = census.neededByOthers { floor = min(floor, others) }
    // Whatever is believed to be applied: what this group was never given stays.
    floor = min(floor, census.lastDeliveredID)
    return first < floor ? floor : nil
  }
}
