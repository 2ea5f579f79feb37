// SessionTime: the part of SessionLedger that credits each second of a session once, in whatever order its announces come,
// and none in which it was away. Pure; the writer thread.
//
// An announce says how long ago the one before it was. Between `stopped` and the next one the client was away, so it matters
// what that one was; while it is missing, what cannot be told is kept aside.

import Wire

/// A stretch of time that was not credited although the session's time moved past it: what a late entry fills.
struct TimeGap: Equatable, Sendable {
  enum Kind: Equatable, Sendable {
    /// Announces are missing in it.
    case missed
    /// The same, and it begins with a `stopped`: the first announce in it was made after a time away.
    case afterStop
    /// One announce stands for it, of which so many seconds count, unless the announce at its beginning, which is missing,
    /// was a `stopped`.
    case undecided(seconds: Int64)
  }
  /// Unix seconds; `from` is outside of it, `to` inside.
  var from: Int64
  var to: Int64
  var kind = Kind.missed

  var isUndecided: Bool { if case .undecided = kind { true } else { false } }
}

extension SessionLedger {
  /// Credits the time before `timestamp` that an entry stands for: `elapsed` seconds, of which at most `cap` count.
  /// Returns only seconds that were not credited yet, so that neither a duplicate nor a repetition after a rollback
  /// of Redis adds any, in whatever order entries come.
  mutating func coverTime(until timestamp: Int64, elapsed: Int64, cap: Int64, event: AnnounceEvent = .none) -> Int64 {
    let begin = max(timestamp - elapsed, 0)
    let decided = gaps.isEmpty ? 0 : decide(at: timestamp, event)
    let isUndecided = elapsed > 0 && mayHaveBeenAway(from: begin, to: timestamp, event)
    let wasAway = isStopped && timestamp > coveredTo && begin <= coveredTo
    let counted = wasAway ? timestamp : max(timestamp - min(elapsed, cap), 0)
    var seconds: Int64 = 0
    if coveredTo == 0 {
      (coveredFrom, coveredTo) = (begin, timestamp)
      seconds = timestamp - counted
    } else {
      if timestamp > coveredTo {
        if begin > coveredTo { addGap(TimeGap(from: coveredTo, to: begin, kind: isStopped ? .afterStop : .missed)) }
        seconds += timestamp - max(counted, coveredTo)
      }
      if begin < coveredFrom {
        // Before all that was known: a late entry of the session's beginning.
        if timestamp < coveredFrom {
          addGap(TimeGap(from: timestamp, to: coveredFrom, kind: event == .stopped ? .afterStop : .missed))
        }
        seconds += max(0, min(timestamp, coveredFrom) - counted)
        coveredFrom = begin
      }
      if !gaps.isEmpty { seconds += fillGaps(from: begin, counted: counted, to: timestamp, event) }
      coveredTo = max(coveredTo, timestamp)
    }
    if isUndecided && seconds > 0 {
      addGap(TimeGap(from: begin, to: timestamp, kind: .undecided(seconds: seconds)))
      seconds = 0
    }
    return seconds + decided
  }

  /// The announce that was missing is there: the seconds that count because it is no `stopped`.
  private mutating func decide(at timestamp: Int64, _ event: AnnounceEvent) -> Int64 {
    var seconds: Int64 = 0
    gaps.removeAll { gap in
      guard case .undecided(let undecided) = gap.kind, gap.from == timestamp else { return false }
      if event != .stopped { seconds += undecided }
      return true
    }
    return seconds
  }

  /// Whether the announce at `begin` is missing, and there is reason to believe that it was a `stopped`: the client begins
  /// anew, or the last one that is known before it was.
  private func mayHaveBeenAway(from begin: Int64, to timestamp: Int64, _ event: AnnounceEvent) -> Bool {
    if timestamp > coveredTo { return begin > coveredTo && (event == .started || isStopped) }
    if begin < coveredFrom { return event == .started }
    guard let gap = gaps.first(where: { $0.from < begin && begin < $0.to && !$0.isUndecided }) else { return false }
    return event == .started || gap.kind == .afterStop
  }

  private mutating func addGap(_ gap: TimeGap) {
    if gaps.count == Self.maximumGaps { gaps.removeFirst() }
    gaps.append(gap)
  }

  /// Takes what an entry stands for out of the gaps; returns the seconds of them that count.
  private mutating func fillGaps(from begin: Int64, counted: Int64, to end: Int64, _ event: AnnounceEvent) -> Int64 {
    var seconds: Int64 = 0
    var remaining: [TimeGap] = []
    for gap in gaps {
      guard !gap.isUndecided, end >= gap.from, begin < gap.to else {
        remaining.append(gap)
        continue
      }
      // It reaches back to the `stopped`: the client was away.
      let isAway = gap.kind == .afterStop && begin <= gap.from
      let last = min(gap.to, end)
      let first = isAway ? gap.from : min(max(gap.from, counted), last)
      if !isAway { seconds += max(0, last - first) }
      if gap.from < first { remaining.append(TimeGap(from: gap.from, to: first, kind: gap.kind)) }
      if last < gap.to { remaining.append(TimeGap(from: last, to: gap.to, kind: kind(of: gap, after: event, at: end))) }
    }
    gaps = Array(remaining.suffix(Self.maximumGaps))
    return seconds
  }

  /// What the rest of a gap behind an announce is.
  private func kind(of gap: TimeGap, after event: AnnounceEvent, at end: Int64) -> TimeGap.Kind {
    if event == .stopped { return .afterStop }
    // Of two in one second it is not known which was the last.
    return end == gap.from ? gap.kind : .missed
  }
}
