// How both binaries start, refuse to start, and end.

import Foundation
import Simulation
import Testing

@Suite("Starting and stopping")
struct StartAndStopTests {
  @Test(
    "SIGTERM and SIGINT end both daemons cleanly, and what was announced before is counted",
    arguments: [SIGTERM, SIGINT])
  func cleanExit(signal: Int32) async throws {
    let site = try Site()
    try await site.start()
    let swarm = SwarmSimulator(
      SwarmPlan(users: 4, torrents: 2, seed: 7, usesIPv6: LoopbackEndpoint.hasIPv6), endpoints: site.endpoints)
    try site.approve(swarm.passkeys)
    for _ in 0..<3 { try swarm.wave() }
    let tracker = try #require(site.tracker)
    tracker.signal(signal)
    #expect(try await tracker.waitForExit() == .code(0))
    #expect(tracker.log.contains("stopped"), "\(tracker.log)")
    // The tracker has flushed what it was told: the consumer sees all of it without the tracker.
    try await site.awaitEqual(to: swarm)
    let consumer = try #require(site.consumer)
    consumer.signal(signal)
    #expect(try await consumer.waitForExit() == .code(0))
    #expect(consumer.log.contains("stopped"), "\(consumer.log)")
    // Queries need no daemon.
    try await site.awaitEqual(to: swarm)
  }

  @Test("a second tracker on the same port ends with 74 and says which; one that was killed leaves its port at once")
  func occupiedPort() async throws {
    let site = try Site()
    try await site.redis.start()
    try await site.startTracker()
    let second = try await CommandResult.run(
      [Binaries.tracker, "--config", site.trackerConfig], environment: ["TRACKER__METRICS_ADDR": "127.0.0.1:0"])
    #expect(second.exit == .code(74))
    #expect(second.errors.contains("bind") && second.errors.contains("Address already in use"), "\(second.errors)")
    #expect(Site.status(port: site.metricsPort, "/health/ready") == 200)
    let open = try ClientSocket(.v4(site.endpoints.httpPort), udp: false)
    site.tracker?.kill9()
    try await site.startTracker()
    withExtendedLifetime(open) {}
  }

  @Test("daemons that start before Redis wait for it, alive and not ready")
  func redisAppears() async throws {
    let site = try Site()
    try await site.startTracker(untilReady: false)
    try await site.startConsumer(untilReady: false)
    #expect(Site.status(port: site.metricsPort, "/health/ready") == 503)
    #expect(Site.status(port: site.adminPort, "/health/ready") == 503)
    try await site.redis.start()
    try await eventually("both are ready", evidence: site.logs) {
      Site.status(port: site.metricsPort, "/health/ready") == 200
        && Site.status(port: site.adminPort, "/health/ready") == 200
    }
    let swarm = SwarmSimulator(SwarmPlan(users: 2, torrents: 1, seed: 8, usesIPv6: false), endpoints: site.endpoints)
    try site.approve(swarm.passkeys)
    for _ in 0..<3 { try swarm.wave() }
    try await site.awaitEqual(to: swarm)
  }

  @Test(
    "a typo in a configuration is named with file, line and key; exit 78", arguments: ["tracker", "traffic-consumer"])
  func typo(binary: String) async throws {
    let directory = try TemporaryDirectory()
    let text =
      binary == "tracker"
      ? "chihaya:\n  announce_interval: 30m\n  http:\n    adr: \"127.0.0.1:1\"\n"
      : "consumer:\n  window: \"1h\"\n  database:\n    pth: \"x\"\n"
    let path = try directory.write(text, as: "bad.yaml")
    let program = "\(Binaries.folder)/\(binary)"
    let verb = binary == "tracker" ? [] : ["run"]
    for arguments in [["--check-config"], verb] {
      let result = try await CommandResult.run([program] + arguments + ["--config", path])
      #expect(result.exit == .code(78))
      #expect(result.errors.contains("bad.yaml:4"), "\(result.errors)")
      #expect(result.errors.contains(binary == "tracker" ? "adr" : "pth"), "\(result.errors)")
    }
  }

  @Test("a file that is not there and an environment variable that is wrong are configuration errors too")
  func otherConfigErrors() async throws {
    let directory = try TemporaryDirectory()
    for program in [Binaries.tracker, Binaries.consumer] {
      let missing = try await CommandResult.run(
        [program, "--check-config", "--config", "\(directory.path)/none.yaml"])
      #expect(missing.exit == .code(78))
      #expect(missing.errors.contains("none.yaml"), "\(missing.errors)")
    }
    let path = try directory.write("chihaya:\n  http:\n    addr: \"127.0.0.1:1\"\n", as: "good.yaml")
    let result = try await CommandResult.run(
      [Binaries.tracker, "--check-config", "--config", path],
      environment: ["TRACKER__ANNOUNCE_INTERVAL": "soon"])
    #expect(result.exit == .code(78))
    #expect(result.errors.contains("TRACKER__ANNOUNCE_INTERVAL"), "\(result.errors)")
  }

  @Test("--version, --help and a wrong flag", arguments: ["tracker", "traffic-consumer"])
  func flags(binary: String) async throws {
    let program = "\(Binaries.folder)/\(binary)"
    let version = try await CommandResult.run([program, "--version"])
    #expect(version.exit == .code(0))
    #expect(version.output.contains(/\d+\.\d+\.\d+ .*commit/), "\(version.output)")
    let help = try await CommandResult.run([program, "--help"])
    #expect(help.exit == .code(0))
    #expect(help.output.contains("--check-config") && help.output.contains("--config"), "\(help.output)")
    let wrong = try await CommandResult.run([program, "--no-such-flag"])
    #expect(wrong.exit == .code(64))
    #expect(wrong.errors.contains("--no-such-flag"), "\(wrong.errors)")
  }

  @Test("the example configurations are accepted as they are, and their secrets are not shown")
  func examples() async throws {
    let dist = Repository.path("dist")
    let tracker = try await CommandResult.run(
      [Binaries.tracker, "--config", "\(dist)/example_config.yaml", "--check-config"])
    #expect(tracker.exit == .code(0), "\(tracker.errors)")
    #expect(tracker.output.contains("announce_interval"))
    #expect(!tracker.output.contains("a secret") && !tracker.output.contains("a long random string"))
    let consumer = try await CommandResult.run(
      [Binaries.consumer, "--config", "\(dist)/example_consumer.yaml", "--check-config"])
    #expect(consumer.exit == .code(0), "\(consumer.errors)")
  }

  @Test("the example configurations, with what is off switched on, name every setting that there is, and no other")
  func examplesAreComplete() async throws {
    let directory = try TemporaryDirectory()
    for (program, name) in [(Binaries.tracker, "example_config"), (Binaries.consumer, "example_consumer")] {
      let text = TemporaryDirectory.read(Repository.path("dist/\(name).yaml")).replacing(
        /(?m)^#(?= +(- )?[a-z_]+:)/, with: " ")
      let path = try directory.write(text, as: "\(name).yaml")
      let result = try await CommandResult.run([program, "--config", path, "--check-config"])
      #expect(result.exit == .code(0), "\(result.errors)")
      let keys = { (text: String) in Set(text.matches(of: /(?m)^[ -]*([a-z_]+):/).map { String($0.1) }) }
      let effective = keys(result.output)
      // One of the two lists may have members; the examples show the one.
      let difference = keys(text).symmetricDifference(effective)
      #expect(difference.subtracting(["whitelist", "whitelist_file"]).isEmpty, "\(name)")
      #expect(effective.count > 10)
    }
  }
}
