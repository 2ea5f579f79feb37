// What goes wrong with the trackers, their spools and their way to Redis. Rows of the table (Fault).

import Foundation
import Glibc
import Linux
import Simulation

extension Fault {
  static let ofTracker: [Fault] = [
    Fault(name: "SIGTERM of the tracker") { torture in
      let tracker = torture.anyTracker
      try await tracker.terminate()
      try await tracker.start()
    },
    // What cannot be said again is through before, so every client announces once more and nothing is missing.
    Fault(name: "kill -9 of the tracker", loss: .announces, isToldApart: true) { torture in
      await torture.pause()
      try torture.swarm.quietWave()
      let tracker = torture.anyTracker
      tracker.kill9()
      try await tracker.start()
      await torture.pause()
      try torture.swarm.quietWave()
    },
    Fault(name: "kill -9 of the tracker with everything on its way", loss: .bytesOfTheDead, isToldApart: true) {
      torture in
      let tracker = torture.anyTracker
      try await torture.wave()
      tracker.kill9()
      try await tracker.start()
    },
    Fault(name: "SIGSTOP of the tracker") { torture in
      let frozen = Int.random(in: 0..<torture.trackers.count, using: &torture.random)
      // The others take the announces meanwhile.
      let others = torture.swarm.reachable.filter { $0 != frozen }
      if !others.isEmpty { torture.swarm.reachable = others }
      defer { torture.swarm.reachable = Array(torture.trackers.indices) }
      try await torture.freeze(torture.trackers[frozen].process?.pid, announcing: !others.isEmpty)
    },
    // As docs/redis.md has it: everything is through, then both configurations change. But the snapshots that the first change
    // left behind are there when it is taken back, and what is credited of them is withheld.
    Fault(
      name: "two partitions and back",
      loss: .bytes(reportedBy: ["tracker_push_unannounced_sessions_total", "withheld"]),
      isToldApart: true
    ) { torture in
      try await torture.repartition("retry_interval: 100ms", "retry_interval: 100ms\n      partitions: 2")
      try await torture.wave()
      try await torture.wave()
      try await torture.repartition("retry_interval: 100ms\n      partitions: 2", "retry_interval: 100ms")
    },
    Fault(name: "Redis is slow for the trackers", needs: .relays) { torture in
      torture.proxies[0].delay(milliseconds: 700)
      defer { torture.proxies[0].delay(milliseconds: 0) }
      try await torture.wave()
      try await torture.wait()
    },
    Fault(name: "a connection of the trackers breaks", needs: .relays) { try await $0.breakConnection(0) },
    Fault(name: "a connection of the consumer breaks", needs: .relays) { try await $0.breakConnection(1) },
  ]

