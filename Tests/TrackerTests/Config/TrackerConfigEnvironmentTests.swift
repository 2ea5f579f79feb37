import Settings
import Testing

@testable import Tracker

@Suite struct TrackerConfigEnvironmentTests {
  @Test("a variable goes before the file, and the file before the default")
  func precedence() throws {
    let config = try ConfigFile.load(
      ConfigFile.small + "  announce_interval: 20m\n",
      [
        "TRACKER__HTTP__ADDR": "127.0.0.1:1", "TRACKER__HTTP__ENABLE_KEEPALIVE": "true", "TRACKER__WORKERS": "3",
        "TRACKER_OTHER": "x", "PATH": "y",
      ])
    #expect(config.http?.address == "127.0.0.1:1")
    #expect(config.http?.enableKeepalive == true)
    #expect(config.workers == 3)
    #expect(config.announceInterval == .seconds(1200))
    #expect(config.udp == nil)
  }

  @Test("variables make sections, lists and hooks that the file does not have")
  func creation() throws {
    let config = try ConfigFile.load(
      ConfigFile.small,
      [
        "TRACKER__UDP__ADDR": ":7", "TRACKER__UDP__PRIVATE_KEY": "yes",
        "TRACKER__HTTP__ANNOUNCE_ROUTES": "[\"/a\", /b]",
        "TRACKER__HTTP__SCRAPE_ROUTES__0": "/s", "TRACKER__PREHOOKS__0__NAME": "passkey approval",
        "TRACKER__PREHOOKS__0__OPTIONS__REDIS_BROKER": "redis://h", "TRACKER__PREHOOKS__1__NAME": "client approval",
        "TRACKER__PREHOOKS__1__OPTIONS__BLACKLIST": "[OP1011]",
      ])
    #expect(config.udp?.address == ":7" && config.udp?.privateKey == "yes")
    #expect(config.http?.announceRoutes == ["/a", "/b"] && config.http?.scrapeRoutes == ["/s"])
    #expect(config.prehooks.map(\.name) == ["passkey approval", "client approval"])
  }

  @Test("a hook is addressed by number or by name")
  func hooks() throws {
    let text =
      ConfigFile.small
      + "  prehooks:\n  - name: client approval\n  - name: passkey approval\n    options: {redis_broker: \"redis://file\"}\n"
    for variable in [
      "TRACKER__PREHOOKS__1__OPTIONS__REDIS_BROKER", "TRACKER__PREHOOKS__PASSKEY_APPROVAL__OPTIONS__REDIS_BROKER",
    ] {
      let config = try ConfigFile.load(text, [variable: "redis://environment"])
      var options = PasskeyApprovalOptions()
      options.redisSet.redisBroker = "redis://environment"
      #expect(config.prehooks.last == HookEntry(options), "\(variable)")
    }
  }

  @Test(
    "a wrong variable is named",
    arguments: [
      ("TRACKER__HTTP__ADR", ":1", "http.adr: unknown setting; did you mean addr?"),
      ("TRACKER__HTPT__ADDR", ":1", "htpt: unknown setting; did you mean http?"),
      ("TRACKER__WORKERS", "two", "workers: expected a decimal number from 0 to 1024, found \"two\""),
      ("TRACKER__WORKERS", "", "workers: expected a decimal number"),
      ("TRACKER__HTTP", "x", "http: expected a section, found a single value; set the variables of the settings in it"),
      ("TRACKER__HTTP__ADDR__X", "x", "http.addr.x: there is a single value where this variable expects a section"),
      ("TRACKER__HTTP____ADDR", "x", "http..addr: expected TRACKER__LEVEL__SETTING, two underscores between levels"),
      ("TRACKER__", "x", ": expected TRACKER__LEVEL__SETTING"),
      ("TRACKER__HTTP__ANNOUNCE_ROUTES", "/a", "http.announce_routes: expected a list, such as [\"a\", \"b\"]"),
      (
        "TRACKER__PREHOOKS__1__NAME", "client approval",
        "prehooks[1].name: the list has 0 items, and the next one would be 0"
      ),
      ("TRACKER__PREHOOKS__JWT__NAME", "x", "prehooks"),
      ("TRACKER__HTTP__ENABLE_KEEPALIVE", "yes", "http.enable_keepalive: expected true or false, found \"yes\""),
    ])
  func wrong(variable: String, value: String, problem: String) throws {
    let found = try ConfigFile.problems(ConfigFile.small, [variable: value])
    #expect(
      found.count == 1
        && found[0].hasPrefix("environment variable \(variable): \(problem)".replacing(": : ", with: ": ")), "\(found)")
  }
}
