// TrackerHealth: what /health says of the tracker. Made by TrackerDaemon, asked on the admin thread.

import Linux

/// Something outside the process that the tracker needs.
struct Dependency: Sendable {
  let name: String
  /// Nil when all is well, else one sentence for the operator.
  let trouble: @Sendable () -> String?
}

/// Live while every worker's loop moves; ready while every dependency is reachable, too.
struct TrackerHealth: Sendable {
  let workers: [Heartbeat]
  let dependencies: [Dependency]

  @Sendable func probe() -> Health {
    let stuck = workers.count { !$0.isAlive }
    var checks = [
      Health.Check(
        name: "workers", isOK: stuck == 0,
        detail: stuck == 0 ? "\(workers.count) running" : "\(stuck) of \(workers.count) stuck")
    ]
    for dependency in dependencies {
      let trouble = dependency.trouble()
      checks.append(Health.Check(name: dependency.name, isOK: trouble == nil, detail: trouble ?? "reachable"))
    }
    return Health(isLive: stuck == 0, isReady: checks.allSatisfy(\.isOK), checks: checks)
  }
}
