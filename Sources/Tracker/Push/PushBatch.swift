// PushBatch: up to a few hundred announces as one EVALSHA, encoded into a buffer that is used again. Owned by one
// publisher, on its thread. The same records are sent again after a failure: the script recognises what it has applied.

import Redis

/// One script call.
final class PushBatch {
  /// Records in one call. Redis runs nothing else meanwhile: 256 take about two milliseconds.
  static let maximumRecords = 256

  /// The number of the first record in the publisher's run.
  private(set) var first: UInt64 = 0
  private(set) var announces: [QueuedAnnounce] = []
  /// Nil while it is held.
  private var encoding: PushEncoding?
  /// Of the records from `tailsFirst` up to `tailsEnd`: what PushScript told of them.
  private(set) var tails: [UInt8] = []
  private(set) var tailsFirst: UInt64 = 0
  private(set) var tailsEnd: UInt64 = 0
  /// Whether it is on its way: its reply is owed.
  var isSent = false
  var sentAt: UInt64 = 0
  /// How often it was sent under its run.
  var sends = 0
  /// Whether the spool's file has all of it as it is.
  var isJournaled = false
  /// The run whose numbers the records have.
  private(set) var run = PushRun(id: 0, generationBase: 0)
  /// Where Redis may be instead of at the first record: it is sent when all before it is answered.
  private(set) var gapFrom: PushCall.Gap?
  /// What is added to orders by this process' clock, and to those by the machine's.
  private(set) var correctionMicroseconds: Int64 = 0
  private var machineCorrectionMicroseconds: Int64 = 0

  var count: Int { announces.count }
  /// The number after the last record.
  var end: UInt64 { first + UInt64(announces.count) }
  var encodedBytes: Int { encoding?.buffer.count ?? 0 }
  /// What it occupies without its encoding: the object, the allocations' heads and what is in them.
  var memoryBytes: Int {
    Self.objectBytes + announces.capacity * MemoryLayout<QueuedAnnounce>.stride + tails.capacity
  }
  private static let objectBytes = 328

  init(encoding: PushEncoding? = nil) { self.encoding = encoding }

  /// One that an earlier process held: of the records from `tailsFirst` up to `tailsEnd` the script told `tails`.
  init(
    run: PushRun, first: UInt64, announces: [QueuedAnnounce], tails: [UInt8] = [], tailsFirst: UInt64 = 0,
    tailsEnd: UInt64 = 0
  ) {
    (self.run, self.first, self.announces) = (run, first, announces)
    (self.tails, self.tailsFirst, self.tailsEnd) = (tails, tailsFirst, tailsEnd)
  }

  /// Its announces, with the orders that the script was told.
  var told: [QueuedAnnounce] {
    announces.map {
      var announce = $0
      announce.order = announce.commonOrder(
        correctionMicroseconds: correctionMicroseconds, machineCorrectionMicroseconds: machineCorrectionMicroseconds)
      announce.basis = .common
      return announce
    }
  }

  /// Gives memory back before the batch is held: a quiet publisher holds thousands of calls of one announce each, and
  /// each would hold the room of a full one. Returns the encoding, for another call.
  func trim() -> PushEncoding? {
    // Array(announces) would share the memory.
    if announces.capacity > 2 * announces.count { announces = announces.withUnsafeBufferPointer { Array($0) } }
    if tails.capacity > 2 * tails.count { tails = tails.withUnsafeBufferPointer { Array($0) } }
    defer { encoding = nil }
    return encoding
  }

  /// It was applied and held, and is to be sent again. What the spool had of it may be gone.
  func beginAnew() {
    isSent = false
    isJournaled = false
  }

  /// Takes an encoding that another call no longer needs.
  func take(_ other: PushEncoding?) {
    if encoding == nil { encoding = other }
  }

  /// Takes the oldest announces out of the queue and encodes them; false when there are none. `runBegin` is the first
  /// record of the run.
  func fill(
    from queue: EventQueue, maximum: Int = PushBatch.maximumRecords, call: PushCall, willWait: Bool,
    runBegin: UInt64 = 0, gapFrom: PushCall.Gap? = nil
  ) -> Bool {
    prepare()
    first = queue.take(maximum, into: &announces, willWait: willWait)
    guard !announces.isEmpty else { return false }
    encode(call, gapFrom: gapFrom ?? (first > 0 && first == runBegin ? PushCall.Gap(place: 0) : nil))
    return true
  }

