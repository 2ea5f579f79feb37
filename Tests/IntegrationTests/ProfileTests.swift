// /debug/pprof/ of the real tracker, read by gperftools' google-pprof.

import Foundation
import Simulation
import Testing

@Suite("looking inside a running tracker")
struct ProfileTests {
  private func start(_ site: Site, _ environment: [String: String]) async throws -> ChildProcess {
    try await site.redis.start()
    let child = try ChildProcess(
      [Binaries.tracker, "--config", site.trackerConfig], name: "tracker", logPath: "\(site.directory.path)/p.log",
      environment: environment)
    try await eventually("live", evidence: child.log) { Site.status(port: site.metricsPort, "/health/live") == 200 }
    return child
  }

  @Test("google-pprof reads a profile with our functions' names, and the symbols page knows them, too")
  func profile() async throws {
    let site = try Site()
    let child = try await start(site, ["TRACKER__ENABLE_PPROF": "true"])
    defer { _ = child.kill9() }
    // On a busy machine the tracker may get no second of CPU time in one second: until a profile has our functions.
    let reply = try await eventually("a profile shows the event loop", evidence: child.log) {
      try await self.profiled(site, child)
    }
    // The innermost frames of all samples, by the daemon itself.
    let words = reply.body.withUnsafeBytes { bytes in
      (0..<bytes.count / 8).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
    }
    #expect(words[..<5] == [0, 3, 0, 10_000, 0])
    var addresses: Set<UInt64> = []
    var at = 5
    while words[at] != 0 {
      addresses.formUnion(words[(at + 2)..<(at + 2 + Int(words[at + 1]))])
      at += 2 + Int(words[at + 1])
    }
    #expect(words[at..<(at + 3)] == [0, 1, 0])
    let query = addresses.prefix(60).map { "0x" + String($0, radix: 16) }.joined(separator: "+")
    #expect(try Site.get(port: site.metricsPort, "/debug/pprof/symbol?\(query)").text.contains("\t$s"))
    #expect(try await child.terminate() == .code(0))
  }

  /// A second's profile of a tracker that works; nil when google-pprof does not find the event loop in it.
  private func profiled(_ site: Site, _ child: ChildProcess) async throws -> HTTPReply? {
    let (metrics, http) = (site.metricsPort, site.endpoints.httpPort)
    let ended = child.log.split(separator: "\n").count { $0.contains("CPU profile ends") }
    // Long enough that a loaded machine asks a second time, and works, before it ends.
    let taken = Task.detached { try Site.get(port: metrics, "/debug/pprof/profile?seconds=5") }
    while child.log.split(separator: "\n").count(where: { $0.contains("CPU profile ends") }) == ended {
      for _ in 0..<100 { _ = Site.status(port: http, "/announce?info_hash=x") }
      // The other task needs a thread to begin on, and the pool may have this one only.
      await Task.yield()
    }
    let reply = try await taken.value
    #expect(reply.status == 200)
    let path = "\(site.directory.path)/profile"
    try Data(reply.body).write(to: URL(filePath: path))
    let text = try await CommandResult.run(["google-pprof", "--text", Binaries.tracker, path])
    #expect(text.exit == .code(0), "\(text.errors)")
    return text.output.contains("$s5Linux9EventLoopC3run") ? reply : nil
  }

  @Test("one profile at a time")
  func busy() async throws {
    let site = try Site()
    let child = try await start(site, ["TRACKER__ENABLE_PPROF": "true"])
    defer { _ = child.kill9() }
    let client = try ClientSocket(.v4(site.metricsPort), udp: false)
    try client.send(Array("GET /debug/pprof/profile?seconds=300 HTTP/1.1\r\nHost: t\r\n\r\n".utf8))
    try await eventually("it has begun", evidence: child.log) { child.log.contains("CPU profile begins") }
    let refused = try Site.get(port: site.metricsPort, "/debug/pprof/profile?seconds=1")
    #expect(refused.status == 503 && refused.text.contains("already"))
  }

  @Test("the small pages answer, and what is not offered says so")
  func pages() async throws {
    let site = try Site()
    let child = try await start(site, ["TRACKER__ENABLE_PPROF": "true"])
    defer { _ = child.kill9() }
    func get(_ path: String) throws -> HTTPReply { try Site.get(port: site.metricsPort, "/debug/pprof/\(path)") }
    #expect(try get("cmdline").text == "\(Binaries.tracker)\0--config\0\(site.trackerConfig)")
    #expect(try get("symbol").text == "num_symbols: 1\n")
    #expect(try get("symbol?0x1").text == "0x1\t??\n")
    #expect(try get("trace").status == 501 && get("trace").text.contains("perf trace"))
    #expect(try get("").text.contains("profile?seconds=N"))
    for seconds in ["0", "301", "x", ""] { #expect(try get("profile?seconds=\(seconds)").status == 400) }
  }

  @Test("without enable_pprof there is nothing to see")
  func off() async throws {
    let site = try Site()
    let child = try await start(site, [:])
    defer { _ = child.kill9() }
    for path in ["", "cmdline", "symbol", "profile?seconds=1", "trace"] {
      #expect(Site.status(port: site.metricsPort, "/debug/pprof/\(path)") == 404)
    }
  }
}
