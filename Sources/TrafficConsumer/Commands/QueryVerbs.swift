// QueryVerbs: `query user`, `query torrent`, `query top`. Read-only; work beside the daemon and without it.

import Settings
import Wire

enum QueryVerbs {
  static let all: [Verb] = [user, torrent, top]

  private static let user = Verb(
    words: ["query", "user"], arguments: "PASSKEY", summary: "what a user was credited",
    details: "Without a range: everything ever credited. With --by: one row per day, window, torrent or peer.",
    examples: [
      ("traffic-consumer query user 0123456789abcdef0123456789abcdef -o json", "the totals, as one JSON object"),
      ("traffic-consumer query user 0123456789abcdef0123456789abcdef --by day --from 7d", "a row per day of a week"),
      (
        "traffic-consumer query user 0123456789abcdef0123456789abcdef --explain --from 2h",
        "why: every entry, what it reported, what was credited, and the rule"
      ),
    ],
    options: Verb.reading + Verb.range + [
      CommandLineOption("by", value: "GRAIN", help: "total (default), day, window, torrent or peer"),
      CommandLineOption("explain", help: "the entries behind the sums, as long as retention keeps them"),
    ],
    run: { input throws(VerbError) in
      let passkey = try input.onlyArgument("a passkey")
      guard Passkey(passkey) != nil else {
        throw VerbError(.badData, "that is no passkey (1 to 64 printable characters)")
      }
      let grain: QueryGrain = try input.choice("by", default: .total)
      guard grain != .user else {
        throw VerbError(.badData, "--by user: expected total, day, window, torrent or peer")
      }
      if input.arguments.has("explain") { return try explain(passkey, input) }
      return try answer(.user(passkey), grain, input, nothing: "nothing was ever credited to this passkey")
    })

  private static func explain(_ passkey: String, _ input: VerbInput) throws(VerbError) -> VerbExit {
    guard input.arguments.value("by") == nil else {
      throw VerbError(.usage, "--explain lists entries; --by adds them up: one of the two")
    }
    let range = try input.range()
    let answers = try input.reading { database throws(StoreError) in
      try ExplainQuery.entries(of: passkey, in: range, from: database)
    }
    var table = OutputTable([
      "entry_id", "ts", "infohash", "peer_id", "reported_up", "reported_down", "credited_up", "credited_down", "dt",
      "seed_seconds", "leech_seconds", "rule",
    ])
    for entry in answers.flatMap(\.entries) {
      let why = entry.explanation
      table.rows.append([
        .text(why.entryID.description), .time(why.timestamp), .text(entry.infoHash), .text(entry.peerID),
        .bytes(Int64(clamping: why.reportedUpload)), .bytes(Int64(clamping: why.reportedDownload)),
        .bytes(why.creditedUpload), .bytes(why.creditedDownload), .seconds(why.elapsedSeconds),
        .seconds(why.seedSeconds), .seconds(why.leechSeconds), .text(why.rule.text),
      ])
    }
    guard !table.rows.isEmpty else {
      let held = answers.compactMap(\.heldFrom).min().map { "; entries are kept from \(TimeText.iso($0)) on" } ?? ""
      throw VerbError(.nothingMatched, "no entry of this passkey in this range\(held)")
    }
    try input.write(table)
    return .ok
  }

  private static let torrent = Verb(
    words: ["query", "torrent"], arguments: "INFOHASH", summary: "what was credited on a torrent",
    details: "Sums over all users, or with --by one row per day, window, user or peer.",
    examples: [
      (
        "traffic-consumer query torrent aabbccddeeff00112233445566778899aabbccdd --by user",
        "who moved how much of this torrent"
      )
    ],
    options: Verb.reading + Verb.range + [
      CommandLineOption("by", value: "GRAIN", help: "total (default), day, window, user or peer")
    ],
    run: { input throws(VerbError) in
      let text = try input.onlyArgument("an infohash")
      guard let infoHash = InfoHash(hex: text) else { throw VerbError(.badData, "\(text): expected 40 hex digits") }
      let grain: QueryGrain = try input.choice("by", default: .total)
      guard grain != .torrent else {
        throw VerbError(.badData, "--by torrent: expected total, day, window, user or peer")
      }
      return try answer(.torrent(infoHash), grain, input, nothing: "nothing was ever credited on this torrent")
    })

  private static let top = Verb(
    words: ["query", "top"], arguments: "", summary: "the users with the highest sums",
    details: "Over everything, or over the windows of a range. Ratio is uploaded by downloaded.",
    examples: [
      ("traffic-consumer query top --metric up --limit 10 --from yesterday", "the ten best uploaders since yesterday"),
      ("traffic-consumer query top --metric seedtime -o csv", "seed time, for a spreadsheet"),
    ],
    options: Verb.reading + Verb.range + [
      CommandLineOption("metric", value: "METRIC", help: "up (default), down, ratio or seedtime"),
      CommandLineOption("limit", value: "N", help: "how many (20)"),
    ],
    run: { input throws(VerbError) in
      try input.noArguments()
      let metric: TopMetric = try input.choice("metric", default: .up)
      let limit = try input.count("limit", default: 20)
      let range = try input.range()
      let lists = try input.reading { database throws(StoreError) in
        try TrafficQuery.top(metric, limit: limit, in: range, from: database)
      }
      var rows = TrafficQuery.merged(lists)
      if lists.count > 1 {
        rows.sort { metric.value(of: $0.sums) > metric.value(of: $1.sums) }
        rows = Array(rows.prefix(Int(limit)))
      }
      var table = OutputTable(["passkey"] + sumColumns + ["ratio"])
      for row in rows {
        let ratio: OutputCell =
          row.sums.downloaded == 0 ? .null : .real(Double(row.sums.uploaded) / Double(row.sums.downloaded))
        table.rows.append([.passkey(row.passkey ?? "")] + sumCells(row.sums) + [ratio])
      }
      try input.write(table)
      return rows.isEmpty ? .nothingMatched : .ok
    })

