// SharedFile: a file of random bytes that one client seeds, and the torrents of it for each user. One test at a time.

import Foundation
import Simulation

/// A file's torrents have one info hash and an announce URL for each user, as a private site makes them.
struct SharedFile {
  /// Several pieces, and a last one that is short (transmission-create takes 32 KiB pieces at this size).
  static let byteCount = 3_000_001

  let name: String
  /// Where the seeder has it.
  let path: String
  /// Lower-case hex.
  let infoHash: String
  private let torrentFolder: String

  /// Writes the file into `folder` and learns its info hash.
  init(name: String, in folder: String, torrents: String, random: inout SeededRandom) async throws {
    self.name = name
    path = "\(folder)/\(name)"
    torrentFolder = torrents
    var bytes = Data(capacity: Self.byteCount + 8)
    while bytes.count < Self.byteCount { withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) } }
    try bytes.prefix(Self.byteCount).write(to: URL(fileURLWithPath: path))
    let torrent = try await Self.create(path, ["http://localhost/announce"], "\(torrents)/\(name).torrent")
    let shown = try await Self.run(["transmission-show", torrent])
    let label = "Hash: "
    guard let line = shown.split(separator: "\n").first(where: { $0.contains(label) }),
      let start = line.range(of: label)?.upperBound
    else { throw HarnessError("transmission-show names no hash:\n\(shown)") }
    infoHash = String(line[start...])
  }

  /// A private torrent with these announce URLs, each a tier of its own; its bytes.
  func torrent(announceURLs: [String], user: String) async throws -> [UInt8] {
    let path = try await Self.create(path, announceURLs, "\(torrentFolder)/\(name)-\(user).torrent")
    return Array(try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  private static func create(_ file: String, _ announceURLs: [String], _ torrent: String) async throws -> String {
    let trackers = announceURLs.flatMap { ["-t", $0] }
    _ = try await run(["transmission-create", "-p", "-o", torrent] + trackers + [file])
    return torrent
  }

  private static func run(_ arguments: [String]) async throws -> String {
    let result = try await CommandResult.run(arguments)
    guard result.exit == .code(0) else {
      throw HarnessError("\(arguments[0]): \(result.exit)\n\(result.output)\(result.errors)")
    }
    return result.output
  }
}
