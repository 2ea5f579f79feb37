// What goes wrong with Redis: restarts, failovers, and states it comes back with. Rows of the table (Fault).

import Foundation
import Glibc
import Simulation

extension Fault {
  /// What says that Redis came back without something.
  private static let forgetting = [
    "tracker_push_lost_to_failover_total", "tracker_push_unannounced_sessions_total", "tracker_push_gaps_total", "lost",
    "epoch", "rollbacks",
  ]

  static let ofRedis: [Fault] = [
    Fault(name: "SIGTERM of redis-server", needs: .oneRedis) { torture in
      try await torture.site.redis.stop()
      try await torture.wave()
      try await torture.site.redis.start()
    },
    Fault(name: "kill -9 of redis-server", loss: .announces, needs: .oneRedis) { torture in
      try await torture.wave()
      torture.entriesTaken = nil
      torture.site.redis.kill9()
      try await torture.wave()
      try await torture.site.redis.start()
    },
    Fault(name: "SIGSTOP of redis-server", needs: .oneRedis) { torture in
      try await torture.freeze(torture.site.redis.pid, announcing: true)
    },
    Fault(name: "CLIENT KILL of every connection") { torture in
      try await torture.wave()
      try torture.redis(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
    },
    Fault(name: "SCRIPT FLUSH") { try $0.redis(["SCRIPT", "FLUSH"]) },
    Fault(name: "Redis is out of memory") { torture in
      try torture.redis(["CONFIG", "SET", "maxmemory", "1"])
      try await torture.wave()
      try await torture.wait()
      try torture.redis(["CONFIG", "SET", "maxmemory", "0"])
    },
    Fault(name: "Redis is read-only", needs: .oneRedis) { torture in
      // A master that it never reaches.
      try torture.redis(["REPLICAOF", "127.0.0.1", "1"])
      try await torture.wave()
      try await torture.wait()
      try torture.redis(["REPLICAOF", "NO", "ONE"])
    },
    Fault(name: "FLUSHALL", loss: .bytes(reportedBy: forgetting), isToldApart: true) { torture in
      torture.entriesTaken = nil
      try await torture.wave()
      // The site fills in its passkeys at once: that it might not is another fault.
      try torture.redis(
        ["EVAL", "redis.call('FLUSHALL') redis.call('SADD', 'pt:passkeys', unpack(ARGV))", "0"]
          + torture.swarm.passkeys)
    },
    Fault(name: "an older file of Redis", loss: .announces, needs: .oneRedisAndTracker) { torture in
      try await torture.returnOlder { try await torture.wave() }
    },
    // One of two may push new announces upon the old snapshots before the other has given back that the client started over
    // in between: the consumer withholds what is of a time that was credited.
    Fault(
      name: "an older file of Redis, whatever the trackers", loss: .bytes(reportedBy: forgetting + ["withheld"]),
      needs: .oneRedis, isToldApart: true
    ) { torture in
      try await torture.returnOlder { try await torture.wave() }
    },
    Fault(
      name: "an older file of Redis, from before a restart of the tracker", loss: .bytes(reportedBy: forgetting),
      needs: .oneRedisAndTracker, isToldApart: true
    ) { torture in
      try await torture.returnOlder {
        let tracker = torture.anyTracker
        try await tracker.terminate()
        try await tracker.start()
        try await torture.wave()
      }
    },
    Fault(name: "the master is killed", loss: .announces, needs: .sentinel) { torture in
      try await torture.wave()
      try await torture.failover()
    },
    Fault(name: "the master is killed, the replica was behind", loss: .announces, needs: .sentinel) {
      torture in
      try torture.pair?.cutReplica()
      try await torture.wave()
      if Bool.random(using: &torture.random) { try await torture.awaitPushed() }
      try await torture.failover()
    },
    Fault(name: "the master is frozen", loss: .announces, needs: .sentinel) { torture in
      guard let pair = torture.pair, let pid = pair.master.pid else { return }
      torture.entriesTaken = nil
      try await torture.wave()
      kill(pid, SIGSTOP)
      try await torture.wave()
      try await pair.awaitFailover()
      try await torture.wave()
      try await pair.thawReplica()
    },
  ]
}

extension Torture {
  /// The master is killed, the replica takes over, the dead one comes back and follows.
  fileprivate func failover() async throws {
    guard let pair else { return }
    entriesTaken = nil
    pair.master.kill9()
    try await wave()
    try await pair.awaitFailover()
    try await wave()
    try await pair.restartReplica()
  }

  /// Redis' files are kept, the site goes on, and Redis comes back with what it had.
  fileprivate func returnOlder(_ meanwhile: () async throws -> Void) async throws {
    entriesTaken = nil
    let files = "\(site.directory.path)/appendonlydir"
    let kept = "\(site.directory.path)/kept"
    try? FileManager.default.removeItem(atPath: kept)
    try await site.redis.stop()
    try FileManager.default.copyItem(atPath: files, toPath: kept)
    try await site.redis.start()
    for _ in 0..<Int.random(in: 1...3, using: &random) { try await wave() }
    try await meanwhile()
    try await awaitPushed()
    try await wait()
    try await site.redis.stop()
    try FileManager.default.removeItem(atPath: files)
    try FileManager.default.copyItem(atPath: kept, toPath: files)
    try await wave()
    try await site.redis.start()
  }
}
