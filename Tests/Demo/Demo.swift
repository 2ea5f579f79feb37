// Demo: a private site in a directory of its own, a simulated swarm over real sockets, a consumer killed in the middle,
// a poison entry repaired, and every total beside what was announced. Run by `make demo`; one task.

import Foundation
import Linux
import Simulation

/// The demonstration. Exit code 0: every total was equal to the byte.
struct Demo {
  private static let users = 10
  private static let torrents = 5
  private static let waves = 14
  private static let secondsPerWave: Int64 = 2
  /// The consumer dies at the end of this wave, with its announces on the way, and comes back before that one.
  private static let killedAfter = 5
  private static let restartedBefore = 9
  /// What the poison entry means to say: 1 GiB.
  private static let poisonBytes: UInt64 = 1 << 30

  private let site: Site
  private let swarm: SwarmSimulator
  private let screen = Screen()

  /// Runs it; `keep` leaves Redis and the daemons running.
  static func run(keep: Bool) async -> Int32 {
    do {
      let directory = try TemporaryDirectory(prefix: "pt-demo", keep: keep)
      var settings = SiteSettings()
      settings.announceInterval = 60
      let site = try Site(settings, in: directory)
      let seed = UInt64.random(in: 1...999_999)
      let swarm = SwarmSimulator(
        SwarmPlan(users: users, torrents: torrents, seed: seed, usesIPv6: LoopbackEndpoint.hasIPv6),
        endpoints: site.endpoints)
      let demo = Demo(site: site, swarm: swarm)
      let equal = try await demo.show(seed: seed)
      if keep { try demo.leave() } else { try await demo.stop() }
      return equal ? 0 : 1
    } catch {
      FileHandle.standardError.write(Data("\ndemo failed: \(error)\n".utf8))
      return 70
    }
  }

  private init(site: Site, swarm: SwarmSimulator) {
    self.site = site
    self.swarm = swarm
  }

  private func show(seed: UInt64) async throws -> Bool {
    screen.title("A private site in \(site.directory.path)")
    try await startSite()
    screen.title("\(Self.users) users, \(Self.torrents) torrents, announcing over HTTP and UDP (seed \(seed))")
    try await announce()
    screen.title("A poison entry")
    try await poison()
    screen.title("What was announced, and what the consumer says")
    return try await compare()
  }

  private func startSite() async throws {
    try await site.redis.start()
    screen.line("redis-server      \(site.redis.url) and 127.0.0.1:\(site.redis.port)")
    try site.approve(swarm.passkeys)
    try await site.startTracker()
    screen.line("tracker           http and udp on ports \(site.endpoints.httpPort) and \(site.endpoints.udpPort)")
    try await site.startConsumer()
    screen.line("traffic-consumer  into \(site.databasePath)")
  }

  private func announce() async throws {
    for wave in 1...Self.waves {
      if wave == Self.restartedBefore {
        try await site.startConsumer()
        screen.line("the consumer is back (pid \(site.consumer?.pid ?? 0)) and takes up what waited")
      }
      try await swarm.beat(everySeconds: Self.secondsPerWave)
      try wave == Self.waves ? swarm.stopAll() : swarm.wave()
      if wave == Self.killedAfter, let consumer = site.consumer {
        consumer.kill9()
        screen.line("kill -9 \(consumer.pid): the consumer dies in the middle of its work")
      }
      let uploaded = swarm.ledger.users.values.reduce(0) { $0 + $1.uploaded }
      screen.progress(
        "wave \(wave)/\(Self.waves): \(swarm.httpCount) HTTP and \(swarm.udpCount) UDP announces, "
          + "\(Screen.size(uploaded)) uploaded")
    }
    screen.endProgress()
  }

  /// An entry as another program might write it: right but for one value.
  private func poison() async throws {
    let passkey = swarm.passkeys[0]
    let torrent = swarm.infoHashes[0]
    let id = try site.redisText([
      "XADD", "tracker:traffic", "*", "passkey", passkey, "infohash", torrent.hex, "peer_id",
      String(repeating: "0f", count: 20), "port", "6881", "ip", "192.0.2.7", "af", "IPv4", "du", "1GiB", "dd", "0",
      "left", "0", "event", "none", "ts", "\(Clock.unixSeconds())", "dt", "0", "interval", "60", "min_interval", "1",
    ])
    let letter = try await eventually("the poison entry is a dead letter", evidence: site.logs) {
      try await site.json([DeadLetterReport].self, ["dlq", "list"]).first { $0.entryID == id }
    }
    screen.line("entry \(id) says du=1GiB. It is set aside, its neighbours are applied:")
    try await command(["dlq", "list", "-o", "table"])
    try await command(["dlq", "show", "\(letter.id)", "-o", "table"])
    screen.line("Repaired and replayed:")
    try await command(["dlq", "replay", "\(letter.id)", "--set", "du=\(Self.poisonBytes)"])
    swarm.enter(uploaded: Self.poisonBytes, for: passkey, torrent: torrent)
    try await command(["dlq", "list", "-o", "table"])
  }

