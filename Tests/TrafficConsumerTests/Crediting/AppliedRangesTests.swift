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
}

@Suite("Recognising a stream") struct StreamRecognitionTests {
  @Test("where no witness is remembered, none is missed")
  func withoutWitnesses() {
    #expect(
      StreamRecognition.judge(
        lastApplied: id(10), lastGenerated: id(20), first: id(1), anchorsKnown: 0, anchorsPresent: 0, anchorsChanged: 0)
        == .same)
  }

  @Test("ids used again: with a known entry below them it is the same stream up to there, else another one")
  func idsUsedAgain() {
    for (isCommon, verdict) in [(true, StreamRecognition.forked), (false, .another)] {
      for generated in [5, 10, 20] {
        #expect(
          StreamRecognition.judge(
            lastApplied: id(10), lastGenerated: id(generated), first: id(1), anchorsKnown: 3, anchorsPresent: 1,
            anchorsChanged: 1, isCommonBelowChange: isCommon) == verdict)
      }
    }
  }

  @Test(
    "what the witnesses say decides",
    arguments: [
      // last applied, last generated, first entry, present, changed, verdict
      (10, 20, 1, 3, 0, StreamRecognition.same), (10, 10, 1, 1, 0, .same), (10, 20, 15, 0, 0, .same),
      (10, 5, 1, 2, 0, .rolledBack), (10, 5, 1, 0, 0, .another), (10, 5, nil, 0, 0, .another),
      (10, 20, 1, 1, 1, .another), (10, 20, 5, 0, 0, .another), (10, 20, nil, 0, 0, .same),
    ] as [(Int, Int, Int?, Int, Int, StreamRecognition)])
  func verdicts(last: Int, generated: Int, first: Int?, present: Int, changed: Int, verdict: StreamRecognition) {
    #expect(
      StreamRecognition.judge(
        lastApplied: id(last), lastGenerated: id(generated), first: first.map { id($0) }, anchorsKnown: 3,
        anchorsPresent: present,
        anchorsChanged: changed) == verdict)
  }
}
