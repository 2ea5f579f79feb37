// HookChain: the hooks of the config as objects, in their order, with the threads some of them need. Made and owned by
// TrackerDaemon on the main thread.

import Linux
import Redis
import Settings

/// What `prehooks` and `posthooks` became. A new hook is one file and one line in `make`.
final class HookChain {
  private var hooks: [any AnnounceHook] = []
  private(set) var resolvers: [MembershipResolver] = []
  private(set) var push: TrafficPush?
  private let metrics: MetricRegistry

  init(config: TrackerConfig, metrics: MetricRegistry) throws {
    self.metrics = metrics
    for hook in config.prehooks + config.posthooks { try make(hook) }
  }

  private func make(_ hook: HookConfig) throws {
    switch hook {
    case .passkeyApproval(let options): hooks.append(PasskeyApproval(resolver: try resolver(options)))
    case .trafficPush(let options): push = try TrafficPush(options: options, metrics: metrics)
    case .clientApproval(let options): hooks.append(ClientApproval(options))
    case .torrentApproval(let options):
      hooks.append(TorrentApproval(options, resolver: try options.redisSet.map { try resolver($0) }))
    case .portApproval(let options): hooks.append(PortApproval(options))
    case .intervalVariation(let options): hooks.append(IntervalVariation(options))
    }
  }

  private func resolver(_ options: PasskeyApprovalOptions) throws -> MembershipResolver {
    let origin = options.httpURL.flatMap {
      OriginCheck(
        url: $0, apiKeyHeader: options.httpAPIKeyHeader, apiKey: options.httpAPIKey,
        timeoutSeconds: Double(options.httpTimeout.wholeMilliseconds) / 1000)
    }
    return try addResolver(
      MembershipRules(
        endpoint: try RedisEndpoint(url: options.redisBroker), timeouts: RedisTimeouts(forApproval: options.timeouts),
        setKey: options.setKey, name: "passkey", origin: origin), options.cacheTTL, options.negativeCacheTTL)
  }

  private func resolver(_ options: RedisSetOptions) throws -> MembershipResolver {
    try addResolver(
      MembershipRules(
        endpoint: try RedisEndpoint(url: options.redisBroker), timeouts: RedisTimeouts(forApproval: options.timeouts),
        setKey: options.setKey, name: "torrent", origin: nil), options.cacheTTL, options.negativeCacheTTL)
  }

  private func addResolver(_ rules: MembershipRules, _ approved: Duration, _ refused: Duration) throws
    -> MembershipResolver
  {
    let cache = ApprovalCache(
      approvedSeconds: UInt32(clamping: approved.wholeSeconds), refusedSeconds: UInt32(clamping: refused.wholeSeconds))
    let resolver = try MembershipResolver(rules: rules, cache: cache, metrics: metrics)
    resolvers.append(resolver)
    return resolver
  }

  /// Makes the hooks of a new configuration that differs only in what `TrackerReload` lets change: resolvers and push
  /// go on, in their places in the order.
  func replaceLists(_ config: TrackerConfig) {
    var running = resolvers
    hooks = (config.prehooks + config.posthooks).compactMap { hook in
      switch hook {
      case .passkeyApproval: PasskeyApproval(resolver: running.removeFirst())
      case .trafficPush: nil
      case .clientApproval(let options): ClientApproval(options)
      case .torrentApproval(let options):
        TorrentApproval(options, resolver: options.redisSet == nil ? nil : running.removeFirst())
      case .portApproval(let options): PortApproval(options)
      case .intervalVariation(let options): IntervalVariation(options)
      }
    }
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
  func start() throws {
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
