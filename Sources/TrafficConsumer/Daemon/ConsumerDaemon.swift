// ConsumerDaemon: `traffic-consumer run`: makes the parts, runs the loop for signals on the main thread, and takes the
// parts down in order.

import HTTP
import Linux
import Redis
import Settings

enum ConsumerDaemon {
  /// Not live when the writer has made no turn for this long; a batch with every retry inside takes seconds.
  private static let liveNanoseconds: UInt64 = 120_000_000_000

  /// Runs until SIGTERM or SIGINT, or until it cannot go on. `requests`: what verbs may ask of the writer. Returns the exit
  /// code.
  static func run(_ config: ConsumerConfig, adoptsGroup: Bool, requests: [StoreRequest]) -> ExitCode {
    SignalSource.blockSignals()
    do {
      let streams = try config.streamSettings(adoptsGroup: adoptsGroup)
      return try run(config, streams: streams, requests: requests)
    } catch {
      Log.error("cannot start", ["error": "\(error)"])
      return error is RedisURLError ? .configuration : .inputOutput
    }
  }

  private static func run(_ config: ConsumerConfig, streams: StreamSettings, requests: [StoreRequest]) throws
    -> ExitCode
  {
    let queue = DeliveryQueue(streams: streams.streams.count)
    let engine = EngineState(streams: streams.streams.count)
    let registry = MetricRegistry()
    let metrics = ConsumerMetrics(registry: registry, engine: engine)
    let mailbox = try EventLoopMailbox()
    let loop = try EventLoop(mailbox: mailbox)
    let service = ServiceReport.follow(
      loop, environment: CommandLineOptions.environment(), isStarted: { engine.hasWriterSettled },
      probe: { health(engine) })
    try SignalSource(loop: loop) { signal in
      guard signal != .hangUp else { return }
      service?.stopping("stopping: committing what is in flight")
      Log.info("stopping", ["signal": signal == .terminate ? "SIGTERM" : "SIGINT"])
      queue.stop()
    }
    let admin = try startAdmin(config, registry: registry, engine: engine)
    let context = ControlContext(config: config, queue: queue, engine: engine, requests: requests)
    let control = ControlServer.start(path: config.controlSocketPath, context: context)
    let writer = WriterLoop(
      store: config.storeSettings, streams: streams, queue: queue, engine: engine, metrics: metrics)
    let thread = try NamedThread(name: "writer") {
      writer.run()
      mailbox.post { $0.stop() }
    }
    Log.info(
      "started",
      [
        "database": config.databasePath, "redis": streams.endpoint.redacted, "group": streams.group,
        "streams": streams.streams.joined(separator: ","), "version": Version.text,
      ])
    loop.run()
    thread.join()
    control?.shutdown()
    admin?.shutdown()
    return report(engine)
  }

  private static func startAdmin(_ config: ConsumerConfig, registry: MetricRegistry, engine: EngineState) throws
    -> AdminServer?
  {
    guard let text = config.adminAddress else { return nil }
    let admin = try AdminServer(
      address: SocketAddress(text), registry: registry, metricPrefix: "traffic_consumer"
    ) { health(engine) }
    Log.info("admin listens", ["address": admin.addresses.map(\.description).joined(separator: ",")])
    return admin
  }

  /// Live: the writer makes turns. Ready: it can write, and every stream is connected and caught up.
  static func health(_ engine: EngineState) -> Health {
    let age = Clock.monotonicNanoseconds() &- engine.lastTurn.load(ordering: .relaxed)
    let trouble = engine.writerTrouble
    var checks = [
      Health.Check(
        name: "database", isOK: trouble == nil && !engine.isStandby,
        detail: trouble ?? (engine.isStandby ? "standing by: another process writes it" : "ok"))
    ]
    for (index, stream) in engine.streams.enumerated() {
      checks.append(
        Health.Check(
          name: "redis-\(index)", isOK: stream.isConnected && stream.isCaughtUp,
          detail: stream.trouble ?? (stream.isConnected ? stream.isCaughtUp ? "ok" : "catching up" : "not connected")))
    }
    return Health(isLive: age < liveNanoseconds, isReady: engine.isReady, checks: checks)
  }

  private static func report(_ engine: EngineState) -> ExitCode {
    if let fatal = engine.fatal {
      Log.error("cannot go on", ["error": fatal.message])
      return fatal.code
    }
    let counters = engine.committed.map(\.counters)
    Log.info(
      "stopped; everything read is committed and acknowledged, or still pending in Redis",
      ["applied": counters.reduce(0) { $0 + $1.applied }, "dead": counters.reduce(0) { $0 + $1.dead }])
    return .ok
  }
}
