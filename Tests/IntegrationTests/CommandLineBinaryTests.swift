import Settings
import Simulation
import Testing

/// What an operator sees of the configuration, with the real binary.
@Suite struct CommandLineBinaryTests {
  @Test("--check-config prints the settings without secrets and ends with 0")
  func checkConfig() async throws {
    let result = try await CommandResult.run(
      [Binaries.tracker, "--check-config", "--config", Repository.path("dist/example_config.yaml")],
      environment: ["TRACKER__UDP__PRIVATE_KEY": "hush", "TRACKER__HTTP__ADDR": "127.0.0.1:1"])
    #expect(result.exit == .code(ExitCode.ok.rawValue), "\(result.errors)")
    #expect(result.output.contains("addr: \"127.0.0.1:1\"  # TRACKER__HTTP__ADDR"))
    #expect(result.output.contains("private_key: \"***\"  # TRACKER__UDP__PRIVATE_KEY"))
    #expect(!result.output.contains("hush") && !result.errors.contains("hush"))
  }

  @Test("a typo in the file ends with 78 and names file, line and key, whether checking or starting")
  func typo() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write("chihaya:\n  http:\n    adr: \":1\"\n  workers: x\n", as: "tracker.yaml")
    for flags in [["--check-config"], []] {
      let result = try await CommandResult.run([Binaries.tracker, "--config", path] + flags)
      #expect(result.exit == .code(ExitCode.configuration.rawValue))
      #expect(result.output.isEmpty)
      #expect(
        result.errors == """
          \(path):3: http.adr: unknown setting; did you mean addr?
          \(path):4: workers: expected a decimal number from 0 to 1024, found x

          """)
    }
  }

  @Test("a wrong command line ends with 64 and one line")
  func usage() async throws {
    let result = try await CommandResult.run([Binaries.tracker, "--confg", "a"])
    #expect(result.exit == .code(ExitCode.usage.rawValue))
    #expect(result.errors == "tracker: unknown option --confg; did you mean --config?\n")
  }

  @Test("--version prints the version and the commit that was built")
  func version() async throws {
    let result = try await CommandResult.run([Binaries.tracker, "--version"])
    #expect(result.exit == .code(0))
    // Both were built together; which commit it is the build decides, but in a checkout it is one.
    #expect(result.output == "tracker \(Version.text)\n")
    let git = try await CommandResult.run(["git", "-C", Repository.path(""), "cat-file", "-t", Version.commit])
    #expect(git.output == "commit\n" || Version.commit == "unknown", "\(Version.commit)")
  }
}
