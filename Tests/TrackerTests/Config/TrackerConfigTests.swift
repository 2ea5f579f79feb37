import Settings
import Simulation
import Testing
import Wire

@testable import Tracker

@Suite struct TrackerConfigTests {
  @Test("the example configuration is complete and valid")
  func example() throws {
    let config = try TrackerConfig.load(path: Repository.path("dist/example_config.yaml"), environment: [:])
    #expect(config.prehooks.map(\.name) + config.posthooks.map(\.name) != [])
    // Every setting the program knows is in the example, in force or in a comment.
    let text = TemporaryDirectory.read(Repository.path("dist/example_config.yaml"))
    let unsaid = config.effectiveSettings.filter { !text.contains($0.path[$0.path.count - 1]) }
    #expect(unsaid.map(\.name) == [])
  }

  // MARK: Defaults

  @Test("what is not written has Chihaya's default")
  func defaults() throws {
    let config = try ConfigFile.load(ConfigFile.small)
    var expected = TrackerConfig()
    expected.http = HTTPSettings(address: ":6969")
    expected.effectiveSettings = config.effectiveSettings
    #expect(config == expected)
    #expect(config.http?.limits.maxNumwant == 100 && config.http?.limits.defaultNumwant == 50)
    #expect(config.storage.maxPeersPerUser == 3 && config.storage.excludeOwnPeers)
  }

  @Test("defaults follow the settings they depend on")
  func dependentDefaults() throws {
    let config = try ConfigFile.load(
      ConfigFile.small + "  announce_interval: 10m\n  udp: {addr: \":1\", max_numwant: 30}\n")
    #expect(config.minAnnounceInterval == .seconds(600))
    #expect(config.storage.peerLifetime == .seconds(660))
    #expect(config.udp?.limits == RequestLimits(maxNumwant: 30, defaultNumwant: 30))
  }

  @Test("`tracker:` means `chihaya:`, and a null setting is one that is not written")
  func synonyms() throws {
    let config = try ConfigFile.load(
      "tracker:\n  udp:\n    addr: \":1\"\n    private_key:\n  http:\n  storage: ~\n  prehooks: null\n")
    #expect(config.http == nil)
    #expect(config.udp == UDPSettings(address: ":1"))
    #expect(config.storage == StorageSettings())
  }

  @Test("a unix socket serves HTTP, and trusted proxies are prefixes")
  func proxies() throws {
    let config = try ConfigFile.load(
      """
      chihaya:
        http:
          addr: "unix:/run/pt-tracker/http.sock"
          real_ip_header: X-Forwarded-For
          trusted_proxies: ["10.0.0.0/8", "::1"]
      """)
    #expect(config.http?.address == "unix:/run/pt-tracker/http.sock")
    #expect(config.http?.realIPHeader == "x-forwarded-for")
    #expect(config.http?.trustedProxies.map(\.description) == ["10.0.0.0/8", "::1/128"])
    #expect(config.warnings.isEmpty)
  }

  @Test("request timing, which Chihaya switches on, is said to be on always")
  func requestTiming() throws {
    let config = try ConfigFile.load(
      ConfigFile.small + "    enable_request_timing: true\n  udp: {addr: \":1\", enable_request_timing: false}\n")
    #expect(config.warnings.map(\.setting) == ["http.enable_request_timing"])
  }

  @Test("traffic of passkeys that nobody approves is warned of, where the push stands")
  func unapproved() throws {
    let push = "  - name: traffic push\n    options: {redis_broker: \"redis://h\"}\n"
    let approval = "  prehooks:\n  - name: passkey approval\n    options: {redis_broker: \"redis://h\"}\n"
    let alone = try ConfigFile.load(ConfigFile.small + "  posthooks:\n" + push)
    #expect(alone.warnings.map(\.setting) == ["posthooks[0].name"])
    #expect(alone.warnings.allSatisfy { $0.message.contains("credited to whatever passkey") })
    #expect(try ConfigFile.load(ConfigFile.small + approval + "  posthooks:\n" + push).warnings.isEmpty)
    #expect(try ConfigFile.load(ConfigFile.small).warnings.isEmpty)
  }

  @Test(
    "a private key that can be guessed from one connection id is warned of",
    arguments: [
      ("hush-1", true), ("0123456789abcde", true), ("0123456789abcdef", false), ("aaaaaaaaaaaaaaaaaaaaaaaa", true),
      ("paste a random string here that will be used to hmac connection IDs", true),
    ])
  func weakKey(key: String, isWeak: Bool) throws {
    let config = try ConfigFile.load(ConfigFile.small + "  udp: {addr: \":1\", private_key: \"\(key)\"}\n")
    #expect(config.warnings.map(\.setting) == (isWeak ? ["udp.private_key"] : []))
    #expect(config.warnings.allSatisfy { !$0.message.contains(key) })
  }