  static let ofSpool: [Fault] = [
    Fault(name: "SIGTERM of the tracker while Redis is away", needs: .oneRedis) { torture in
      let tracker = torture.anyTracker
      try await torture.site.redis.stop()
      try await torture.wave()
      try await tracker.terminate()
      try await torture.site.redis.start()
      try await tracker.start()
    },
    Fault(name: "kill -9 of the tracker once the spool has all", needs: .oneRedis) { torture in
      let tracker = torture.anyTracker
      try await torture.outage(spooling: tracker)
      tracker.kill9()
      try await torture.site.redis.start()
      try await tracker.start()
    },
    Fault(
      name: "kill -9 of the tracker in an outage", loss: .bytesOfTheDead, needs: .oneRedis, isToldApart: true
    ) {
      torture in
      let tracker = torture.anyTracker
      try await torture.site.redis.stop()
      try await torture.wave()
      try await torture.wait()
      tracker.kill9()
      try await torture.site.redis.start()
      try await tracker.start()
    },
    Fault(name: "an old spool is put back", needs: .oneRedis) { torture in
      let tracker = torture.anyTracker
      try await torture.outage(spooling: tracker)
      let old = try? Data(contentsOf: URL(fileURLWithPath: tracker.spool))
      try await torture.site.redis.start()
      try await torture.awaitPushed()
      try await tracker.terminate()
      try old?.write(to: URL(fileURLWithPath: tracker.spool))
      try await tracker.start()
    },
    Fault(
      name: "the spool is torn",
      loss: .bytes(reportedBy: ["tracker_push_spool_errors_total", TortureTracker.tornSpools]),
      needs: .oneRedis, isToldApart: true
    ) { torture in
      let tracker = torture.anyTracker
      try await torture.outage(spooling: tracker)
      tracker.kill9()
      if let whole = try? Data(contentsOf: URL(fileURLWithPath: tracker.spool)), !whole.isEmpty {
        let length = Int.random(in: 0..<whole.count, using: &torture.random)
        try whole.prefix(length).write(to: URL(fileURLWithPath: tracker.spool))
      }
      try await torture.site.redis.start()
      try await tracker.start()
    },
    Fault(name: "the disk is full in an outage", needs: .smallDiskAndOneRedis) { torture in
      try torture.disk?.fill()
      try await torture.site.redis.stop()
      try await torture.wave()
      try await torture.wait()
      torture.disk?.makeRoom()
      try await torture.site.redis.start()
    },
  ]
}

extension Torture {
  /// Stops the trackers, waits until the consumer has everything, and starts all with another number of partitions.
  fileprivate func repartition(_ old: String, _ new: String) async throws {
    for tracker in trackers {
      try await tracker.terminate()
      try site.directory.write(
        TemporaryDirectory.read(tracker.config).replacing(old, with: new),
        as: tracker === trackers[0] ? "tracker.yaml" : "second.yaml")
    }
    try await readEverything()
    let one = TemporaryDirectory.read(site.consumerConfig).replacing("    partitions: 2\n", with: "")
    let two = one.replacing("  redis:\n", with: "  redis:\n    partitions: 2\n")
    try site.directory.write(new.contains("partitions") ? two : one, as: "consumer.yaml")
    for tracker in trackers { try await tracker.start() }
    try await site.startConsumer()
  }

  /// Ends with the consumer stopped and nothing left for it. What the daemon says is up to a second old: only without it
  /// `status` asks Redis.
  private func readEverything() async throws {
    while true {
      try await eventually("everything is read", evidence: site.consumer?.log ?? "") {
        let status = try await self.site.json(StatusReport.self, ["status"])
        return status.ready && status.lagEntries == 0 && status.pendingEntries == 0
      }
      try await site.consumer?.terminate()
      let left = try await site.json(StatusReport.self, ["status"])
      if left.lagEntries == 0 && left.pendingEntries == 0 { return }
      try await site.startConsumer()
    }
  }

  /// Cuts, resets or swallows a connection somewhere in the next announces.
  fileprivate func breakConnection(_ proxy: Int) async throws {
    let fault = FaultProxy.Fault.allCases.randomElement(using: &random)!
    let direction = FaultProxy.Direction.allCases.randomElement(using: &random)!
    proxies[proxy].arm(.init(fault, direction, after: Int.random(in: 1...8000, using: &random)))
    try await wave()
    try await wait()
  }

  /// Redis goes, the swarm announces, and `tracker` writes what it owes.
  fileprivate func outage(spooling tracker: TortureTracker) async throws {
    try await site.redis.stop()
    let before = swarm.history.count
    try await wave()
    let announced = Clock.unixNanoseconds()
    // It owes what is on its way to Redis, too: that its queue is empty says nothing.
    guard swarm.history[before...].contains(where: { trackers[$0.tracker] === tracker }) else { return }
    try await eventually("the spool is written", evidence: tracker.logs) { tracker.hasSpooled(since: announced) }
    // A second later it is written again, if what was begun before the last announce is what we saw.
    try await Task.sleep(nanoseconds: 2_000_000_000)
  }
}
