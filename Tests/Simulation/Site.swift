// Site: a private tracker site in a directory of its own: Redis, the tracker, the consumer, their configurations and
// logs. Tests and the demo run it; nothing of it is left when the value goes away. Any thread, one at a time.

import Foundation
import Redis

/// Where the built binaries are: beside the running test bundle or demo, or where PT_BINARIES says.
public enum Binaries {
  public static var folder: String {
    if let folder = ProcessInfo.processInfo.environment["PT_BINARIES"] { return folder }
    let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "."
    return (program as NSString).deletingLastPathComponent
  }
  public static var tracker: String { "\(folder)/tracker" }
  public static var consumer: String { "\(folder)/traffic-consumer" }
}

/// What differs between one test's tracker and another's.
public struct SiteSettings: Sendable {
  /// Seconds, as replies tell clients.
  public var announceInterval = 60
  public var minAnnounceInterval = 1
  public var window = "1h"
  /// Where HTTP is served instead of a port of its own: `unix:/path`.
  public var httpAddress: String?
  /// More settings of `http`, one `key: value` each.
  public var http: [String] = []
  public var scrapeRoutes = ["/scrape", "/scrape/:passkey"]
  /// More options of the `traffic push` hook, one `key: value` each.
  public var trafficPush: [String] = []
  /// Whether only approved passkeys may announce; without, the tracker is an open one.
  public var approvesPasskeys = true
  /// More options of the `passkey approval` hook.
  public var passkeyApproval: [String] = []
  /// More hooks behind it, a list as the file has it, indented by two; `REDIS` is the URL of this site's Redis.
  public var moreHooks = ""
  /// 0: one per core.
  public var workers = 0
  /// Where both daemons find Redis, if it is not this site's own.
  public var redisURL: String?
  /// More settings of the consumer's `redis`, one `key: value` each.
  public var consumerRedis: [String] = []
  public init() {}
}

/// Redis, tracker and consumer of one test.
public final class Site {
  public let directory: TemporaryDirectory
  public let redis: RedisServer
  public let endpoints: TrackerEndpoints
  public let metricsPort: UInt16
  public let adminPort: UInt16
  public let trackerConfig: String
  public let consumerConfig: String
  public let databasePath: String
  public private(set) var tracker: ChildProcess?
  public private(set) var consumer: ChildProcess?
  private var logNames: [String] = []

  /// Makes directory and configurations; starts nothing.
  public init(_ settings: SiteSettings = SiteSettings(), in directory: TemporaryDirectory? = nil) throws(HarnessError) {
    let folder: TemporaryDirectory
    if let directory { folder = directory } else { folder = try TemporaryDirectory() }
    self.directory = folder
    redis = try RedisServer(in: folder)
    let http = try FreePort.take()
    let udp = try FreePort.take()
    endpoints = TrackerEndpoints(httpPort: http, udpPort: udp)
    metricsPort = try FreePort.take()
    adminPort = try FreePort.take()
    databasePath = "\(folder.path)/traffic.db"
    let more = { (options: [String]) in options.map { "\n      \($0)" }.joined() }
    let moreHTTP = settings.http.map { "\n    \($0)" }.joined()
    let redisURL = settings.redisURL ?? redis.url
    let moreConsumerRedis = settings.consumerRedis.map { "\n    \($0)" }.joined()
    let approval = """
        prehooks:
        - name: passkey approval
          options:
            redis_broker: "\(redisURL)"
            negative_cache_ttl: 1s\(more(settings.passkeyApproval))

      """
    let moreHooks = settings.moreHooks.replacing("REDIS", with: redisURL)
    let prehooks = settings.approvesPasskeys ? approval + moreHooks : ""
    trackerConfig = try folder.write(
      """
      chihaya:
        announce_interval: \(settings.announceInterval)s
        min_announce_interval: \(settings.minAnnounceInterval)s
        metrics_addr: "127.0.0.1:\(metricsPort)"
        workers: \(settings.workers)
        http:
          addr: "\(settings.httpAddress ?? ":\(http)")"
          enable_keepalive: true\(moreHTTP)
          announce_routes: [ "/announce", "/announce/:passkey" ]
          scrape_routes: [ \(settings.scrapeRoutes.map { "\"\($0)\"" }.joined(separator: ", ")) ]
        udp:
          addr: ":\(udp)"
        storage:
          name: memory
      \(prehooks)  posthooks:
        - name: traffic push
          options:
            redis_broker: "\(redisURL)"
            retry_interval: 100ms
            spool_path: "\(folder.path)/tracker.spool"\(more(settings.trafficPush))

      """, as: "tracker.yaml")
    consumerConfig = try folder.write(
      """
      consumer:
        redis:
          url: "\(settings.redisURL ?? redis.tcpURL)"\(moreConsumerRedis)
        database:
          path: "\(databasePath)"
        window: "\(settings.window)"
        admin_addr: "127.0.0.1:\(adminPort)"
        control_socket: "\(folder.path)/consumer.sock"
        task_reports: "\(folder.path)/reports"

      """, as: "consumer.yaml")
  }