  /// Shows a verb as the user would type it, and what it says.
  private func command(_ arguments: [String]) async throws {
    screen.line("$ traffic-consumer \(arguments.joined(separator: " "))")
    let result = try await site.consumer(arguments)
    guard result.exit == .code(0) else {
      throw HarnessError("traffic-consumer \(arguments.joined(separator: " ")): \(result.exit)\n\(result.errors)")
    }
    for line in result.output.split(separator: "\n") { screen.line("  \(line)") }
  }

  private func compare() async throws -> Bool {
    var failure: String?
    do { try await site.awaitEqual(to: swarm) } catch { failure = "\(error)" }
    screen.row(["user", "uploaded", "announced", "downloaded", "announced", "seed time", "announced", ""])
    for passkey in swarm.passkeys {
      let report = try await site.json(UserReport.self, ["query", "user", passkey])
      let ledger = swarm.ledger.users[passkey] ?? LedgerTotals()
      let seedTime =
        ledger.seedSeconds.count == 1 ? "\(ledger.seedSeconds.lowerBound) s" : "\(ledger.seedSeconds) s"
      screen.row([
        "\(passkey.prefix(6))...", "\(report.uploaded)", "\(ledger.uploaded)", "\(report.downloaded)",
        "\(ledger.downloaded)", "\(report.seedSeconds) s", seedTime,
        report.differences(from: ledger).isEmpty ? "equal" : "DIFFERS",
      ])
    }
    if let failure {
      screen.line("\nTHE TOTALS DIFFER: \(failure)")
      return false
    }
    screen.line("\nEqual to the byte: \(swarm.announceCount) announces, one kill -9, one repaired entry.")
    return true
  }

  private func stop() async throws {
    let consumer = try await site.consumer?.terminate()
    let tracker = try await site.tracker?.terminate()
    try await site.redis.stop()
    screen.line("Stopped by SIGTERM: consumer \(consumer!), tracker \(tracker!). \(site.directory.path) is removed.")
    screen.title("How to go on")
    screen.line("make demo KEEP=1   leaves it running and prints the addresses and commands to try")
    screen.line("README.md          run both under systemd, query a user's traffic, replay dead letters")
    screen.line("dist/              configurations with every key explained")
  }

  private func leave() throws {
    site.leaveRunning()
    let pids = [site.consumer?.pid, site.tracker?.pid, site.redis.pid].compactMap { $0 }.map(String.init)
    let script = try site.directory.write(
      """
      #!/bin/sh
      # Ends the demo that was left running, and removes its directory.
      for pid in \(pids.joined(separator: " ")); do
        kill "$pid" 2>/dev/null
        while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
      done
      rm -rf '\(site.directory.path)'

      """, as: "stop.sh")
    let folder = Binaries.folder
    let config = site.consumerConfig
    screen.title("Still running; things to try")
    screen.line("curl http://127.0.0.1:\(site.metricsPort)/metrics        the tracker's metrics")
    screen.line("curl http://127.0.0.1:\(site.adminPort)/health/ready   the consumer's health")
    screen.line("redis-cli -s \(site.redis.socketPath) XINFO STREAM tracker:traffic")
    screen.line("\(folder)/traffic-consumer query top --config \(config)")
    screen.line("\(folder)/traffic-consumer query user \(swarm.passkeys[0]) --by torrent --config \(config)")
    screen.line("\(folder)/traffic-consumer status --config \(config)")
    screen.line("announce URL for a client: http://127.0.0.1:\(site.endpoints.httpPort)/announce/\(swarm.passkeys[0])")
    screen.line("                           udp://127.0.0.1:\(site.endpoints.udpPort)/announce/\(swarm.passkeys[0])")
    screen.line("sh \(script)   stops everything and removes the directory")
  }
}
