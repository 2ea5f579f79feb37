import Settings
import Testing

@Suite struct CommandLineTests {
  private static let options = [
    CommandLineOption("output", short: "o", value: "FORMAT", help: "how"),
    CommandLineOption("dry-run", help: "only show"),
    CommandLineOption("set", value: "FIELD=VALUE", isRepeatable: true, help: "repair"),
  ]

  @Test("options and positionals mix in any order and form")
  func forms() throws {
    let arguments = try CommandLineArguments(
      ["query", "-o", "json", "user", "--set=a=b", "--dry-run", "--set", "c=d", "-", "--", "--not-an-option"],
      options: Self.options)
    #expect(arguments.positionals == ["query", "user", "-", "--not-an-option"])
    #expect(arguments.value("output") == "json")
    #expect(arguments.values("set") == ["a=b", "c=d"])
    #expect(arguments.has("dry-run"))
    #expect(!arguments.has("output"))
    #expect(arguments.value("set") == "c=d")
  }

  @Test("a value may be empty or look like an option")
  func oddValues() throws {
    #expect(try CommandLineArguments(["--output="], options: Self.options).value("output") == "")
    #expect(try CommandLineArguments(["--output", "--dry-run"], options: Self.options).value("output") == "--dry-run")
  }

  @Test(
    "a wrong command line is one sentence",
    arguments: [
      (["--ouput", "x"], "unknown option --ouput; did you mean --output?"),
      (["--zzzzzz"], "unknown option --zzzzzz; --help lists the options"),
      (["-x"], "unknown option -x; --help lists the options"), (["--output"], "--output needs a value: FORMAT"),
      (["--dry-run=yes"], "--dry-run takes no value"), (["-o", "a", "--output", "b"], "--output is given twice"),
      (["--dryrun"], "unknown option --dryrun; did you mean --dry-run?"),
    ])
  func usage(arguments: [String], message: String) {
    #expect(throws: UsageError(message)) { try CommandLineArguments(arguments, options: Self.options) }
  }

  @Test("both daemons know the shared options")
  func shared() throws {
    let options = try CommandLineOptions(
      ["run", "--config", "a.yaml", "--debug", "--json", "-o", "csv"], more: Self.options)
    #expect(options.configPath == "a.yaml")
    #expect(options.isDebug && options.isJSON && !options.checksConfig && !options.showsHelp && !options.showsVersion)
    #expect(options.arguments.positionals == ["run"])
    #expect(try CommandLineOptions(["--check-config"]).checksConfig)
    #expect(try CommandLineOptions(["--version", "-h"]).showsHelp)
    #expect(throws: UsageError("unexpected argument run")) { try CommandLineOptions(["run"]).refusePositionals() }
  }

  @Test("the help has a line for every option, in columns")
  func help() {
    #expect(
      CommandLineOption.help(Self.options) == """
          -o, --output FORMAT    how
              --dry-run          only show
              --set FIELD=VALUE  repair

        """)
  }

  @Test("the version is semantic and names a commit")
  func version() {
    #expect(Version.semantic.split(separator: ".").compactMap { Int($0) }.count == 3)
    #expect(Version.text == "\(Version.semantic) (commit \(Version.commit))")
    #expect(Version.commit == "unknown" || (Version.commit.utf8.count == 12 && Version.commit.allSatisfy(\.isHexDigit)))
  }

  @Test(
    "the nearest known word is suggested, a far one is not",
    arguments: [
      ("adr", "addr"), ("announce_intervall", "announce_interval"), ("anounce_interval", "announce_interval"),
      ("real_ip_haeder", "real_ip_header"),
      ("max_num_want", "max_numwant"), ("ADDR", "addr"), ("xyz", nil), ("", nil),
    ] as [(String, String?)])
  func suggestion(word: String, known: String?) {
    #expect(
      Suggestion.nearest(to: word, among: ["addr", "announce_interval", "real_ip_header", "max_numwant"]) == known)
  }
}
