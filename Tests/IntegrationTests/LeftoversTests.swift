// Nothing is left behind: not by a run that ends, not by one that is killed.

import Foundation
import Simulation
import Testing

@Suite("Leftovers")
struct LeftoversTests {
  @Test("a demo that is killed takes its Redis, its daemons and its directory with it", arguments: [SIGKILL, SIGINT])
  func killedDemo(signal: Int32) async throws {
    let directory = try TemporaryDirectory()
    // A thread of its own: beside other tests this one may get its next turn when the demo is long through.
    let (demo, folder, running) = try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread { continuation.resume(with: Result { try killDemo(in: directory, signal) }) }
    }
    #expect(running >= 2)
    #expect(try await demo.waitForExit() == .signal(signal))
    try await eventually("its programs are gone") { programs(naming: folder).isEmpty }
    try await eventually("its directory is gone") {
      !FileManager.default.fileExists(atPath: "\(directory.path)/\(folder)")
    }
  }

  /// Starts a demo and kills it while Redis and the tracker run; answers its directory and how many programs there were.
  private func killDemo(in directory: TemporaryDirectory, _ signal: Int32) throws -> (ChildProcess, String, Int) {
    let demo = try ChildProcess(
      ["\(Binaries.folder)/Demo"], name: "demo", logPath: "\(directory.path)/demo.log",
      environment: ["TMPDIR": directory.path])
    while true {
      guard demo.exit == nil else { throw HarnessError("the demo has ended:\n\(demo.log)") }
      let folders = try FileManager.default.contentsOfDirectory(atPath: directory.path)
      if demo.log.contains("\ntracker "), let folder = folders.first(where: { $0.hasPrefix("pt-demo") }) {
        let running = programs(naming: folder).count
        demo.signal(signal)
        return (demo, folder, running)
      }
      usleep(5000)
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
