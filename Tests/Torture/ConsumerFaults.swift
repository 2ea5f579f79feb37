// What goes wrong with the consumer and with the stream it reads. Rows of the table (Fault).

import Foundation
import Glibc
import Linux
import Redis
import Simulation

extension Fault {
  static let ofConsumer: [Fault] = [
    Fault(name: "kill -9 of the consumer") { torture in
      torture.site.consumer?.kill9()
      try await torture.wave()
      try await torture.site.startConsumer(untilReady: false)
    },
    Fault(name: "SIGTERM of the consumer") { torture in
      try await torture.site.consumer?.terminate()
      try await torture.wave()
      try await torture.site.startConsumer(untilReady: false)
    },
    Fault(name: "SIGSTOP of the consumer") { try await $0.freeze($0.site.consumer?.pid, announcing: true) },
    Fault(name: "kill -9 of the consumer beside a standby") { try await $0.takeOver() },
    // Where entries come again, announces of one second that say the same, as this swarm has them, may count as one.
    Fault(name: "a backup restored", loss: .announces) { torture in
      let copy = try await torture.backup()
      try await torture.wave()
      try await torture.wait()
      try await torture.restore(copy)
    },
    Fault(name: "a backup restored twice", loss: .announces) { torture in
      let copy = try await torture.backup()
      for _ in 0..<2 {
        try await torture.wave()
        try await torture.restore(copy)
      }
    },
    Fault(name: "the database lost, a backup restored", loss: .announces) { torture in
      let copy = try await torture.backup()
      try await torture.wave()
      torture.site.consumer?.kill9()
      for name in ["", "-wal", "-shm"] { unlink(torture.databasePath + name) }
      try await torture.wave()
      try await torture.restore(copy)
    },
    Fault(name: "a poison entry, repaired and replayed") { try await $0.replayPoison() },
    Fault(name: "the disk is full", needs: .smallDisk) { torture in
      try torture.disk?.fill()
      try await torture.wave()
      try await torture.wait()
      torture.disk?.makeRoom()
    },
  ]

  static let ofStream: [Fault] = [
    Fault(name: "the group is deleted", loss: .announces) { torture in
      try torture.redis(["XGROUP", "DESTROY", "tracker:traffic", "group-pt"])
    },
    Fault(name: "the group is set back", loss: .announces) { torture in
      try torture.redis(["XGROUP", "SETID", "tracker:traffic", "group-pt", "0"])
    },
    Fault(name: "unread entries are deleted", loss: .bytes(reportedBy: ["lost"]), isToldApart: true) { torture in
      try await torture.takeUnread { ids in
        let chosen = ids.filter { _ in Bool.random(using: &torture.random) }
        if !chosen.isEmpty { try torture.redis(["XDEL", "tracker:traffic"] + chosen) }
        return chosen.count
      }
    },
    Fault(name: "unread entries are trimmed", loss: .bytes(reportedBy: ["lost"]), isToldApart: true) { torture in
      try await torture.takeUnread { ids in
        let kept = Int.random(in: 0..<ids.count, using: &torture.random)
        try torture.redis(["XTRIM", "tracker:traffic", "MINID", ids[kept]])
        return kept
      }
    },
    Fault(
      name: "the stream is deleted", loss: .bytes(reportedBy: ["lost", "epoch", "rollbacks"]), isToldApart: true
    ) { torture in
      torture.entriesTaken = nil
      let isUnread = Bool.random(using: &torture.random)
      if isUnread { try await torture.site.consumer?.terminate() }
      try await torture.wave()
      try await torture.awaitPushed()
      try torture.redis(["DEL", "tracker:traffic"])
      if isUnread { try await torture.site.startConsumer(untilReady: false) }
    },
  ]
}

extension Torture {
  /// A second consumer of another name stands by when the first is killed; the first comes back when it is gone.
  fileprivate func takeOver() async throws {
    let config = TemporaryDirectory.read(site.consumerConfig)
      .replacing("  redis:\n", with: "  redis:\n    consumer: standby\n")
      .replacing("consumer.sock", with: "standby.sock")
      .replacing("\"127.0.0.1:\(site.adminPort)\"", with: "\"\"")
    let path = try site.directory.write(config, as: "standby.yaml")
    let standby = try ChildProcess(
      [Binaries.consumer, "run", "--config", path], name: "standby", logPath: "\(site.directory.path)/standby.log")
    try await wave()
    site.consumer?.kill9()
    try await wave()
    try await wait()
    _ = Bool.random(using: &random) ? standby.kill9() : try await standby.terminate()
    try await site.startConsumer(untilReady: false)
  }

  fileprivate func backup() async throws -> String {
    let copy = "\(site.directory.path)/copy.db"
    unlink(copy)
    try await require(["backup", "--to", copy])
    return copy
  }

  /// The verb stops the daemon, which is started again here.
  fileprivate func restore(_ copy: String) async throws {
    try await require(["restore", copy, "--yes"])
    try await site.consumer?.waitForExit()
    try await site.startConsumer(untilReady: false)
  }

  private func require(_ verb: [String]) async throws {
    let result = try await site.consumer(verb)
    guard result.exit == .code(0) else {
      throw HarnessError("traffic-consumer \(verb.joined(separator: " ")): \(result.exit) \(result.errors)")
    }
  }

  /// An entry of another producer that cannot be applied; repaired, it counts once, however often it is replayed.
  fileprivate func replayPoison() async throws {
    let passkey = swarm.passkeys.randomElement(using: &random)!
    let uploaded = UInt64.random(in: 1...1 << 32, using: &random)
    let session = Int.random(in: 1...60_000, using: &random)
    let fields = StreamEntry.legal(passkey: passkey, session: session, uploaded: uploaded)
      .map { $0.name == "du" ? ("du", "1GiB") : $0 }
    let reply = try redis(["XADD", "tracker:traffic", "*"] + fields.flatMap { [$0.0, $0.1] })
    let entryID = reply.string
    try await wave()
    let letter = try await eventually("the poison is a dead letter", within: 90, evidence: site.logs) {
      let list = try? await self.site.json([DeadLetterReport].self, ["dlq", "list", "--state", "dead"])
      return list?.first { $0.entryID == entryID }
    }
    let replay = ["dlq", "replay", "\(letter.id)", "--set", "du=\(uploaded)"]
    try await require(replay)
    _ = try await site.consumer(replay)
    swarm.enter(uploaded: uploaded, for: passkey, torrent: swarm.infoHashes[0])
  }

  /// Entries that nobody has read are taken off the stream; `take` gets their ids and says how many it took.
  fileprivate func takeUnread(_ take: ([String]) throws -> Int) async throws {
    try await site.consumer?.terminate()
    let info = try redis(["XINFO", "STREAM", "tracker:traffic"])
    var last = "0"
    for index in stride(from: 0, to: info.view.count - 1, by: 2) where info.view[index].string == "last-generated-id" {
      last = info.view[index + 1].string ?? last
    }
    try await wave()
    try await awaitPushed()
    let unread = try redis(["XRANGE", "tracker:traffic", "(\(last)", "+"])
    let ids = (0..<unread.view.count).compactMap { unread.view[$0][0].string }
    if !ids.isEmpty { entriesTaken = Int64(try take(ids)) }
    try await site.startConsumer(untilReady: false)
  }
}
