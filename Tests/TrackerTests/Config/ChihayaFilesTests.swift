import Settings
import Simulation
import Testing
import Wire

@testable import Tracker

@Suite("configurations of Chihaya and of its traffic-push fork") struct ChihayaFilesTests {
  @Test("Chihaya's example file starts this tracker unchanged")
  func chihayaExample() throws {
    let config = try TrackerConfig.load(
      path: Repository.path("Tests/SharedTests/Fixtures/yaml/chihaya_memory.yaml"), environment: [:])
    #expect(config.announceInterval == .seconds(1800))
    #expect(config.minAnnounceInterval == .seconds(900))
    #expect(config.metricsAddress == "0.0.0.0:6880")
    let http = try #require(config.http)
    #expect(http.address == "0.0.0.0:6969")
    #expect(http.readTimeout == .seconds(5) && http.writeTimeout == .seconds(5) && http.idleTimeout == .seconds(30))
    #expect(!http.enableKeepalive && !http.enableRequestTiming && !http.allowIPSpoofing)
    #expect(http.announceRoutes == ["/announce"] && http.scrapeRoutes == ["/scrape"])
    #expect(http.realIPHeader == "x-real-ip")
    #expect(http.limits == RequestLimits(maxNumwant: 100, defaultNumwant: 50, maxScrapeInfohashes: 50))
    let udp = try #require(config.udp)
    #expect(udp.address == "0.0.0.0:6969" && udp.maxClockSkew == .seconds(10))
    #expect(udp.privateKey == "paste a random string here that will be used to hmac connection IDs")
    #expect(config.storage.gcInterval == .seconds(180) && config.storage.peerLifetime == .seconds(31 * 60))
    #expect(config.storage.shardCount == 1024 && config.storage.prometheusReportingInterval == .seconds(1))
    #expect(config.prehooks.isEmpty && config.posthooks.isEmpty)
    // The public key and the header that no proxy is trusted with are worth a word.
    #expect(config.warnings.map(\.setting) == ["http.real_ip_header", "udp.private_key"])
  }

  @Test("the traffic-push fork's file starts this tracker unchanged")
  func fork() throws {
    let config = try TrackerConfig.load(
      path: Repository.path("Tests/SharedTests/Fixtures/yaml/fork_traffic.yaml"), environment: [:])
    var approval = PasskeyApprovalOptions()
    approval.redisSet.redisBroker = "redis://pwd@127.0.0.1:6379/0"
    approval.httpURL = "https://pt.example.com/api/passkey/verify?passkey="
    #expect(
      config.prehooks == [
        HookEntry(approval), HookEntry(TrafficPushOptions(redisBroker: "redis://pwd@127.0.0.1:6379/0")),
      ])
    #expect(config.udp?.privateKey == "随机字符串")
  }

  @Test("the hooks of Chihaya are read with their options")
  func hooks() throws {
    let config = try TrackerConfig.load(
      path: Repository.path("Tests/SharedTests/Fixtures/yaml/chihaya_hooks.yaml"), environment: [:])
    let hash = try #require(InfoHash(hex: "e1d2c3b4a5e1b2c3b4a5e1d2c3b4e5e1d2c3b4a5"))
    #expect(
      config.prehooks == [
        HookEntry(ClientApprovalOptions(whitelist: ["OP1011", "UT2210"])),
        HookEntry(
          IntervalVariationOptions(modifyResponseProbability: 0.2, maxIncreaseDeltaSeconds: 60, modifyMinInterval: true)
        ),
        HookEntry(TorrentApprovalOptions(blacklist: [hash])),
      ])
    #expect(config.http?.announceRoutes == ["/announce", "/announce.php", "/announce/:passkey"])
  }

  @Test("Chihaya's Redis storage is refused with what to do")
  func redisStorage() throws {
    let error = #expect(throws: ConfigError.self) {
      try TrackerConfig.load(
        path: Repository.path("Tests/SharedTests/Fixtures/yaml/chihaya_redis.yaml"), environment: [:])
    }
    #expect(error?.problems.map(\.setting) == ["storage.name"])
    #expect(error?.problems.first?.message.contains("write `name: memory`") == true)
  }

  @Test("every configuration that the fork has shipped starts, but for passkeys that the site encrypts")
  func forkVersions() throws {
    func text(_ name: String) -> String {
      TemporaryDirectory.read(Repository.path("Tests/SharedTests/Fixtures/yaml/\(name).yaml"))
    }
    let first = try ConfigFile.load(text("fork_2_first"))
    #expect(first.prehooks.map(\.name) == ["traffic push", "passkey approval"] && first.maxPeersPerUser == 3)
    for (name, hooks) in [
      ("fork_3_encrypted", ["traffic push", "passkey approval"]),
      ("fork_4_peer_limit", ["passkey approval", "peer limit", "traffic push"]),
    ] {
      let refused = try ConfigFile.problems(text(name))
      #expect(refused.count == 1 && refused[0].contains("write plain passkeys into announce URLs"), "\(refused)")
      let lines = text(name).split(separator: "\n").filter { !$0.contains("encryption_key") }
      let config = try ConfigFile.load(lines.joined(separator: "\n"))
      #expect(config.prehooks.map(\.name) == hooks)
      #expect(config.maxPeersPerUser == (hooks.contains("peer limit") ? 1 : 3))
      let approval = config.prehooks.compactMap { $0.options as? PasskeyApprovalOptions }
      #expect(approval.map(\.redisSet.cacheTTL) == [.seconds(300)])
    }
  }

  @Test("of Chihaya's last release candidate each setting that has moved is named, with its place")
  func releaseCandidate() throws {
    let text = TemporaryDirectory.read(Repository.path("Tests/SharedTests/Fixtures/yaml/chihaya_rc2.yaml"))
    #expect(
      try ConfigFile.problems(text).map { $0.split(separator: " ")[1] } == [
        "prometheus_addr:", "max_numwant:", "default_numwant:", "max_scrape_infohashes:", "storage.config.shards:",
      ])
  }

  @Test("cache_ttl_seconds is cache_ttl as a number, and only one of them may be there")
  func cacheSeconds() throws {
    func hook(_ more: String) -> String {
      ConfigFile.small
        + "  prehooks:\n  - name: passkey approval\n    options: {redis_broker: \"redis://h\", \(more)}\n"
    }
    for (written, ttl) in [("0", Duration.zero), ("2592000", .seconds(2_592_000))] {
      // What is printed means the same.
      let config = try ConfigFile.load(ConfigFile.load(hook("cache_ttl_seconds: \(written)")).describe())
      #expect(config.prehooks.compactMap { $0.options as? PasskeyApprovalOptions }.map(\.redisSet.cacheTTL) == [ttl])
    }
    #expect(try ConfigFile.problems(hook("cache_ttl_seconds: 2592001")).count == 1)
    #expect(try ConfigFile.problems(hook("cache_ttl_seconds: 5m")).count == 1)
    let both = try ConfigFile.problems(hook("cache_ttl: 5m, cache_ttl_seconds: 300"))
    #expect(both.count == 1 && both[0].contains("write one of them"), "\(both)")
  }
}
