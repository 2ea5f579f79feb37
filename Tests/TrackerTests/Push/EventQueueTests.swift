import Testing
import Wire

@testable import Tracker

@Suite("the push queue") struct EventQueueTests {
  @Test(
    "what begins anew is kept when the queue joins announces: the differences after it are taken from it",
    arguments: [AnnounceEvent.none, .started])
  func beginsAnew(event: AnnounceEvent) {
    let queue = EventQueue(limits: EventQueue.Limits(coalesceAbove: 0, coalesceBelow: 0))
    for uploaded in [500, 900, 0, 9864, 9900] as [UInt64] {
      let record = makeRecord(uploaded: uploaded, event: event)
      withUnsafePointer(to: record) { _ = queue.append(UnsafeBufferPointer(start: $0, count: 1), order: 1) }
    }
    var announces: [QueuedAnnounce] = []
    _ = queue.take(10, into: &announces, willWait: false)
    #expect(announces.map(\.record.uploaded) == [500, 900, 0, 9900])
    #expect(announces.map(\.announces) == [1, 1, 1, 2])
  }

  @Test("an end of which the swarm knew nothing is known once it has taken in what was")
  func takesInWhatWasKnown() {
    let queue = EventQueue(limits: EventQueue.Limits(coalesceAbove: 0, coalesceBelow: 0))
    func append(_ record: AnnounceRecord) {
      withUnsafePointer(to: record) { _ = queue.append(UnsafeBufferPointer(start: $0, count: 1), order: 1) }
    }
    for peer in [1, 2] {
      append(makeRecord(peer: peer, uploaded: 0))
      var second = makeRecord(peer: peer, uploaded: 0, event: peer == 1 ? .none : .stopped)
      second.isGone = peer == 2
      append(second)
      var third = makeRecord(peer: peer, uploaded: 5, event: .stopped)
      third.isGone = true
      append(third)
    }
    var announces: [QueuedAnnounce] = []
    _ = queue.take(10, into: &announces, willWait: false)
    #expect(announces.map(\.record.isGone) == [false, false, false, true])
    #expect(announces.map(\.record.uploaded) == [0, 5, 0, 5])
  }
}
