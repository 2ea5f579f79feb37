// TortureSite: how a seed's site is configured: Site's files with another Redis, another disk, a second tracker. One task.

import Simulation

extension Torture {
  /// Where the consumer's database is.
  var databasePath: String { disk.map { "\($0.path)/traffic.db" } ?? site.databasePath }

  /// Rewrites the configurations as the plan has it; returns the trackers.
  static func configure(
    _ site: Site, _ plan: TorturePlan, _ pair: RedisPair?, _ disk: SmallDisk?, _ proxies: [FaultProxy]
  ) throws(HarnessError) -> [TortureTracker] {
    let folder = site.directory.path
    let storage = disk?.path ?? folder
    let way = { (index: Int) in proxies.isEmpty ? nil : "redis://127.0.0.1:\(proxies[index].port)/0" }
    let consumer = TemporaryDirectory.read(site.consumerConfig)
      .replacing(site.redis.tcpURL, with: pair?.url ?? way(1) ?? site.redis.tcpURL)
      .replacing(site.databasePath, with: "\(storage)/traffic.db")
    try site.directory.write(consumer, as: "consumer.yaml")
    let tracker = TemporaryDirectory.read(site.trackerConfig)
      .replacing(site.redis.url, with: pair?.url ?? way(0) ?? site.redis.url)
      .replacing("\(folder)/tracker.spool", with: "\(storage)/tracker.spool")
    try site.directory.write(tracker, as: "tracker.yaml")
    let first = TortureTracker(
      "tracker", config: site.trackerConfig, spool: "\(storage)/tracker.spool", endpoints: site.endpoints,
      metricsPort: site.metricsPort, in: folder)
    guard plan.hasTwoTrackers else { return [first] }
    let endpoints = TrackerEndpoints(httpPort: try FreePort.take(), udpPort: try FreePort.take())
    let metrics = try FreePort.take()
    let config = try site.directory.write(
      tracker.replacing(":\(site.endpoints.httpPort)\"", with: ":\(endpoints.httpPort)\"")
        .replacing(":\(site.endpoints.udpPort)\"", with: ":\(endpoints.udpPort)\"")
        .replacing(":\(site.metricsPort)\"", with: ":\(metrics)\"")
        .replacing("tracker.spool", with: "second.spool"), as: "second.yaml")
    let second = TortureTracker(
      "second", config: config, spool: "\(storage)/second.spool", endpoints: endpoints, metricsPort: metrics, in: folder
    )
    return [first, second]
  }
}
