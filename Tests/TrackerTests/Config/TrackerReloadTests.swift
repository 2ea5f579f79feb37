import Simulation
import Testing

@testable import Tracker

@Suite("reload")
struct TrackerReloadTests {
  static let base = """
    chihaya:
      announce_interval: 30m
      http: { addr: "127.0.0.1:0", max_numwant: 100 }
      udp: { addr: "127.0.0.1:0" }
      prehooks:
      - name: client approval
        options: { blacklist: [ "XX0000" ] }
      - name: passkey approval
        options: { redis_broker: "redis://:first@127.0.0.1:1/0" }
    """

  static func load(_ text: String, in directory: TemporaryDirectory) throws -> TrackerConfig {
    try TrackerConfig.load(path: try directory.write(text, as: "tracker.yaml"), environment: [:])
  }

  static func reload(_ change: (inout String) -> Void) throws -> TrackerReload {
    let directory = try TemporaryDirectory()
    let running = try load(base, in: directory)
    var text = base
    change(&text)
    return TrackerReload(running: running, new: try load(text, in: directory))
  }

  @Test("the same file changes nothing")
  func nothing() throws {
    let reload = try Self.reload { _ in }
    #expect(reload.applied.isEmpty && reload.needRestart.isEmpty)
  }

  @Test("intervals, limits and lists change at once")
  func live() throws {
    let reload = try Self.reload {
      $0 = $0.replacing("30m", with: "20m").replacing("max_numwant: 100", with: "max_numwant: 80")
        .replacing("XX0000", with: "YY0000")
    }
    #expect(reload.merged.announceInterval == .seconds(1200))
    #expect(reload.merged.http?.limits.maxNumwant == 80)
    #expect(reload.merged.prehooks.first == HookEntry(ClientApprovalOptions(blacklist: ["YY0000"])))
    #expect(Set(reload.applied).isSuperset(of: ["announce_interval", "http.max_numwant"]))
    #expect(reload.needRestart.isEmpty)
  }

  @Test("timeouts and keep-alive change at once")
  func timeouts() throws {
    let reload = try Self.reload {
      $0 = $0.replacing(
        "max_numwant: 100",
        with: "read_timeout: 3s, write_timeout: 4s, idle_timeout: 5s, enable_keepalive: true, "
          + "max_connections_per_address: 7")
    }
    let http = try #require(reload.merged.http)
    #expect(http.readTimeout == .seconds(3) && http.writeTimeout == .seconds(4) && http.idleTimeout == .seconds(5))
    #expect(http.enableKeepalive && http.maxConnectionsPerAddress == 7)
    #expect(
      Set(reload.applied).isSuperset(
        of: ["http.read_timeout", "http.write_timeout", "http.idle_timeout", "http.enable_keepalive"]))
    #expect(reload.needRestart.isEmpty)
  }

  @Test("addresses and connections wait for a restart and are named")
  func restart() throws {
    let reload = try Self.reload {
      $0 = $0.replacing("http: { addr: \"127.0.0.1:0\"", with: "http: { addr: \"127.0.0.1:1\"")
        .replacing("127.0.0.1:1/0", with: "127.0.0.1:2/0")
    }
    #expect(reload.merged.http?.address == "127.0.0.1:0")
    #expect(reload.needRestart.contains("http.addr"))
    #expect(reload.needRestart.contains("prehooks[1].options.redis_broker"))
  }

  @Test("a changed secret, which no list of settings shows, needs a restart too")
  func secret() throws {
    let reload = try Self.reload { $0 = $0.replacing(":first@", with: ":second@") }
    #expect(reload.needRestart == ["hooks"])
  }

  @Test("a hook more, less or elsewhere needs a restart and changes nothing now")
  func hooks() throws {
    let reload = try Self.reload {
      $0 += "\n  - name: port approval\n    options: { blacklist: [ \"22\" ] }\n"
    }
    #expect(reload.merged.prehooks.count == 2)
    #expect(!reload.needRestart.isEmpty)
  }

  @Test("of a list of hooks that needs a restart, and of a section that came, no setting is said to have changed")
  func truth() throws {
    let hooks = try Self.reload {
      $0 =
        $0.replacing("XX0000", with: "YY0000") + "\n  - name: port approval\n    options: { blacklist: [ \"22\" ] }\n"
    }
    #expect(
      hooks.applied.isEmpty && hooks.merged.prehooks.first == HookEntry(ClientApprovalOptions(blacklist: ["XX0000"])))
    #expect(hooks.needRestart.contains("prehooks[0].options.blacklist"))
    let udp = try Self.reload { $0 = $0.replacing("udp: { addr: \"127.0.0.1:0\" }", with: "workers: 0") }
    #expect(udp.applied.isEmpty && udp.needRestart.contains("udp.max_numwant") && udp.merged.udp != nil)
  }
}
