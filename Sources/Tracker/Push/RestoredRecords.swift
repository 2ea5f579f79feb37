// RestoredRecords: what a spool kept of earlier processes, on its way out: run by run, in the order of the numbers. A value,
// owned by PushSession.

struct RestoredRecords {
  /// In parts: one that is taken gives its memory back.
  private var runs: [SpooledRun]
  /// Of the first of them, what is next.
  private var place = 0
  /// What was taken last.
  private var taken: (run: PushRun, number: UInt64)?

  /// None of them is empty.
  init(_ runs: [SpooledRun]) { self.runs = runs }

  var isEmpty: Bool { runs.isEmpty }
  var count: Int { runs.reduce(-place) { $0 + $1.announces.count } }
  /// The run of the next record.
  var run: PushRun? { runs.first?.run }
  /// Where the numbers are, when the next record does not follow on them.
  var hole: UInt64? {
    guard let taken, let next = runs.first, next.run == taken.run,
      next.announces[place].number != taken.number + 1
    else { return nil }
    return taken.number + 1
  }
  /// All of it that was not taken.
  var rest: [SpooledRun] {
    guard var first = runs.first else { return [] }
    first.announces.removeFirst(place)
    return [first] + runs.dropFirst()
  }

  /// The next records of one run with consecutive numbers, at most `maximum`.
  mutating func take(_ maximum: Int) -> ArraySlice<SpooledAnnounce> {
    let announces = runs[0].announces
    var end = place + 1
    while end < announces.count, end - place < maximum, announces[end].number == announces[end - 1].number + 1 {
      end += 1
    }
    taken = (runs[0].run, announces[end - 1].number)
    defer { advance(to: end) }
    return announces[place..<end]
  }

  private mutating func advance(to end: Int) {
    place = end
    if end == runs[0].announces.count {
      runs.removeFirst()
      place = 0
    }
  }
}
