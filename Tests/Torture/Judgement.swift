// Judgement: what the consumer shows beside what was announced. A value; the oracle is Simulation's Ledger.

import Simulation

/// Compares, and remembers what was missing before.
struct Judgement {
  /// The faults since the last look.
  var since = Losses()
  /// Counters at this look, and at the last.
  private(set) var now: [String: Int64] = [:]
  private var before: [String: Int64] = [:]
  /// Bytes and snatches that were missing at the last look, by user.
  private var missing: [String: Missing] = [:]
  /// Whether all totals must be the ledger's: nothing was lost and no announce either.
  private var isExact = true
  /// Whose total was wrong.
  private(set) var culprit: String?
  private var countsAnnounces = true
  /// Whether no second may be missing. Of an announce that comes late by another tracker the bytes are credited, and the
  /// time before it may not be.
  let comparesTime: Bool

  init(comparesTime: Bool) { self.comparesTime = comparesTime }

  private struct Missing: Equatable {
    var uploaded: Int64 = 0
    var downloaded: Int64 = 0
    var completed = 0

    init() {}
    init(_ shown: UserReport?, of totals: LedgerTotals) {
      uploaded = Int64(totals.uploaded) - Int64(shown?.uploaded ?? 0)
      downloaded = Int64(totals.downloaded) - Int64(shown?.downloaded ?? 0)
      completed = totals.completed - (shown?.completed ?? 0)
    }
    var isTooMuch: Bool { uploaded < 0 || downloaded < 0 || completed < 0 }
    func isMore(than other: Missing) -> Bool {
      uploaded > other.uploaded || downloaded > other.downloaded || completed > other.completed
    }
  }

  private func missing(_ ledger: Ledger, _ shown: [String: UserReport]) -> [String: Missing] {
    var all: [String: Missing] = [:]
    for (passkey, totals) in ledger.users { all[passkey] = Missing(shown[passkey], of: totals) }
    return all
  }

  /// Whether nothing is missing but what was before.
  func isComplete(_ ledger: Ledger, _ shown: [String: UserReport]) -> Bool {
    let all = missing(ledger, shown)
    return all.allSatisfy { !$0.value.isMore(than: missing[$0.key] ?? Missing()) && !$0.value.isTooMuch }
      && differences(ledger, shown).isEmpty
  }

  /// Every total that differs, in words; empty where totals need not be the ledger's.
  private func differences(_ ledger: Ledger, _ shown: [String: UserReport]) -> [String] {
    guard isExact, !since.bytesMayBeMissing else { return [] }
    let counts = countsAnnounces && !since.announcesMayBeMissing
    return ledger.users.sorted { $0.key < $1.key }.flatMap { passkey, totals -> [String] in
      guard var report = shown[passkey] else { return ["\(passkey.prefix(8)): nothing"] }
      if !counts { report.events = totals.events }
      if !comparesTime, report.seconds <= totals.seconds.upperBound { report.takeTime(of: totals) }
      return report.differences(from: totals).map { "\(passkey.prefix(8)): \($0)" }
    }
  }

  /// Throws what breaks the promise.
  mutating func judge(
    _ ledger: Ledger, _ shown: [String: UserReport], _ counters: [String: Int64], entriesTaken: Int64?
  ) throws(HarnessError) {
    now = counters
    let all = missing(ledger, shown)
    let names = since.names.joined(separator: ", ")
    if let user = all.first(where: { $0.value.isTooMuch }) {
      culprit = user.key
      throw HarnessError("MORE than was moved, \(user.key.prefix(8)): missing \(user.value), after \(names)")
    }
    let worse = all.filter { $0.value.isMore(than: missing[$0.key] ?? Missing()) }
    if let user = worse.first {
      culprit = user.key
      let words =
        "\(user.key.prefix(8)): missing \(user.value), before \(missing[user.key] ?? Missing()), after \(names)"
      guard since.bytesMayBeMissing else { throw HarnessError("LOST, \(words)") }
      guard since.someAreNotCounted || since.counters.contains(where: { grown($0) > 0 }) else {
        throw HarnessError("LOST and nobody says so, \(words)")
      }
      isExact = false
    } else if case let words = differences(ledger, shown), !words.isEmpty {
      culprit = ledger.users.keys.first { words[0].hasPrefix($0.prefix(8)) }
      throw HarnessError("totals differ after \(names):\n\(words.joined(separator: "\n"))")
    }
    try requireTrueReport(entriesTaken, names)
    missing = all
    if since.bytesMayBeMissing { isExact = false }
    if since.announcesMayBeMissing { countsAnnounces = false }
  }

  /// `lost` counts what was taken off the stream unread, no less and no more.
  private func requireTrueReport(_ taken: Int64?, _ names: String) throws(HarnessError) {
    let reported = grown("lost")
    if let taken, reported != taken {
      throw HarnessError("\(taken) entries were taken unread, reported \(reported), after \(names)")
    }
  }

  private func grown(_ counter: String) -> Int64 { now[counter, default: 0] - before[counter, default: 0] }

  /// The next faults begin.
  mutating func begin(with counters: [String: Int64]) {
    before = counters
    now = counters
    since = Losses()
  }

  /// The counters that have grown since the last look.
  var report: String {
    let grown = now.filter { $0.value != before[$0.key, default: 0] && !$0.key.hasSuffix("published_total") }
    return "counters since the last look: "
      + grown.sorted { $0.key < $1.key }.map { "\($0.key) +\($0.value - before[$0.key, default: 0])" }
      .joined(separator: ", ")
  }

  /// How it ended, for the line of a seed that passed.
  var verdict: String {
    let bytes = missing.values.reduce(0) { $0 + $1.uploaded + $1.downloaded }
    return bytes == 0 ? "equal to the byte" : "\(bytes) bytes missing and reported"
  }
}

extension UserReport {
  fileprivate var seconds: Int64 { seedSeconds + leechSeconds }

  fileprivate mutating func takeTime(of totals: LedgerTotals) {
    seedSeconds = totals.seedSeconds.lowerBound
    leechSeconds = totals.leechSeconds.lowerBound
  }
}

extension LedgerTotals {
  /// Seeding or not.
  fileprivate var seconds: ClosedRange<Int64> {
    seedSeconds.lowerBound + leechSeconds.lowerBound...seedSeconds.upperBound + leechSeconds.upperBound
  }
}

/// What `status` says of losses (docs/contract.md, section 5).
struct ConsumerCounters: Decodable {
  var lost: Int64
  var rollbacks: Int64
  var epoch: Int64
  var deadLetters: Int64
  var leftBehind: Int64
  var withheld: Int64

  enum CodingKeys: String, CodingKey {
    case lost, rollbacks, epoch, withheld
    case deadLetters = "dead_letters"
    case leftBehind = "left_behind"
  }

  var values: [String: Int64] {
    [
      "lost": lost, "rollbacks": rollbacks, "epoch": epoch, "dead_letters": deadLetters, "left_behind": leftBehind,
      "withheld": withheld,
    ]
  }
}
