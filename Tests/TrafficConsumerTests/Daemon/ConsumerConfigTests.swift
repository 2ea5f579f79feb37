import Linux
import Settings
import Simulation
import Testing

@testable import TrafficConsumer

@Suite struct ConsumerConfigTests {
  private func load(_ text: String, _ environment: [String: String] = [:]) throws -> ConsumerConfig {
    let directory = try TemporaryDirectory()
    return try ConsumerConfig.load(path: try directory.write(text, as: "consumer.yaml"), environment: environment)
  }

  @Test("without any setting the defaults are those of docs/contract.md")
  func defaults() throws {
    let config = try load("consumer:\n")
    var expected = ConsumerConfig()
    expected.effectiveSettings = config.effectiveSettings
    #expect(config == expected)
    #expect(config.redis.url == "redis://127.0.0.1:6379/0" && config.redis.streamKey == "tracker:traffic")
    #expect(config.redis.group == "group-pt" && config.redis.consumer == "consumer-1" && config.redis.partitions == 1)
    #expect(config.databasePath == "/var/lib/pt-tracker/traffic.db" && config.window == .seconds(3600))
    #expect(config.retention.windows == .seconds(30 * 86_400) && config.retention.days == .seconds(730 * 86_400))
    #expect(config.retention.explain == .seconds(48 * 3600) && config.deadLetterMaxDeliveries == 5)
    #expect(config.adminAddress == "127.0.0.1:6881" && config.controlSocketPath == "/run/pt-tracker/consumer.sock")
  }

  @Test("the example configuration has every setting at its default")
  func example() throws {
    let config = try ConsumerConfig.load(path: Repository.path("dist/example_consumer.yaml"), environment: [:])
    var expected = ConsumerConfig()
    expected.effectiveSettings = config.effectiveSettings
    #expect(config == expected)
    let text = TemporaryDirectory.read(Repository.path("dist/example_consumer.yaml"))
    let unsaid = config.effectiveSettings.filter { !text.contains($0.path[$0.path.count - 1]) }
    #expect(unsaid.map(\.name) == [])
  }

  @Test("every setting can be set")
  func everything() throws {
    let config = try load(
      """
      consumer:
        redis: {url: "redis+unix:///run/r.sock?db=3", stream_key: s, group: g, consumer: c, partitions: 4,
          connect_timeout: 1s, read_timeout: 2s, write_timeout: 3s}
        database: {path: /tmp/a.db}
        window: 15m
        retention: {windows: 1d, days: 2d, explain: 3h}
        dead_letters: {max_deliveries: 9}
        admin_addr: ""
        control_socket: /tmp/c.sock
        task_reports: /tmp/reports
      """, ["CONSUMER__REDIS__URL": "redis://:hush@h/1"])
    let redis = ConsumerRedisConfig(
      url: "redis://:hush@h/1", streamKey: "s", group: "g", consumer: "c", partitions: 4, connectTimeout: .seconds(1),
      readTimeout: .seconds(2), writeTimeout: .seconds(3))
    #expect(config.redis == redis)
    #expect(config.databasePath == "/tmp/a.db" && config.window == .seconds(900) && config.deadLetterMaxDeliveries == 9)
    #expect(
      config.retention
        == ConsumerRetentionConfig(windows: .seconds(86_400), days: .seconds(172_800), explain: .seconds(10_800)))
    #expect(config.adminAddress == nil && config.controlSocketPath == "/tmp/c.sock")
    #expect(config.updateReportsPath == "/tmp/reports")
    #expect(
      config.describe().contains("url: \"redis://:***@h:6379/1\"  # CONSUMER__REDIS__URL"), "\(config.describe())")
  }

  @Test(
    "a mistake names the setting and what was expected",
    arguments: [
      ("window: 7h", "window: a day must be a whole number of windows"),
      ("window: 25h", "window: expected a duration from 1s to 24h, found 25h"),
      ("window: 1500ms", "window: expected a multiple of 1s"),
      ("redis: {partitions: 0}", "redis.partitions: expected a decimal number from 1 to 256, found 0"),
      ("redis: {group: \"\"}", "redis.group: expected a name, found nothing"),
      ("retention: {windows: 30m}", "retention.windows: expected at least one window, 1h"),
      ("retention: {days: 23h}", "retention.days: expected at least one day"),
      ("database: {path: a.db}", "database.path: expected the absolute path"),
      ("database: {pat: a.db}", "database.pat: unknown setting; did you mean path?"),
      ("dead_letters: {max_deliveries: 0}", "dead_letters.max_deliveries: expected"),
      (
        "control_socket: /\(String(repeating: "a", count: 107))", "control_socket: expected a path of at most 107 bytes"
      ), ("admin_addr: here", "admin_addr: "),
    ])
  func mistakes(line: String, problem: String) throws {
    let error = #expect(throws: ConfigError.self) { try load("consumer:\n  \(line)\n") }
    let found = error?.problems.map { "\($0)" } ?? []
    #expect(found.count == 1 && found[0].contains("consumer.yaml:2: \(problem)"), "\(found)")
  }

  @Test("the longest control socket path is accepted")
  func longestSocket() throws {
    let path = "/" + String(repeating: "a", count: UnixSocketName.maximumPathBytes - 1)
    #expect(try load("consumer: {control_socket: \(path)}").controlSocketPath == path)
  }
}
