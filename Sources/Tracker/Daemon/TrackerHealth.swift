// TrackerHealth: what /health says of the tracker. Made by TrackerDaemon, asked on the admin thread.

import Linux

/// Live while every worker's loop moves; ready while every dependency is reachable, too.
struct TrackerHealth: Sendable {
  let workers: [Heartbeat]
  /// What the hooks need outside the process.
  let dependencies: [(name: String, service: any HookService)]

  @Sendable func probe() -> Health {
    let stuck = workers.count { !$0.isAlive }
    var checks = [
      Health.Check(
        name: "workers", isOK: stuck == 0,
        detail: stuck == 0 ? "\(workers.count) running" : "\(stuck) of \(workers.count) stuck")
    ]
    for (name, service) in dependencies {
      let trouble = service.trouble
      checks.append(Health.Check(name: name, isOK: trouble == nil, detail: trouble ?? "reachable"))
    }
    return Health(isLive: stuck == 0, isReady: checks.allSatisfy(\.isOK), checks: checks)
  }
}
