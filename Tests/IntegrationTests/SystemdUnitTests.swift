// What systemd-analyze says of the units, on this machine's version. It starts nothing.

import Foundation
import Simulation
import Testing

@Suite("systemd units")
struct SystemdUnitTests {
  private static let units = [
    "tracker.service", "traffic-consumer.service", "tracker.socket", "traffic-consumer-backup.service",
    "traffic-consumer-backup.timer", "pt-tracker-updater.service", "pt-tracker-updater.timer",
  ]
  private static let userUnits = [
    "tracker.service", "traffic-consumer.service", "pt-tracker-updater.service", "pt-tracker-updater.timer",
  ]

  /// Copies of the units that name the programs of this checkout: `verify` wants them to be there.
  private func copies(of units: [String], from folder: String) throws -> (TemporaryDirectory, [String]) {
    let directory = try TemporaryDirectory()
    let paths = try units.map { unit in
      let text = TemporaryDirectory.read(Repository.path("\(folder)/\(unit)"))
        .replacing("=/usr/bin/tracker", with: "=\(Binaries.tracker)")
        .replacing("=/usr/bin/traffic-consumer", with: "=\(Binaries.consumer)")
        .replacing("=%h/.local/bin/tracker", with: "=\(Binaries.tracker)")
        .replacing("=%h/.local/bin/traffic-consumer", with: "=\(Binaries.consumer)")
        .replacing("=/usr/lib/pt-tracker/", with: "=\(Repository.path("dist/"))")
        .replacing("=%h/.local/lib/pt-tracker/", with: "=\(Repository.path("dist/"))")
      #expect(!text.isEmpty, "\(unit)")
      return try directory.write(text, as: unit)
    }
    return (directory, paths)
  }

  @Test("systemd-analyze verify finds nothing in the system units")
  func verifySystem() async throws {
    let (directory, paths) = try copies(of: Self.units, from: "systemd")
    let result = try await CommandResult.run(["systemd-analyze", "verify", "--man=no"] + paths)
    #expect(result.exit == .code(0))
    #expect((result.output + result.errors).isEmpty, "\(result.output)\(result.errors)")
    withExtendedLifetime(directory) {}
  }

  @Test("systemd-analyze verify finds nothing in the user units")
  func verifyUser() async throws {
    let (directory, paths) = try copies(of: Self.userUnits, from: "systemd/user")
    let result = try await CommandResult.run(
      ["systemd-analyze", "verify", "--user", "--man=no"] + paths,
      environment: ["XDG_RUNTIME_DIR": directory.path, "HOME": directory.path])
    #expect(result.exit == .code(0))
    #expect((result.output + result.errors).isEmpty, "\(result.output)\(result.errors)")
  }

  @Test(
    "what the daemons may do is little: an exposure of 2.0 at most",
    arguments: ["tracker.service", "traffic-consumer.service", "traffic-consumer-backup.service"])
  func exposure(unit: String) async throws {
    // The threshold is in tenths.
    let result = try await CommandResult.run(
      [
        "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20",
        Repository.path("systemd/\(unit)"),
      ])
    #expect(result.exit == .code(0), "\(result.output)\(result.errors)")
    #expect(result.output.contains("Overall exposure level for \(unit)"))
  }

  @Test(
    "the settings operators were promised are there", arguments: ["tracker.service", "traffic-consumer.service"])
  func settings(unit: String) throws {
    let lines = TemporaryDirectory.read(Repository.path("systemd/\(unit)")).split(separator: "\n").map(String.init)
    for line in [
      "Type=notify", "User=pt-tracker", "LimitNOFILE=65535", "Restart=on-failure", "RestartPreventExitStatus=74 78",
      "Wants=network-online.target", "WantedBy=multi-user.target",
    ] { #expect(lines.contains(line), "\(line)") }
    // Together they leave Redis a quarter of the machine, and each is slowed down before it is ended.
    let high = try percent("MemoryHigh", lines)
    let ended = try percent("MemoryMax", lines)
    #expect(high < ended && ended <= (unit == "tracker.service" ? 50 : 25))
    let user = TemporaryDirectory.read(Repository.path("systemd/user/\(unit)")).split(separator: "\n").map(String.init)
    #expect(try percent("MemoryHigh", user) == high && percent("MemoryMax", user) == ended)
    #expect(lines.contains { $0.hasPrefix("WatchdogSec=") } && lines.contains { $0.hasPrefix("LoadCredential=") })
  }

  private func percent(_ name: String, _ lines: [String]) throws -> Int {
    let line = try #require(lines.first { $0.hasPrefix("\(name)=") && $0.hasSuffix("%") }, "\(name)")
    return try #require(Int(line.dropFirst(name.count + 1).dropLast()))
  }
}
