// RestoredRecords: what a spool kept of earlier processes, on its way out: run by run, in the order of the numbers. A value,
// owned by PushSession.

struct RestoredRecords {
  private var runs: [SpooledRun]
  /// Of the first of them, what is next.
  private var place = 0

  /// None of them is empty.
  init(_ runs: [SpooledRun]) { self.runs = runs }

  var isEmpty: Bool { runs.isEmpty }
  var count: Int { runs.reduce(-place) { $0 + $1.announces.count } }
  /// The run of the next record.
  var run: PushRun? { runs.first?.run }
  /// Where the numbers are, when the next record does not follow on them.
  var hole: UInt64? {
    guard place > 0, let announces = runs.first?.announces else { return nil }
    let expected = announces[place - 1].number + 1
    return announces[place].number == expected ? nil : expected
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
    let taken = announces[place..<end]
    place = end
    if end == announces.count {
      runs.removeFirst()
      place = 0
    }
    return taken
  }
}
