// HookChain: the hooks of the config as objects, in their order, with the threads some of them need. Made and owned by
// TrackerDaemon on the main thread.

import Shared

/// What `prehooks` and `posthooks` became. A new hook is one file and one line in `make`.
final class HookChain {
  private var hooks: [any AnnounceHook] = []
  private(set) var resolvers: [MembershipResolver] = []
  private(set) var push: TrafficPush?

  init(config: TrackerConfig, metrics: MetricRegistry) throws {
    for hook in config.prehooks + config.posthooks { try make(hook, metrics) }
  }

  private func make(_ hook: HookConfig, _ metrics: MetricRegistry) throws {
    switch hook {
    case .passkeyApproval(let options): hooks.append(try passkeyApproval(options, metrics))
    case .trafficPush(let options): push = try TrafficPush(options: options, metrics: metrics)
    case .clientApproval(let options): hooks.append(ClientApproval(options))
    case .torrentApproval(let options): hooks.append(TorrentApproval(options))
    case .intervalVariation(let options): hooks.append(IntervalVariation(options))
    }
  }

  private func passkeyApproval(_ options: PasskeyApprovalOptions, _ metrics: MetricRegistry) throws -> PasskeyApproval {
    let cache = ApprovalCache(
      approvedSeconds: UInt32(clamping: options.cacheTTL.wholeSeconds),
      refusedSeconds: UInt32(clamping: options.negativeCacheTTL.wholeSeconds))
    let origin = options.httpURL.flatMap {
      OriginCheck(
        url: $0, apiKeyHeader: options.httpAPIKeyHeader, apiKey: options.httpAPIKey,
        timeoutSeconds: Double(options.httpTimeout.wholeMilliseconds) / 1000)
    }
    let resolver = try MembershipResolver(
      rules: MembershipRules(
        endpoint: try RedisEndpoint(url: options.redisBroker), timeouts: RedisTimeouts(forApproval: options.timeouts),
        setKey: options.setKey, name: "passkey", origin: origin), cache: cache, metrics: metrics)
    resolvers.append(resolver)
    return PasskeyApproval(resolver: resolver)
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

  /// What readiness depends on.
  var dependencies: [Dependency] {
    var dependencies = resolvers.map { resolver in
      Dependency(name: "\(resolver.rules.name) approval") {
        resolver.isReady ? nil : "redis is unreachable; known \(resolver.rules.name)s go on"
      }
    }
    if let push {
      dependencies.append(
        Dependency(name: "traffic push") { push.isReady ? nil : push.troubles.joined(separator: "; ") })
    }
    return dependencies
  }

  /// Starts the hooks' threads. Before the workers'.
  func start() throws(SystemError) {
    for resolver in resolvers { try resolver.start() }
    try push?.start()
  }

  /// Ends them. After the workers'.
  func stop() {
    for resolver in resolvers { resolver.stop() }
    push?.shutdown()
  }
}

extension RedisTimeouts {
  /// A client waits for the answer: what takes longer than this is no answer to it, and "try again" is a better one.
  private static let maximumApprovalMilliseconds = 2000

  /// The timeouts of a hook's options, for questions that announces wait for.
  init(forApproval options: RedisTimeoutOptions) {
    func limited(_ duration: Duration) -> Int { min(duration.wholeMilliseconds, Self.maximumApprovalMilliseconds) }
    self.init(
      connectMilliseconds: limited(options.connect), readMilliseconds: limited(options.read),
      writeMilliseconds: limited(options.write))
  }
}