  // MARK: What is wrong

  @Test(
    "a mistake names file, line, setting and what was expected",
    arguments: [
      (
        "  prehooks:\n  - name: port approval\n    options: {blacklist: [\"0-5\"]}",
        "tracker.yaml:6: prehooks[0].options.blacklist[0]: expected a port or a range such as 6881-6889, found 0-5"
      ),
      ("  log_level: loud", "tracker.yaml:4: log_level: expected one of debug, info, warning, error, found loud"),
      (
        "  prehooks:\n  - name: torrent approval\n    options: {set_key: a}",
        "tracker.yaml:6: prehooks[0].options.set_key: "
      ),
      ("  htpt:\n    addr: \":1\"", "tracker.yaml:4: htpt: unknown setting; did you mean http?"),
      (
        "  announce_intervall: 30m",
        "tracker.yaml:4: announce_intervall: unknown setting; did you mean announce_interval?"
      ),
      (
        "  announce_interval: 30",
        "tracker.yaml:4: announce_interval: expected a duration such as 30m, 1h30m or 500ms, found 30"
      ),
      ("  announce_interval: 1500ms", "tracker.yaml:4: announce_interval: expected a multiple of 1s, found 1s500ms"),
      ("  announce_interval: 0", "tracker.yaml:4: announce_interval: expected a duration from 1s to 168h, found 0s"),
      ("  announce_interval: [30m]", "tracker.yaml:4: announce_interval: expected a single value, found a list"),
      (
        "  min_announce_interval: 31m", "tracker.yaml:4: min_announce_interval: expected at most announce_interval, 30m"
      ),
      ("  workers: two", "tracker.yaml:4: workers: expected a decimal number from 0 to 1024, found two"),
      ("  workers: \"2\"", "tracker.yaml:4: workers: expected a decimal number from 0 to 1024, found \"2\""),
      ("  workers: 010", "tracker.yaml:4: workers: expected a decimal number from 0 to 1024, found 010"),
      ("  workers: -1", "tracker.yaml:4: workers: expected a decimal number from 0 to 1024, found -1"),
      ("  batch_delay: 11ms", "tracker.yaml:4: batch_delay: expected a duration from 0s to 10ms, found 11ms"),
      ("  workers:\n    a: 1", "tracker.yaml:4: workers: expected a single value, found a map"),
      ("  metrics_addr: 6880", "tracker.yaml:4: metrics_addr: "),
      (
        "  metrics_addr: yes",
        "tracker.yaml:4: metrics_addr: YAML parsers disagree whether yes is a text; put it in quotes"
      ),
      ("  udp: {addr: \"unix:/a\"}", "tracker.yaml:4: udp.addr: expected host:port; a unix socket is for http only"),
      (
        "  udp: 6969",
        "tracker.yaml:4: udp: expected a section, found a single value; write settings below it, indented"
      ),
      ("  prometheus_addr: \":1\"", "tracker.yaml:4: prometheus_addr: this is metrics_addr now"),
      (
        "  storage: {name: redis}",
        "tracker.yaml:4: storage.name: the storage redis is not supported; write `name: memory` and remove"
      ),
      (
        "  storage: {config: {redis_broker: x}}",
        "tracker.yaml:4: storage.config.redis_broker: belongs to the storage redis"
      ),
      (
        "  storage:\n    config:\n      shard_count: 0",
        "tracker.yaml:6: storage.config.shard_count: expected a decimal number from 1 to 65536, found 0"
      ),
      ("  prehooks: {}", "tracker.yaml:4: prehooks: expected a list, found a map"),
      ("  prehooks:\n  - a", "tracker.yaml:5: prehooks[0]: expected a map, found a single value"),
      (
        "  prehooks:\n  - options: {}",
        "tracker.yaml:5: prehooks[0].name: this setting is needed: one of passkey approval"
      ),
      (
        "  prehooks:\n  - name: jwt\n    options: {issuer: x}",
        "tracker.yaml:5: prehooks[0].name: unknown hook jwt; JSON web tokens are not supported here"
      ),
      (
        "  prehooks:\n  - name: pass key approval",
        "tracker.yaml:5: prehooks[0].name: unknown hook pass key approval; did you mean passkey approval?"
      ),
      (
        "  prehooks:\n  - name: traffic push",
        "tracker.yaml:5: prehooks[0].options.redis_broker: this setting is needed: redis://"
      ),
      (
        "  prehooks:\n  - name: client approval\n    options:\n      whitlist: [a]",
        "tracker.yaml:7: prehooks[0].options.whitlist: unknown setting; did you mean whitelist?"
      ),
      (
        "  prehooks:\n  - name: client approval\n    options: {whitelist: [\"A\"], blacklist: [\"B\"]}",
        "tracker.yaml:6: prehooks[0].options.blacklist: expected whitelist or blacklist, found both"
      ),
      (
        "  prehooks:\n  - name: torrent approval\n    options:\n      whitelist:\n      - abc",
        "tracker.yaml:8: prehooks[0].options.whitelist[0]: expected an infohash of 40 hex digits, found abc"
      ),
      (
        "  prehooks:\n  - name: torrent approval\n    options: {initial_source: list}",
        "tracker.yaml:6: prehooks[0].options.initial_source: this is another Chihaya fork's form"
      ),
      (
        "  prehooks:\n  - name: interval variation\n    options: {modify_response_probability: 1.5, max_increase_delta: 1}",
        "tracker.yaml:6: prehooks[0].options.modify_response_probability: expected a number from 0 to 1, such as 0.2, found 1.5"
      ),
      (
        "  posthooks:\n  - name: traffic push\n    options: {redis_broker: \"redis://h\", spool_path: spool}",
        "tracker.yaml:6: posthooks[0].options.spool_path: expected the absolute path of a file"
      ),
      (
        "  posthooks:\n  - name: traffic push\n    options: {redis_broker: \"http://h\"}",
        "tracker.yaml:6: posthooks[0].options.redis_broker: "
      ),
    ])
  func mistakes(more: String, problem: String) throws {
    let found = try ConfigFile.problems(ConfigFile.small + more + "\n")
    #expect(found.contains { $0.hasPrefix(problem) }, "\(found)")
  }

