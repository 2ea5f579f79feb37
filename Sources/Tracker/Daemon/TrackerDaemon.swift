// TrackerDaemon: builds the tracker from its configuration, runs it until a signal says stop, and takes it down in order:
// sockets first, then what is in flight, then the queue. On the main thread.

import Glibc
import HTTP
import Linux
import Settings
import Wire

/// The configuration is valid and yet describes nothing to do.
struct NothingToServe: Error, CustomStringConvertible {
  let description = "neither http nor udp is configured: there is nothing to serve"
}

/// The running tracker.
final class TrackerDaemon {
  private var config: TrackerConfig
  private let load: () throws(ConfigError) -> TrackerConfig
  private let isDebug: Bool
  private let connectionID: ConnectionID?
  private let trackerID: [UInt8]
  private let metrics = MetricRegistry()
  private let snatches: SnatchLedger
  private let store: SwarmStore
  private let hooks: HookChain
  private let loop: EventLoop
  private var workers: [WorkerThread] = []
  private var expiry: SwarmExpiry?
  private var admin: AdminServer?
  private let environment: [String: String]
  private var report: ServiceReport?
  /// What ended the tracker, when it was not a signal.
  private var failure: SystemError?

  /// `load` reads the configuration, now and on every SIGHUP; `isDebug` keeps the log at debug whatever it says;
  /// `environment` tells of a service manager.
  init(
    isDebug: Bool, environment: [String: String], load: @escaping () throws(ConfigError) -> TrackerConfig
  ) throws {
    self.isDebug = isDebug
    self.environment = environment
    self.load = load
    config = try load()
    connectionID = config.udp.map {
      ConnectionID(privateKey: $0.privateKey, maxClockSkewSeconds: UInt64(max(0, $0.maxClockSkew.wholeSeconds)))
    }
    trackerID = Array(Hex.encode((0..<4).map { _ in UInt8.random(in: .min ... .max) }).utf8)
    for warning in config.warnings { Log.warning("configuration", ["problem": "\(warning)"]) }
    snatches = try SnatchLedger(path: config.storage.snatchPath, metrics: metrics)
    store = SwarmStore(shardCount: config.storage.shardCount, snatches: snatches, metrics: metrics)
    hooks = try HookChain(config.prehooks + config.posthooks, metrics: metrics)
    loop = try EventLoop(mailbox: try EventLoopMailbox())
    registerStorageMetrics()
  }

  /// Starts every part, serves until SIGTERM or SIGINT, stops every part.
  func run() throws {
    try SignalSource(loop: loop) { [unowned self] signal in
      Log.info("signal", ["name": "\(signal)"])
      if signal == .hangUp { reload() } else { loop.stop() }
    }
    loop.context = self
    let inherited = try InheritedSockets(environment: environment)
    let health = try start(try openSockets(inherited), inherited)
    report = ServiceReport.follow(loop, environment: environment, probe: health.probe)
    loop.run()
    report?.stopping(failure.map { "stopping: \($0)" } ?? "stopping: answering what is in flight")
    stop()
    if let failure { throw failure }
  }

  // MARK: parts

  private struct WorkerSockets {
    var udp: [UDPSocket] = []
    var http: [Listener] = []
  }