  // MARK: daemons

  /// Redis, then both daemons, each ready before the next step.
  public func start() async throws {
    try await redis.start()
    try await startTracker()
    try await startConsumer()
  }

  /// Starts the tracker; `untilReady: false` waits for its liveness only.
  public func startTracker(untilReady: Bool = true) async throws {
    let child = try launch(Binaries.tracker, ["--config", trackerConfig], name: "tracker")
    tracker = child
    try await wait(for: child, port: metricsPort, ready: untilReady)
  }

  public func startConsumer(untilReady: Bool = true) async throws {
    let child = try launch(Binaries.consumer, ["run", "--config", consumerConfig], name: "consumer")
    consumer = child
    try await wait(for: child, port: adminPort, ready: untilReady)
  }

  private func launch(_ program: String, _ arguments: [String], name: String) throws(HarnessError) -> ChildProcess {
    logNames.append("\(name)-\(logNames.count + 1).log")
    return try ChildProcess(
      [program] + arguments, name: name, logPath: "\(directory.path)/\(logNames.last!)")
  }

  private func wait(for child: ChildProcess, port: UInt16, ready: Bool) async throws {
    let path = ready ? "/health/ready" : "/health/live"
    try await eventually("\(child.name) answers \(path)", evidence: child.log) {
      if let exit = child.exit { throw HarnessError("\(child.name): \(exit)\n\(child.log)") }
      return Self.status(port: port, path) == 200
    }
  }

  /// The status of a GET on loopback, nil when there is no answer.
  public static func status(port: UInt16, _ target: String) -> Int? { try? get(port: port, target).status }

  /// A GET on loopback.
  public static func get(port: UInt16, _ target: String) throws(HarnessError) -> HTTPReply {
    var client = HTTPAnnounceClient(.v4(port))
    return try client.get(target)
  }

  // MARK: what a site does

  /// One Redis command.
  @discardableResult
  public func redisInteger(_ arguments: [String]) throws -> Int64 {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let reply = try connection.command(arguments)
    guard let integer = reply.integer else { throw HarnessError("\(arguments[0]) gave no integer") }
    return integer
  }

  /// One Redis command that answers with text (XADD: the entry's id).
  @discardableResult
  public func redisText(_ arguments: [String]) throws -> String {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let reply = try connection.command(arguments)
    guard let text = reply.string else { throw HarnessError("\(arguments[0]) gave no text") }
    return text
  }

  public func approve(_ passkeys: [String]) throws { try redisInteger(["SADD", "pt:passkeys"] + passkeys) }

  /// Runs a verb of traffic-consumer on this site's configuration.
  public func consumer(_ arguments: [String]) async throws -> CommandResult {
    try await CommandResult.run([Binaries.consumer] + arguments + ["--config", consumerConfig])
  }

  /// Runs a verb and decodes its JSON; any exit code but 0 is an error that shows what it said.
  public func json<Value: Decodable>(_ type: Value.Type = Value.self, _ arguments: [String]) async throws -> Value {
    let result = try await consumer(arguments + ["-o", "json"])
    guard result.exit == .code(0) else {
      throw HarnessError("traffic-consumer \(arguments.joined(separator: " ")): \(result.exit)\n\(result.errors)")
    }
    do {
      return try JSONDecoder().decode(type, from: Data(result.output.utf8))
    } catch {
      throw HarnessError("traffic-consumer \(arguments.joined(separator: " ")): \(error)\n\(result.output)")
    }
  }

  /// Leaves Redis and both daemons running.
  public func leaveRunning() {
    redis.leaveRunning()
    tracker?.leaveRunning()
    consumer?.leaveRunning()
  }

