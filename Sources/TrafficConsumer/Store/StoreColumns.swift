// StoreRows: how sums and ledgers lie in columns. The writer's and the queries' statements use it.

import SQLite
import Wire

extension SQLiteStatement {
  /// The nine columns of `StoreSchema.sumColumns`, from a column on.
  func sums(from column: Int32) -> TrafficSums {
    TrafficSums(
      uploaded: integer(column), downloaded: integer(column + 1), seedSeconds: integer(column + 2),
      leechSeconds: integer(column + 3), elapsedSeconds: integer(column + 4), events: integer(column + 5),
      completed: integer(column + 6), firstSeen: integer(column + 7), lastSeen: integer(column + 8))
  }

  /// Binds the nine sums, from a parameter on.
  func bind(_ sums: TrafficSums, from parameter: Int32) throws(SQLiteError) {
    try bind(sums.uploaded, at: parameter)
    try bind(sums.downloaded, at: parameter + 1)
    try bind(sums.seedSeconds, at: parameter + 2)
    try bind(sums.leechSeconds, at: parameter + 3)
    try bind(sums.elapsedSeconds, at: parameter + 4)
    try bind(sums.events, at: parameter + 5)
    try bind(sums.completed, at: parameter + 6)
    try bind(sums.firstSeen, at: parameter + 7)
    try bind(sums.lastSeen, at: parameter + 8)
  }
}

extension TimeGap {
  /// Times are below 2^32. Above them: what it is; and how many seconds are undecided.
  fileprivate var words: (UInt64, UInt64) {
    switch kind {
    case .missed: (UInt64(from), UInt64(to))
    case .afterStop: (UInt64(from) | 1 << 32, UInt64(to))
    case .undecided(let seconds): (UInt64(from) | 2 << 32, UInt64(to) | UInt64(seconds) << 32)
    }
  }

  fileprivate init(words: (UInt64, UInt64)) {
    self.init(from: Int64(words.0 & 0xffff_ffff), to: Int64(words.1 & 0xffff_ffff))
    switch words.0 >> 32 {
    case 1: kind = .afterStop
    case 2: kind = .undecided(seconds: Int64(words.1 >> 32))
    default: break
    }
  }
}

extension CreditedTime {
  /// Reads first_order, last_order, reached_order; nil when they are NULL.
  init?(row: borrowing SQLiteStatement, from column: Int32) {
    guard !row.isNull(column) else { return nil }
    self.init(
      first: UInt64(row.integer(column)), last: UInt64(row.integer(column + 1)),
      reached: UInt64(row.integer(column + 2)))
  }
}

extension CreditedTime? {
  /// Binds the same columns.
  func bind(to statement: borrowing SQLiteStatement, from parameter: Int32) throws(SQLiteError) {
    guard let self else {
      for place in 0..<3 { try statement.bindNull(at: parameter + Int32(place)) }
      return
    }
    try statement.bind(Int64(self.first), at: parameter)
    try statement.bind(Int64(self.last), at: parameter + 1)
    try statement.bind(Int64(self.reached), at: parameter + 2)
  }
}

extension SessionLedger {
  /// Reads covered_from, covered_to, stopped, generation, credited_up, credited_down, gaps, fingerprints, latest, then the
  /// orders.
  init(row: borrowing SQLiteStatement, from column: Int32) {
    coveredFrom = row.integer(column)
    coveredTo = row.integer(column + 1)
    isStopped = row.integer(column + 2) != 0
    generation = row.isNull(column + 3) ? nil : TrafficGeneration(row.bytes(column + 3))
    credited = CreditedCounters(
      uploaded: UInt64(row.integer(column + 4)), downloaded: UInt64(row.integer(column + 5)))
    gaps = Self.pairs(row.bytes(column + 6)).map { TimeGap(words: $0) }
    fingerprints = Self.fingerprints(stored: row.bytes(column + 7))
    latestIdle = row.isNull(column + 8) ? nil : Self.fingerprints(stored: row.bytes(column + 8))
    credited.time = CreditedTime(row: row, from: column + 9)
    othersLast = UInt64(row.integer(column + 12))
  }

  /// Binds the same columns.
  func bind(to statement: borrowing SQLiteStatement, from parameter: Int32) throws(SQLiteError) {
    try statement.bind(coveredFrom, at: parameter)
    try statement.bind(coveredTo, at: parameter + 1)
    try statement.bind(isStopped ? 1 : 0, at: parameter + 2)
    if let generation {
      let bound: Result<Void, SQLiteError> = generation.withBytes { bytes in
        Result { () throws(SQLiteError) in try statement.bindText(bytes, at: parameter + 3) }
      }
      try bound.get()
    } else {
      try statement.bindNull(at: parameter + 3)
    }
    try statement.bind(Int64(credited.uploaded), at: parameter + 4)
    try statement.bind(Int64(credited.downloaded), at: parameter + 5)
    try Self.bind(gaps, to: statement, at: parameter + 6) { $0.words }
    try Self.bind(fingerprints, to: statement, at: parameter + 7)
    if let latestIdle {
      latestIdle.isEmpty
        ? try statement.bind(UnsafeRawBufferPointer(start: nil, count: 0), at: parameter + 8)
        : try Self.bind(latestIdle, to: statement, at: parameter + 8)
    } else {
      try statement.bindNull(at: parameter + 8)
    }
    try credited.time.bind(to: statement, from: parameter + 9)
    try statement.bind(Int64(othersLast), at: parameter + 12)
  }

  static func bind(_ fingerprints: [EntryFingerprint], to statement: borrowing SQLiteStatement, at parameter: Int32)
    throws(SQLiteError)
  {
    try bind(fingerprints, to: statement, at: parameter) { ($0.arrivedMilliseconds, $0.hash) }
  }

  /// Reads what `bind` wrote.
  static func fingerprints(stored bytes: UnsafeRawBufferPointer) -> [EntryFingerprint] {
    pairs(bytes).map { EntryFingerprint(arrivedMilliseconds: $0.0, hash: $0.1) }
  }

  /// Pairs of 64-bit words, little-endian, side by side; none is NULL.
  private static func bind<Element>(
    _ elements: [Element], to statement: borrowing SQLiteStatement, at parameter: Int32,
    _ pair: (Element) -> (UInt64, UInt64)
  ) throws(SQLiteError) {
    guard !elements.isEmpty else { return try statement.bindNull(at: parameter) }
    let bound: Result<Void, SQLiteError> = withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 2 * elements.count)
    {
      words in
      for (index, element) in elements.enumerated() {
        let (first, second) = pair(element)
        words[2 * index] = first.littleEndian
        words[2 * index + 1] = second.littleEndian
      }
      return Result { () throws(SQLiteError) in try statement.bind(UnsafeRawBufferPointer(words), at: parameter) }
    }
    try bound.get()
  }

  private static func pairs(_ bytes: UnsafeRawBufferPointer) -> [(UInt64, UInt64)] {
    stride(from: 0, to: bytes.count / 16 * 16, by: 16).map { offset in
      (
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)),
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self))
      )
    }
  }
}
