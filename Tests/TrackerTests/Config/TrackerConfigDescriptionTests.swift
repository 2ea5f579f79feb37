import Settings
import Simulation
import Testing

@testable import Tracker

@Suite struct TrackerConfigDescriptionTests {
  private let secrets = """
    chihaya:
      http: {addr: ":1"}
      udp:
        addr: ":1"
        private_key: "hush-1"
      prehooks:
      - name: passkey approval
        options:
          redis_broker: "redis://user:hush-2@h:1/2"
          http_url: "https://u:hush-3@pt.example.com/verify?token=hush-4&passkey="
          http_api_key: hush-5
      posthooks:
      - name: traffic push
        options:
          redis_broker: "redis://hush-6@h"

    """

  @Test("the description has no secrets and says where each value is from")
  func redaction() throws {
    let text = try ConfigFile.load(secrets, ["TRACKER__WORKERS": "2"]).describe()
    #expect(!text.contains("hush"))
    #expect(text.contains("private_key: \"***\"  # line 5"))
    #expect(text.contains("workers: 2  # TRACKER__WORKERS"))
    #expect(text.contains("announce_interval: \"30m\"  # default"))
    #expect(text.contains("http_url: \"https://***@pt.example.com/verify?token=***&passkey=\""))
    #expect(
      text.contains(
        "  posthooks:\n    - name: \"traffic push\"  # line 13\n      options:\n        redis_broker: \"redis://"))
  }

  @Test("no message about a secret shows it")
  func messages() throws {
    let found = try ConfigFile.problems(
      secrets.replacing("redis://user:hush-2@h:1/2", with: "redis://user:hush-2@h:99999/2"),
      ["TRACKER__UDP__PRIVATE_KEY": "hush\u{1}"])
    #expect(found.count == 2 && !found.joined().contains("hush"), "\(found)")
  }

  @Test("the description is a configuration that means the same")
  func roundTrip() throws {
    let names = ["chihaya_memory", "chihaya_hooks"].map { "Tests/SharedTests/Fixtures/yaml/\($0).yaml" }
    for name in names {
      var config = try TrackerConfig.load(path: Repository.path(name), environment: [:])
      var again = try ConfigFile.load(config.describe())
      // The secret and the places differ.
      config.udp?.privateKey = nil
      again.udp?.privateKey = nil
      #expect(config.effectiveSettings.map(\.shown) == again.effectiveSettings.map(\.shown))
      (config.effectiveSettings, again.effectiveSettings, config.warnings, again.warnings) = ([], [], [], [])
      #expect(config == again, "\(name)")
    }
  }
}
