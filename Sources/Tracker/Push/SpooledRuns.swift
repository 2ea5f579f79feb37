// SpooledRuns: what is read of a spool file, record by record: of each run the last of every number, in order. A value, made
// by PushSpool when the tracker starts.

/// An announce that a spool kept, with its number in its run.
struct SpooledAnnounce {
  var number: UInt64
  var announce: QueuedAnnounce
}

/// What a spool kept of one run, or a part of it, by number; there may be holes.
struct SpooledRun {
  var run: PushRun
  var announces: [SpooledAnnounce]
  /// Of their order.
  var doubt = CommonClock.Doubt()
}

struct SpooledRuns {
  /// Announces in a part: one that is sent gives its memory back (some 900 KB, which malloc returns to the system).
  private static let partAnnounces = 4096

  /// By run, in the order in which they were met; the parts of one are in order too.
  private var parts: [[SpooledRun]]
  private var current = 0

  /// `newest` is the run that the header names.
  init(newest: PushRun) { parts = [[SpooledRun(run: newest, announces: [])]] }

  /// The records that follow are of this run.
  mutating func begin(_ run: PushRun) {
    current = parts.firstIndex { $0[0].run == run } ?? parts.count
    if current == parts.count { parts.append([SpooledRun(run: run, announces: [])]) }
  }

  /// `doubt` is by what its order is in doubt, microseconds.
  mutating func add(_ announce: SpooledAnnounce, doubt: UInt64 = 0) {
    let last = parts[current].count - 1
    parts[current][last].doubt.add(doubt, at: announce.announce.order)
    if let newest = parts[current][last].announces.last, announce.number <= newest.number { return replace(announce) }
    if parts[current][last].announces.count < Self.partAnnounces {
      if parts[current][last].announces.isEmpty { parts[current][last].announces.reserveCapacity(Self.partAnnounces) }
      parts[current][last].announces.append(announce)
    } else {
      var part = SpooledRun(run: parts[current][last].run, announces: [])
      part.announces.reserveCapacity(Self.partAnnounces)
      part.announces.append(announce)
      parts[current].append(part)
    }
  }

  /// Of a number that is there the last counts; one that is not, comes between its neighbours.
  private mutating func replace(_ announce: SpooledAnnounce) {
    let part = Self.place(in: parts[current]) { $0.announces.last!.number < announce.number }
    let place = Self.place(in: parts[current][part].announces) { $0.number < announce.number }
    if parts[current][part].announces[place].number == announce.number {
      parts[current][part].announces[place] = announce
    } else {
      parts[current][part].announces.insert(announce, at: place)
    }
  }

  /// The first place at which it is not before any more.
  private static func place<Element>(in sorted: [Element], isBefore: (Element) -> Bool) -> Int {
    var (low, high) = (0, sorted.count)
    while low < high {
      let middle = (low + high) / 2
      if isBefore(sorted[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// In the order in which they go out: the newest run is the last.
  var inOrder: [SpooledRun] { (parts.dropFirst() + parts.prefix(1)).flatMap { $0 }.filter { !$0.announces.isEmpty } }
}
