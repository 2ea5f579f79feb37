// RetainedCalls: the applied calls that are held in case Redis forgets them: a failover, a flush, an older dump. A value,
// owned by PushSession.

/// Oldest first, up to a number of bytes.
struct RetainedCalls {
  private var batches: [PushBatch] = []
  private var bytes = 0
  private let limitBytes: Int

  /// `limitBytes` counts the calls as they were sent.
  init(limitBytes: Int) { self.limitBytes = limitBytes }

  var isEmpty: Bool { batches.isEmpty }
  var count: Int { batches.count }
  subscript(index: Int) -> PushBatch { batches[index] }
  /// The number of the oldest record that is held.
  var first: UInt64? { batches.first?.first }
  /// The number after the newest one.
  var end: UInt64? { batches.last?.end }

  /// Holds a call; those that no longer fit go to `pool`.
  mutating func hold(_ batch: PushBatch, pool: inout [PushBatch]) {
    batch.trim()
    batches.append(batch)
    bytes += batch.encodedBytes
    while bytes > limitBytes {
      let oldest = batches.removeFirst()
      bytes -= oldest.encodedBytes
      pool.append(oldest)
    }
  }

  /// The calls from the one with record `number` on, to be sent again; nil when that record is not held.
  mutating func takeBack(from number: UInt64) -> [PushBatch]? {
    guard let from = batches.firstIndex(where: { $0.first <= number && number < $0.end }) else { return nil }
    let again = Array(batches[from...])
    batches.removeSubrange(from...)
    for batch in again { bytes -= batch.encodedBytes }
    return again
  }

  /// Holds nothing any more.
  mutating func removeAll(pool: inout [PushBatch]) {
    pool.append(contentsOf: batches)
    batches.removeAll()
    bytes = 0
  }
}
