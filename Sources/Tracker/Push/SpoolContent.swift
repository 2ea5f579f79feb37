// SpoolContent: what a partition's spool kept of earlier processes, put together from its files. A value, made by PushSpool when
// the tracker starts, for a PushSession.

struct SpoolContent {
  /// What Redis is owed, run by run, in parts; none is empty.
  private(set) var owed: [SpooledRun] = []
  /// What it had applied, of each run by number.
  private(set) var applied: [PushBatch] = []
  /// Of the order of all that.
  private(set) var doubt = CommonClock.Doubt()

  /// Of the clock that it is by. An order beyond all times is none. Of the common clock's only what came before the first of a
  /// process' own: a later one, of a process that met Redis or of the next, says nothing of when those were. Nor does one that
  /// stands for several, of a run that has a process' own as well: it is as late as the last of them, and its number as the first.
  var past: CommonClock.Past {
    var past = CommonClock.Past()
    let ownRuns = Set(
      owed.filter { $0.announces.contains { $0.announce.basis == .process } }.map(\.run.id)
        + applied.filter { $0.announces.contains { $0.basis == .process } }.map(\.run.id))
    func add(_ announce: QueuedAnnounce, _ run: PushRun) {
      switch announce.basis {
      case .common where announce.order < PushScript.maximumMicroseconds && past.firstOwn == .max:
        if announce.announces == 1 || !ownRuns.contains(run.id) { past.highest = max(past.highest, announce.order) }
      case .process: past.firstOwn = min(past.firstOwn, announce.order)
      default: break
      }
    }
    for batch in applied { for announce in batch.announces { add(announce, batch.run) } }
    for run in owed { for spooled in run.announces { add(spooled.announce, run.run) } }
    return past
  }

  var owedAnnounces: Int { owed.reduce(0) { $0 + $1.announces.count } }
  var isEmpty: Bool { owed.isEmpty && applied.isEmpty }

  /// `doubt` is of what was applied. What was is owed no more: of the files that owed it one may be from before.
  init(owed: [SpooledRun] = [], applied: [PushBatch] = [], doubt: CommonClock.Doubt = CommonClock.Doubt()) {
    self.doubt = owed.reduce(into: doubt) { $0.add($1.doubt) }
    self.owed = owed
    self.applied = applied
    guard !applied.isEmpty else { return }
    for place in owed.indices { settle(place) }
    self.owed.removeAll { $0.announces.isEmpty }
    sort(runs: applied.map(\.run))
  }

  /// Of one that is owed although a later one of its run was applied, either is true: it was, or was to be sent again, and Redis
  /// says which. It is held, and nothing was told of it.
  private mutating func settle(_ place: Int) {
    let run = owed[place].run
    let held = applied.filter { $0.run == run }.sorted { $0.first < $1.first }
    guard let end = held.map(\.end).max() else { return }
    var (next, left): (Int, [SpooledAnnounce]) = (0, [])
    var unheld: [SpooledAnnounce] = []
    for spooled in owed[place].announces {
      while next < held.count, held[next].end <= spooled.number { next += 1 }
      if next < held.count, held[next].first <= spooled.number { continue }
      if spooled.number < end { unheld.append(spooled) } else { left.append(spooled) }
    }
    owed[place].announces = left
    var begin = 0
    for index in unheld.indices {
      let isLast = index + 1 == unheld.count || unheld[index + 1].number != unheld[index].number + 1
      guard isLast || index + 1 - begin == PushBatch.maximumRecords else { continue }
      applied.append(PushBatch(run: run, first: unheld[begin].number, announces: unheld[begin...index].map(\.announce)))
      begin = index + 1
    }
  }

  private mutating func sort(runs: [PushRun]) {
    var ranks: [UInt64: Int] = [:]
    for run in runs where ranks[run.id] == nil { ranks[run.id] = ranks.count }
    applied.sort { (ranks[$0.run.id]!, $0.first) < (ranks[$1.run.id]!, $1.first) }
  }
}
