import Foundation
import Linux
import Simulation
import Testing
import Wire

@testable import Tracker

@Suite("snatches")
struct SnatchLedgerTests {
  let first = InfoHash(words: (1, 2, 3))
  let second = InfoHash(words: (4, 5, 6))

  @Test("a user's snatch of a torrent counts once, also after a restart")
  func survivesRestart() throws {
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/snatches"
    let ledger = try SnatchLedger(path: path)
    #expect(ledger.record(first, user: 1).isNew)
    #expect(!ledger.record(first, user: 1).isNew)
    #expect(ledger.record(first, user: 2).isNew)
    #expect(ledger.record(second, user: 1).isNew)
    ledger.flush()
    let again = try SnatchLedger(path: path)
    #expect(again.count(first) == 2)
    #expect(again.count(second) == 1)
    #expect(!again.record(first, user: 2).isNew)
  }

  @Test("of one user so many torrents are kept, also after a restart; those that are kept count on")
  func limit() throws {
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/snatches"
    let metrics = MetricRegistry()
    let ledger = try SnatchLedger(path: path, metrics: metrics)
    func torrent(_ number: UInt64) -> InfoHash { InfoHash(words: (number, 0, 0)) }
    for number in 1...3 as ClosedRange<UInt64> { #expect(ledger.record(torrent(number), user: 1, limit: 3).isNew) }
    #expect(ledger.record(torrent(4), user: 1, limit: 3) == (0, false))
    #expect(ledger.count(torrent(4)) == 0)
    #expect(ledger.record(torrent(3), user: 1, limit: 3) == (1, false), "what is kept already is no refusal")
    #expect(ledger.record(torrent(4), user: 2, limit: 3) == (1, true))
    #expect(ledger.mostOfUser == 3)
    #expect(metrics.render().contains("tracker_snatches_refused_total 1\n"))
    ledger.flush()
    let again = try SnatchLedger(path: path)
    #expect(again.mostOfUser == 3)
    #expect(again.record(torrent(5), user: 1, limit: 3) == (0, false))
    #expect(again.record(torrent(5), user: 1, limit: 4) == (1, true))
    #expect(again.record(torrent(6), user: 1) == (1, true), "0 is no limit")
  }

  @Test("a torn tail is cut off wherever it was torn, and writing goes on")
  func tornTail() throws {
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/snatches"
    let ledger = try SnatchLedger(path: path)
    for user in 1...3 as ClosedRange<UInt64> { _ = ledger.record(first, user: user) }
    ledger.flush()
    let whole = try Data(contentsOf: URL(filePath: path))
    for length in 0...whole.count {
      try whole.prefix(length).write(to: URL(filePath: path))
      let torn = try SnatchLedger(path: path)
      #expect(torn.count(first) == UInt32(length / SnatchLedger.recordBytes))
      _ = torn.record(second, user: 9)
      torn.flush()
      let mended = try SnatchLedger(path: path)
      #expect(mended.count(first) == UInt32(length / SnatchLedger.recordBytes))
      #expect(mended.count(second) == 1)
    }
  }

  @Test("a place that cannot be written is named")
  func badPath() throws {
    let error = #expect(throws: SystemError.self) { try SnatchLedger(path: "/nowhere/snatches") }
    #expect(error?.description.contains("/nowhere/snatches") == true)
  }
}
