// The property: whatever happens on the way, totals equal the oracle to the byte.

import Foundation
import Simulation
import Testing
import Wire

@testable import TrafficConsumer

/// A client as the test knows it, and what the push script would remember of it.
private struct Client {
  var maker: EventMaker
  /// Producers without counters send what they credit and nothing else.
  var hasCounters: Bool
  var generation = 1
  var uploaded: UInt64 = 0
  var downloaded: UInt64 = 0
  var baseUploaded: UInt64 = 0
  var baseDownloaded: UInt64 = 0
  var timestamp: Int64 = 0
  /// What the snapshot in Redis says.
  var snapshot = (generation: 0, uploaded: UInt64(0), downloaded: UInt64(0), timestamp: Int64(0))
}

/// What a user must show: the oracle, which knows clients and no entries.
private struct Truth: Equatable {
  var uploaded: UInt64 = 0
  var downloaded: UInt64 = 0
  var seedSeconds: Int64 = 0
}

@Suite("Exactness") struct ExactnessTests {
  /// How many seeds: a few each time, or as many as `TRAFFIC_CONSUMER_SEEDS` says.
  static let seeds = 0..<(ProcessInfo.processInfo.environment["TRAFFIC_CONSUMER_SEEDS"].flatMap { Int($0) } ?? 6)

  private struct World {
    var random: SeededRandom
    var clients: [Client] = []
    var truth: [String: Truth] = [:]
    var now: Int64 = 1_700_000_000

    init(seed: UInt64, withCounters: Bool) {
      random = SeededRandom(seed: seed)
      for index in 0..<12 {
        var maker = EventMaker()
        maker.passkey = Passkey("user\(index % 4)")!
        maker.infoHash = InfoHash(words: (UInt64(index % 3), 1, 2))
        maker.peerID = PeerID(words: (UInt64(index), 3, 4))
        clients.append(Client(maker: maker, hasCounters: withCounters || index.isMultiple(of: 3)))
      }
    }

    /// One announce of one client, as the entry the push script would add.
    mutating func announce(_ index: Int, restarts: Bool) -> TrafficEvent {
      now += Int64.random(in: 1...60, using: &random)
      var client = clients[index]
      let isFirst = client.snapshot.generation == 0
      if restarts && !isFirst {
        client.generation += 1
        (client.uploaded, client.downloaded) = (0, 0)
      } else if !isFirst, !random.chance(oneIn: 4) {
        client.uploaded += UInt64.random(in: 0...1 << 40, using: &random)
        client.downloaded += UInt64.random(in: 0...1 << 30, using: &random)
      }
      let key = client.maker.passkey.text
      let isBaseline = isFirst || restarts
      let (du, dd) =
        isBaseline
        ? (0, 0) : (client.uploaded - client.snapshot.uploaded, client.downloaded - client.snapshot.downloaded)
      if isBaseline { (client.baseUploaded, client.baseDownloaded) = (client.uploaded, client.downloaded) }
      if client.timestamp != 0 { truth[key, default: Truth()].seedSeconds += now - client.timestamp }
      let dt = isFirst ? 0 : now - client.snapshot.timestamp
      client.timestamp = now
      client.snapshot = (client.generation, client.uploaded, client.downloaded, now)
      clients[index] = client
      return client.maker.event(
        du: du, dd: dd, ts: now, dt: UInt32(dt), interval: 100_000,
        gen: client.hasCounters ? "g\(client.generation)" : nil, cu: client.uploaded - client.baseUploaded,
        cd: client.downloaded - client.baseDownloaded, order: client.hasCounters ? UInt64(now) * 62_500 : nil)
    }

    /// What clients really moved since their first announces: counted from the clients' own counters.
    func expected(finished: [[(up: UInt64, down: UInt64)]]) -> [String: Truth] {
      var result = truth
      for (client, earlier) in zip(clients, finished) {
        let key = client.maker.passkey.text
        let up = earlier.reduce(client.uploaded - client.baseUploaded) { $0 + $1.up }
        let down = earlier.reduce(client.downloaded - client.baseDownloaded) { $0 + $1.down }
        result[key, default: Truth()].uploaded += up
        result[key, default: Truth()].downloaded += down
      }
      return result
    }
  }

  @Test(
    "any interleaving of deliveries, duplicates, crashes, claims, reordering and restored backups", arguments: seeds)
  func interleavings(seed: Int) async throws {
    try await run(seed: UInt64(seed), rollsBack: false)
  }

  @Test("the same with Redis falling back to an older state, for producers with counters", arguments: seeds)
  func rollbacks(seed: Int) async throws {
    try await run(seed: UInt64(seed) + 1000, rollsBack: true)
  }

