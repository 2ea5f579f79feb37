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
    let batch = PushBatch()
    fill(batch, PushBatch.maximumRecords)
    let (full, fullBytes) = (batch.memoryBytes, batch.encodedBytes)
    batch.trim()
    #expect(batch.memoryBytes > full / 3, "a full batch keeps its memory: it is filled again")
    fill(batch, 1)
    let encoded = batch.encodedBytes
    #expect(batch.memoryBytes > fullBytes)
    batch.trim()
    #expect(batch.encodedBytes == encoded)
    #expect(batch.memoryBytes <= 2 * encoded + 4 * MemoryLayout<QueuedAnnounce>.stride)
    // It grows again.
    fill(batch, PushBatch.maximumRecords)
    #expect(batch.encodedBytes > fullBytes / 2)
  }
}
