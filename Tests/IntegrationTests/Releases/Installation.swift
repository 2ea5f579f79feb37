// Installation: a site whose daemons run from a directory of binaries, and a release host on loopback with releases that are
// signed: what UpdateTests and SignatureTests update. A script plays systemctl. A "version" is a script around the built
// binary that says another number.

import Foundation
import Simulation
import Testing

/// A site whose daemons run from a directory of binaries, and a release host.
final class Installation {
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
    for path in [releases, binaries, "\(folder.path)/units", "\(folder.path)/keys"] {
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
      "PT_RELEASE_KEYS": "\(folder.path)/keys", "PT_SYSTEMD_RUN": "false", "UNITS": "\(folder.path)/units",
      "CONSUMER__TASK_REPORTS": "\(folder.path)/state/self-update-reports",
      "no_proxy": "127.0.0.1",
    ]
    for name in Self.names { try await install(version: "1.0.0", of: name, to: "\(binaries)/\(name)") }
    // A site in the middle of a rotation: the old key is there as well.
    try await makeKey("old")
    try await makeKey("new")
    try await makeKey("stranger", isTrusted: false)
  }

  /// Makes an Ed25519 key; the site trusts it or not.
  func makeKey(_ name: String, isTrusted: Bool = true) async throws {
    let result = try await CommandResult.run([
      "sh", "-c",
      """
      cd '\(folder.path)' && openssl genpkey -algorithm ed25519 -out \(name).key &&
      openssl pkey -in \(name).key -pubout -out \(isTrusted ? "keys/" : "")\(name).pem
      """,
    ])
    #expect(result.exit == .code(0), "\(result.errors)")
  }

  func remove(key: String) throws { try FileManager.default.removeItem(atPath: "\(folder.path)/keys/\(key).pem") }

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
      echo "\(name) \(version)" >> '\(folder.path)/executions'
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
  func release(
    _ version: String, body: String? = nil, checksum: String? = nil, cut: Bool = false, key: String? = "new"
  ) async throws {
    let path = "\(releases)/v\(version)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    for name in Self.names {
      let file = "\(name)-x86_64-unknown-linux-gnu"
      try await install(version: version, of: name, to: "\(path)/\(file)", body: body)
      let sum = try await CommandResult.run(["sh", "-c", "cd \(path) && sha256sum \(file)"]).output
      try (checksum ?? sum).write(toFile: "\(path)/\(file).sha256", atomically: true, encoding: .utf8)
      if cut { try "".write(toFile: "\(path)/\(file).cut", atomically: true, encoding: .utf8) }
      if let key { try await sign("\(path)/\(file).sha256", with: key) }
    }
    try "v\(version)\n".write(toFile: "\(releases)/latest", atomically: true, encoding: .utf8)
  }

  func sign(_ file: String, with key: String) async throws {
    let result = try await CommandResult.run([
      "openssl", "pkeyutl", "-sign", "-inkey", "\(folder.path)/\(key).key", "-rawin", "-in", file, "-out",
      file + ".sig",
    ])
    #expect(result.exit == .code(0), "\(result.errors)")
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
  /// Which versions of which programs were run, with whatever arguments.
  var executions: Set<String> {
    Set(TemporaryDirectory.read("\(folder.path)/executions").split(separator: "\n").map(String.init))
  }
  var log: String { Self.names.map { TemporaryDirectory.read("\(folder.path)/units/\($0).log") }.joined() }
  var reportFolder: String { "\(folder.path)/state/self-update-reports" }
  func tasks() async throws -> CommandResult { try await site.consumer(["tasks", "list", "-o", "json"]) }
}