  @Test(
    "a mistake in http names file, line, setting and what was expected",
    arguments: [
      ("adr: \":1\"", "http.adr: unknown setting; did you mean addr?"),
      ("https_addr: \":443\"", "http.https_addr: HTTPS is the reverse proxy's job here"),
      ("tls_key_path: /a", "http.tls_key_path: HTTPS is the reverse proxy's job here"),
      ("enable_keepalive: yes", "http.enable_keepalive: expected true or false, found yes"),
      ("enable_keepalive: \"true\"", "http.enable_keepalive: expected true or false, found \"true\""),
      ("enable_legacy_php_urls: true", "http.enable_legacy_php_urls: add /announce.php"),
      ("announce_routes: /a", "http.announce_routes: expected a list, found a single value"),
      ("announce_routes: []", "http.announce_routes: expected at least one route"),
      ("announce_routes: [a]", "http.announce_routes[0]: expected a path that begins with /"),
      ("announce_routes: [\"/a\", \"/*b\"]", "http.announce_routes[1]: catch-all parameters are not supported"),
      ("announce_routes: [\"/:\"]", "http.announce_routes[0]: a parameter needs a name"),
      ("scrape_routes: [\"/:passkey/:passkey\"]", "http.scrape_routes[0]: :passkey is there twice"),
      ("scrape_routes: [[a]]", "http.scrape_routes[0]: expected a text, found a list"),
      ("trusted_proxies: [\"10.0.0.1/8\"]", "http.trusted_proxies[0]: expected an address or prefix"),
      ("real_ip_header: \"a b\"", "http.real_ip_header: expected the name of an HTTP header"),
      ("max_numwant: 1001", "http.max_numwant: expected a decimal number from 1 to 1000, found 1001"),
      ("default_numwant: 101", "http.default_numwant: expected at most max_numwant, 100"),
      ("read_timeout: 0s", "http.read_timeout: expected a duration from 1ms to 1h, found 0s"),
      (
        "max_connections_per_address: 20001",
        "http.max_connections_per_address: expected a decimal number from 0 to 20000, found 20001"
      ),
      ("max_scrape_infohashes: 0", "http.max_scrape_infohashes: expected a decimal number from 1 to 1000, found 0"),
    ])
  func httpMistakes(more: String, problem: String) throws {
    let found = try ConfigFile.problems(ConfigFile.small + "    " + more + "\n")
    #expect(found.contains { $0.hasPrefix("tracker.yaml:4: \(problem)") }, "\(found)")
  }

  @Test("limits are accepted at their edges")
  func edges() throws {
    let config = try ConfigFile.load(
      """
      chihaya:
        announce_interval: 168h
        min_announce_interval: 1s
        workers: 1024
        batch_delay: 10ms
        http: {addr: ":1", max_numwant: 1000, default_numwant: 1000, max_scrape_infohashes: 1000, read_timeout: 1ms, idle_timeout: 1h, max_connections_per_address: 20000}
        storage: {config: {shard_count: 65536, peer_lifetime: 336h, gc_interval: 10ms}}
      """)
    #expect(config.http?.limits == RequestLimits(maxNumwant: 1000, defaultNumwant: 1000, maxScrapeInfohashes: 1000))
    #expect(config.batchDelayNanoseconds == 10_000_000)
    #expect(config.http?.maxConnectionsPerAddress == 20_000)
    #expect(config.workers == 1024 && config.storage.shardCount == 65_536)
  }

