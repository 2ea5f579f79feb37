import Testing
import Wire

@testable import Tracker

@Suite("what a session's announces say of its download")
struct PeerProgressTests {
  /// One announce of a session.
  struct Said: CustomTestStringConvertible {
    var event = AnnounceEvent.none
    var downloaded: UInt64
    var left: UInt64
    var testDescription: String { "\(event) \(downloaded) \(left)" }
  }

  /// The numbers of the announces that complete a download.
  static func completing(_ said: [Said]) -> [Int] {
    var progress = PeerProgress()
    return said.indices.filter { number in
      var announce = SwarmStoreTests.make(user: 1, event: said[number].event, left: said[number].left)
      announce.downloaded = said[number].downloaded
      return progress.take(announce, isNew: number == 0)
    }
  }

  static let size: UInt64 = 3_000_001

  @Test(
    "completed is one of a session that had something left",
    arguments: [
      // It was seen.
      ([Said(event: .started, downloaded: 0, left: size), Said(event: .completed, downloaded: size, left: 0)], [1]),
      // Even if it says that it downloaded nothing: its word counts.
      ([Said(event: .started, downloaded: 0, left: size), Said(event: .completed, downloaded: 0, left: 0)], [1]),
      // Said again, it is the same: the ledger knows.
      (
        [
          Said(event: .started, downloaded: 0, left: size), Said(event: .completed, downloaded: size, left: 0),
          Said(event: .completed, downloaded: size, left: 0),
        ], [1, 2]
      ),
      // Another tracker saw it, or this one before it was started anew, or `started` did not get through.
      ([Said(event: .completed, downloaded: size, left: 0)], [0]),
      (
        [Said(event: .started, downloaded: size, left: 0), Said(event: .completed, downloaded: size, left: 0)], [1]
      ),
      // It checked what it had: libtorrent up to 1.2.2 called that completed.
      ([Said(event: .completed, downloaded: 0, left: 0)], []),
      ([Said(event: .started, downloaded: 0, left: 0), Said(event: .completed, downloaded: 0, left: 0)], []),
      // Of the files that were wanted, not of the torrent; then of the torrent.
      (
        [
          Said(event: .started, downloaded: 0, left: size),
          Said(event: .completed, downloaded: 1000, left: size - 1000),
          Said(downloaded: size, left: 0),
        ], [2]
      ),
    ])
  func completed(said: [Said], expected: [Int]) { #expect(Self.completing(said) == expected) }

  @Test(
    "without that word, the first announce with nothing left is, if a download explains it",
    arguments: [
      ([Said(event: .started, downloaded: 0, left: size), Said(downloaded: size, left: 0)], [1]),
      ([Said(event: .started, downloaded: 0, left: size), Said(event: .stopped, downloaded: size, left: 0)], [1]),
      // Once.
      (
        [
          Said(event: .started, downloaded: 0, left: size), Said(downloaded: size, left: 0),
          Said(downloaded: size, left: 0), Said(event: .stopped, downloaded: size, left: 0),
        ], [1]
      ),
      // Part of it was there.
      ([Said(event: .started, downloaded: 0, left: 9), Said(downloaded: 5, left: 0)], [1]),
      // Nearly all of it was: the files were found, not downloaded.
      ([Said(event: .started, downloaded: 0, left: 9), Said(downloaded: 4, left: 0)], []),
      ([Said(event: .started, downloaded: 0, left: size), Said(downloaded: 0, left: 0)], []),
      // What was downloaded before it was seen explains nothing.
      ([Said(downloaded: 90, left: 10), Said(downloaded: 95, left: 0)], []),
      ([Said(downloaded: 90, left: 10), Said(downloaded: 96, left: 0)], [1]),
      // It started over: its counter begins anew.
      (
        [
          Said(event: .started, downloaded: 90, left: 10), Said(event: .started, downloaded: 0, left: 10),
          Said(downloaded: 10, left: 0),
        ], [2]
      ),
      // A seeder from the start, however it counts.
      ([Said(event: .started, downloaded: 7, left: 0), Said(downloaded: 9, left: 0)], []),
      // A magnet link's size is not known at first: -1 (BEP 15), 2^63 - 1, libtorrent's 16 KiB.
      ([Said(event: .started, downloaded: 0, left: .max), Said(downloaded: 20_000, left: 0)], [1]),
      ([Said(event: .started, downloaded: 0, left: 1 << 63 - 1), Said(downloaded: 20_000, left: 0)], [1]),
      ([Said(event: .started, downloaded: 0, left: 16_384), Said(downloaded: 20_000, left: 0)], [1]),
      ([Said(event: .started, downloaded: 0, left: .max), Said(downloaded: 0, left: 0)], []),
      // It found a broken piece and fetched it again: the ledger knows that it had the torrent.
      (
        [
          Said(event: .started, downloaded: 0, left: 9), Said(event: .completed, downloaded: 9, left: 0),
          Said(downloaded: 9, left: 2), Said(downloaded: 11, left: 0),
        ], [1, 3]
      ),
    ])
  func transition(said: [Said], expected: [Int]) { #expect(Self.completing(said) == expected) }

  @Test("a goal is rounded down by less than a thousandth, and is never the mark for none")
  func goal() {
    for bit in 0..<UInt64.bitWidth {
      for bytes in [1 << UInt64(bit), 1 << UInt64(bit) - 1, UInt64.max >> UInt64(bit)] as [UInt64] {
        let goal = DownloadGoal(downloaded: bytes, left: 0)
        #expect(goal.bytes <= bytes && bytes - goal.bytes <= bytes / 1024, "\(bytes)")
        #expect(!goal.isNone)
      }
    }
    #expect(DownloadGoal(downloaded: .max, left: 1 << 53).bytes > 1 << 63, "no overflow")
    #expect(!DownloadGoal.none.isReached(by: .max))
  }

  @Test("a client is told that it announces too often after seven early announces in a row")
  func tooOften() {
    var progress = PeerProgress()
    func isTooOften(_ seconds: UInt32, _ event: AnnounceEvent = .none) -> Bool {
      var announce = SwarmStoreTests.make(user: 1, event: event)
      announce.minIntervalSeconds = 900
      return progress.takeInterval(seconds, of: announce)
    }
    #expect((0..<7).map { _ in isTooOften(0) } == Array(repeating: false, count: 7))
    #expect([isTooOften(899), isTooOften(0)] == [true, true])
    #expect([isTooOften(0, .started), isTooOften(0, .completed), isTooOften(0, .stopped)] == [false, false, false])
    #expect([isTooOften(0), isTooOften(900)] == [true, false], "in time")
    #expect((0..<7).map { _ in isTooOften(1) } == Array(repeating: false, count: 7))
    #expect(isTooOften(1) == true)
  }
}
