// L1 against a plain set of ids.

import Simulation
import Testing

@testable import TrafficConsumer

private func id(_ number: Int) -> EntryID { EntryID(milliseconds: UInt64(number / 4), sequence: UInt64(number % 4)) }

@Suite("Applied ranges") struct AppliedRangesTests {
  @Test("they know exactly what was inserted, whatever the order", arguments: 0..<40)
  func againstSet(seed: Int) {
    var random = SeededRandom(seed: UInt64(seed))
    // The entries a stream has: every third number.
    let stream = stride(from: 3, to: 300, by: 3).map { $0 }
    var ranges = AppliedRanges()
    var stored: [EntryID: EntryID] = [:]
    var known: Set<Int> = []
    for _ in 0..<120 {
      let first = Int.random(in: 0..<stream.count, using: &random)
      let last = min(stream.count - 1, first + Int.random(in: 0..<6, using: &random))
      switch Int.random(in: 0..<10, using: &random) {
      case 0:
        // The end of the stream is gone.
        ranges.removeAll(above: id(stream[first]))
        known = known.filter { $0 <= stream[first] }
      case 1...3:
        let neighbours = zip(ranges.ranges, ranges.ranges.dropFirst()).map { ($0.last, $1.first) }
        if let pair = neighbours.randomElement(using: &random) {
          let isEmpty = !stream.contains { pair.0 < id($0) && id($0) < pair.1 }
          if isEmpty { ranges.close(AppliedRanges.Gap(after: pair.0, before: pair.1)) }
        }
      default:
        ranges.insert(AppliedRanges.Range(first: id(stream[first]), last: id(stream[last])))
        known.formUnion(stream[first...last])
      }
      let changes = ranges.takeChanges()
      for first in changes.removed { stored[first] = nil }
      for range in changes.written { stored[range.first] = range.last }
    }
    #expect(stream.allSatisfy { ranges.contains(id($0)) == known.contains($0) }, "seed \(seed)")
    let table = AppliedRanges(stored: stored.map { AppliedRanges.Range(first: $0.key, last: $0.value) })
    #expect(table.ranges == ranges.ranges, "seed \(seed): the table is what is in memory")
    #expect(zip(ranges.ranges, ranges.ranges.dropFirst()).allSatisfy { $0.last < $1.first })
  }

  @Test("ranges join only where Redis has shown that nothing lies between")
  func merging() {
    var ranges = AppliedRanges()
    ranges.insert(.init(first: id(1), last: id(5)))
    ranges.insert(.init(first: id(9), last: id(12)))
    #expect(!ranges.contains(id(7)))
    #expect(ranges.gaps.map(\.after) == [.zero, id(5)] && ranges.gaps.map(\.before) == [id(1), id(9)])
    ranges.close(AppliedRanges.Gap(after: id(5), before: id(8)))
    #expect(ranges.ranges.count == 2)
    ranges.close(AppliedRanges.Gap(after: id(5), before: id(9)))
    #expect(ranges.ranges == [.init(first: id(1), last: id(12))])
  }

  @Test("ranges that end before they begin are not taken over from the database, and go from it")
  func inverted() {
    let valid = AppliedRanges.Range(first: id(1), last: id(4))
    var ranges = AppliedRanges(stored: [valid, AppliedRanges.Range(first: id(7), last: id(6))])
    #expect(ranges.ranges == [valid])
    #expect(ranges.takeChanges().removed == [id(7)])
  }
}

@Suite("Recognising a stream") struct StreamRecognitionTests {
  /// `s` same, `g` gone, `c` changed: the witnesses 2, 4, 6, ... Of ours Redis has counted 10.
  private func judge(
    _ witnesses: String, last: Int = 10, generated: Int = 20, first: Int? = 1, added: Int64? = 20, length: Int64 = 5,
    deleted: Int? = 0, waiting: Int64 = 3, isUnread: Bool = false
  ) -> StreamRecognition {
    let states: [Character: StreamRecognition.Witness.State] = ["s": .same, "g": .gone, "c": .changed]
    var census = StreamCensus()
    (census.lastGeneratedID, census.firstEntryID) = (id(generated), first.map { id($0) })
    (census.entriesAdded, census.length) = (added, length)
    (census.maxDeletedID, census.lastDeliveredID) = (deleted.map { id($0) }, isUnread ? .zero : id(1))
    return StreamRecognition.judge(
      witnesses.enumerated().map { StreamRecognition.Witness(id: id(2 * $0.offset + 2), state: states[$0.element]!) },
      lastApplied: id(last), counted: added == nil ? nil : 10, waiting: waiting,
      hasLossBehind: false, census, isGroupNew: false)
  }

