// `make install-files`: units and scripts name the places they were installed to, whatever PREFIX and SYSCONFDIR are.

import Foundation
import Simulation
import Testing

@Suite("make install")
struct InstallTests {
  /// Installs the built binaries below a directory, as `make install` does with those of a release.
  private func install(to directory: TemporaryDirectory, prefix: String, configuration: String) async throws {
    let release = "\(directory.path)/release"
    let result = try await CommandResult.run([
      "sh", "-c",
      """
      mkdir '\(release)' && echo a key > '\(release)/mine.pem' && for program in tracker traffic-consumer; do
        ln -s '\(Binaries.folder)'/$program '\(release)'/$program-x86_64-unknown-linux-gnu; done
      make -s -C '\(Repository.path(""))' install-files RELEASE='\(release)' \
        RELEASE_KEYS='\(release)' PREFIX='\(prefix)' SYSCONFDIR='\(configuration)'
      """,
    ])
    #expect(result.exit == .code(0), "\(result.output)\(result.errors)")
  }

  @Test("another PREFIX and SYSCONFDIR are in every unit and script, and systemd finds what the units name")
  func places() async throws {
    let directory = try TemporaryDirectory()
    let (prefix, configuration) = ("\(directory.path)/prefix", "\(directory.path)/etc")
    try await install(to: directory, prefix: prefix, configuration: configuration)
    let units = "\(prefix)/lib/systemd/system"
    let names = try FileManager.default.contentsOfDirectory(atPath: units).sorted()
    #expect(names.count == 7)
    let verified = try await CommandResult.run(
      ["systemd-analyze", "verify", "--man=no"] + names.map { "\(units)/\($0)" })
    #expect(
      verified.exit == .code(0) && (verified.output + verified.errors).isEmpty, "\(verified.output)\(verified.errors)")
    // What is left of the places the files have in the repository; `#!/usr/bin/env` and /var/lib are not among them.
    let others = try await CommandResult.run([
      "grep", "-rnE", "[^e]/etc/pt-tracker|/usr/(local/)?bin/tr|[-=(]/usr/(local/)?bin|/usr/(lib|share/doc)/pt-tracker",
      units,
      "\(prefix)/lib/pt-tracker", "\(prefix)/lib/tmpfiles.d", "--include=*",
    ])
    let left = others.output.split(separator: "\n").filter { !$0.contains("\(configuration)/pt-tracker") }
    #expect(left == [])
    #expect(TemporaryDirectory.read("\(prefix)/share/doc/pt-tracker/updater.env.example").contains("=\(prefix)/bin\n"))
    #expect(TemporaryDirectory.read("\(prefix)/lib/pt-tracker/release-keys/mine.pem") == "a key\n")
  }

  @Test("an installed backup script runs the consumer that was installed with it, and an update finds its place")
  func scripts() async throws {
    let directory = try TemporaryDirectory()
    let (prefix, configuration) = ("\(directory.path)/prefix", "\(directory.path)/etc")
    try await install(to: directory, prefix: prefix, configuration: configuration)
    let site = try Site()
    try await site.start()
    try TemporaryDirectory.read("\(site.directory.path)/consumer.yaml").write(
      toFile: "\(configuration)/pt-tracker/consumer.yaml", atomically: true, encoding: .utf8)
    let backup = try await CommandResult.run(
      ["\(prefix)/lib/pt-tracker/backup.sh"], environment: ["BACKUP_DIR": "\(directory.path)/backups"])
    #expect(backup.exit == .code(0) && backup.output.contains("verified"), "\(backup.output)\(backup.errors)")
    // It gets as far as the release host, which is not there: the directory of the binaries is the installed one.
    let update = try await CommandResult.run(
      ["\(prefix)/lib/pt-tracker/update-from-release.sh", "--dry-run", "v9.9.9"],
      environment: ["PT_RELEASE_BASE_URL": "http://127.0.0.1:1", "PT_SYSTEMCTL": "false"])
    #expect(update.exit == .code(69) && !update.output.contains("none -> 9.9.9"), "\(update.output)\(update.errors)")
    #expect(FileManager.default.fileExists(atPath: "\(prefix)/bin/.pt-tracker-update.lock"))
  }

  @Test("a configuration that is there stays as it is")
  func keepsConfiguration() async throws {
    let directory = try TemporaryDirectory()
    let (prefix, configuration) = ("\(directory.path)/prefix", "\(directory.path)/etc")
    try FileManager.default.createDirectory(
      atPath: "\(configuration)/pt-tracker", withIntermediateDirectories: true)
    let path = "\(configuration)/pt-tracker/tracker.yaml"
    try "# mine\n".write(toFile: path, atomically: true, encoding: .utf8)
    try await install(to: directory, prefix: prefix, configuration: configuration)
    #expect(TemporaryDirectory.read(path) == "# mine\n")
    #expect(TemporaryDirectory.read("\(configuration)/pt-tracker/consumer.yaml").contains("consumer:"))
  }
}
