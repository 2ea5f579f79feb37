// The update chain (dist/update-from-release.sh, dist/self-update-runner.sh) with the real daemons: a release host on
// loopback, and a script that plays systemctl. A "version" is a script around the built binary that says another number.

import Foundation
import Simulation
import Testing

@Suite("updates from releases")
struct UpdateTests {
  /// A site whose daemons run from a directory of binaries, and a release host.
  private final class Installation {
    let site: Site
    let releases: String
    let binaries: String
    private let folder: TemporaryDirectory
    private let host: ChildProcess
    private var environment: [String: String] = [:]

    init() async throws {
      site = try Site()
      folder = try TemporaryDirectory()
      (releases, binaries) = ("\(folder.path)/releases", "\(folder.path)/bin")
      for path in [releases, binaries, "\(folder.path)/units"] {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
      }
      host = try ChildProcess(
        ["python3", Repository.path("Tests/IntegrationTests/Releases/release_host.py"), releases], name: "release host",
        logPath: "\(folder.path)/host.log")
      let host = host
      let port: String = try await eventually("the release host listens") {
        host.log.hasSuffix("\n") ? host.log.trimmingCharacters(in: .whitespacesAndNewlines) : nil
      }
      environment = [
        "PT_RELEASE_BASE_URL": "http://127.0.0.1:\(port)/releases", "PT_BIN_DIR": binaries,
        "PT_CONFIG_DIR": site.directory.path, "PT_STATE_DIR": "\(folder.path)/state",
        "PT_TRACKER_HEALTH_URL": "http://127.0.0.1:\(site.metricsPort)/health",
        "PT_CONSUMER_HEALTH_URL": "http://127.0.0.1:\(site.adminPort)/health",
        "PT_SYSTEMCTL": Repository.path("Tests/IntegrationTests/Releases/systemctl.sh"),
        "UNITS": "\(folder.path)/units", "CONSUMER__TASK_REPORTS": "\(folder.path)/state/self-update-reports",
        "no_proxy": "127.0.0.1",
      ]
      for name in Self.names { try await install(version: "1.0.0", of: name, to: "\(binaries)/\(name)") }
    }

    deinit {
      for pid in pids { kill(pid, SIGKILL) }
      _ = host.kill9()
    }

    static let names = ["tracker", "traffic-consumer"]

    private var pids: [pid_t] {
      Self.names.compactMap { pid_t(TemporaryDirectory.read("\(folder.path)/units/\($0).pid").dropLast()) }
    }

    /// A version of a program: the built one, or what `body` does instead of running it.
    func install(version: String, of name: String, to path: String, body: String? = nil) async throws {
      let program = "\(Binaries.folder)/\(name)"
      let text = """
        #!/bin/sh
        if [ "$1" = --version ]; then echo "\(name) \(version) (commit test)"; exit; fi
        case " $* " in *" --check-config "*) exec \(program) "$@" ;; esac
        \(body ?? "exec \(program) \"$@\"")

        """
      try await Self.program(text, at: path)
    }

    /// Writes a program. Another process does: a file this one has open for writing is inherited by whatever another test
    /// starts at that moment, and cannot be run meanwhile (ETXTBSY).
    static func program(_ text: String, at path: String) async throws {
      let result = try await CommandResult.run(["sh", "-c", "cat > '\(path)' && chmod 0755 '\(path)'"], input: text)
      #expect(result.exit == .code(0), "\(result.errors)")
    }

    /// Puts a version on the host, as the latest.
    func release(_ version: String, body: String? = nil, checksum: String? = nil, cut: Bool = false) async throws {
      let path = "\(releases)/v\(version)"
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
      for name in Self.names {
        let file = "\(name)-x86_64-unknown-linux-gnu"
        try await install(version: version, of: name, to: "\(path)/\(file)", body: body)
        let sum = try await CommandResult.run(["sh", "-c", "cd \(path) && sha256sum \(file)"]).output
        try (checksum ?? sum).write(toFile: "\(path)/\(file).sha256", atomically: true, encoding: .utf8)
        if cut { try "".write(toFile: "\(path)/\(file).cut", atomically: true, encoding: .utf8) }
      }
      try "v\(version)\n".write(toFile: "\(releases)/latest", atomically: true, encoding: .utf8)
    }

    /// Starts Redis and both daemons from the directory of binaries.
    func start() async throws {
      try await site.redis.start()
      for name in Self.names {
        let result = try await CommandResult.run(
          [environment["PT_SYSTEMCTL"]!, "restart", "\(name).service"], environment: environment)
        #expect(result.exit == .code(0), "\(result.errors)")
      }
      try await ready()
    }

    func ready() async throws {
      let site = site
      for port in [site.metricsPort, site.adminPort] {
        try await eventually("ready", evidence: self.log) { Site.status(port: port, "/health/ready") == 200 }
      }
    }

