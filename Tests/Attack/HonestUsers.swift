// HonestUsers: known users who announce what they moved, over HTTP with a connection each time and over UDP, and remember what
// they announced, how long each answer took and who was refused. Two threads; a lock guards the books.

import Foundation
import Linux
import Simulation
import Synchronization
import Wire

/// Sixteen of them or so, half over HTTP, half over UDP.
final class HonestUsers: Sendable {
  private struct Books {
    var uploaded: [UInt64]
    var report = HonestReport()
  }
  let passkeys: [String]
  private let endpoints: TrackerEndpoints
  private let books: Mutex<Books>
  private let threads = Mutex<[AttackThread]>([])
  /// The pause between two announces of a transport: a hundred a second and more, as of 100,000 peers.
  private static let pauseMicroseconds: UInt32 = 5000

  init(count: Int, at endpoints: TrackerEndpoints) {
    passkeys = (0..<count).map { "h0ne57\($0)" }
    self.endpoints = endpoints
    books = Mutex(Books(uploaded: [UInt64](repeating: 0, count: count)))
  }

  var report: HonestReport { books.withLock(\.report) }
  /// By passkey.
  var announcedBytes: [String: UInt64] {
    Dictionary(uniqueKeysWithValues: zip(passkeys, books.withLock(\.uploaded)))
  }

  /// Each one's baseline; from then on the tracker knows them.
  func begin() throws {
    var client = HTTPAnnounceClient(.v4(endpoints.httpPort))
    for user in passkeys.indices { _ = try client.announce(announcement(of: user, .started, uploaded: 0)).reply() }
  }

  /// Begins to announce.
  func start() throws {
    let count = passkeys.count
    let client = Mutex(try UDPAnnounceClient(.v4(endpoints.udpPort)))
    let http = AttackThread("honest-http") { [self] round in
      announce(2 * round % count, .none, overHTTP)
      usleep(Self.pauseMicroseconds)
    }
    let udp = AttackThread("honest-udp") { [self] round in
      announce((2 * round + 1) % count, .none) { announcement in
        try client.withLock { try $0.announce(announcement) }
      }
      usleep(Self.pauseMicroseconds)
    }
    threads.withLock { $0 = [http, udp] }
  }

  /// Ends, and says `stopped` for each.
  func stop() async throws {
    for thread in threads.withLock({ $0 }) { try await thread.end() }
    for user in passkeys.indices { announce(user, .stopped, overHTTP) }
  }

  private func overHTTP(_ announcement: Announcement) throws -> AnnounceOutcome {
    var client = HTTPAnnounceClient(.v4(endpoints.httpPort))
    return try client.announce(announcement)
  }

  private func announce(
    _ user: Int, _ event: AnnounceEvent, _ exchange: (Announcement) throws -> AnnounceOutcome
  ) {
    let uploaded = books.withLock { books in
      books.uploaded[user] += UInt64.random(in: 1...1 << 20)
      return books.uploaded[user]
    }
    let begin = Clock.monotonicNanoseconds()
    var refusal: String?
    do {
      if case .failure(let reason) = try exchange(announcement(of: user, event, uploaded: uploaded)) {
        refusal = reason
      }
    } catch {
      refusal = "no answer: \(error)"
    }
    let took = Clock.monotonicNanoseconds() - begin
    books.withLock { books in
      books.report.announces += 1
      books.report.latencies.append(took)
      if let refusal { books.report.refusals[refusal, default: 0] += 1 }
    }
  }

  private func announcement(of user: Int, _ event: AnnounceEvent, uploaded: UInt64) -> Announcement {
    Announcement(
      passkey: passkeys[user], infoHash: InfoHash(words: (7, 7, UInt32(user % 4))),
      peerID: PeerID(words: (1, 2, UInt32(user))), uploaded: uploaded, left: 0, event: event)
  }
}