  /// Encodes announces that a spool kept, which have consecutive numbers.
  func fill(from spooled: ArraySlice<SpooledAnnounce>, call: PushCall, gapFrom: PushCall.Gap?) {
    prepare()
    first = spooled.first?.number ?? 0
    for spooled in spooled { announces.append(spooled.announce) }
    encode(call, gapFrom: gapFrom)
  }

  /// The same announces, perhaps under another run.
  func encode(_ call: PushCall, gapFrom: PushCall.Gap?) {
    if run != call.run { sends = 0 }
    run = call.run
    self.gapFrom = gapFrom
    isJournaled = false
    refresh(call)
  }

  /// The same call, by the clock as it is now.
  func refresh(_ call: PushCall) {
    correctionMicroseconds = call.correctionMicroseconds
    machineCorrectionMicroseconds = call.machineCorrectionMicroseconds
    let encoding = encoding ?? PushEncoding()
    self.encoding = encoding
    encoding.buffer.removeAll()
    call.encode(
      announces, first: first, gapFrom: gapFrom, correctionMicroseconds: correctionMicroseconds,
      records: &encoding.records, into: &encoding.buffer)
  }

  private func prepare() {
    announces.removeAll(keepingCapacity: true)
    isSent = false
    isJournaled = false
    sends = 0
    tails.removeAll(keepingCapacity: true)
  }

  /// Keeps what the script told of the records it applied, `next` being the number after them.
  func keepTails(_ bytes: UnsafeRawBufferPointer, of applied: UInt64, next: UInt64) {
    guard applied <= next else { return }
    if tailsEnd != next - applied || tails.isEmpty {
      tails.removeAll(keepingCapacity: true)
      tailsFirst = next - applied
    }
    tails.append(contentsOf: bytes)
    tailsEnd = next
  }

  /// Whether anything is known of its records that Redis can be given back, and whether all is.
  var isRestorable: Bool { !tails.isEmpty }
  var isWhollyRestorable: Bool { !tails.isEmpty && tailsFirst == first && tailsEnd == end }

  /// The call of restore.lua that gives the applied records back to a Redis that has lost them: `given` were given back
  /// so far, the last `done` of them were the first of these.
  func encodeRestoration(
    _ call: PushCall, scriptHash: String, given: PushCall.GivenBack, done: Int, into encoding: PushEncoding
  ) {
    encoding.records.removeAll()
    for (offset, announce) in announces.enumerated() {
      encoding.records.append(
        announce, number: first + UInt64(offset), run: run, correctionMicroseconds: correctionMicroseconds,
        machineCorrectionMicroseconds: machineCorrectionMicroseconds)
    }
    encode(call, scriptHash: scriptHash, given: given, done: done, encoding.records.bytes, into: &encoding.buffer)
  }

  private func encode(
    _ call: PushCall, scriptHash: String, given: PushCall.GivenBack, done: Int, _ records: UnsafeRawBufferPointer,
    into buffer: inout RedisCommandBuffer
  ) {
    buffer.removeAll()
    buffer.begin(argumentCount: 3 + 2 + announces.count + 10)
    buffer.append("EVALSHA" as StaticString)
    buffer.append(scriptHash)
    buffer.append(decimal: UInt64(2 + announces.count))
    buffer.append(call.partition.streamKey)
    buffer.append(call.partition.stateKey(run: call.run.id))
    for index in announces.indices { call.appendKey(of: announces[index].record, to: &buffer) }
    buffer.append(decimal: UInt64(call.ttlSeconds))
    buffer.append(decimal: UInt64(call.maximumStreamLength))
    buffer.append(decimal: UInt64(call.partition.snapshotPrefix.utf8.count))
    buffer.append(records)
    buffer.append(tails)
    buffer.append(decimal: tailsFirst - first)
    buffer.append(decimal: UInt64(given.records))
    buffer.append(decimal: UInt64(done))
    buffer.append(decimal: call.nowMicroseconds / PushScript.orderTickMicroseconds)
    buffer.append(given.name)
  }

  /// Sends the call; the reply is read by the publisher.
  func send(on connection: inout RedisConnection) throws(RedisError) { try connection.send(encoding!.buffer) }
}
