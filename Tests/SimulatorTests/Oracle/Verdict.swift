// The verdict: what is shown is compared with the truth, whenever everything has come to rest.

import Glibc
import Linux
import SQLite
import Wire

@testable import Tracker
@testable import TrafficConsumer

extension World {
  /// Something that must not be.
  struct Violation: Error, CustomStringConvertible {
    /// a: more than was moved; b: missing without a word, or a word without anything missing; c: not exact; live: no rest;
    /// x: a program failed.
    var kind: String
    var text: String
    var description: String { "(\(kind)) \(text)" }
  }

  /// How often trackers have found that Redis had forgotten something: an alert.
  private var gapsCounted: UInt64 { trackers.reduce(0) { $0 + $1.metrics.reduce(0) { $0 + $1.gaps.current } } }

  /// What the trackers say is missing.
  private var reports: [(name: String, count: UInt64)] {
    func sum(_ name: String, _ path: KeyPath<PushMetrics, Counter>) -> (String, UInt64) {
      (name, trackers.reduce(0) { $0 + $1.metrics.reduce(0) { $0 + $1[keyPath: path].current } })
    }
    return [
      sum("refused queue full", \.refusedQueueFull), sum("refused shutdown", \.refusedShutdown),
      sum("lost to failover", \.lostToFailover), sum("unannounced", \.unannouncedSessions),
      sum("late unknown", \.lateUnknown),
      sum("refused implausible", \.refusedImplausible), sum("refused too large", \.refusedTooLarge),
      ("lost by the consumer", UInt64(books?.lost ?? 0)),
      ("withheld", UInt64(books?.withheld ?? Int64(reference.withheld))),
    ].filter { $0.1 > 0 }
  }

  func check(isEnd: Bool) {
    guard failure == nil else { return }
    books = nil
    if !consumers.isEmpty {
      guard let books = readBooks() else { return }
      self.books = books
    }
    var truth = truth
    for serial in gone.union(entries.unseen) { truth.excuse(entries[serial], isTimeKnown: !trouble.hasWrongClocks) }
    var bounds = truth.bounds()
    addForeign(to: &bounds)
    for isOfBytes in [true, false] {
      for (user, bound) in bounds.users.sorted(by: { $0.key < $1.key }) {
        let shown = books.map { $0.users[Self.passkey(user)] } ?? reference.users[user]
        compare("user \(user)", shown ?? Shown(), bound, isEnd, isOfBytes: isOfBytes)
      }
      for (torrent, bound) in bounds.torrents.sorted(by: { $0.key < $1.key }) {
        let shown = books.map { $0.torrents[Self.infoHash(torrent).bytes] } ?? reference.torrents[torrent]
        compare("torrent \(torrent)", shown ?? Shown(), bound, isEnd, isOfBytes: isOfBytes)
      }
    }
    if isEnd {
      checkForeign()
      checkConsumer()
    }
  }

  /// What another producer added is credited whatever happened to the trackers' announces: there is no one else to lose it.
  private func checkForeign() {
    guard failure == nil, let books else { return }
    var least: [Int: Int64] = [:]
    for entry in foreign where entries.isSure(entry.serial) { least[entry.name.user, default: 0] += entry.uploaded }
    for (user, least) in least.sorted(by: { $0.key < $1.key }) {
      let shown = books.users[Self.passkey(user)]?.uploaded ?? 0
      if shown < least { fail("c", "another producer's user \(user) up: shown \(shown), at least \(least)") }
    }
  }

  /// Deleted entries that nobody has seen, and nobody will.
  private var gone: Set<Int> {
    entries.gone(present: serials)
  }

  /// What the database shows at the moment.
  private func readBooks() -> ConsumerBooks? {
    do {
      if let writer = consumers.first(where: \.isLeading)?.process?.writer { return try ConsumerBooks(writer.database) }
      let path = "\(folder)/traffic.db"
      guard access(path, F_OK) == 0 else { return nil }
      return try ConsumerBooks(StoreConnection.openForReading(path: path))
    } catch {
      fail("x", "the database cannot be read: \(error)")
      return nil
    }
  }

