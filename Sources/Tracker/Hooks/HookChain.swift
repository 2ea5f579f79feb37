// HookChain: the hooks of the config as objects, in their order, with the threads some of them need. Made and owned by
// TrackerDaemon on the main thread.

import Linux

/// What a hook keeps running beside the workers: a thread, a connection.
protocol HookService: AnyObject, Sendable {
  func start() throws
  func stop()
  /// What keeps it from its work, in one sentence for the operator; nil when nothing does. Any thread.
  var trouble: String? { get }
}

/// What `prehooks` and `posthooks` became.
final class HookChain {
  /// Asked about every announce, in the order of the config.
  private(set) var checks: [any AnnounceHook] = []
  /// In the order of the config, by the names of their hooks, none of which is there twice.
  private(set) var services: [(name: String, service: any HookService)] = []
  let metrics: MetricRegistry

  init(_ entries: [HookEntry], metrics: MetricRegistry) throws {
    self.metrics = metrics
    try replace(entries)
  }

  /// Makes the hooks anew, of options that differ only in what a reload may change: services go on.
  func replace(_ entries: [HookEntry]) throws { checks = try entries.compactMap { try $0.options.make(self) } }

  /// The service of a hook; made the first time.
  func service<Service: HookService>(_ name: String, _ make: () throws -> Service) rethrows -> Service {
    if let running = service(Service.self, name) { return running }
    let made = try make()
    services.append((name, made))
    return made
  }

  /// The running service of a hook.
  func service<Service: HookService>(_ type: Service.Type, _ name: String) -> Service? {
    services.first { $0.name == name }?.service as? Service
  }

  /// Starts the hooks' threads. Before the workers'.
  func start() throws { for (_, service) in services { try service.start() } }

  /// Ends them. After the workers'.
  func stop() { for (_, service) in services { service.stop() } }
}