  private func run(seed: UInt64, rollsBack: Bool) async throws {
    let directory = try TemporaryDirectory()
    let server = try await RedisServer.start(in: directory, extra: ["--appendonly", "no"])
    let bench = try StreamBench(server: server, database: 0)
    var world = World(seed: seed, withCounters: rollsBack)
    var finished = [[(up: UInt64, down: UInt64)]](repeating: [], count: world.clients.count)
    var delivered = 0
    var pending: Set<Int> = []
    var backup: String?
    // No client restarts after this entry's snapshot: a rollback does not reach behind it.
    var kept: (entries: Int, clients: [Client])?

    func announce(_ index: Int, restarts: Bool) throws {
      if restarts, world.clients[index].snapshot.generation != 0 {
        let client = world.clients[index]
        finished[index].append(
          (client.uploaded - client.baseUploaded, client.downloaded - client.baseDownloaded))
        kept = nil
      }
      let event = world.announce(index, restarts: restarts)
      try bench.add(event)
      // A producer that sends an entry twice.
      if world.random.chance(oneIn: 8), event.uploadedDelta > 0 { try bench.add(event) }
    }

    for _ in 0..<150 {
      switch Int.random(in: 0..<14, using: &world.random) {
      case 0...3:
        for _ in 0..<Int.random(in: 1...6, using: &world.random) {
          let index = Int.random(in: 0..<world.clients.count, using: &world.random)
          try announce(index, restarts: world.random.chance(oneIn: 15))
        }
      case 4...6:
        let end = min(bench.ids.count, delivered + Int.random(in: 1...8, using: &world.random))
        guard delivered < end else { continue }
        if world.random.chance(oneIn: 3) {
          // Delivered to a consumer that dies before applying it.
          pending.formUnion(delivered..<end)
        } else {
          try bench.apply(delivered..<end)
          // The acknowledgement is lost: it will come again.
          if world.random.chance(oneIn: 3) { pending.formUnion(delivered..<end) }
        }
        delivered = end
      case 7:
        let claimed = pending.shuffled(using: &world.random).prefix(5)
        try bench.apply(scattered: Array(claimed))
        pending.subtract(claimed)
      case 8:
        guard delivered > 0 else { continue }
        let first = Int.random(in: 0..<delivered, using: &world.random)
        try bench.apply(first..<min(delivered, first + 7))
      case 9: try bench.restart()
      case 10: backup = try bench.backup()
      case 11:
        guard let backup, world.random.chance(oneIn: 3) else { continue }
        try bench.restore(backup)
        try bench.heal()
      case 12:
        guard rollsBack else { continue }
        if let state = kept, world.random.chance(oneIn: 2) {
          try bench.loseEnd(from: state.entries)
          for index in world.clients.indices { world.clients[index].snapshot = state.clients[index].snapshot }
          delivered = min(delivered, state.entries)
          pending = pending.filter { $0 < state.entries }
          kept = nil
          // A backup from the other future would be a second rollback.
          backup = nil
          // What a client moved is known to Redis again with its next announce; one that started over before that, or
          // never came back, has taken the difference along.
          for index in world.clients.indices { try announce(index, restarts: false) }
        } else if world.clients.allSatisfy({ $0.snapshot.generation != 0 }) {
          kept = (bench.ids.count, world.clients)
        }
      default:
        try bench.writer.maintainRetention(
          now: world.now,
          RetentionTimes(
            windows: 3600 * Int64.random(in: 1...4, using: &world.random), days: 86_400, explanations: 3600))
      }
    }
    // Every session announces once more, everything is delivered.
    for index in world.clients.indices { try announce(index, restarts: false) }
    try bench.apply(scattered: pending.sorted())
    try bench.heal()

    let expected = world.expected(finished: finished)
    let totals = try bench.totals()
    for (passkey, truth) in expected {
      let sums = totals[passkey] ?? TrafficSums()
      #expect(UInt64(sums.uploaded) == truth.uploaded, "seed \(seed), \(passkey)")
      #expect(UInt64(sums.downloaded) == truth.downloaded, "seed \(seed), \(passkey)")
      #expect(sums.seedSeconds == truth.seedSeconds, "seed \(seed), \(passkey)")
    }
    #expect(try bench.faults() == [], "seed \(seed)")
    let counters = bench.writer.streams[0].counters
    #expect(counters.applied + counters.duplicates + counters.dead == counters.handled, "seed \(seed)")
    // A rollback takes entries away that had been dealt with.
    if !rollsBack { #expect(counters.handled == bench.ids.count, "seed \(seed): every entry once") }
    // Twice equals once.
    try bench.apply(0..<bench.ids.count)
    #expect(try bench.totals() == totals, "seed \(seed)")
  }
}
