// StoreWriter: the one writer of the database: applies batches of entries, each batch in one transaction. Belongs to the
// writer thread, whose process holds the StoreLock.

import Linux
import SQLite
import Wire

final class StoreWriter {
  /// What is fixed while a writer lives.
  struct Settings: Sendable {
    var databasePath: String
    var streamNames: [String]
    var windowSeconds: Int64
    /// After so many attempts that the database refused, alone, an entry is a dead letter.
    var maximumDeliveries: Int
    var retention = RetentionTimes(windows: 30 * 86_400, days: 730 * 86_400, explanations: 48 * 3600)
    /// Where reports of self-update runs come from; nil: nowhere.
    var taskReportsPath: String?
  }

  /// What became of the entries of one batch.
  struct Outcome: Equatable, Sendable {
    var applied = 0
    var duplicates = 0
    var dead = 0
    var redelivered = 0
    var vanished = 0
  }

  /// One entry of a delivery.
  struct Item {
    let delivery: StreamDelivery
    let index: Int
    let id: EntryID
  }

  let database: SQLiteDatabase
  let settings: Settings
  let aggregator: WindowAggregator
  let hash: EntryHash
  let book: LedgerBook
  let streamTable: StreamTable
  var streams: [StreamState]
  let explanationTable: ExplanationTable
  /// Nil for a database without a file.
  let file: StoreFile?
  private let windowRows: WindowRows
  private let insertDeadLetter: SQLiteStatement
  private let selectFence: SQLiteStatement
  private let fence: String
  private var outcome = Outcome()

