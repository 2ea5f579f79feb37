// What ships beside the binaries tells the truth about them: alert rules, dashboards, documentation.

import Foundation
import Linux
import Simulation
import Testing
import Wire

@Suite("what ships beside the binaries")
struct DistTests {
  private struct Dashboard: Decodable {
    struct Panel: Decodable {
      struct Target: Decodable { let refId: String, expr: String }
      struct Position: Decodable { let x: Int, y: Int, w: Int, h: Int }
      let id: Int
      let title: String
      let type: String
      let gridPos: Position
      let targets: [Target]
    }
    let uid: String
    let title: String
    let schemaVersion: Int
    let panels: [Panel]
  }

  private static let dashboards = ["tracker", "traffic"]
  private static let alerts = TemporaryDirectory.read(Repository.path("dist/prometheus/alerts.yml"))

  private static func dashboard(_ name: String) throws -> Dashboard {
    try JSONDecoder().decode(
      Dashboard.self, from: Data(TemporaryDirectory.read(Repository.path("dist/grafana/\(name).json")).utf8))
  }

  /// The metrics an expression names, without the suffixes of histograms.
  private static func metrics(in text: String) throws -> Set<String> {
    let expression = try Regex("\\b(chihaya|tracker|traffic_consumer)_[a-z0-9_]+")
    return Set(
      text.matches(of: expression).map { match in
        let name = String(text[match.range])
        let suffix = ["_bucket", "_count", "_sum"].first {
          name.hasSuffix($0) && name.contains("duration") || name.hasSuffix("entries\($0)")
        }
        return suffix.map { String(name.dropLast($0.count)) } ?? name
      })
  }

