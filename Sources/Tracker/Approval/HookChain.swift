// HookChain: the hooks of the config as objects, in their order, with the threads some of them need. Made and owned by
// TrackerDaemon on the main thread.

import Shared

/// What `prehooks` and `posthooks` became. A new hook is one file and one line in `make`.
final class HookChain {
  private var hooks: [any AnnounceHook] = []
  private(set) var resolver: PasskeyResolver?
  private(set) var push: (any AnnounceRecordSink)?

  init(config: TrackerConfig, metrics: MetricRegistry) throws {
    for hook in config.prehooks + config.posthooks { try make(hook, metrics) }
  }

  private func make(_ hook: HookConfig, _ metrics: MetricRegistry) throws {
    switch hook {
    case .passkeyApproval(let options): hooks.append(try passkeyApproval(options, metrics))
    case .trafficPush: break
    case .clientApproval: break
    case .torrentApproval: break
    case .intervalVariation: break
    }
  }

  private func passkeyApproval(_ options: PasskeyApprovalOptions, _ metrics: MetricRegistry) throws -> PasskeyApproval {
    let cache = ApprovalCache(
      approvedSeconds: UInt32(clamping: options.cacheTTL.wholeSeconds),
      refusedSeconds: UInt32(clamping: options.negativeCacheTTL.wholeSeconds))
    resolver = try PasskeyResolver(options: options, cache: cache, metrics: metrics)
    return PasskeyApproval(cache: cache)
  }

  /// What the workers' pipelines follow.
  func rules(_ config: TrackerConfig) -> PipelineRules {
    var rules = PipelineRules()
    rules.hooks = hooks
    rules.intervalSeconds = UInt32(clamping: config.announceInterval.wholeSeconds)
    rules.minIntervalSeconds = UInt32(clamping: config.minAnnounceInterval.wholeSeconds)
    rules.swarmPolicy = SwarmPolicy(
      excludeOwnPeers: config.storage.excludeOwnPeers, maxPeersPerUser: config.storage.maxPeersPerUser,
      overdueSeconds: rules.intervalSeconds &+ rules.intervalSeconds / 8)
    return rules
  }

  /// Starts the hooks' threads. Before the workers'.
  func start() throws(SystemError) { try resolver?.start() }

  /// Ends them. After the workers'.
  func stop() { resolver?.stop() }
}