  /// What the consumer says of itself.
  private func checkConsumer() {
    guard failure == nil, let books, let consumer = consumers.first(where: \.isLeading) else { return }
    if books.lost > 0, trouble.worst == .lossless, gone.isEmpty, site.countsLosses {
      fail("b", "lost \(books.lost): nothing is missing")
    }
    if books.waitingDeadLetters > 0 { fail("b", "\(books.waitingDeadLetters) dead letters, and every entry was good") }
    let isCounted = !trouble.hasForgotten && site.countsLosses
    let lost = gone.count
    let certain = min(lost, max(gone.subtracting(entries.uncounted).count, entries.reportedBefore))
    if isCounted, !(certain...lost).contains(Int(books.lost)) {
      fail("b", "lost \(books.lost), truly \(lost) entries")
    }
    do {
      for result in try StoreCheck.run(consumer.process!.writer!.database) where !result.isOK {
        // Entries do not add up where some are missing.
        if result.name == "entries", !isCounted || books.lost > 0 { continue }
        fail("b", "check: \(result.name): \(result.detail)")
      }
    } catch {
      fail("x", "check: \(error)")
    }
  }

  private func compare(
    _ whose: String, _ shown: Shown, _ bound: (least: Shown, exact: Shown, most: Shown), _ isEnd: Bool, isOfBytes: Bool
  ) {
    func value(_ name: String, _ path: KeyPath<Shown, Int64>) {
      let (shown, least, exact, most) = (
        shown[keyPath: path], bound.least[keyPath: path], bound.exact[keyPath: path], bound.most[keyPath: path]
      )
      // Of the number of announces it is said apart.
      let suffix = isOfBytes ? "" : "n"
      func fail(_ kind: String, _ text: String) { self.fail(kind + suffix, text) }
      if shown > most { return fail("a", "\(whose) \(name): shown \(shown), moved \(most)") }
      guard isEnd, !trouble.hasLostWitnesses else { return }
      let reports = reports
      if trouble.worst == .reported {
        if shown < least, reports.isEmpty, !(trouble.hasForgotten && gapsCounted > 0) {
          fail("b", "\(whose) \(name): shown \(shown), at least \(least) of \(exact): missing without a word")
        }
        return
      }
      // Of what is late there it cannot be told of which life it is.
      if truth.hasRestartElsewhere, reports.contains(where: { $0.name == "late unknown" }), shown < exact { return }
      if truth.hasExcuses || !gone.isEmpty || isForeignUnsure {
        if shown < least { fail("c", "\(whose) \(name): shown \(shown), at least \(least) of \(exact)") }
      } else if shown != exact {
        fail("c", "\(whose) \(name): shown \(shown), exactly \(exact)")
      }
    }
    guard isOfBytes else {
      // An announce that says nothing is known by its second.
      if !consumers.isEmpty, site.countsAnnounces, !trouble.hasWrongClocks, !site.isHasty {
        value("announces", \.announces)
      }
      let slack = trouble.hasSmallClocks ? Int64(2 * truth.announces.count) : 0
      // Of seconds it is only said that there are not too many.
      if !consumers.isEmpty, site.countsTime, !trouble.hasWrongClocks, shown.seconds > bound.most.seconds + slack {
        fail("at", "\(whose) seconds: shown \(shown.seconds), at most \(bound.most.seconds)")
      }
      return
    }
    value("up", \.uploaded)
    value("down", \.downloaded)
    value("snatches", \.snatches)
    let gaps = gapsCounted
    if isEnd, !trouble.hasForgotten, gaps > 0 {
      fail("b", "redis is said to have forgotten something, \(gaps) times: it has not")
    }
    if isEnd, trouble.worst == .lossless, !truth.hasExcuses {
      // What counts as unknown may be nothing: Regressions/late-unknown-false.
      // What is withheld was credited, or is missing above.
      var silent = ["unannounced", "lost by the consumer", "withheld"] + (site.countsLosses ? [] : ["late unknown"])
      // What Redis has lost and nobody holds may have been read.
      if trouble.hasLostWitnesses { silent.append("lost to failover") }
      for report in reports where !silent.contains(report.name) {
        fail("b", "\(report.name): \(report.count) reported, and nothing is missing")
      }
    }
  }
}