  /// Opens the database as its only writer. Another one that is still open, in a process that was taken for dead, is
  /// fenced off from here on. `fence`: the same text when one owner opens it again after trouble, nil for a new owner.
  init(settings: Settings, fence earlier: String? = nil) throws(StoreError) {
    self.settings = settings
    fence = earlier ?? Hex.encode((0..<8).map { _ in UInt8.random(in: 0...255) })
    aggregator = WindowAggregator(windowSeconds: settings.windowSeconds)
    database = try StoreConnection.openForWriting(path: settings.databasePath, windowSeconds: settings.windowSeconds)
    file = StoreFile(path: settings.databasePath)
    guard let key = try Meta.text("hash_key", in: database).flatMap({ Hex.decode(Array($0.utf8)) }), key.count == 16
    else { throw .damaged("meta has no hash_key") }
    hash = key.withUnsafeBytes { bytes in
      EntryHash(key: (bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }
    do throws(SQLiteError) {
      book = try LedgerBook(database)
      windowRows = try WindowRows(database)
      explanationTable = try ExplanationTable(database)
      streamTable = try StreamTable(database)
      insertDeadLetter = try database.prepare(
        """
        INSERT INTO dead_letters(stream_id, epoch, entry_id, reason, detail, deliveries, failed_at, fields)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        ON CONFLICT DO UPDATE SET deliveries = deliveries + excluded.deliveries
        """)
      selectFence = try database.prepare("SELECT value FROM meta WHERE name = 'writer'")
      streams = []
      for name in settings.streamNames { streams.append(try StreamTable.load(name: name, from: database)) }
    } catch {
      throw .database(error)
    }
    if earlier == nil { try Meta.set("writer", fence, in: database) }
  }

  /// What a later writer of the same owner is opened with.
  var fenceText: String { fence }

  /// A write transaction. Inside it nobody else can write, so that the fence holds until its end.
  func transaction<Value>(_ body: () throws(SQLiteError) -> Value) throws(StoreError) -> Value {
    try database.transaction(.immediate) { () throws(StoreError) in
      let isOurs = try store { () throws(SQLiteError) in
        defer { selectFence.reset() }
        return try selectFence.step() && selectFence.text(0) == fence
      }
      guard isOurs else { throw .fenced }
      return try store(body)
    } mapError: {
      .database($0)
    }
  }

  /// Applies deliveries: afterwards everything in their `settled` is durable and may be acknowledged. When it throws,
  /// nothing of the batch that failed is in the database, and nothing of it is settled.
  func apply(_ deliveries: [StreamDelivery]) throws(StoreError) -> Outcome {
    outcome = Outcome()
    var items: [Item] = []
    for delivery in deliveries {
      delivery.settled.removeAll()
      for index in 0..<delivery.count {
        items.append(Item(delivery: delivery, index: index, id: delivery.entries[index].id))
      }
    }
    try applyIsolating(items[...])
    return outcome
  }

  /// One transaction for all; when the database refuses the values of one entry, halves it until that one is alone.
  private func applyIsolating(_ items: ArraySlice<Item>) throws(StoreError) {
    guard let error = try attempt(items) else { return }
    guard items.count == 1, let item = items.first else {
      Log.warning("batch refused, isolating the entry", ["entries": items.count, "error": error.description])
      let middle = items.startIndex + items.count / 2
      try applyIsolating(items[..<middle])
      try applyIsolating(items[middle...])
      return
    }
    var last = error
    for _ in 1..<max(1, settings.maximumDeliveries) {
      guard let again = try attempt(items) else { return }
      last = again
    }
    let fault = EntryFault.repeatedlyFatal("the database refuses it: \(last.message)")
    try commitTransaction([item]) { () throws(SQLiteError) in
      var stream = streams[item.delivery.streamIndex]
      try bury(item, fault, deliveries: Int64(settings.maximumDeliveries), in: &stream)
      stream.applied.insert(AppliedRanges.Range(first: item.id, last: item.id))
      return [item.delivery.streamIndex: stream]
    }
  }

  /// Tries to apply items in one transaction. Returns the error when it is the fault of the values, throws any other.
  private func attempt(_ items: ArraySlice<Item>) throws(StoreError) -> SQLiteError? {
    let before = outcome
    do throws(StoreError) {
      try commitTransaction(items) { () throws(SQLiteError) in
        var staged: [Int: StreamState] = [:]
        try add(items, to: &staged)
        return staged
      }
      return nil
    } catch {
      outcome = before
      if case .database(let error) = error, error.kind == .values { return error }
      throw error
    }
  }

  /// Runs `body` in a transaction, writes the stream states it returns, commits, and only then believes any of it.
  private func commitTransaction(
    _ items: ArraySlice<Item>, _ body: () throws(SQLiteError) -> [Int: StreamState]
  ) throws(StoreError) {
    do throws(StoreError) {
      let staged = try transaction { () throws(SQLiteError) in
        CrashPoint.reach(.transactionBegun)
        var staged = try body()
        try flushRows()
        for index in staged.keys.sorted() { try streamTable.write(&staged[index]!, before: streams[index]) }
        CrashPoint.reach(.beforeCommit)
        return staged
      }
      CrashPoint.reach(.afterCommit)
      for (index, state) in staged { streams[index] = state }
    } catch {
      forgetUncommitted()
      throw error
    }
    // Committed to a file that is not the database any more: Redis keeps the entries.
    if file?.isInPlace == false { throw .replaced }
    for item in items { item.delivery.settled.append(item.id) }
    book.forgetIfLarge()
  }

  private func add(_ items: ArraySlice<Item>, to staged: inout [Int: StreamState]) throws(SQLiteError) {
    var start = items.startIndex
    while start < items.endIndex {
      // One delivery's items at a time: one stream, one way of coming.
      let delivery = items[start].delivery
      let end = items[start...].firstIndex { $0.delivery !== delivery } ?? items.endIndex
      var stream = staged.removeValue(forKey: delivery.streamIndex) ?? streams[delivery.streamIndex]
      try add(items[start..<end], to: &stream)
      staged[delivery.streamIndex] = stream
      start = end
    }
  }

  /// Items of one delivery. Two neighbours of a consecutive reply have nothing between them: a run of them is one range.
  private func add(_ items: ArraySlice<Item>, to stream: inout StreamState) throws(SQLiteError) {
    let isConsecutive = items[items.startIndex].delivery.source == .consecutive
    let known = stream.applied
    let last = known.last ?? .zero
    var run: (range: AppliedRanges.Range, index: Int)?
    for item in items {
      if isConsecutive ? known.contains(item.id) : stream.applied.contains(item.id) {
        stream.counters.redelivered += 1
        outcome.redelivered += 1
      } else {
        try addNew(item, to: &stream)
      }
      if !isConsecutive {
        stream.applied.insert(AppliedRanges.Range(first: item.id, last: item.id))
      } else if let open = run, open.index == item.index - 1 {
        run = (AppliedRanges.Range(first: open.range.first, last: item.id), item.index)
      } else {
        if let open = run { stream.applied.insert(open.range) }
        run = (AppliedRanges.Range(first: item.id, last: item.id), item.index)
      }
    }
    if let open = run { stream.applied.insert(open.range) }
    // Whatever way it came: without a witness for the newest entry the stream would be taken for another one.
    let witness = items.last { item in
      if case .deleted = item.delivery.entries[item.index].content { false } else { true }
    }
    if let item = witness, item.id > last, let fields = item.delivery.fields(at: item.index) {
      stream.addAnchor(StreamState.Anchor(id: item.id, hash: hash.raw(of: fields)))
    }
  }

  private func addNew(_ item: Item, to stream: inout StreamState) throws(SQLiteError) {
    let result: Result<Credit, EntryFault>
    switch item.delivery.entries[item.index].content {
    case .deleted:
      stream.counters.vanished += 1
      stream.counters.handled += 1
      outcome.vanished += 1
      return
    case .fault(let place): result = .failure(item.delivery.faults[Int(place)])
    case .event(let event): result = try credit(event, id: item.id)
    }
    switch result {
    case .success(let credit):
      if credit.rule == .duplicate {
        stream.counters.duplicates += 1
        outcome.duplicates += 1
      } else {
        stream.counters.applied += 1
        outcome.applied += 1
      }
      stream.counters.handled += 1
    case .failure(let fault):
      try bury(item, fault, deliveries: 1, in: &stream)
    }
  }

  /// Applies one event to the rows in memory. The inner result is the entry's own fault.
  func credit(_ event: TrafficEvent, id: EntryID) throws(SQLiteError) -> Result<Credit, EntryFault> {
    let session = try book.session(of: event)
    let row = book.sessions[session]
    var counters: CreditedCounters?
    if let generation = event.counters?.generation {
      counters = try book.counters(of: session, generation: generation)
    }
    var context = CreditContext(
      ledger: row.ledger, counters: counters,
      isFirstSnatch: event.event == .completed ? try book.isFirstSnatch(session: session) : false,
      userSums: book.users[row.user].sums, torrentSums: book.torrents[row.torrent].sums)
    let credit: Credit
    do throws(EntryFault) {
      credit = try aggregator.credit(
        event, arrivedMilliseconds: id.milliseconds, fingerprint: hash.fingerprint(of: event), context: &context)
    } catch {
      return .failure(error)
    }
    try book.add(credit, of: event, ledger: context.ledger, to: session)
    if !credit.sums.isEmpty {
      windowRows.add(credit.sums, start: aggregator.windowStart(of: event.timestamp), session: session)
    }
    explanationTable.add(credit, of: event, id: id, session: book.sessions[session].id)
    return .success(credit)
  }

  /// Puts an entry into the dead letters.
  private func bury(_ item: Item, _ fault: EntryFault, deliveries: Int64, in stream: inout StreamState)
    throws(SQLiteError)
  {
    try insertDeadLetter.bind(stream.id, at: 1)
    try insertDeadLetter.bind(stream.epoch, at: 2)
    try insertDeadLetter.bind(item.id.bytes, at: 3)
    try insertDeadLetter.bind(fault.reason, at: 4)
    try insertDeadLetter.bind(fault.detail, at: 5)
    try insertDeadLetter.bind(deliveries, at: 6)
    try insertDeadLetter.bind(Clock.unixSeconds(), at: 7)
    let fields = item.delivery.fields(at: item.index) ?? DeadLetterFields(items: [])
    try insertDeadLetter.bind(fields.stored, at: 8)
    try insertDeadLetter.run()
    stream.counters.dead += 1
    stream.counters.handled += 1
    outcome.dead += 1
  }

  /// Writes what `credit` gathered, inside the open transaction.
  func flushRows() throws(SQLiteError) {
    try explanationTable.flush()
    try book.flush()
    try windowRows.flush(sessions: book)
  }

  /// Forgets what a transaction that was rolled back had gathered.
  func forgetUncommitted() {
    book.forget()
    windowRows.forget()
    explanationTable.forget()
  }
}
