// Swarm: a site, its clients and the files they share, and what came of it: three accounts of the same bytes. One test
// at a time.

import Foundation
import Simulation
import Testing
import Wire

/// Each client seeds one file; the next ones of the list download it.
final class Swarm {
  /// A transfer of megabytes takes seconds; clients wait up to a minute before they try something again. Only ends a
  /// broken run.
  static let transferSeconds = 180.0

  let site: Site
  let clients: [any RealClient]
  /// By the client that seeds it, in the order of `clients`.
  let files: [SharedFile]
  private let leechersPerFile: Int

  init(
    site: Site, clients: [any RealClient], leechersPerFile: Int, random: inout SeededRandom
  ) async throws {
    self.site = site
    self.clients = clients
    self.leechersPerFile = leechersPerFile
    var files: [SharedFile] = []
    for client in clients {
      files.append(
        try await SharedFile(
          name: "\(client.name).bin", in: client.folder, torrents: site.directory.path, random: &random))
    }
    self.files = files
  }

  /// One client's part in one file's transfer.
  struct Session {
    let client: any RealClient
    let file: SharedFile
    let isSeeder: Bool
    var description: String { "\(client.name), \(isSeeder ? "seeder" : "leecher") of \(file.name)" }
  }

  /// What each session does with each file, each file's seeder first.
  var sessions: [Session] {
    files.indices.flatMap { index in
      (0...leechersPerFile).map { step in
        Session(client: clients[(index + step) % clients.count], file: files[index], isSeeder: step == 0)
      }
    }
  }

  /// Seeders first, then all others; returns when all have every file, byte for byte.
  func transfer(announceURLs: (any RealClient) -> [String]) async throws {
    for client in clients { try await client.waitUntilReady() }
    let seeders = sessions.filter(\.isSeeder)
    for session in seeders { try await add(session, announceURLs, heldBytes: SharedFile.byteCount) }
    try await awaitAll(seeders, "the tracker knows the") { session in
      try self.trackedSeeders(of: session.file) == 1
    }
    let leechers = sessions.filter { !$0.isSeeder }
    for session in leechers { try await add(session, announceURLs, heldBytes: 0) }
    try await awaitAll(sessions, "the file is complete:") { session in
      try session.client.report(session.file.infoHash).state == .seeding
    }
    for session in leechers {
      #expect(
        FileManager.default.contentsEqual(
          atPath: session.file.path, andPath: "\(session.client.folder)/\(session.file.name)"),
        "\(session.description)")
    }
  }

  /// Waits until the tracker has every `completed`, and until the report of a client that reports late has caught
  /// up with the last byte.
  func settle() async throws {
    let leechers = sessions.filter { !$0.isSeeder && $0.client.saysCompleted }
    try await awaitAll(leechers, "completed was said by the") { session in
      try self.entries(of: session).contains { $0.event == .completed }
    }
    for session in sessions where session.client.reportsLate {
      let uploaded = try await finalUpload(of: session)
      try await awaitAll([session], "\(uploaded) bytes up are reported by the") {
        try $0.client.report($0.file.infoHash).uploaded >= uploaded
      }
    }
  }

  /// What a session has uploaded when all have everything: one to one, what it had to; in a crowd, what it says in
  /// an announce out of turn. (Not so over UDP: libtorrent keeps a minute between two announces there, BEP 15 having no
  /// `min interval`.)
  private func finalUpload(of session: Session) async throws -> UInt64 {
    if leechersPerFile == 1 { return session.isSeeder ? UInt64(SharedFile.byteCount) : 0 }
    let before = try entries(of: session).count
    try session.client.announceNow(session.file.infoHash)
    try await awaitAll([session], "announced again has the") { try self.entries(of: $0).count > before }
    return try lastAnnounce(try #require(entries(of: session).last)).uploaded
  }

  /// Stops every torrent by its client's interface and waits until the clients say so.
  func stop() async throws {
    for session in sessions { try session.client.stop(session.file.infoHash) }
    try await awaitAll(sessions, "stopped is the") { session in
      try session.client.report(session.file.infoHash).state == .stopped
    }
  }

  private func add(
    _ session: Session, _ announceURLs: (any RealClient) -> [String], heldBytes: Int
  ) async throws {
    let torrent = try await session.file.torrent(
      announceURLs: announceURLs(session.client), user: session.client.name)
    try session.client.add(torrent, infoHash: session.file.infoHash, heldBytes: heldBytes)
  }

  /// Waits until `condition` holds for every session, and shows who kept us waiting.
  func awaitAll(
    _ sessions: [Session], _ what: String, _ condition: (Session) throws -> Bool
  ) async throws {
    for session in sessions {
      try await eventually(
        "\(what) \(session.description)", within: Self.transferSeconds,
        evidence: self.evidence(session.client, session.file)
      ) { try condition(session) }
    }
  }

  private func evidence(_ client: any RealClient, _ file: SharedFile) -> String {
    let report = (try? client.report(file.infoHash)).map { "\($0)" } ?? "no report"
    let trackers = (try? client.trackers(file.infoHash)).map { "\($0)" } ?? "no trackers"
    return "\(report)\n\(trackers)\n\(client.process.log)\n\(site.logs)"
  }

  /// As the tracker's scrape says it.
  private func trackedSeeders(of file: SharedFile) throws -> Int? {
    let hash = HTTPAnnounceClient.escaped(InfoHash(hex: file.infoHash)!.bytes)
    let reply = try Site.get(port: site.endpoints.httpPort, "/scrape?info_hash=\(hash)")
    let files = try Bencode.decode(reply.body)["files"]
    return files?[InfoHash(hex: file.infoHash)!.bytes]?["complete"]?.integer.map(Int.init)
  }
}
