// RetainedCalls: the applied calls that are held in case Redis forgets them: a failover, a flush, an older dump. A value,
// owned by PushSession.

/// Oldest first, up to a number of bytes.
struct RetainedCalls {
  private var batches: [PushBatch] = []
  var calls: [PushBatch] { batches }
  /// Of each run the number after the newest record that was ever held.
  private var ends: [(run: PushRun, end: UInt64)] = []
  private var bytes = 0
  private let limitBytes: Int

  /// `limitBytes` is what the calls may occupy.
  init(limitBytes: Int) { self.limitBytes = limitBytes }

  var isEmpty: Bool { batches.isEmpty }
  /// The newest.
  var last: PushBatch? { batches.last }
  /// Those that any record was ever held of, oldest first.
  var runs: [PushRun] { ends.map(\.run) }
  /// The number after the newest record of a run that was ever held.
  func end(of run: PushRun) -> UInt64? { ends.first { $0.run == run }?.end }

  /// Holds a call; those that no longer fit go to `pool`. Returns the encoding that it no longer needs.
  mutating func hold(_ batch: PushBatch, pool: inout [PushBatch]) -> PushEncoding? {
    let encoding = batch.trim()
    batches.append(batch)
    if let place = ends.firstIndex(where: { $0.run == batch.run }) {
      ends[place].end = max(ends[place].end, batch.end)
    } else {
      ends.append((batch.run, batch.end))
    }
    bytes += batch.memoryBytes
    while bytes > limitBytes {
      let oldest = batches.removeFirst()
      bytes -= oldest.memoryBytes
      if pool.isEmpty { pool.append(oldest) }
    }
    return encoding
  }

  /// What a Redis that expects record `place` of `run` has forgotten of it.
  func forgotten(at place: UInt64, of run: PushRun) -> [PushBatch] {
    batches.filter { $0.run == run && $0.end > place }
  }

  /// Holds some calls no longer.
  mutating func remove(_ calls: [PushBatch]) {
    guard !calls.isEmpty else { return }
    batches.removeAll { batch in calls.contains { $0 === batch } }
    for batch in calls { bytes -= batch.memoryBytes }
  }

  /// Holds nothing of other runs any more.
  mutating func removeAll(but run: PushRun) {
    guard ends.contains(where: { $0.run != run }) else { return }
    remove(batches.filter { $0.run != run })
    ends.removeAll { $0.run != run }
  }

  /// Holds nothing any more.
  mutating func removeAll() {
    batches.removeAll()
    ends.removeAll()
    bytes = 0
  }
}