  private var workerCount: Int { config.workers > 0 ? config.workers : max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

  /// Sockets of the service manager take the place of the configured addresses.
  private func openSockets(_ inherited: InheritedSockets) throws -> [WorkerSockets] {
    guard config.udp != nil || config.http != nil else { throw NothingToServe() }
    var sockets = Array(repeating: WorkerSockets(), count: workerCount)
    if let udp = config.udp {
      let opened =
        inherited.has(.udp)
        ? try inherited.takeUDP(workers: workerCount)
        : try UDPSocket.open(SocketAddress(udp.address), workers: workerCount)
      for worker in sockets.indices { sockets[worker].udp = opened[worker] }
      for socket in opened[0] { Log.info("listening", ["transport": "udp", "address": "\(socket.endpoint)"]) }
    }
    if let http = config.http {
      let opened =
        inherited.has(.http)
        ? try inherited.takeListeners(.http, workers: workerCount)
        : try Listener.open(SocketAddress(http.address), workers: workerCount)
      for worker in sockets.indices { sockets[worker].http = opened[worker] }
      for listener in opened[0] { Log.info("listening", ["transport": "http", "address": "\(listener.address)"]) }
    }
    return sockets
  }

  private func start(_ sockets: [WorkerSockets], _ inherited: InheritedSockets) throws -> TrackerHealth {
    try hooks.start()
    let rules = pipelineRules
    applyLogLevel()
    let heartbeats = sockets.map { _ in Heartbeat() }
    let health = TrackerHealth(workers: heartbeats, dependencies: hooks.services)
    try startAdmin(health, inherited)
    let mailbox = loop.mailbox
    for (number, sockets) in sockets.enumerated() {
      let plan = WorkerPlan(
        number: number, mailbox: try EventLoopMailbox(), udpSockets: sockets.udp, udpRules: udpRules,
        httpListeners: sockets.http, httpRules: httpRules, store: store,
        push: hooks.service(TrafficPush.self, TrafficPushOptions.name), rules: rules,
        batchDelayNanoseconds: config.batchDelayNanoseconds, metrics: metrics, heartbeat: heartbeats[number])
      let worker = try WorkerThread(plan) { error in
        mailbox.post { loop in (loop.context as? TrackerDaemon)?.fail(error) }
      }
      workers.append(worker)
    }
    expiry = try SwarmExpiry(store: store, snatches: snatches, storage: config.storage, metrics: metrics)
    Log.info("tracker started", ["version": Version.text, "workers": workers.count])
    return health
  }

  /// What the workers' pipelines follow.
  private var pipelineRules: PipelineRules {
    var rules = PipelineRules()
    rules.hooks = hooks.checks
    rules.intervalSeconds = UInt32(clamping: config.announceInterval.wholeSeconds)
    rules.minIntervalSeconds = UInt32(clamping: config.minAnnounceInterval.wholeSeconds)
    rules.swarmPolicy = SwarmPolicy(
      excludeOwnPeers: config.storage.excludeOwnPeers, maxPeersPerUser: config.maxPeersPerUser,
      overdueSeconds: rules.intervalSeconds &+ rules.intervalSeconds / 8, limits: config.storage.sessionLimits,
      maxSnatchesPerUser: config.storage.maxSnatchesPerUser)
    return rules
  }

  /// UDP knows the passkey routes of the HTTP listener, or the usual ones.
  private var udpRules: UDPRules? {
    guard let udp = config.udp, let connectionID else { return nil }
    var rules = UDPRules(udp, connectionID: connectionID, routes: (config.http ?? HTTPSettings()).routes)
    let scrapeRoutes = config.http?.scrapeRoutes ?? []
    rules.refusesScrapes =
      config.approvesPasskeys && !scrapeRoutes.isEmpty && RouteTable.scrapeNeedsPasskey(scrapeRoutes)
    return rules
  }
  private var httpRules: HTTPRules? { config.http.map { HTTPRules($0, workers: workerCount, trackerID: trackerID) } }

  private func applyLogLevel() { Log.setLevel(isDebug ? .debug : config.logLevel) }

  /// SIGHUP: takes what can change without a restart; a broken configuration changes nothing.
  private func reload() {
    report?.reloading()
    defer { report?.reloaded() }
    let new: TrackerConfig
    do throws(ConfigError) {
      new = try load()
    } catch {
      Log.error("the configuration was not reloaded; the old one stays in force", ["error": "\(error)"])
      return
    }
    let reload = TrackerReload(running: config, new: new)
    if let complaint = reload.merged.snapshotComplaint {
      Log.error(
        "the configuration was not reloaded; the old one stays in force",
        ["error": "last_ttl changes with a restart only, and until then \(complaint)"])
      return
    }
    do {
      try hooks.replace(reload.merged.prehooks + reload.merged.posthooks)
    } catch {
      Log.error("the hooks were not reloaded; the old configuration stays in force", ["error": "\(error)"])
      return
    }
    config = reload.merged
    applyLogLevel()
    let rules = pipelineRules
    for worker in workers {
      worker.update(rules, udpRules, httpRules, batchDelayNanoseconds: config.batchDelayNanoseconds)
    }
    expiry?.update(config.storage)
    Log.info("configuration reloaded", ["changed": reload.applied.joined(separator: ", ")])
    if !reload.needRestart.isEmpty {
      Log.warning("these settings need a restart", ["settings": reload.needRestart.joined(separator: ", ")])
    }
  }

  private func startAdmin(_ health: TrackerHealth, _ inherited: InheritedSockets) throws {
    guard let address = config.metricsAddress else { return }
    let listeners =
      inherited.has(.metrics)
      ? try inherited.takeListeners(.metrics, workers: 1)[0] : try Listener.open(SocketAddress(address), workers: 1)[0]
    let server = try AdminServer(
      listeners: listeners, registry: metrics, metricPrefix: "tracker_admin",
      routes: config.enablePprof ? ProfilePages.routes() : [], probe: health.probe)
    for address in server.addresses { Log.info("listening", ["transport": "metrics", "address": "\(address)"]) }
    admin = server
  }

  private func fail(_ error: SystemError) {
    failure = error
    loop.stop()
  }

  private func stop() {
    for worker in workers { worker.stop() }
    workers.removeAll()
    expiry?.stop()
    hooks.stop()
    admin?.shutdown()
    Log.info("tracker stopped")
  }

  private static func budgets(_ store: SwarmStore) -> UserBudgets.Summary {
    store.budgets.summary(nowSeconds: BatchTime.now().monotonicSeconds)
  }

  private func registerStorageMetrics() {
    let store = store
    metrics.gauge("chihaya_storage_infohashes_count", help: "The number of infohashes tracked.") {
      Double(store.counts().infoHashes)
    }
    metrics.gauge("chihaya_storage_seeders_count", help: "The number of seeders tracked.") {
      Double(store.counts().seeders)
    }
    metrics.gauge("chihaya_storage_leechers_count", help: "The number of leechers tracked.") {
      Double(store.counts().leechers)
    }
    let snatches = snatches
    metrics.gauge("tracker_user_snatches_highest", help: "The most snatches of one user (max_snatches_per_user).") {
      Double(snatches.mostOfUser)
    }
    metrics.gauge("tracker_users_count", help: "Users with a session.") { Double(Self.budgets(store).users) }
    metrics.gauge("tracker_user_sessions_highest", help: "The most sessions of one user (max_sessions_per_user).") {
      Double(Self.budgets(store).mostSessions)
    }
    metrics.gauge(
      "tracker_user_new_sessions_highest_ratio",
      help: "The part of max_new_sessions_per_hour that is used up of the user who has used most of it."
    ) { Self.budgets(store).mostNewPart }
  }
}
