// RealClient: what the tests ask of a BitTorrent client from Debian, by its own RPC interface. One test at a time.

import Foundation
import Simulation

/// One torrent as its client reports it.
struct ClientReport: Equatable, CustomStringConvertible {
  enum State { case checking, downloading, seeding, stopped }
  var state: State
  /// Bytes of the torrent's data sent to peers, as shown to the user.
  var uploaded: UInt64
  /// Bytes of the torrent's data it got from peers and kept: what its user asked for.
  var downloaded: UInt64
  /// All of its data that peers sent, pieces that came twice included; nil when the client does not count it apart.
  var received: UInt64?

  var description: String {
    "\(state), uploaded \(uploaded), downloaded \(downloaded)" + (received.map { ", received \($0)" } ?? "")
  }
}

/// A tracker of a torrent as its client reports it.
struct TrackerReport: Equatable {
  var isWorking: Bool
  /// What the client shows to its user.
  var message: String
}

/// A client process of one user, with directories and ports of its own.
protocol RealClient: AnyObject {
  var name: String { get }
  /// The user's.
  var passkey: String { get }
  /// Where its downloads are.
  var folder: String { get }
  var process: ChildProcess { get }

  /// Whether its RPC interface answers.
  func isReady() -> Bool
  /// Adds a torrent of whose data `folder` has `heldBytes`; the client checks them first.
  func add(_ torrent: [UInt8], infoHash: String, heldBytes: Int) throws
  func report(_ infoHash: String) throws -> ClientReport
  /// The torrent's trackers by announce URL; empty when the client has no such report.
  func trackers(_ infoHash: String) throws -> [String: TrackerReport]
  /// Stops the torrent as its user would: the client announces `stopped`.
  func stop(_ infoHash: String) throws
  /// Whether `report` is a copy that is refreshed now and then, and no more once a torrent is stopped.
  var reportsLate: Bool { get }
  /// Whether it announces `completed` when a download is complete.
  var saysCompleted: Bool { get }
  /// Announces out of turn; only asked of a client that reports late.
  func announceNow(_ infoHash: String) throws
}

extension RealClient {
  var reportsLate: Bool { false }
  var saysCompleted: Bool { true }
  func announceNow(_ infoHash: String) throws { throw HarnessError("\(name) is not asked to announce") }

  func waitUntilReady() async throws {
    try await eventually("\(name) answers", evidence: self.process.log) {
      if let exit = self.process.exit { throw HarnessError("\(self.name): \(exit)\n\(self.process.log)") }
      return self.isReady()
    }
  }
}

/// JSON over HTTP on loopback.
enum ClientRPC {
  static func post(
    _ target: String, port: UInt16, headers: [String: String] = [:], body: [UInt8]
  ) throws(HarnessError) -> HTTPReply {
    try HTTPAnnounceClient.request("POST", target, at: .v4(port), headers: headers, body: body)
  }

  static func encode(_ value: [String: Any]) throws -> [UInt8] {
    Array(try JSONSerialization.data(withJSONObject: value))
  }

  /// The JSON of a reply, or an error that shows the reply.
  static func decode<Value>(_ type: Value.Type = Value.self, _ reply: HTTPReply) throws -> Value {
    let value = try? JSONSerialization.jsonObject(with: Data(reply.body), options: [.fragmentsAllowed])
    guard reply.status == 200, let value = value as? Value else {
      throw HarnessError("status \(reply.status): \(reply.text)")
    }
    return value
  }
}

extension [String: Any] {
  /// A field that must be there.
  func field<Field>(_ name: String, _ type: Field.Type = Field.self) throws(HarnessError) -> Field {
    guard let value = self[name] as? Field else { throw HarnessError("no \(name) in \(self)") }
    return value
  }

  /// A number that must be there.
  func bytes(_ name: String) throws(HarnessError) -> UInt64 { try field(name, NSNumber.self).uint64Value }
}