  @Test("all problems are reported at once, one a line")
  func allProblems() throws {
    let found = try ConfigFile.problems(
      "chihaya:\n  http: {adr: \":1\"}\n  workers: x\n  udp: {addr: nowhere, max_numwant: 0}\n")
    #expect(found.count == 4)
    #expect(
      ConfigError([
        ConfigProblem(location: "a:1", setting: "b", message: "c"),
        ConfigProblem(location: "d", setting: "", message: "e"),
      ]).description == "a:1: b: c\nd: e")
  }

  @Test("a tracker that would listen nowhere is refused")
  func nowhere() throws {
    for text in ["chihaya:\n  workers: 1\n", "chihaya:\n", "chihaya: {http: {addr: \"\"}}\n"] {
      let found = try ConfigFile.problems(text)
      #expect(found.contains { $0.contains("neither http.addr nor udp.addr is set") }, "\(text)")
    }
  }

  @Test(
    "snapshots that may be gone before the next announce are refused where last_ttl stands; short ones are warned of",
    arguments: [("2057s", true, false), ("2058s", false, true), ("3599s", false, true), ("1h", false, false)])
  func shortSnapshots(ttl: String, isRefused: Bool, isWarned: Bool) throws {
    let text =
      ConfigFile.small
      + "  announce_interval: 30m\n  prehooks:\n  - name: traffic push\n    options:\n      redis_broker: \"redis://h\"\n"
      + "      last_ttl: \(ttl)\n"
    if isRefused {
      let found = try ConfigFile.problems(text)
      #expect(found.count == 1)
      #expect(found[0].hasPrefix("tracker.yaml:9: prehooks[0].options.last_ttl: snapshots may be gone 30m after"))
      return
    }
    let warnings = try ConfigFile.load(text).warnings.filter { $0.setting.hasSuffix(".last_ttl") }.map(\.description)
    #expect(warnings.map { $0.contains("last_ttl: shorter than twice announce_interval") } == (isWarned ? [true] : []))
  }

  @Test("no conclusion is drawn from a value that could not be read")
  func shortSnapshotsUnread() throws {
    let push = "  prehooks:\n  - name: traffic push\n    options: {redis_broker: \"redis://h\", last_ttl: 10}\n"
    #expect(try ConfigFile.problems(ConfigFile.small + "  announce_interval: 13h\n" + push).count == 1)
  }

  @Test("a hook that is there twice is refused")
  func twice() throws {
    let push = "  - name: traffic push\n    options: {redis_broker: \"redis://h\"}\n"
    let found = try ConfigFile.problems(ConfigFile.small + "  prehooks:\n\(push)  posthooks:\n\(push)")
    #expect(
      found == [
        "tracker.yaml:7: posthooks: the hook traffic push is there twice; write it once, in prehooks or in posthooks"
      ])
  }

  @Test(
    "a file that is no configuration is refused",
    arguments: [
      ("", "tracker.yaml:1: expected the key `chihaya:` or `tracker:` with the settings below it, indented"),
      ("- a\n", "tracker.yaml:1: expected the key `chihaya:` or `tracker:` with the settings below it, indented"),
      (
        "http:\n  addr: a\n",
        "tracker.yaml:1: http: unknown key; the settings belong below `chihaya:` or `tracker:`, indented"
      ),
      (
        "chihaya: {}\ntracker: {}\n",
        "tracker.yaml:2: tracker: `chihaya:` or `tracker:` mean the same; write one of them"
      ),
      ("chihaya: 1\n", "tracker.yaml:1: chihaya: expected settings below it, found a single value"),
      (
        "chihaya:\n  a: *b\n",
        "tracker.yaml:2: aliases (*) are not supported; write the value out, or put the text in quotes"
      ),
    ])
  func noConfiguration(text: String, problem: String) throws { #expect(try ConfigFile.problems(text) == [problem]) }

  @Test("a file that cannot be read is refused, unless it is the default place's")
  func missing() throws {
    let error = #expect(throws: ConfigError.self) {
      try TrackerConfig.load(path: "/nonexistent/a.yaml", environment: [:])
    }
    #expect(
      error?.description == "/nonexistent/a.yaml: cannot be read: No such file or directory; --config names the file")
    #expect(throws: ConfigError.self) { try TrackerConfig.load(path: "/", environment: [:]) }
  }
}
