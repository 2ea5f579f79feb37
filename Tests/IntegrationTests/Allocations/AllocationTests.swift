// The guard of the announce path's cost: what the workers of the release build allocate per announce, which is nothing.
// It counts, and measures no time. A debug build allocates for what the optimizer takes out, so it would say little.

import Foundation
import Glibc
import Redis
import Simulation
import Testing
import Wire

/// bin/tracker, when `make build` (or `make test`) has built it from the sources as they are.
private enum ReleaseTracker {
  static let path = Repository.path("bin/tracker")

  static var isCurrent: Bool {
    guard let built = modified(path) else { return false }
    for folder in ["Sources/Tracker", "Sources/Shared"] {
      for case let file as String in FileManager.default.enumerator(atPath: Repository.path(folder)) ?? .init() {
        if let changed = modified(Repository.path("\(folder)/\(file)")), changed > built { return false }
      }
    }
    return true
  }

  private static func modified(_ path: String) -> Date? {
    (try? FileManager.default.attributesOfItem(atPath: path))?[.modificationDate] as? Date
  }
}

/// A release tracker with approval and push, whose allocations are counted.
private final class CountedTracker {
  private static let users = 100
  private static let torrent = InfoHash(words: (1, 2, 3))

  let endpoints: (http: LoopbackEndpoint, udp: LoopbackEndpoint, metrics: LoopbackEndpoint)
  private let directory: TemporaryDirectory
  private let redis: RedisServer
  private let tracker: ChildProcess

  init() async throws {
    directory = try TemporaryDirectory()
    let library = "\(directory.path)/count.so"
    let source = Repository.path("Tests/IntegrationTests/Allocations/count_allocations.c")
    let compiled = try await CommandResult.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source])
    guard compiled.exit == .code(0) else { throw HarnessError("cc: \(compiled.errors)") }
    redis = try await RedisServer.start(in: directory)
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    _ = try connection.command(["SADD", "pt:passkeys"] + (0..<Self.users).map(Self.passkey))
    endpoints = (.v4(try FreePort.take()), .v4(try FreePort.take()), .v4(try FreePort.take()))
    let config = try directory.write(
      """
      chihaya:
        workers: 1
        metrics_addr: "\(endpoints.metrics.authority)"
        http: { addr: "\(endpoints.http.authority)", enable_keepalive: true, read_timeout: 120s, write_timeout: 120s }
        udp: { addr: "\(endpoints.udp.authority)" }
        prehooks:
          - name: passkey approval
            options: { redis_broker: "\(redis.url)" }
        posthooks:
          - name: traffic push
            options: { redis_broker: "\(redis.url)" }
      """, as: "tracker.yaml")
    tracker = try ChildProcess(
      [ReleaseTracker.path, "--config", config], name: "tracker", logPath: "\(directory.path)/tracker.log",
      environment: ["LD_PRELOAD": library, "ALLOCATION_COUNTS": "\(directory.path)/counts"])
    try await eventually("the tracker is ready", evidence: self.tracker.log) {
      (try? Self.get(endpoints.metrics, "/health/ready").status) == 200
    }
  }

  private static func passkey(_ user: Int) -> String {
    String(String(1_000_000 + user).suffix(6)) + "abcdefabcdefabcdef"
  }

  static func get(_ endpoint: LoopbackEndpoint, _ target: String) throws -> (status: Int, body: [UInt8]) {
    var client = HTTPAnnounceClient(endpoint)
    let reply = try client.get(target)
    return (reply.status, reply.body)
  }

  /// What the threads of that name have allocated so far. Only when they have nothing to do is that exact.
  func allocations(ofThreads name: String) throws -> UInt64 {
    let counts = try Data(contentsOf: URL(fileURLWithPath: "\(directory.path)/counts"))
    var sum: UInt64 = 0
    // count_allocations.c: pairs of thread id and count.
    counts.withUnsafeBytes { bytes in
      let words = bytes.bindMemory(to: UInt64.self)
      for slot in stride(from: 0, to: words.count, by: 2) where words[slot] != 0 {
        let comm = TemporaryDirectory.read("/proc/\(tracker.pid)/task/\(words[slot])/comm")
        if comm.hasPrefix(name) { sum += words[slot + 1] }
      }
    }
    return sum
  }

  private static func announcement(_ number: Int) -> Announcement {
    let user = number % users
    return Announcement(
      passkey: passkey(user), infoHash: torrent, peerID: PeerID(words: (1, UInt64(user), 2)), port: UInt16(2000 + user),
      uploaded: UInt64(number), downloaded: 0, left: UInt64(user & 1), event: .none)
  }

  func announceByUDP(_ count: Int) throws {
    var client = try UDPAnnounceClient(endpoints.udp)
    for number in 0..<count { _ = try client.announce(Self.announcement(number)).reply() }
  }

  func announceByHTTP(_ count: Int) throws {
    var client = HTTPAnnounceClient(endpoints.http)
    for number in 0..<count { _ = try client.announce(Self.announcement(number)).reply() }
  }
}

@Suite(
  "Allocations of the announce path",
  .enabled("needs bin/tracker built from these sources: make build") { ReleaseTracker.isCurrent })
struct AllocationTests {
  private static let announces = 10_000
  /// What 10,000 announces may allocate in all, one for each hundred: blocks of 1024 records, when the queue holds more than ever
  /// before, and what a worker does once in a while. On a machine where the publisher hardly gets a turn these were 46.
  private static let allowed: UInt64 = 100

  @Test("10,000 UDP announces with passkey, approval and push allocate nothing")
  func udp() async throws {
    let tracker = try await CountedTracker()
    try tracker.announceByUDP(1000)
    let before = try tracker.allocations(ofThreads: "worker")
    try tracker.announceByUDP(Self.announces)
    let made = try tracker.allocations(ofThreads: "worker") - before
    #expect(made <= Self.allowed)
  }

  @Test("10,000 HTTP announces over a kept connection with passkey, approval and push allocate nothing")
  func http() async throws {
    let tracker = try await CountedTracker()
    try tracker.announceByHTTP(1000)
    let before = try tracker.allocations(ofThreads: "worker")
    try tracker.announceByHTTP(Self.announces)
    let made = try tracker.allocations(ofThreads: "worker") - before
    #expect(made <= Self.allowed)
  }

  @Test("what is allocated is counted: a page of metrics is made of strings")
  func counts() async throws {
    let tracker = try await CountedTracker()
    let before = try tracker.allocations(ofThreads: "")
    for _ in 0..<10 { #expect(try CountedTracker.get(tracker.endpoints.metrics, "/metrics").status == 200) }
    #expect(try tracker.allocations(ofThreads: "") >= before + 100)
  }
}
