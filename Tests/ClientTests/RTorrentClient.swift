// RTorrentClient: rtorrent without its screen, asked by XML-RPC over SCGI. Its configuration is the default one but for
// addresses and ports: it never says `completed`. One test at a time.

import Foundation
import Simulation
import Wire

final class RTorrentClient: RealClient {
  let name = "rtorrent"
  let passkey: String
  let folder: String
  let process: ChildProcess
  private let port: UInt16
  private var heldBytes: [String: UInt64] = [:]

  init(passkey: String, family: IPAddress.Family, in parent: String) throws {
    self.passkey = passkey
    let home = "\(parent)/rtorrent"
    folder = "\(home)/data"
    port = try FreePort.take()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let peers = try FreePort.take()
    // It takes no IPv6 address here; what it does not bind has the address of whom it asks.
    let bind = family == .v4 ? "network.bind_address.set = \(TestHost.rTorrent.address(.v4))" : ""
    try """
    system.daemon.set = true
    network.scgi.open_port = 127.0.0.1:\(port)
    network.port_range.set = \(peers)-\(peers)
    network.port_random.set = no
    \(bind)
    directory.default.set = \(folder)
    dht.mode.set = disable

    """.write(toFile: "\(home)/rtorrent.rc", atomically: false, encoding: .utf8)
    process = try ChildProcess(
      ["rtorrent", "-n", "-o", "import=\(home)/rtorrent.rc"], name: name, logPath: "\(home)/log",
      environment: ["HOME": home])
  }

  var saysCompleted: Bool { false }

  func isReady() -> Bool { (try? call("system.client_version")) != nil }

  func add(_ torrent: [UInt8], infoHash: String, heldBytes: Int) throws {
    self.heldBytes[infoHash] = UInt64(heldBytes)
    let data = "<value><base64>\(Data(torrent).base64EncodedString())</base64></value>"
    _ = try call("load.raw_start", ["<value><string></string></value>", data])
  }

  func report(_ infoHash: String) throws -> ClientReport {
    let number = { (name: String) in
      guard let number = UInt64(try self.call(name, [Self.text(infoHash.uppercased())])) else {
        throw HarnessError("rtorrent: \(name) is no number")
      }
      return number
    }
    let isComplete = try number("d.complete") == 1
    let state: ClientReport.State =
      switch (try number("d.state"), try number("d.is_active")) {
      case (0, _): .stopped
      case (_, 0): .checking
      default: isComplete ? .seeding : .downloading
      }
    let completed = try number("d.completed_bytes")
    return ClientReport(
      state: state, uploaded: try number("d.up.total"),
      downloaded: completed - min(completed, heldBytes[infoHash, default: 0]), received: try number("d.down.total"))
  }

  /// Not asked: what goes wrong is in the tracker's metrics.
  func trackers(_ infoHash: String) throws -> [String: TrackerReport] { [:] }

  func stop(_ infoHash: String) throws { _ = try call("d.stop", [Self.text(infoHash.uppercased())]) }

  private static func text(_ value: String) -> String { "<value><string>\(value)</string></value>" }

  /// One call; the text of the value that comes back.
  private func call(_ method: String, _ values: [String] = []) throws -> String {
    let parameters = values.map { "<param>\($0)</param>" }.joined()
    let body =
      "<?xml version=\"1.0\"?><methodCall><methodName>\(method)</methodName><params>\(parameters)</params></methodCall>"
    // SCGI: a netstring of headers, each name and value ended by a zero, the length first.
    let headers = "CONTENT_LENGTH\0\(body.utf8.count)\0SCGI\u{0}1\0"
    let socket = try ClientSocket(.v4(port), udp: false)
    try socket.send(Array("\(headers.utf8.count):\(headers),\(body)".utf8))
    var reply: [UInt8] = []
    while let more = try socket.receive(), !more.isEmpty { reply += more }
    let text = String(decoding: reply, as: UTF8.self)
    guard !text.contains("<fault>"), let value = text.firstMatch(of: /<value><\w+>([^<]*)<\/\w+><\/value>/) else {
      throw HarnessError("rtorrent: \(method): \(text)")
    }
    return String(value.1)
  }
}
