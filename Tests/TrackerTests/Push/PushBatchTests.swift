import Testing
import Wire

@testable import Tracker

@Suite("push batches")
struct PushBatchTests {
  private let call = PushCall(
    partition: PushPartition.all(streamKey: "tracker:traffic", lastKeyPrefix: "tracker:last", count: 1)[0],
    run: PushRun(), scriptHash: String(repeating: "a", count: 40), ttlSeconds: 86400, maximumStreamLength: 0,
    creditFirstAnnounce: false)

  /// A batch of `count` sessions' announces.
  private func fill(_ batch: PushBatch, _ count: Int) {
    let queue = EventQueue()
    let records = (0..<count).map { number in
      AnnounceRecord(
        passkey: Passkey("00112233445566778899aabbccddeeff")!, infoHash: InfoHash(words: (1, 2, 3)),
        peerID: PeerID(words: (UInt64(number), 2, 3)), address: .loopbackV4, port: 6881, event: .none, uploaded: 1,
        downloaded: 2, left: 3, timestamp: 1_700_000_000, intervalSeconds: 1800, minIntervalSeconds: 900)
    }
    records.withUnsafeBufferPointer { _ = queue.append($0) }
    #expect(batch.fill(from: queue, call: call, willWait: false))
    #expect(batch.count == count)
  }

  @Test("a call that is held occupies little more than its announces, however full its batch was before")
  func heldMemory() {
    let stride = MemoryLayout<QueuedAnnounce>.stride
    let batch = PushBatch()
    fill(batch, PushBatch.maximumRecords)
    #expect(batch.trim() != nil && batch.encodedBytes == 0)
    #expect(batch.memoryBytes > PushBatch.maximumRecords * stride, "a full batch keeps its memory: it is filled again")
    fill(batch, 1)
    _ = batch.trim()
    #expect(batch.memoryBytes <= 400 + 4 * stride)
    // It grows again.
    fill(batch, PushBatch.maximumRecords)
    #expect(batch.encodedBytes > PushBatch.maximumRecords * 100)
  }

  @Test("calls of one announce that are held are bounded by what they occupy, and the newest stay")
  func heldCalls() {
    var retained = RetainedCalls(limitBytes: 100_000)
    var pool: [PushBatch] = []
    var held: [PushBatch] = []
    for _ in 0..<1000 {
      let batch = PushBatch()
      fill(batch, 1)
      held.append(batch)
      _ = retained.hold(batch, pool: &pool)
    }
    let kept = retained.forgotten(at: 0, of: call.run)
    #expect(kept.reduce(0) { $0 + $1.memoryBytes } <= 100_000 && kept.count > 50)
    #expect(kept.last === held.last && pool.count == 1)
  }
}
