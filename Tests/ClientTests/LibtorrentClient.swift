// LibtorrentClient: what stands on libtorrent (rasterbar) and has Python bindings from Debian: Deluge's daemon, and the library
// alone. A script beside this file puts either behind JSON over HTTP. One test at a time.

import Foundation
import Simulation
import Wire

final class LibtorrentClient: RealClient {
  /// What announces itself.
  enum Kind: String {
    case deluge, libtorrent
    fileprivate var host: TestHost { self == .deluge ? .deluge : .libtorrent }
  }

  let name: String
  let passkey: String
  let folder: String
  let process: ChildProcess
  private let port: UInt16
  private var heldBytes: [String: UInt64] = [:]

  init(_ kind: Kind, passkey: String, family: IPAddress.Family, in parent: String) throws {
    name = kind.rawValue
    self.passkey = passkey
    let home = "\(parent)/\(name)"
    folder = "\(home)/data"
    port = try FreePort.take()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    process = try ChildProcess(
      [
        // Debian's: another Python in PATH does not have its packages.
        "/usr/bin/python3", Repository.path("Tests/ClientTests/\(name)_client.py"), home, "\(port)",
        "\(try FreePort.take())", kind.host.address(family),
      ], name: name, logPath: "\(home)/log", environment: ["HOME": home])
  }

  func isReady() -> Bool { Site.status(port: port, "/") == 200 }

  func add(_ torrent: [UInt8], infoHash: String, heldBytes: Int) throws {
    self.heldBytes[infoHash] = UInt64(heldBytes)
    let id = try call(["method": "add", "torrent": Data(torrent).base64EncodedString()]).field("id", String.self)
    guard id == infoHash else { throw HarnessError("\(name): added as \(id)") }
  }

  func report(_ infoHash: String) throws -> ClientReport {
    let torrent = try call(["method": "status", "id": infoHash])
    let state: ClientReport.State =
      switch try torrent.field("state", String.self) {
      case "Seeding": .seeding
      case "Downloading": .downloading
      case "Paused": .stopped
      case "Checking", "Queued", "Allocating": .checking
      default: throw HarnessError("\(name): \(torrent)")
      }
    let done = try torrent.bytes("done")
    return ClientReport(
      state: state, uploaded: try torrent.bytes("uploaded"),
      downloaded: done - min(done, heldBytes[infoHash, default: 0]), received: try torrent.bytes("received"))
  }

  func trackers(_ infoHash: String) throws -> [String: TrackerReport] {
    var reports: [String: TrackerReport] = [:]
    let trackers = try call(["method": "status", "id": infoHash]).field("trackers", [[String: Any]].self)
    for tracker in trackers {
      reports[try tracker.field("url")] = TrackerReport(isWorking: try tracker.field("working"), message: "")
    }
    return reports
  }

  func stop(_ infoHash: String) throws { _ = try call(["method": "stop", "id": infoHash]) }

  private func call(_ arguments: [String: Any]) throws -> [String: Any] {
    try ClientRPC.decode([String: Any].self, ClientRPC.post("/", port: port, body: ClientRPC.encode(arguments)))
  }
}
