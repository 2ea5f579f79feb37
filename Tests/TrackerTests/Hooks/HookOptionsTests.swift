// A hook is one file and one line: this one is declared here, and the rest is told of its type.

import Linux
import Settings
import Simulation
import Testing

@testable import Tracker

/// Refuses a port, and remembers in a service how often it was made.
private struct OnePortOptions: HookOptions {
  static let name = "one port"

  var port = 25
  var isStrict = false

  static var settings: [Setting<Self>] {
    [
      .integer("port", \.port, in: 1...65_535, .live, "the port"),
      .bool("strict", \.isStrict, .restart, "nothing"),
    ]
  }

  func make(_ chain: HookChain) -> (any AnnounceHook)? {
    _ = chain.service(Self.name) { Service() }
    return PortApproval(PortApprovalOptions(blacklist: [UInt16(port)...UInt16(port)]))
  }

  final class Service: HookService {
    func start() {}
    func stop() {}
    let trouble: String? = nil
  }
}

@Suite("a hook of one file and one line")
struct HookOptionsTests {
  private func read(_ options: String) throws -> (entries: [HookEntry], settings: [EffectiveSetting]) {
    let directory = try TemporaryDirectory()
    let path = try directory.write("root:\n  hooks:\n  - name: one port\n    options: \(options)\n", as: "a.yaml")
    let reader = try ConfigReader(path: path, defaultPath: path, rootKeys: ["root"], environment: [:], prefix: "P")
    let root = reader.section
    let entries = HookEntry.read(root, "hooks", kinds: [OnePortOptions.self])
    root.end()
    return (entries, try reader.finish().settings)
  }

  @Test("its options are read, with their defaults, and it is made of them")
  func made() throws {
    let (entries, settings) = try read("{port: 22}")
    #expect(entries == [HookEntry(OnePortOptions(port: 22))])
    #expect(settings.map(\.name) == ["hooks[0].name", "hooks[0].options.port", "hooks[0].options.strict"])
    #expect(settings.map(\.isLive) == [false, true, false])
    let chain = try HookChain(entries, metrics: MetricRegistry())
    #expect(!HookTests.passes(chain.checks[0], HookTests.request(port: 22)))
    #expect(HookTests.passes(chain.checks[0], HookTests.request(port: 25)))
  }

  @Test("its mistakes are refused at their place")
  func mistakes() throws {
    #expect(throws: ConfigError.self) { try read("{port: 0}") }
    let error = #expect(throws: ConfigError.self) { try read("{prot: 1}") }
    #expect(error?.problems.first?.message == "unknown setting; did you mean port?")
  }

  @Test("a reload takes over what is live of it, and its service goes on")
  func reload() throws {
    let chain = try HookChain([HookEntry(OnePortOptions())], metrics: MetricRegistry())
    let service = try #require(chain.service(OnePortOptions.Service.self, OnePortOptions.name))
    let merged = try #require(
      HookEntry.merge([HookEntry(OnePortOptions())], [HookEntry(OnePortOptions(port: 22, isStrict: true))]))
    #expect(merged == [HookEntry(OnePortOptions(port: 22, isStrict: false))])
    try chain.replace(merged)
    #expect(!HookTests.passes(chain.checks[0], HookTests.request(port: 22)))
    #expect(chain.services.count == 1 && chain.service(OnePortOptions.Service.self, OnePortOptions.name) === service)
  }

  @Test("hooks that come, go or move are not merged")
  func moved() {
    let one = HookEntry(OnePortOptions())
    let other = HookEntry(ClientApprovalOptions())
    #expect(HookEntry.merge([one], [one, other]) == nil)
    #expect(HookEntry.merge([one, other], [other, one]) == nil)
    #expect(HookEntry.merge([one, other], [one, other]) == [one, other])
  }
}
