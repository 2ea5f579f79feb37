// Signed releases: who may sign, what is signed, and that a new program is first run where it can do little
// (dist/update-from-release.sh, dist/release.sh). Fixture: Installation.swift.

import Foundation
import Simulation
import Testing

@Suite("signed releases")
struct SignatureTests {
  @Test("while keys are rotated a release of either is installed, and of neither when the site trusts none")
  func rotation() async throws {
    let installation = try await Installation()
    try await installation.release("1.1.0", key: "old")
    #expect(try await installation.update().exit == .code(0))
    try installation.remove(key: "old")
    try await installation.release("1.2.0", key: "old")
    let refused = try await installation.update()
    #expect(
      refused.exit == .code(77) && refused.errors.contains("is not signed by a key in "),
      "\(refused.output)\(refused.errors)")
    try await installation.release("1.3.0", key: "new")
    #expect(try await installation.update().exit == .code(0))
    try installation.remove(key: "new")
    try await installation.release("1.4.0", key: "new")
    let none = try await installation.update()
    #expect(none.exit == .code(78) && none.errors.contains("no key of a release"), "\(none.errors)")
    #expect(try await installation.version("tracker").contains("1.3.0"))
  }

  @Test("an older version is installed when it is asked for")
  func back() async throws {
    let installation = try await Installation()
    try await installation.release("0.9.12")
    #expect(try await installation.update(["v0.9.12"]).exit == .code(0))
    #expect(try await installation.version("tracker").contains("0.9.12"))
  }

  @Test("a new program is first run in a sandbox, or the update says that it is not")
  func sandbox() async throws {
    let installation = try await Installation()
    try await installation.release("1.1.0")
    let without = try await installation.update(["--dry-run"])
    #expect(without.exit == .code(0) && without.output.contains("without a sandbox"), "\(without.errors)")
    // Plays systemd-run: notes what it was asked for, and runs it.
    let directory = try TemporaryDirectory()
    try await Installation.program(
      """
      #!/bin/sh
      echo "$*" >> '\(directory.path)/asked'
      while [ $# -gt 0 ]; do case $1 in --) shift; exec "$@" ;; *) shift ;; esac; done

      """, at: "\(directory.path)/systemd-run")
    let with = try await installation.update(["--dry-run"], ["PT_SYSTEMD_RUN": "\(directory.path)/systemd-run"])
    #expect(with.exit == .code(0) && !with.output.contains("without a sandbox"), "\(with.output)\(with.errors)")
    let asked = TemporaryDirectory.read("\(directory.path)/asked").split(separator: "\n")
    for name in Installation.names {
      #expect(asked.contains { $0.hasSuffix(" -- \(installation.binaries)/\(name).new --version") })
      #expect(asked.contains { $0.contains(" -- \(installation.binaries)/\(name).new --config ") })
    }
    for property in ["PrivateNetwork=yes", "ProtectSystem=strict", "CapabilityBoundingSet=", "NoNewPrivileges=yes"] {
      #expect(asked.allSatisfy { $0.contains(" -p \(property) ") }, "\(property)")
    }
  }

  @Test("a release is signed with the key it is given, and not with one that no site trusts")
  func signing() async throws {
    let directory = try TemporaryDirectory()
    try directory.write("a program\n", as: "program")
    func release(_ key: String?) async throws -> CommandResult {
      try await CommandResult.run(
        [Repository.path("dist/release.sh"), "checksums", "program"],
        environment: ["RELEASE": directory.path, "RELEASE_KEY": key ?? "", "RELEASE_KEYS": directory.path + "/keys"])
    }
    let made = try await CommandResult.run([
      "sh", "-c",
      """
      cd '\(directory.path)' && mkdir keys && openssl genpkey -algorithm ed25519 -out mine.key &&
      openssl pkey -in mine.key -pubout -out keys/mine.pem && openssl genpkey -algorithm ed25519 -out other.key &&
      openssl genpkey -algorithm rsa -out rsa.key 2>/dev/null && openssl pkey -in rsa.key -pubout -out keys/rsa.pem
      """,
    ])
    #expect(made.exit == .code(0), "\(made.errors)")
    let signed = try await release("\(directory.path)/mine.key")
    #expect(signed.exit == .code(0), "\(signed.errors)")
    let verified = try await CommandResult.run([
      "sh", "-c",
      """
      cd '\(directory.path)' && sha256sum -c program.sha256 && openssl pkeyutl -verify -pubin -inkey keys/mine.pem -rawin \
        -in program.sha256 -sigfile program.sha256.sig
      """,
    ])
    #expect(verified.exit == .code(0), "\(verified.output)\(verified.errors)")
    #expect(try await release("\(directory.path)/other.key").exit == .code(78))
    #expect(try await release("\(directory.path)/rsa.key").exit == .code(78))
    #expect(try await release("\(directory.path)/none.key").exit == .code(78))
    // A signature of before is none of what is made now.
    let unsigned = try await release(nil)
    #expect(unsigned.exit == .code(0) && unsigned.errors.contains("not signed"), "\(unsigned.errors)")
    #expect(!FileManager.default.fileExists(atPath: directory.path + "/program.sha256.sig"))
  }
}