    func update(_ arguments: [String] = [], _ more: [String: String] = [:]) async throws -> CommandResult {
      try await CommandResult.run(
        [Repository.path("dist/update-from-release.sh")] + arguments, environment: environment.merging(more) { $1 })
    }

    func runner(_ arguments: [String] = [], _ more: [String: String] = [:]) async throws -> CommandResult {
      try await CommandResult.run(
        [Repository.path("dist/self-update-runner.sh")] + arguments, environment: environment.merging(more) { $1 })
    }

    /// A PATH with every program of this machine but those.
    func path(without programs: [String]) async throws -> [String: String] {
      let path = "\(folder.path)/without-\(programs.joined(separator: "-"))"
      let result = try await CommandResult.run([
        "sh", "-c",
        "mkdir '\(path)' && ln -s /usr/bin/* '\(path)' && cd '\(path)' && rm \(programs.joined(separator: " "))",
      ])
      #expect(result.exit == .code(0), "\(result.errors)")
      return ["PATH": path]
    }

    /// What is in the directory of binaries, with the version each says.
    var files: [String] {
      (try? FileManager.default.contentsOfDirectory(atPath: binaries).filter { !$0.hasPrefix(".") }.sorted()) ?? []
    }
    func version(_ file: String) async throws -> String {
      try await CommandResult.run(["\(binaries)/\(file)", "--version"]).output
    }
    var restarts: [String] {
      TemporaryDirectory.read("\(folder.path)/units/restarts").split(separator: "\n").map(String.init)
    }
    var log: String { Self.names.map { TemporaryDirectory.read("\(folder.path)/units/\($0).log") }.joined() }
    var reportFolder: String { "\(folder.path)/state/self-update-reports" }
    func tasks() async throws -> CommandResult { try await site.consumer(["tasks", "list", "-o", "json"]) }
  }