  @Test("where no witness is remembered, none is missed")
  func withoutWitnesses() { #expect(judge("") == .same) }

  @Test(
    "what the witnesses say decides; the cut is at the last one that is the same below all that are not",
    arguments: [
      ("sss", 10, 20, 1, StreamRecognition.same), ("gss", 10, 20, 3, .same), ("ggs", 6, 6, 6, .same),
      ("ggg", 10, 20, 15, .same), ("ggg", 10, 20, nil, .same), ("ggg", 10, 20, 5, .another),
      ("ssg", 10, 20, 1, .rolledBack(to: id(4))), ("sgg", 10, 5, 1, .rolledBack(to: id(2))),
      ("ssg", 10, 5, 1, .rolledBack(to: id(4))), ("sss", 10, 8, 1, .rolledBack(to: id(6))),
      ("ggg", 10, 5, 1, .another), ("ggg", 10, 5, nil, .another),
      ("scc", 10, 20, 1, .rolledBack(to: id(2))), ("ssc", 10, 5, 1, .rolledBack(to: id(4))),
      ("gsc", 10, 10, 1, .rolledBack(to: id(4))), ("scs", 10, 20, 1, .rolledBack(to: id(2))),
      ("css", 10, 20, 1, .another), ("gcg", 10, 20, 1, .another),
    ] as [(String, Int, Int, Int?, StreamRecognition)])
  func verdicts(witnesses: String, last: Int, generated: Int, first: Int?, verdict: StreamRecognition) {
    #expect(judge(witnesses, last: last, generated: generated, first: first) == verdict)
    // The same without a count, before Redis 7.
    #expect(
      judge(witnesses, last: last, generated: generated, first: first, added: nil, deleted: nil) == verdict)
  }

  @Test(
    "the newest entries deleted is not the end of the stream gone: Redis knows what was deleted, and has counted it")
  func newestDeleted() {
    #expect(judge("ssg", deleted: 6) == .same)
    #expect(judge("ssg", deleted: 9, isUnread: true) == .same)
    #expect(judge("ggg", first: 5, deleted: 6) == .same)
    #expect(judge("ssg", deleted: 5) == .rolledBack(to: id(4)))
    #expect(judge("ssg", added: 9, deleted: 6, waiting: 0) == .rolledBack(to: id(4)))
    // Some that came after the end was gone were deleted, too.
    #expect(judge("ssg", added: 12, deleted: 9) == .rolledBack(to: id(4)))
    #expect(judge("ssg", added: 13, deleted: 9) == .same)
    #expect(judge("ssg", generated: 9, deleted: 6) == .rolledBack(to: id(4)))
    #expect(judge("scg", deleted: 6) == .rolledBack(to: id(2)))
  }

  @Test("of a stream that was trimmed as many entries are gone as were ours; of one made anew they are not")
  func begunAnew() {
    #expect(judge("ggg", first: 15, length: 10) == .same)
    #expect(judge("ggg", first: 15, length: 11) == .another)
    #expect(judge("ggg", first: 15, length: 11, isUnread: true) == .remade)
    #expect(judge("ggg", first: 15, added: nil, deleted: nil, isUnread: true) == .remade)
    #expect(judge("ggg", generated: 5, first: nil, isUnread: true) == .remade)
    #expect(judge("ggs", first: 6, length: 20, isUnread: true) == .same)
  }

  @Test("of a year of entries 64 are remembered: the oldest, the newest, and never far from any age")
  func anchors() {
    var state = StreamState(id: 1, name: "s")
    var time: UInt64 = 1_700_000_000_000
    let first = time
    // A day by the second, then a year with pauses.
    for step in 0..<90_000 {
      time += step < 86_400 ? 1000 : 8_760_000
      state.addAnchor(StreamState.Anchor(id: EntryID(milliseconds: time, sequence: 0), hash: 0))
    }
    let kept = state.anchors.map(\.id.milliseconds)
    #expect(kept.count == StreamState.maximumAnchors && kept.first == first + 1000 && kept.last == time)
    #expect(kept == kept.sorted())
    for (older, younger) in zip(kept, kept.dropFirst()) where younger != time {
      #expect(Double(time - older) < 2 * Double(time - younger) + 20_000_000, "\(time - older), \(time - younger)")
    }
  }
}
