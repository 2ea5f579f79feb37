// The oracle against totals worked out by hand: it must be right before anything is compared with it.

import Simulation
import Testing
import Wire

@Suite("The ledger")
struct LedgerTests {
  private let user = "00112233445566778899aabbccddeeff"
  private let torrent = InfoHash(hex: String(repeating: "a1", count: 20))!
  private let peer = PeerID(hex: String(repeating: "b2", count: 20))!

  private struct Step {
    var at: ClosedRange<Int64>
    var up: UInt64
    var down: UInt64
    var left: UInt64 = 0
    var event = AnnounceEvent.none
  }

  private func totals(_ steps: [Step]) throws -> LedgerTotals {
    var ledger = Ledger()
    for step in steps {
      ledger.record(
        Announcement(
          passkey: user, infoHash: torrent, peerID: peer, uploaded: step.up, downloaded: step.down, left: step.left,
          event: step.event), interval: 60, at: step.at)
    }
    #expect(ledger.users[user] == ledger.torrents[torrent])
    return try #require(ledger.users[user])
  }

  @Test("first sight is a baseline: a client's earlier life is not credited")
  func firstSight() throws {
    let totals = try totals([Step(at: 100...100, up: 5_000, down: 700, event: .started)])
    #expect(totals == LedgerTotals(uploaded: 0, downloaded: 0, events: 1))
  }

  @Test("differences are credited, seeding and leeching time told apart by what is left")
  func differences() throws {
    let totals = try totals([
      Step(at: 100...100, up: 10, down: 0, left: 50, event: .started),
      Step(at: 130...130, up: 25, down: 30, left: 20),
      Step(at: 150...150, up: 25, down: 50, event: .completed),
      Step(at: 190...190, up: 1025, down: 50),
    ])
    #expect(
      totals
        == LedgerTotals(
          uploaded: 1015, downloaded: 50, seedSeconds: 40...40, leechSeconds: 50...50, completed: 1, events: 4))
  }

  @Test("counters that go backwards credit nothing and begin anew, whichever of them it is")
  func backwards() throws {
    let totals = try totals([
      Step(at: 100...100, up: 1000, down: 1000, event: .started), Step(at: 110...110, up: 900, down: 1500),
      Step(at: 120...120, up: 950, down: 1400), Step(at: 130...130, up: 960, down: 1401),
    ])
    #expect(totals.uploaded == 10)
    #expect(totals.downloaded == 1)
  }

  @Test("stopped credits its difference; said again it adds nothing, and until a session returns no time passes")
  func stopped() throws {
    let totals = try totals([
      Step(at: 100...100, up: 0, down: 0, event: .started), Step(at: 110...110, up: 7, down: 0, event: .stopped),
      Step(at: 120...120, up: 7, down: 0, event: .stopped), Step(at: 500...500, up: 20, down: 0, event: .started),
      Step(at: 510...510, up: 23, down: 0),
    ])
    #expect(totals == LedgerTotals(uploaded: 23, seedSeconds: 20...20, events: 5))
  }

  @Test("completed is one snatch however often it is said")
  func completedOnce() throws {
    let totals = try totals([
      Step(at: 1...1, up: 0, down: 0, left: 9, event: .started), Step(at: 2...2, up: 0, down: 9, event: .completed),
      Step(at: 3...3, up: 0, down: 9, event: .completed),
    ])
    #expect(totals.completed == 1)
  }

  @Test("time is capped at the interval and the tolerance")
  func cap() throws {
    let cap = 60 + Ledger.seedToleranceSeconds
    let totals = try totals([
      Step(at: 100...100, up: 0, down: 0, event: .started), Step(at: 100 + cap...100 + cap, up: 0, down: 0),
      Step(at: 101 + 2 * cap...101 + 2 * cap, up: 0, down: 0),
    ])
    #expect(totals.seedSeconds == 2 * cap...2 * cap)
  }

  @Test("an announce around a new second gives a range of one second more")
  func range() throws {
    let totals = try totals([
      Step(at: 100...101, up: 0, down: 0, event: .started), Step(at: 110...110, up: 0, down: 0),
    ])
    #expect(totals.seedSeconds == 9...10)
  }
}
