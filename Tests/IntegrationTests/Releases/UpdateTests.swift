// The update chain (dist/update-from-release.sh, dist/self-update-runner.sh) with the real daemons: a release host on
// loopback, and a script that plays systemctl (Installation.swift).

import Foundation
import Simulation
import Testing

@Suite("updates from releases")
struct UpdateTests {
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
    #expect(installation.files == Installation.names && installation.restarts.count == 2)
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
    try await installation.release(
      "1.2.0", checksum: String(repeating: "0", count: 64) + "  tracker-x86_64-unknown-linux-gnu\n")
    let wrong = try await installation.update([], wget)
    #expect(wrong.exit == .code(65) && wrong.errors.contains("the checksum is"), "\(wrong.output)\(wrong.errors)")
    #expect(installation.files == Installation.names && installation.restarts.count == 2)
    try await installation.release("1.3.0")
    let result = try await installation.update([], wget)
    #expect(result.exit == .code(0), "\(result.output)\(result.errors)\(installation.log)")
    #expect(try await installation.version("tracker").hasPrefix("tracker 1.3.0"))
    try await installation.ready()
  }

  enum Damage: CaseIterable {
    case noRelease, missingFile, cut, wrongChecksum, noChecksum, otherVersion, refusesConfiguration
    case noSignature, signedByAStranger, changedSinceSigned, anothersSignature, olderThanWhatRuns
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
      try await installation.release(
        "1.1.0", checksum: String(repeating: "0", count: 64) + "  tracker-x86_64-unknown-linux-gnu\n")
    case .noChecksum:
      code = 65
      try await installation.release("1.1.0", checksum: "<html>not found</html>\n")
    case .otherVersion:
      code = 65
      try await installation.release("1.1.0")
      try FileManager.default.moveItem(
        atPath: "\(installation.releases)/v1.1.0", toPath: "\(installation.releases)/v1.2.0")
      try "v1.2.0".write(toFile: "\(installation.releases)/latest", atomically: true, encoding: .utf8)
    case .noSignature:
      code = 69
      try await installation.release("1.1.0", key: nil)
    case .signedByAStranger:
      code = 77
      try await installation.release("1.1.0", key: "stranger")
    case .changedSinceSigned:
      code = 77
      try await installation.release("1.1.0")
      // Whoever has the server changes the program, and its checksum with it.
      let file = "tracker-x86_64-unknown-linux-gnu"
      let result = try await CommandResult.run([
        "sh", "-c",
        "cd '\(installation.releases)/v1.1.0' && echo '# evil' >> \(file) && sha256sum \(file) > \(file).sha256",
      ])
      #expect(result.exit == .code(0), "\(result.errors)")
    case .anothersSignature:
      code = 77
      try await installation.release("1.1.0")
      // One program in the place of the other, with a checksum and a signature that are the release's.
      let result = try await CommandResult.run([
        "sh", "-c",
        """
        cd '\(installation.releases)/v1.1.0' && for ending in '' .sha256 .sha256.sig; do
          cp traffic-consumer-x86_64-unknown-linux-gnu$ending tracker-x86_64-unknown-linux-gnu$ending; done
        """,
      ])
      #expect(result.exit == .code(0), "\(result.errors)")
    case .olderThanWhatRuns:
      code = 65
      try await installation.release("0.9.12")
    case .refusesConfiguration:
      code = 78
      try await installation.release("1.1.0")
      try installation.site.directory.write("chihaya:\n  no_such_setting: 1\n", as: "tracker.yaml")
    }
    let result = try await installation.update()
    #expect(result.exit == .code(code), "\(result.output)\(result.errors)")
    #expect(!result.errors.isEmpty)
    #expect(installation.files == Installation.names && installation.restarts.isEmpty)
    // The others are found when a new program runs, or after the first of two is verified.
    let isVerified = [.missingFile, .otherVersion, .refusesConfiguration].contains(damage)
    #expect(
      isVerified || installation.executions.isSubset(of: ["tracker 1.0.0", "traffic-consumer 1.0.0"]),
      "\(installation.executions.sorted())")
    for name in Installation.names { #expect(try await installation.version(name).contains("1.0.0")) }
  }

  @Test("a version that does not get ready goes, and the old one is ready again")
  func rollsBack() async throws {
    let installation = try await Installation()
    try await installation.start()
    try await installation.release("1.1.0", body: "exit 1")
    let result = try await installation.update([], ["PT_HEALTH_SECONDS": "1"])
    #expect(result.exit == .code(70), "\(result.output)\(result.errors)")
    #expect(result.errors.contains("tracker v1.1.0 was not ready within 1 s; rolled back, the old version is ready"))
    #expect(installation.files == Installation.names)
    for name in Installation.names { #expect(try await installation.version(name).contains("1.0.0")) }
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
    #expect(refused.exit == .code(75) && installation.files == Installation.names, "\(refused.errors)")
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