  /// What a run may lose: a tracker that is killed takes announces with it whose bytes the next ones bring again.
  public enum Comparison: Sendable { case everything, allButEvents }

  /// How every user's report differs from the ledger, one line each; empty when nothing does.
  public func differences(
    from ledger: Ledger, _ comparison: Comparison = .everything
  ) async throws -> [String] {
    var lines: [String] = []
    for (passkey, totals) in ledger.users.sorted(by: { $0.key < $1.key }) {
      var report = try await json(UserReport.self, ["query", "user", passkey])
      if comparison == .allButEvents { report.events = totals.events }
      lines += report.differences(from: totals).map { "\(passkey.prefix(8)): \($0)" }
    }
    return lines
  }

  /// Waits until every user's report equals what the swarm announced, and fails with what differs and the seed.
  public func awaitEqual(
    to swarm: SwarmSimulator, _ comparison: Comparison = .everything, within seconds: Double = patienceSeconds
  ) async throws {
    try await awaitEqual(to: swarm.ledger, comparison, origin: "seed \(swarm.seed)", within: seconds)
  }

  /// Waits until every user's report equals the ledger, and fails with what differs and `origin`.
  public func awaitEqual(
    to ledger: Ledger, _ comparison: Comparison = .everything, origin: String, within seconds: Double = patienceSeconds
  ) async throws {
    var last: [String] = []
    do {
      try await eventually("every user's totals equal the ledger", within: seconds) {
        // A verb that is refused (nothing of this user yet) is not equal yet.
        do { last = try await self.differences(from: ledger, comparison) } catch { last = ["\(error)"] }
        return last.isEmpty
      }
    } catch {
      throw HarnessError("totals differ from the ledger (\(origin)):\n\(last.joined(separator: "\n"))\n\(logs)")
    }
  }

  /// The logs of all daemons that were started, for a failure.
  public var logs: String {
    logNames.map { "--- \($0)\n" + TemporaryDirectory.read("\(directory.path)/\($0)") }.joined(separator: "\n")
  }
}

/// `query user PASSKEY` (docs/contract.md, section 5), the keys that every form has.
public struct UserReport: Decodable, Equatable, Sendable {
  public var passkey: String
  public var uploaded: UInt64
  public var downloaded: UInt64
  public var seedSeconds: Int64
  public var leechSeconds: Int64
  public var completed: Int
  public var events: Int

  enum CodingKeys: String, CodingKey {
    case passkey, uploaded, downloaded, completed, events
    case seedSeconds = "seed_seconds"
    case leechSeconds = "leech_seconds"
  }

  /// What differs from the ledger, in words; empty when nothing does.
  public func differences(from ledger: LedgerTotals) -> [String] {
    var words: [String] = []
    if uploaded != ledger.uploaded { words.append("uploaded \(uploaded), announced \(ledger.uploaded)") }
    if downloaded != ledger.downloaded { words.append("downloaded \(downloaded), announced \(ledger.downloaded)") }
    if !ledger.seedSeconds.contains(seedSeconds) {
      words.append("seed seconds \(seedSeconds), announced \(ledger.seedSeconds)")
    }
    if !ledger.leechSeconds.contains(leechSeconds) {
      words.append("leech seconds \(leechSeconds), announced \(ledger.leechSeconds)")
    }
    if completed != ledger.completed { words.append("completed \(completed), announced \(ledger.completed)") }
    if events != ledger.events { words.append("events \(events), announced \(ledger.events)") }
    return words
  }
}

/// `dlq list` (docs/contract.md, section 5).
public struct DeadLetterReport: Decodable, Sendable {
  public var id: Int64
  public var entryID: String
  public var reason: String
  public var detail: String
  public var state: String
  public var fields: [String: String]

  enum CodingKeys: String, CodingKey {
    case id, reason, detail, state, fields
    case entryID = "entry_id"
  }
}

/// `status` (docs/contract.md, section 5).
public struct StatusReport: Decodable, Sendable {
  public var ready: Bool
  public var lagEntries: Int64
  public var pendingEntries: Int64
  public var applied: Int64
  public var duplicates: Int64
  public var deadLetters: Int64
  public var lost: Int64

  enum CodingKeys: String, CodingKey {
    case ready, applied, duplicates
    case lagEntries = "lag_entries"
    case pendingEntries = "pending_entries"
    case deadLetters = "dead_letters"
    case lost
  }
}
