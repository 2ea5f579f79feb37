// TortureTracker: one tracker of a tortured site, with the counters of all its lives. One task.

import Foundation
import Glibc
import Simulation

/// A tracker that is killed and started again.
final class TortureTracker {
  let name: String
  let config: String
  let spool: String
  let endpoints: TrackerEndpoints
  private let metricsPort: UInt16
  private let folder: String
  private(set) var process: ChildProcess?
  private var lives = 0
  private var ofEarlierLives: [String: Int64] = [:]
  private var ofThisLife: [String: Int64] = [:]

  init(
    _ name: String, config: String, spool: String, endpoints: TrackerEndpoints, metricsPort: UInt16, in folder: String
  ) {
    self.name = name
    self.config = config
    self.spool = spool
    self.endpoints = endpoints
    self.metricsPort = metricsPort
    self.folder = folder
  }

  func start() async throws {
    lives += 1
    let log = "\(folder)/\(name)-\(lives).log"
    let child = try ChildProcess([Binaries.tracker, "--config", config], name: name, logPath: log)
    process = child
    try await eventually("\(name) is ready", evidence: child.log) {
      if let exit = child.exit { throw HarnessError("\(name): \(exit)\n\(child.log)") }
      return Site.status(port: metricsPort, "/health/ready") == 200
    }
  }

  func kill9() {
    retire()
    process?.kill9()
  }

  func terminate() async throws {
    retire()
    try await process?.terminate()
  }

  private func retire() {
    look()
    ofEarlierLives.merge(ofThisLife, uniquingKeysWith: +)
    ofThisLife = [:]
  }

  private func look() {
    guard process?.exit == nil, let text = try? Site.get(port: metricsPort, "/metrics").text else { return }
    ofThisLife = [:]
    for line in text.split(separator: "\n") where line.hasPrefix("tracker_push_") {
      let words = line.split(separator: " ")
      guard words.count == 2, let value = Double(words[1]) else { continue }
      ofThisLife[String(words[0].prefix { $0 != "{" }), default: 0] += Int64(value)
    }
  }

  /// Not a metric: spools whose tail was missing at a start, which the log says.
  static let tornSpools = "warnings of torn spools"

  /// What it counted since the site began.
  var counters: [String: Int64] {
    look()
    var all = ofEarlierLives.merging(ofThisLife.filter { $0.key.hasSuffix("_total") }, uniquingKeysWith: +)
    all[Self.tornSpools] = Int64(logs.split(separator: "\n").count { $0.contains("tail was not written whole") })
    return all
  }

  /// Announces that wait for Redis; nil when it does not say.
  var waiting: Int64? {
    ofThisLife = [:]
    look()
    return ofThisLife["tracker_push_queue_depth"]
  }

  /// Whether the spool on disk was written after `time` (Unix nanoseconds).
  func hasSpooled(since time: UInt64) -> Bool {
    var status = stat()
    guard stat(spool, &status) == 0 else { return false }
    return UInt64(status.st_mtim.tv_sec) * 1_000_000_000 + UInt64(status.st_mtim.tv_nsec) > time
  }

  var logs: String {
    (1...max(1, lives)).map { "--- \(name)-\($0).log\n" + TemporaryDirectory.read("\(folder)/\(name)-\($0).log") }
      .joined(separator: "\n")
  }
}
