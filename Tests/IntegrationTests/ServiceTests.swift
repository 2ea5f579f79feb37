// Both daemons under a stand-in for a service manager: NOTIFY_SOCKET, LISTEN_FDS, credentials. No systemd runs here.

import Foundation
import Linux
import Settings
import Simulation
import Testing
import Wire

@Suite("as systemd starts them")
struct ServiceTests {
  @Test("the tracker says ready when it serves, feeds the watchdog, tells of Redis, and says goodbye")
  func trackerNotifies() async throws {
    let site = try Site()
    let manager = try NotifyReceiver(in: site.directory)
    try await site.redis.start()
    let child = try ChildProcess(
      [Binaries.tracker, "--config", site.trackerConfig], name: "tracker",
      logPath: "\(site.directory.path)/t.log",
      environment: ["NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "300000"])
    defer { _ = child.kill9() }
    try await eventually("READY=1", evidence: child.log) { manager.count(of: "READY=1") == 1 }
    #expect(Site.status(port: site.metricsPort, "/health/live") == 200)
    try await eventually("fed three times", evidence: child.log) { manager.count(of: "WATCHDOG=1") >= 3 }
    try await eventually("ready") { manager.lines.contains { $0.hasPrefix("STATUS=ready") } }
    child.signal(SIGHUP)
    try await eventually("reloaded") {
      manager.lines.contains("RELOADING=1") && manager.count(of: "READY=1") == 2
    }
    try await site.redis.stop()
    try await eventually("STATUS tells of Redis", evidence: manager.lines.joined(separator: "\n")) {
      manager.lines.contains { $0.hasPrefix("STATUS=not ready: ") }
    }
    #expect(try await child.terminate() == .code(0))
    try await eventually("STOPPING=1") { manager.count(of: "STOPPING=1") == 1 }
  }

  @Test("the consumer says ready when its database is open, whatever Redis does, and a standby does, too")
  func consumerNotifies() async throws {
    let site = try Site()
    let manager = try NotifyReceiver(in: site.directory)
    func start(_ name: String, _ more: [String: String]) throws -> ChildProcess {
      try ChildProcess(
        [Binaries.consumer, "run", "--config", site.consumerConfig], name: name,
        logPath: "\(site.directory.path)/\(name).log",
        environment: ["NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "300000"].merging(more) { $1 })
    }
    let child = try start("first", [:])
    defer { _ = child.kill9() }
    try await eventually("READY=1", evidence: child.log) { manager.count(of: "READY=1") == 1 }
    #expect(FileManager.default.fileExists(atPath: site.databasePath))
    try await eventually("not ready without Redis") {
      manager.lines.contains { $0.hasPrefix("STATUS=not ready: redis-0") }
    }
    let standby = try start(
      "standby",
      ["CONSUMER__ADMIN_ADDR": "", "CONSUMER__CONTROL_SOCKET": "\(site.directory.path)/standby.sock"])
    defer { _ = standby.kill9() }
    try await eventually("the standby", evidence: standby.log) {
      manager.count(of: "READY=1") == 2 && manager.lines.contains { $0.contains("standing by") }
    }
    for process in [standby, child] { #expect(try await process.terminate() == .code(0)) }
    try await eventually("both say that they stop") { manager.count(of: "STOPPING=1") == 2 }
  }

  @Test("a wrong configuration ends with 78 and never says ready")
  func wrongConfiguration() async throws {
    let directory = try TemporaryDirectory()
    let manager = try NotifyReceiver(in: directory)
    for program in [[Binaries.tracker], [Binaries.consumer, "run"]] {
      let result = try await CommandResult.run(
        program + ["--config", directory.path + "/none.yaml"], environment: ["NOTIFY_SOCKET": manager.path])
      #expect(result.exit == .code(ExitCode.configuration.rawValue))
    }
    #expect(manager.lines.isEmpty)
  }

  @Test("a damaged database ends the consumer with 74 and never says ready")
  func damagedDatabase() async throws {
    let site = try Site()
    let manager = try NotifyReceiver(in: site.directory)
    try site.directory.write(String(repeating: "no database ", count: 1000), as: "traffic.db")
    let result = try await CommandResult.run(
      [Binaries.consumer, "run", "--config", site.consumerConfig], environment: ["NOTIFY_SOCKET": manager.path])
    #expect(result.exit == .code(ExitCode.inputOutput.rawValue), "\(result.errors)")
    #expect(manager.count(of: "READY=1") == 0)
  }

  /// Starts the tracker as a service manager does that has bound its ports: sockets from descriptor 3 on.
  private func activated(_ site: Site, _ descriptors: [Int32], names: String, run: Int) throws -> ChildProcess {
    try ChildProcess(
      ["/bin/sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh", Binaries.tracker, "--config", site.trackerConfig],
      name: "tracker", logPath: "\(site.directory.path)/activated-\(run).log",
      environment: ["LISTEN_FDS": "\(descriptors.count)", "LISTEN_FDNAMES": names, "TRACKER__WORKERS": "3"],
      descriptors: descriptors)
  }

  /// Descriptors high enough to be handed over.
  private func lifted(_ descriptor: Int32) -> FileDescriptor {
    FileDescriptor(owning: fcntl(descriptor, F_DUPFD_CLOEXEC, 100))
  }

  @Test(
    "the service manager's sockets serve all workers, and what connects between two trackers is answered by the second")
  func activation() async throws {
    let site = try Site()
    try await site.redis.start()
    try site.approve(["0123456789abcdef"])
    let http = try Listener.open(.host(.loopbackV4, port: 0), workers: 1)[0][0]
    let metrics = try Listener.open(.host(.loopbackV4, port: 0), workers: 1)[0][0]
    let udp = try UDPSocket.open(.host(.loopbackV4, port: 0), workers: 1)[0][0]
    let ports = (
      http: try #require(http.address.port), metrics: try #require(metrics.address.port), udp: udp.endpoint.port
    )
    let one = lifted(http.descriptor)
    let two = lifted(metrics.descriptor)
    let three = lifted(udp.descriptor)
    let descriptors = [one.number, two.number, three.number]
    let target =
      "/announce/0123456789abcdef?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=-DE0001-000000000001&port=6881&left=0"
      + "&uploaded=0&downloaded=0"

    let first = try activated(site, descriptors, names: "tracker:metrics:tracker", run: 1)
    defer { _ = first.kill9() }
    try await eventually("ready", evidence: first.log) { Site.status(port: ports.metrics, "/health/ready") == 200 }
    for _ in 0..<10 {
      let reply = try Site.get(port: ports.http, target)
      #expect(String(decoding: reply.body, as: UTF8.self).hasPrefix("d8:complete"), "\(first.log)")
    }
    var client = try UDPAnnounceClient(.v4(ports.udp))
    let torrent = try #require(InfoHash(hex: String(repeating: "61", count: 20)))
    #expect(try client.scrape([torrent]).map(\.complete) == [1])
    // The addresses of the configuration were not opened.
    #expect(Site.status(port: site.endpoints.httpPort, target) == nil)
    #expect(Site.status(port: site.metricsPort, "/health/live") == nil)
    #expect(try await first.terminate() == .code(0))

    let waiting = Task.detached { try Site.get(port: ports.http, target) }
    let second = try activated(site, descriptors, names: "tracker:metrics:tracker", run: 2)
    defer { _ = second.kill9() }
    let reply = try await waiting.value
    #expect(String(decoding: reply.body, as: UTF8.self).hasPrefix("d8:complete"), "\(second.log)")
    #expect(try await second.terminate() == .code(0))
    withExtendedLifetime((http, metrics, udp)) {}
    _ = (one.number, two.number, three.number)
  }

  @Test("a dual-stack socket of the service manager is refused with the setting that is missing")
  func dualStack() async throws {
    try #require(LoopbackEndpoint.hasIPv6)
    let site = try Site()
    let number = socket(AF_INET6, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    let socket = FileDescriptor(owning: number)
    #expect(listen(socket.number, 1) == 0)
    let handed = lifted(socket.number)
    let child = try activated(site, [handed.number], names: "", run: 1)
    #expect(try await child.waitForExit() == .code(ExitCode.inputOutput.rawValue))
    #expect(child.log.contains("BindIPv6Only=ipv6-only"), "\(child.log)")
    _ = handed.number
  }

  @Test("secrets come from credential files, under a variable of the same name and over the file")
  func credentials() async throws {
    let directory = try TemporaryDirectory()
    try directory.write("redis://:hush@127.0.0.1:1/7\n", as: "CONSUMER__REDIS__URL")
    func settings(_ more: [String: String]) async throws -> CommandResult {
      try await CommandResult.run(
        [Binaries.consumer, "--check-config", "--config", Repository.path("dist/example_consumer.yaml")],
        environment: ["CREDENTIALS_DIRECTORY": directory.path].merging(more) { $1 })
    }
    let result = try await settings([:])
    #expect(result.output.contains("@127.0.0.1:1/7"), "\(result.output)\(result.errors)")
    #expect(!result.output.contains("hush"))
    #expect(try await settings(["CONSUMER__REDIS__URL": "redis://127.0.0.1:2/0"]).output.contains("127.0.0.1:2/0"))
  }
}