  private static let sumColumns = [
    "uploaded", "downloaded", "seed_seconds", "leech_seconds", "completed", "events", "first_seen", "last_seen",
    "up_rate", "down_rate",
  ]

  private static func sumCells(_ sums: TrafficSums) -> [OutputCell] {
    let elapsed = Double(sums.elapsedSeconds)
    return [
      .bytes(sums.uploaded), .bytes(sums.downloaded), .seconds(sums.seedSeconds), .seconds(sums.leechSeconds),
      .integer(sums.completed), .integer(sums.events), .time(sums.firstSeen), .time(sums.lastSeen),
      .rate(elapsed > 0 ? Double(sums.uploaded) / elapsed : 0),
      .rate(elapsed > 0 ? Double(sums.downloaded) / elapsed : 0),
    ]
  }

  private static func answer(
    _ subject: TrafficQuery.Subject, _ grain: QueryGrain, _ input: VerbInput, nothing: String
  ) throws(VerbError) -> VerbExit {
    let range = try input.range()
    let mayBeFolded = range.isOpen && (grain == .day || grain == .window)
    // Rows and totals are compared: both of one moment.
    let answers = try input.reading { database throws(StoreError) in
      try database.transaction(.deferred) { () throws(StoreError) in
        (
          rows: try TrafficQuery.rows(of: subject, by: grain, in: range, from: database),
          totals: mayBeFolded ? try TrafficQuery.rows(of: subject, by: .total, in: range, from: database) : []
        )
      } mapError: {
        .database($0)
      }
    }
    let rows = TrafficQuery.merged(answers.map(\.rows))
    guard !rows.isEmpty else { throw VerbError(.nothingMatched, range.isOpen ? nothing : "nothing in this range") }
    let keys = keyColumns(subject, grain)
    var table = OutputTable(keys.map(\.name) + sumColumns)
    for row in rows { table.rows.append(keys.map { $0.cell(row) } + sumCells(row.sums)) }
    var isObject = false
    if case .user = subject { isObject = grain == .total }
    try input.write(table, isObject: isObject)
    if mayBeFolded { sayWhatIsFolded(rows, answers.flatMap(\.totals), grain) }
    return .ok
  }

  /// Rows by time end where retention begins; what they leave out is said beside them, on standard error.
  private static func sayWhatIsFolded(_ rows: [QueryRow], _ all: [QueryRow], _ grain: QueryGrain) {
    func sum(_ rows: [QueryRow], _ value: KeyPath<TrafficSums, Int64>) -> Int64 {
      rows.reduce(0) { $0 + $1.sums[keyPath: value] }
    }
    let announces = sum(all, \.events) - sum(rows, \.events)
    guard announces > 0 else { return }
    let up = OutputTable.human(.bytes(sum(all, \.uploaded) - sum(rows, \.uploaded)), redacts: false)
    let down = OutputTable.human(.bytes(sum(all, \.downloaded) - sum(rows, \.downloaded)), redacts: false)
    let kept = grain == .window ? "older windows are kept as days, then" : "older days are kept"
    Standard.error(
      "not in these rows: \(announces) announces with \(up) up and \(down) down; \(kept) in the total (--by total)")
  }

  private typealias KeyColumn = (name: String, cell: (QueryRow) -> OutputCell)

  private static func keyColumns(_ subject: TrafficQuery.Subject, _ grain: QueryGrain) -> [KeyColumn] {
    var columns: [KeyColumn] = []
    if case .user = subject { columns.append(("passkey", { .passkey($0.passkey ?? "") })) }
    if case .torrent = subject { columns.append(("infohash", { .text($0.infoHash ?? "") })) }
    switch grain {
    case .total: break
    case .window: columns.append(("window_start", { $0.windowStart.map { .time($0) } ?? .null }))
    case .day: columns.append(("day", { .text(TimeText.day($0.day ?? 0)) }))
    case .torrent: columns.append(("infohash", { .text($0.infoHash ?? "") }))
    case .user: columns.append(("passkey", { .passkey($0.passkey ?? "") }))
    case .peer:
      if case .user = subject { columns.append(("infohash", { .text($0.infoHash ?? "") })) }
      columns.append(("peer_id", { .text($0.peerID ?? "") }))
    }
    return columns
  }
}

extension TopMetric {
  /// The number rows are ordered by.
  func value(of sums: TrafficSums) -> Double {
    switch self {
    case .up: Double(sums.uploaded)
    case .down: Double(sums.downloaded)
    case .ratio: Double(sums.uploaded) / Double(max(sums.downloaded, 1))
    case .seedtime: Double(sums.seedSeconds)
    }
  }
}
