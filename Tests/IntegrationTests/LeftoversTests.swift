// Nothing is left behind: not by a run that ends, not by one that is killed.

import Foundation
import Simulation
import Testing

@Suite("Leftovers")
struct LeftoversTests {
  @Test("a demo that is killed takes its Redis, its daemons and its directory with it", arguments: [SIGKILL, SIGINT])
  func killedDemo(signal: Int32) async throws {
    let directory = try TemporaryDirectory()
    let demo = try ChildProcess(
      ["\(Binaries.folder)/Demo"], name: "demo", logPath: "\(directory.path)/demo.log",
      environment: ["TMPDIR": directory.path])
    // Redis and the tracker run; the demo waits for its next step.
    let folder = try await eventually("the demo has started the tracker", evidence: demo.log) {
      guard demo.log.contains("\ntracker ") else { return nil as String? }
      return try FileManager.default.contentsOfDirectory(atPath: directory.path).first { $0.hasPrefix("pt-demo") }
    }
    #expect(programs(naming: folder).count >= 2)
    demo.signal(signal)
    #expect(try await demo.waitForExit() == .signal(signal))
    try await eventually("its programs are gone") { programs(naming: folder).isEmpty }
    try await eventually("its directory is gone") {
      !FileManager.default.fileExists(atPath: "\(directory.path)/\(folder)")
    }
  }

  /// The running programs that work in this directory or were given it as an argument (redis-server rewrites its own).
  private func programs(naming folder: String) -> [String] {
    let pids = (try? FileManager.default.contentsOfDirectory(atPath: "/proc"))?.compactMap { Int($0) } ?? []
    return pids.compactMap { pid in
      let line = TemporaryDirectory.read("/proc/\(pid)/cmdline")
      let place = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/cwd")) ?? ""
      return line.contains(folder) || place.contains(folder) ? line : nil
    }
  }
}
