// Simulation: runs scenarios, and shortens one that fails. One thread.

import Glibc
import Linux
import Simulation

struct Scenario {
  var seed: UInt64
  var site: SitePlan
  var steps: [Step]
}

/// What a run came to.
struct SimulationResult {
  var failure: World.Violation?
  /// Actions of all processes.
  var actions: Int
  var lines: [String]
}

final class SimulationRunner {
  let programs = ScriptPrograms()
  private let folder: String
  private let directory: TemporaryDirectory?

  init() throws {
    // Files of a simulation are synchronised all the time; in memory that is free.
    folder = "/dev/shm/pt-simulator-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
    directory = nil
    guard mkdir(folder, 0o700) == 0 else { throw HarnessError("mkdir \(folder): \(errno)") }
  }

  deinit {
    clean()
    rmdir(folder)
  }

  private func clean() {
    guard let listing = opendir(folder) else { return }
    defer { closedir(listing) }
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { unlink("\(folder)/\(name)") }
    }
  }

  func run(_ scenario: Scenario, keepsTrace: Bool = false) -> SimulationResult {
    clean()
    let world = World(
      site: scenario.site, folder: folder, salt: scenario.seed, programs: programs, keepsTrace: keepsTrace)
    for step in scenario.steps where world.failure == nil { world.run(step) }
    if world.failure == nil { world.finish() }
    return SimulationResult(failure: world.failure, actions: world.actions, lines: world.lines)
  }

  /// Leaves out steps as long as it fails in the same way.
  func shorten(_ scenario: Scenario, kind: String) -> Scenario {
    var best = scenario
    func stillFails(_ candidate: Scenario) -> Bool { run(candidate).failure?.kind == kind }
    var size = max(1, best.steps.count / 2)
    // Long enough for all but those that run until a limit.
    let deadline = Clock.monotonicNanoseconds() + 30_000_000_000
    var budget: Int { Clock.monotonicNanoseconds() < deadline ? 1 : 0 }
    while size >= 1 {
      var at = 0
      var isShorter = false
      while at < best.steps.count, budget > 0 {
        var candidate = best
        candidate.steps.removeSubrange(at..<min(at + size, best.steps.count))
        if stillFails(candidate) {
          best = candidate
          isShorter = true
        } else {
          at += size
        }
      }
      if size == 1, !isShorter { break }
      size = size == 1 ? 1 : size / 2
      if budget == 0 { break }
    }
    return simplify(best, stillFails)
  }

  /// Makes the site smaller.
  private func simplify(_ scenario: Scenario, _ stillFails: (Scenario) -> Bool) -> Scenario {
    var best = scenario
    func attempt(_ change: (inout SitePlan) -> Void) {
      var candidate = best
      change(&candidate.site)
      if candidate.site != best.site, stillFails(candidate) { best = candidate }
    }
    attempt { $0.clients = 1 }
    attempt { $0.users = 1 }
    attempt { $0.torrents = 1 }
    attempt { $0.trackers = 1 }
    attempt { $0.trackers = min($0.trackers, 2) }
    attempt { $0.hasSpool = false }
    attempt { $0.maximumStreamLength = 0 }
    attempt { $0.retainedBytes = 16 << 20 }
    attempt { $0.coalesceAbove = 16_384 }
    attempt { $0.queueCapacity = 1 << 20 }
    attempt { $0.recordsPerCall = 256 }
    attempt { $0.isHasty = false }
    return best
  }
}
