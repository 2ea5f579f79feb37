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
}
