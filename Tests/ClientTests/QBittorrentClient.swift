// QBittorrentClient: qbittorrent-nox (libtorrent), asked over its Web API. One test at a time.

import Foundation
import Simulation
import Wire

final class QBittorrentClient: RealClient {
  let name = "qbittorrent"
  let passkey: String
  let folder: String
  let process: ChildProcess
  private let port: UInt16
  private var heldBytes: [String: UInt64] = [:]

  /// `family` nil: it listens on every address, and so announces over both families.
  init(passkey: String, family: IPAddress.Family?, in parent: String) throws {
    self.passkey = passkey
    let home = "\(parent)/qbittorrent"
    folder = "\(home)/data"
    port = try FreePort.take()
    let config = "\(home)/qBittorrent/config"
    for path in [folder, config] {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    // The queue is off because it would hold back all but three of a user's torrents.
    try """
    [LegalNotice]
    Accepted=true
    [Preferences]
    WebUI\\Address=127.0.0.1
    WebUI\\Port=\(port)
    WebUI\\LocalHostAuth=false
    WebUI\\UseUPnP=false
    [Network]
    PortForwardingEnabled=false
    [BitTorrent]
    Session\\DefaultSavePath=\(folder)
    Session\\Port=\(try FreePort.take())
    Session\\InterfaceAddress=\(family.map { TestHost.qBittorrent.address($0) } ?? "")
    Session\\QueueingSystemEnabled=false

    """.write(toFile: "\(config)/qBittorrent.conf", atomically: false, encoding: .utf8)
    process = try ChildProcess(
      ["qbittorrent-nox", "--profile=\(home)"], name: name, logPath: "\(home)/log", environment: ["HOME": home])
  }

  /// Its Web API answers from a copy that is refreshed every 1.5 seconds, but not for torrents that are paused: what it
  /// transferred last would be missing, also after a restart.
  var reportsLate: Bool { true }

  func isReady() -> Bool { (try? get("app/version").status) == 200 }

  func add(_ torrent: [UInt8], infoHash: String, heldBytes: Int) throws {
    self.heldBytes[infoHash] = UInt64(heldBytes)
    let boundary = "----------pt-tracker"
    let head = """
      --\(boundary)\r
      Content-Disposition: form-data; name="torrents"; filename="a.torrent"\r
      Content-Type: application/x-bittorrent\r
      \r

      """
    let reply = try ClientRPC.post(
      "/api/v2/torrents/add", port: port, headers: ["Content-Type": "multipart/form-data; boundary=\(boundary)"],
      body: Array(head.utf8) + torrent + Array("\r\n--\(boundary)--\r\n".utf8))
    guard reply.text == "Ok." else { throw HarnessError("not added: \(reply.status) \(reply.text)") }
  }

  func report(_ infoHash: String) throws -> ClientReport {
    let torrents = try ClientRPC.decode([[String: Any]].self, get("torrents/info?hashes=\(infoHash)"))
    guard let torrent = torrents.first else { throw HarnessError("qbittorrent has no torrent \(infoHash)") }
    let text = try torrent.field("state", String.self)
    let state: ClientReport.State =
      switch text {
      case "pausedUP", "pausedDL": .stopped
      case "uploading", "stalledUP", "forcedUP": .seeding
      case "downloading", "stalledDL", "forcedDL": .downloading
      case "checkingUP", "checkingDL", "checkingResumeData", "queuedUP", "queuedDL", "metaDL", "moving": .checking
      default: throw HarnessError("qbittorrent: \(torrent)")
      }
    // `downloaded` counts blocks that came twice, which libtorrent does not announce (its setting
    // `report_true_downloaded` is off); `completed` is what it has.
    let completed = try torrent.bytes("completed")
    return ClientReport(
      state: state, uploaded: try torrent.bytes("uploaded"),
      downloaded: completed - min(completed, heldBytes[infoHash, default: 0]),
      received: try torrent.bytes("downloaded"))
  }

  func trackers(_ infoHash: String) throws -> [String: TrackerReport] {
    var reports: [String: TrackerReport] = [:]
    for tracker in try ClientRPC.decode([[String: Any]].self, get("torrents/trackers?hash=\(infoHash)")) {
      // Web API: 2 is "has been contacted and is working".
      reports[try tracker.field("url")] = TrackerReport(
        isWorking: try tracker.field("status", Int.self) == 2, message: try tracker.field("msg"))
    }
    return reports
  }

  func announceNow(_ infoHash: String) throws { try command("reannounce", infoHash) }
  func stop(_ infoHash: String) throws { try command("pause", infoHash) }

  private func command(_ name: String, _ infoHash: String) throws {
    let reply = try ClientRPC.post(
      "/api/v2/torrents/\(name)", port: port, headers: ["Content-Type": "application/x-www-form-urlencoded"],
      body: Array("hashes=\(infoHash)".utf8))
    guard reply.status == 200 else { throw HarnessError("\(name): \(reply.status) \(reply.text)") }
  }

  private func get(_ target: String) throws(HarnessError) -> HTTPReply {
    var client = HTTPAnnounceClient(.v4(port))
    return try client.get("/api/v2/\(target)")
  }
}