  @Test("every metric of dashboards and alerts is one that the daemons export")
  func metricsExist() async throws {
    var wanted = try Self.metrics(in: Self.alerts)
    for name in Self.dashboards {
      for target in try Self.dashboard(name).panels.flatMap(\.targets) {
        wanted.formUnion(try Self.metrics(in: target.expr))
      }
    }
    #expect(wanted.count > 20)
    let site = try Site()
    try await site.start()
    // Series appear with the first reply.
    _ = try Site.get(port: site.endpoints.httpPort, "/announce?info_hash=x")
    var client = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
    _ = try client.scrape([try #require(InfoHash(hex: String(repeating: "61", count: 20)))])
    var exported: Set<String> = []
    for port in [site.metricsPort, site.adminPort] {
      for line in try Site.get(port: port, "/metrics").text.split(separator: "\n") where line.hasPrefix("# TYPE ") {
        exported.insert(String(line.split(separator: " ")[2]))
      }
    }
    #expect(wanted.subtracting(exported).sorted() == [])
  }

  @Test("dashboards have panels that Grafana can place", arguments: dashboards)
  func panels(name: String) throws {
    let dashboard = try Self.dashboard(name)
    #expect(Set(dashboard.panels.map(\.id)).count == dashboard.panels.count && dashboard.schemaVersion >= 36)
    for panel in dashboard.panels {
      #expect(!panel.targets.isEmpty && ["stat", "timeseries"].contains(panel.type))
      #expect(panel.gridPos.x + panel.gridPos.w <= 24)
      for other in dashboard.panels where other.id != panel.id {
        let (a, b) = (panel.gridPos, other.gridPos)
        let isApart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y
        #expect(isApart, "\(panel.title) and \(other.title) overlap")
      }
    }
  }

  @Test("promtool accepts the alert rules and the scrape configuration, and the rules do what their tests say")
  func promtool() async throws {
    for arguments in [
      ["check", "rules", Repository.path("dist/prometheus/alerts.yml")],
      ["check", "config", Repository.path("dist/prometheus/prometheus.yml")],
      ["test", "rules", Repository.path("dist/prometheus/alerts_test.yml")],
    ] {
      let result = try await CommandResult.run(["promtool"] + arguments)
      #expect(result.exit == .code(0), "\(result.output)\(result.errors)")
    }
    // Every expression of a dashboard is one that Prometheus parses.
    let expressions = try Self.dashboards.flatMap { try Self.dashboard($0).panels.flatMap(\.targets) }.map(\.expr)
    let directory = try TemporaryDirectory()
    let rules = expressions.enumerated().map { "  - record: a:b\($0)\n    expr: \(JSONText.quoted($1))\n" }
    let path = try directory.write("groups:\n- name: dashboards\n  rules:\n" + rules.joined(), as: "rules.yml")
    let result = try await CommandResult.run(["promtool", "check", "rules", path])
    #expect(result.exit == .code(0), "\(result.output)\(result.errors)")
  }

  private static let moreHooks = """

      - name: client approval
        options: { blacklist: [ "-XX0000-" ] }
      - name: torrent approval
        options: { redis_broker: "redis://127.0.0.1:6379/0" }
      - name: port approval
        options: { blacklist: [ "1-1023" ] }
      - name: interval variation
        options: { modify_response_probability: 0.2, max_increase_delta: 60, modify_min_interval: true }
    """

  @Test("the configuration reference has every setting, and no other", arguments: ["tracker", "consumer"])
  func configurationReference(_ daemon: String) async throws {
    let isTracker = daemon == "tracker"
    var text = TemporaryDirectory.read(Repository.path("dist/example_\(isTracker ? "config" : daemon).yaml"))
    // The hooks that the example leaves to the reader.
    text = text.replacing("\n  posthooks:", with: Self.moreHooks + "\n  posthooks:")
    let directory = try TemporaryDirectory()
    let check = try await CommandResult.run([
      isTracker ? Binaries.tracker : Binaries.consumer, "--check-config", "--config",
      try directory.write(text, as: "\(daemon).yaml"),
    ])
    #expect(check.exit == .code(0), "\(check.errors)")
    let expression = try Regex("(?m)^ *(?:- )?([a-z_]+): *\\S")
    func keys(_ text: String) -> Set<String> {
      Set(text.matches(of: expression).compactMap { $0.output[1].substring.map(String.init) })
    }
    let known = keys(check.output).subtracting(["name"])
    #expect(known.count > 10)
    let reference = TemporaryDirectory.read(Repository.path("docs/configuration.md"))
    let parts = reference.components(separatedBy: "\n# ")
    let part = try #require(parts.first { $0.hasPrefix(isTracker ? "tracker.yaml" : "consumer.yaml") })
    let documented = Set(
      part.split(separator: "\n").filter { $0.hasPrefix("| `") }.compactMap { line in
        line.split(separator: "`").dropFirst().first.map(String.init)
      })
    #expect(known.subtracting(documented).sorted() == [])
    // Settings that cannot be in the same file as another are in the reference and not in the example.
    let onlyInReference: Set<String> = [
      "whitelist", "whitelist_file", "blacklist_file", "cache_ttl_seconds", "name", "prehooks", "posthooks",
    ]
    #expect(documented.subtracting(known).subtracting(onlyInReference).sorted() == [])
  }

  @Test("the operations guide says of every alert what to do")
  func alertsAreExplained() throws {
    let names = Self.alerts.split(separator: "\n").compactMap { line in
      line.contains("- alert: ") ? line.split(separator: " ").last.map(String.init) : nil
    }
    #expect(names.count >= 10)
    let guide = TemporaryDirectory.read(Repository.path("docs/operations.md"))
    for name in names { #expect(guide.contains("### \(name)\n"), "\(name)") }
  }

  @Test("links between the documents lead somewhere")
  func links() throws {
    let manager = FileManager.default
    let files = try manager.contentsOfDirectory(atPath: Repository.path("docs")).filter { $0.hasSuffix(".md") }.map {
      "docs/\($0)"
    }
    for file in files + ["README.md", "README.zh.md"] {
      let text = TemporaryDirectory.read(Repository.path(file))
      #expect(!text.isEmpty, "\(file)")
      let folder = file.contains("/") ? "docs/" : ""
      for match in text.matches(of: try Regex("\\]\\(([^)#]+)(#[^)]*)?\\)")) {
        let target = String(match.output[1].substring ?? "")
        if target.contains("://") { continue }
        #expect(manager.fileExists(atPath: Repository.path(folder + target)), "\(file): \(target)")
      }
    }
  }
}
