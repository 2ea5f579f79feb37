// TransmissionClient: transmission-daemon, asked over its RPC interface (rpc-spec.txt). One test at a time.

import Foundation
import Simulation
import Wire

final class TransmissionClient: RealClient {
  let name = "transmission"
  let passkey: String
  let folder: String
  let process: ChildProcess
  private let port: UInt16
  /// The CSRF token of its RPC interface: a request without gets it with status 409.
  private var session = ""
  private var heldBytes: [String: UInt64] = [:]

  init(passkey: String, family: IPAddress.Family, in parent: String) throws {
    self.passkey = passkey
    let home = "\(parent)/transmission"
    folder = "\(home)/data"
    port = try FreePort.take()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let settings: [String: Any] = [
      // With an IPv4 address of its own it asks every HTTP tracker from that one, and so reaches none over IPv6.
      "bind-address-ipv4": family == .v4 ? TestHost.transmission.address(.v4) : "0.0.0.0",
      // It tries uTP first, and a peer without (aria2) only a minute later over TCP.
      "utp-enabled": false,
      "peer-port": Int(try FreePort.take()), "rpc-bind-address": "127.0.0.1", "rpc-port": Int(port),
      "port-forwarding-enabled": false, "dht-enabled": false, "lpd-enabled": false, "download-dir": folder,
    ]
    try Data(ClientRPC.encode(settings)).write(to: URL(fileURLWithPath: "\(home)/settings.json"))
    process = try ChildProcess(
      ["transmission-daemon", "--foreground", "--config-dir", home], name: name, logPath: "\(home)/log",
      environment: ["HOME": home])
  }

  func isReady() -> Bool { (try? call("session-get")) != nil }

  func add(_ torrent: [UInt8], infoHash: String, heldBytes: Int) throws {
    self.heldBytes[infoHash] = UInt64(heldBytes)
    let added = try call("torrent-add", ["metainfo": Data(torrent).base64EncodedString()])
    guard added["torrent-added"] != nil else { throw HarnessError("not added: \(added)") }
  }

  func report(_ infoHash: String) throws -> ClientReport {
    let torrent = try torrent(infoHash, ["status", "haveValid", "uploadedEver", "downloadedEver"])
    // rpc-spec 3.1: 0 stopped, 1 and 2 check, 3 and 4 download, 5 and 6 seed.
    let state: ClientReport.State =
      switch try torrent.field("status", Int.self) {
      case 0: .stopped
      case 1, 2: .checking
      case 3, 4: .downloading
      default: .seeding
      }
    // "Downloaded" on its screen is `downloadedEver`, which counts blocks that came twice; what it announces is the size
    // of the pieces it completed.
    let completed = try torrent.bytes("haveValid")
    return ClientReport(
      state: state, uploaded: try torrent.bytes("uploadedEver"),
      downloaded: completed - min(completed, heldBytes[infoHash, default: 0]),
      received: try torrent.bytes("downloadedEver"))
  }

  func trackers(_ infoHash: String) throws -> [String: TrackerReport] {
    var reports: [String: TrackerReport] = [:]
    for tracker in try torrent(infoHash, ["trackerStats"]).field("trackerStats", [[String: Any]].self) {
      reports[try tracker.field("announce")] = TrackerReport(
        isWorking: try tracker.field("lastAnnounceSucceeded"), message: try tracker.field("lastAnnounceResult"))
    }
    return reports
  }

  func stop(_ infoHash: String) throws { try call("torrent-stop", ["ids": [infoHash]]) }

  private func torrent(_ infoHash: String, _ fields: [String]) throws -> [String: Any] {
    let torrents = try call("torrent-get", ["ids": [infoHash], "fields": fields])
      .field("torrents", [[String: Any]].self)
    guard let torrent = torrents.first else { throw HarnessError("transmission has no torrent \(infoHash)") }
    return torrent
  }

  @discardableResult
  private func call(_ method: String, _ arguments: [String: Any] = [:]) throws -> [String: Any] {
    let body = try ClientRPC.encode(["method": method, "arguments": arguments])
    var reply = try post(body)
    if reply.status == 409 {
      session = reply.headers["x-transmission-session-id"] ?? ""
      reply = try post(body)
    }
    let answer = try ClientRPC.decode([String: Any].self, reply)
    guard try answer.field("result", String.self) == "success" else { throw HarnessError("\(method): \(answer)") }
    return try answer.field("arguments")
  }

  private func post(_ body: [UInt8]) throws(HarnessError) -> HTTPReply {
    try ClientRPC.post(
      "/transmission/rpc", port: port, headers: ["X-Transmission-Session-Id": session], body: body)
  }
}
