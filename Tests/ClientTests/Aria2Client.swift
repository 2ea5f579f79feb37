// Aria2Client: aria2c, asked over JSON-RPC (its manual, "RPC INTERFACE"). One test at a time.

import Foundation
import Simulation
import Wire

final class Aria2Client: RealClient {
  let name = "aria2"
  let passkey: String
  let folder: String
  let process: ChildProcess
  private let port: UInt16
  /// aria2's name of each download, by info hash.
  private var downloads: [String: String] = [:]
  private var heldBytes: [String: UInt64] = [:]

  /// aria2 binds to one address, so to one family.
  init(passkey: String, family: IPAddress.Family, in parent: String) throws {
    self.passkey = passkey
    let home = "\(parent)/aria2"
    folder = "\(home)/data"
    port = try FreePort.take()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let peers = try FreePort.take()
    process = try ChildProcess(
      [
        "aria2c", "--no-conf", "--dir=\(folder)", "--interface=\(TestHost.aria2.address(family))",
        "--enable-rpc", "--rpc-listen-port=\(port)", "--listen-port=\(peers)",
        // Without DHT it has no UDP trackers; a private torrent does not use DHT.
        "--enable-dht=true", "--dht-listen-port=\(peers)", "--dht-file-path=\(home)/dht.dat",
        "--check-integrity=true", "--seed-ratio=0.0", "--file-allocation=none",
      ], name: name, logPath: "\(home)/log", environment: ["HOME": home])
  }

  func isReady() -> Bool { (try? call([String: Any].self, "getVersion", [])) != nil }

  func add(_ torrent: [UInt8], infoHash: String, heldBytes: Int) throws {
    self.heldBytes[infoHash] = UInt64(heldBytes)
    downloads[infoHash] = try call(String.self, "addTorrent", [Data(torrent).base64EncodedString()])
  }

  func report(_ infoHash: String) throws -> ClientReport {
    let keys = ["status", "uploadLength", "completedLength", "seeder", "verifiedLength", "verifyIntegrityPending"]
    let status = try call([String: Any].self, "tellStatus", [gid(infoHash), keys])
    let state: ClientReport.State =
      switch try status.field("status", String.self) {
      case "active" where status["verifiedLength"] != nil || status["verifyIntegrityPending"] != nil: .checking
      case "active": status["seeder"] as? String == "true" ? .seeding : .downloading
      case "waiting": .checking
      case "error": throw HarnessError("aria2: \(status)\n\(process.log)")
      default: .stopped
      }
    // `completedLength` is what it has, that which it was given included. While it checks, that is not counted yet.
    let completed = try number(status, "completedLength")
    return ClientReport(
      state: state, uploaded: try number(status, "uploadLength"),
      downloaded: completed - min(completed, heldBytes[infoHash, default: 0]))
  }

  /// aria2 reports no trackers; what went wrong is in its log.
  func trackers(_ infoHash: String) throws -> [String: TrackerReport] { [:] }

  func stop(_ infoHash: String) throws { _ = try call(String.self, "remove", [gid(infoHash)]) }

  private func gid(_ infoHash: String) throws(HarnessError) -> String {
    guard let gid = downloads[infoHash] else { throw HarnessError("aria2 has no torrent \(infoHash)") }
    return gid
  }

  /// Numbers are text in aria2's JSON.
  private func number(_ status: [String: Any], _ name: String) throws(HarnessError) -> UInt64 {
    guard let number = UInt64(try status.field(name, String.self)) else { throw HarnessError("no \(name): \(status)") }
    return number
  }

  private func call<Value>(_ type: Value.Type, _ method: String, _ parameters: [Any]) throws -> Value {
    let body = try ClientRPC.encode(
      ["jsonrpc": "2.0", "id": "1", "method": "aria2.\(method)", "params": parameters])
    return try ClientRPC.decode([String: Any].self, ClientRPC.post("/jsonrpc", port: port, body: body))
      .field("result")
  }
}