  @Test("an update replaces both binaries, keeps the old ones, restarts what runs, and is done once")
  func updates() async throws {
    let installation = try await Installation()
    try await installation.start()
    try await installation.release("1.1.0")
    let result = try await installation.update()
    #expect(result.exit == .code(0), "\(result.output)\(result.errors)\(installation.log)")
    #expect(
      result.output.contains("update: tracker: 1.0.0 -> 1.1.0\n")
        && result.output.contains("update: release_tag=v1.1.0\n"))
    #expect(installation.files == ["tracker", "tracker.old", "traffic-consumer", "traffic-consumer.old"])
    #expect(try await installation.version("tracker").hasPrefix("tracker 1.1.0"))
    #expect(try await installation.version("traffic-consumer.old").hasPrefix("traffic-consumer 1.0.0"))
    #expect(installation.restarts.suffix(2).map { $0.contains(" 1.1.0 ") } == [true, true])
    try await installation.ready()
    let again = try await installation.update()
    #expect(again.exit == .code(0) && again.output.hasSuffix("update: up to date\n"))
    #expect(installation.restarts.count == 4)
  }

  @Test("a dry run downloads and verifies, and changes nothing")
  func dryRun() async throws {
    let installation = try await Installation()
    try await installation.start()
    try await installation.release("1.1.0")
    let result = try await installation.update(["--dry-run"])
    #expect(result.exit == .code(0) && result.output.contains("verified; nothing has changed"), "\(result.errors)")
    #expect(installation.files == InstallationNames.both && installation.restarts.count == 2)
    #expect(try await installation.version("tracker").contains("1.0.0"))
  }

  @Test("where there is no curl, wget finds, downloads, refuses and asks for readiness the same")
  func wget() async throws {
    let installation = try await Installation()
    try await installation.start()
    let none = try await installation.update([], installation.path(without: ["curl", "wget"]))
    #expect(none.exit == .code(78) && none.errors.contains("neither curl nor wget"), "\(none.errors)")
    let wget = try await installation.path(without: ["curl"])
    let missing = try await installation.update([], wget)
    #expect(missing.exit == .code(69) && missing.errors.contains("is not to be found"), "\(missing.errors)")
    try await installation.release("1.1.0", cut: true)
    let cut = try await installation.update([], wget)
    #expect(cut.exit == .code(69) && cut.errors.contains("was not downloaded"), "\(cut.output)\(cut.errors)")
    try await installation.release("1.2.0", checksum: String(repeating: "0", count: 64) + "  tracker\n")
    let wrong = try await installation.update([], wget)
    #expect(wrong.exit == .code(65) && wrong.errors.contains("the checksum is"), "\(wrong.output)\(wrong.errors)")
    #expect(installation.files == InstallationNames.both && installation.restarts.count == 2)
    try await installation.release("1.3.0")
    let result = try await installation.update([], wget)
    #expect(result.exit == .code(0), "\(result.output)\(result.errors)\(installation.log)")
    #expect(try await installation.version("tracker").hasPrefix("tracker 1.3.0"))
    try await installation.ready()
  }

  private enum InstallationNames { static let both = ["tracker", "traffic-consumer"] }

  enum Damage: CaseIterable {
    case noRelease, missingFile, cut, wrongChecksum, noChecksum, otherVersion, refusesConfiguration
  }

  @Test("what cannot be downloaded, verified or started never touches the running binaries", arguments: Damage.allCases)
  func damage(_ damage: Damage) async throws {
    let installation = try await Installation()
    let code: Int32
    switch damage {
    case .noRelease: code = 69
    case .missingFile:
      code = 69
      try await installation.release("1.1.0")
      try FileManager.default.removeItem(
        atPath: "\(installation.releases)/v1.1.0/traffic-consumer-x86_64-unknown-linux-gnu")
    case .cut:
      code = 69
      try await installation.release("1.1.0", cut: true)
    case .wrongChecksum:
      code = 65
      try await installation.release("1.1.0", checksum: String(repeating: "0", count: 64) + "  tracker\n")
    case .noChecksum:
      code = 65
      try await installation.release("1.1.0", checksum: "<html>not found</html>\n")
    case .otherVersion:
      code = 65
      try await installation.release("1.1.0")
      try FileManager.default.moveItem(
        atPath: "\(installation.releases)/v1.1.0", toPath: "\(installation.releases)/v1.2.0")
      try "v1.2.0".write(toFile: "\(installation.releases)/latest", atomically: true, encoding: .utf8)
    case .refusesConfiguration:
      code = 78
      try await installation.release("1.1.0")
      try installation.site.directory.write("chihaya:\n  no_such_setting: 1\n", as: "tracker.yaml")
    }
    let result = try await installation.update()
    #expect(result.exit == .code(code), "\(result.output)\(result.errors)")
    #expect(!result.errors.isEmpty)
    #expect(installation.files == InstallationNames.both && installation.restarts.isEmpty)
    for name in InstallationNames.both { #expect(try await installation.version(name).contains("1.0.0")) }
  }

  @Test("a version that does not get ready goes, and the old one is ready again")
  func rollsBack() async throws {
    let installation = try await Installation()
    try await installation.start()
    try await installation.release("1.1.0", body: "exit 1")
    let result = try await installation.update([], ["PT_HEALTH_SECONDS": "1"])
    #expect(result.exit == .code(70), "\(result.output)\(result.errors)")
    #expect(result.errors.contains("tracker v1.1.0 was not ready within 1 s; rolled back, the old version is ready"))
    #expect(installation.files == InstallationNames.both)
    for name in InstallationNames.both { #expect(try await installation.version(name).contains("1.0.0")) }
    try await installation.ready()
  }

  @Test("a site that is not ready is not updated, unless forced; then the new version has to live")
  func notReady() async throws {
    let installation = try await Installation()
    try await installation.start()
    try await installation.site.redis.stop()
    let site = installation.site
    try await eventually("not ready") { Site.status(port: site.metricsPort, "/health/ready") == 503 }
    try await installation.release("1.1.0")
    let refused = try await installation.update()
    #expect(refused.exit == .code(75) && installation.files == InstallationNames.both, "\(refused.errors)")
    let forced = try await installation.update(["--force"])
    #expect(forced.exit == .code(0), "\(forced.output)\(forced.errors)")
    #expect(try await installation.version("tracker").contains("1.1.0"))
  }

  @Test("two updates do not run at a time")
  func lock() async throws {
    let installation = try await Installation()
    try await installation.release("1.1.0")
    let held = try ChildProcess(
      ["flock", "--no-fork", "\(installation.binaries)/.pt-tracker-update.lock", "sleep", "600"],
      name: "flock",
      logPath: "/dev/null")
    defer { _ = held.kill9() }
    try await eventually("refused") { try await installation.update(["--dry-run"]).exit == .code(75) }
  }

  @Test("settings that are none are refused", arguments: [["--what"], ["latest"], ["v1"]])
  func usage(arguments: [String]) async throws {
    let installation = try await Installation()
    let result = try await installation.update(arguments)
    #expect(result.exit == .code(arguments[0].hasPrefix("-") ? 64 : 65), "\(result.errors)")
    #expect(try await installation.update([], ["PT_RELEASE_BASE_URL": ""]).exit == .code(78))
  }

  /// The runner's report, as site guides describe it.
  private struct Report: Decodable {
    var type: String
    var dryRun: Bool
    var startedAt: Int64
    var finishedAt: Int64
    var status: String
    var exitCode: Int
    var binaryPath: String
    var releaseTag: String?
    var stderrTail: String
    var runnerHost: String
    var runnerPid: Int

    static func read(_ path: String) throws -> Report {
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      return try decoder.decode(Report.self, from: Data(TemporaryDirectory.read(path).utf8))
    }
  }

  @Test("the runner leaves a report of success and of failure, and the consumer imports each once")
  func reports() async throws {
    let installation = try await Installation()
    try await installation.release("1.1.0")
    let good = try await installation.runner([], ["PT_SELF_UPDATE_DRY_RUN": "yes"])
    #expect(good.exit == .code(0), "\(good.output)\(good.errors)")
    try await installation.release("1.2.0", checksum: "none\n")
    let bad = try await installation.runner()
    #expect(bad.exit == .code(65) && bad.errors.contains("holds no SHA-256"))
    let names = try FileManager.default.contentsOfDirectory(atPath: installation.reportFolder).sorted()
    #expect(names.count == 2 && names.allSatisfy { $0.hasPrefix("self-update-") && $0.hasSuffix(".json") })
    let reports = try names.map {
      try Report.read("\(installation.reportFolder)/\($0)")
    }.sorted { $0.exitCode < $1.exitCode }
    #expect(reports.map(\.status) == ["succeeded", "failed"] && reports.map(\.exitCode) == [0, 65])
    #expect(reports.map(\.dryRun) == [true, false] && reports.map(\.releaseTag) == ["v1.1.0", "v1.2.0"])
    #expect(reports.allSatisfy { $0.type == "self-update-run" && $0.startedAt <= $0.finishedAt && $0.runnerPid > 0 })
    #expect(reports[1].stderrTail.contains("holds no SHA-256") && reports[0].stderrTail.isEmpty)
    #expect(reports.allSatisfy { $0.binaryPath == "\(installation.binaries)/tracker" && !$0.runnerHost.isEmpty })

    try await installation.start()
    try await eventually("both imported", evidence: installation.log) {
      let tasks = try await installation.tasks()
      let rows = try JSONSerialization.jsonObject(with: Data(tasks.output.utf8)) as? [[String: Any]]
      return rows?.compactMap { $0["exit_code"] as? Int }.sorted() == [0, 65]
    }
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: installation.reportFolder).allSatisfy {
        $0.hasSuffix(".json.imported")
      })
  }

  @Test("the report holds what a terminal never showed: quotes, control characters, bytes that are no text")
  func escapes() async throws {
    let directory = try TemporaryDirectory()
    let script = "\(directory.path)/update"
    try await Installation.program(
      "#!/bin/sh\nprintf 'a \"b\" \\\\ \\t \\001 \\377 \\303\\274\\nend' >&2\nexit 3\n", at: script)
    let result = try await CommandResult.run(
      [Repository.path("dist/self-update-runner.sh")],
      environment: ["PT_UPDATE_COMMAND": script, "PT_SELF_UPDATE_REPORT_DIR": directory.path + "/reports"])
    #expect(result.exit == .code(3))
    let name = try #require(try FileManager.default.contentsOfDirectory(atPath: directory.path + "/reports").first)
    let report = try Report.read("\(directory.path)/reports/\(name)")
    #expect(report.stderrTail == "a \"b\" \\ \t \u{1}  ü\nend" && report.releaseTag == nil)
  }

  @Test("a runner that is stopped leaves a report, too")
  func stopped() async throws {
    let directory = try TemporaryDirectory()
    let script = "\(directory.path)/update"
    try await Installation.program(
      "#!/bin/sh\necho begun > \(directory.path)/begun\nexec tail -f /dev/null\n", at: script)
    let runner = try ChildProcess(
      [Repository.path("dist/self-update-runner.sh")], name: "runner", logPath: "\(directory.path)/log",
      environment: ["PT_UPDATE_COMMAND": script, "PT_SELF_UPDATE_REPORT_DIR": directory.path + "/reports"])
    try await eventually("begun") { FileManager.default.fileExists(atPath: directory.path + "/begun") }
    #expect(try await runner.terminate() == .code(143))
    let name = try #require(try FileManager.default.contentsOfDirectory(atPath: directory.path + "/reports").first)
    #expect(TemporaryDirectory.read("\(directory.path)/reports/\(name)").contains("\"exit_code\":143"))
  }

  @Test("the shell scripts have no finding of shellcheck")
  func shellcheck() async throws {
    let scripts = try await CommandResult.run([
      "sh", "-c", "cd '\(Repository.path(""))' && ls dist/*.sh dist/deb/postinst dist/deb/prerm dist/deb/postrm",
    ]).output.split(separator: "\n").map { Repository.path(String($0)) }
    #expect(scripts.count >= 7)
    let result = try await CommandResult.run(["shellcheck"] + scripts)
    #expect(result.exit == .code(0), "\(result.output)")
  }
}
