import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

/// One call of the script by hand.
struct ScriptCaller: ~Copyable {
  var connection: RedisConnection
  var call: PushCall

  init(
    _ redis: RedisServer, run: PushRun = PushRun(), maximum: Int = 0, creditFirst: Bool = false,
    partition: PushPartition = PushPartition.all(streamKey: "tracker:traffic", lastKeyPrefix: "tracker:last", count: 1)[
      0]
  ) throws {
    var opened = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let hash = try opened.command(["SCRIPT", "LOAD", PushScript.text]).string!
    connection = opened
    call = PushCall(
      partition: partition, run: run, scriptHash: hash, ttlSeconds: 86400, maximumStreamLength: maximum,
      creditFirstAnnounce: creditFirst, nowMicroseconds: 1_700_050_000_000_000)
  }

  mutating func send(_ announces: [QueuedAnnounce], first: UInt64, gapFrom: PushCall.Gap? = nil) throws
    -> PushScript.Reply
  {
    var buffer = RedisCommandBuffer()
    var records = PushRecords()
    call.encode(announces, first: first, gapFrom: gapFrom, records: &records, into: &buffer)
    try connection.send(buffer)
    let reply = try connection.nextReply()
    if let error = reply.error { throw error }
    return PushScript.Reply(reply.view)!
  }
}

@Suite struct PushScriptTests {
  @Test("any sequence of announces, retries and clock steps gives the entries of the model", arguments: 0..<12)
  func model(round: Int) async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var random = SeededRandom(seed: UInt64(round) &* 7919 &+ 1)
    let creditFirst = random.chance(oneIn: 3)
    let run = PushRun()
    var model = PushScriptModel(creditFirstAnnounce: creditFirst)
    var caller = try ScriptCaller(redis, run: run, creditFirst: creditFirst)
    var next: UInt64 = 0
    var clock: Int64 = 1_700_000_000
    for _ in 0..<40 {
      var batch: [QueuedAnnounce] = []
      for _ in 0..<Int.random(in: 1...12, using: &random) {
        clock += Int64.random(in: -3...40, using: &random)
        let large = random.chance(oneIn: 40) ? (1 << 53) + UInt64.random(in: 0...2, using: &random) : nil
        let isKnown = !random.chance(oneIn: 3)
        batch.append(
          QueuedAnnounce(
            record: makeRecord(
              user: Int.random(in: 1...2, using: &random), torrent: Int.random(in: 1...2, using: &random),
              uploaded: large ?? UInt64.random(in: 0...5, using: &random) << UInt64.random(in: 0...48, using: &random),
              downloaded: UInt64.random(in: 0...9, using: &random),
              left: random.chance(oneIn: 3) ? UInt64.max : 5,
              event: AnnounceEvent.allCases.randomElement(using: &random)!,
              at: clock, port: UInt16.random(in: 1...3, using: &random),
              address: random.chance(oneIn: 2) ? "192.0.2.1" : "2001:db8::1"),
            announces: UInt32.random(in: 1...3, using: &random)))
        let last = batch.count - 1
        batch[last].record.isGone = batch[last].record.event == .stopped && !isKnown
      }
      for (offset, announce) in batch.enumerated() {
        model.apply(announce, number: next + UInt64(offset), run: run)
      }
      // A part of the batch, the whole of it, and the whole of it again, as retries after lost replies do.
      let part = Int.random(in: 0...batch.count, using: &random)
      if part > 0 { _ = try caller.send(Array(batch[..<part]), first: next) }
      let reply = try caller.send(batch, first: next)
      #expect(reply.applied == UInt64(batch.count - part) && reply.next == next + UInt64(batch.count))
      if random.chance(oneIn: 2) { #expect(try caller.send(batch, first: next).applied == 0) }
      next += UInt64(batch.count)
      #expect(
        reply.counts.resets == model.resets && reply.counts.late == model.late
          && reply.counts.unknown == model.unknown && reply.counts.tooLarge == model.tooLarge)
    }
    #expect(try caller.connection.events(of: "tracker:traffic") == model.entries, "seed \(random.seed)")
    for (session, snapshot) in model.snapshots {
      let key = "tracker:last:\(session.passkey.text):\(session.infoHash.hex):\(session.peerID.hex)"
      let reply = try caller.connection.command(["HMGET", key, "uploaded", "downloaded", "ts"])
      #expect(reply.view[0].string == String(snapshot.uploaded))
      #expect(reply.view[1].string == String(snapshot.downloaded))
      #expect(reply.view[2].string == String(snapshot.timestamp))
      #expect(try (1...86400).contains(caller.connection.integer(["TTL", key])))
    }
  }

  @Test(
    "a session that neither the swarm nor a snapshot knows ends without a trace, however often it ends",
    arguments: [false, true])
  func unknownEnds(creditFirst: Bool) async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis, creditFirst: creditFirst)
    var ends: [QueuedAnnounce] = []
    for uploaded in [0, 10_000_000_000] as [UInt64] {
      for peer in 1...37 {
        ends.append(QueuedAnnounce(record: makeRecord(peer: peer, uploaded: uploaded, event: .stopped)))
      }
    }
    for index in ends.indices { ends[index].record.isGone = true }
    let reply = try caller.send(ends, first: 0)
    #expect(reply.next == 74 && reply.counts.unannounced == 74)
    #expect(try caller.connection.integer(["XLEN", "tracker:traffic"]) == 0)
    let keys = try caller.connection.command(["KEYS", "tracker:last:*"])
    #expect(keys.view.count == 0)
    withExtendedLifetime(keys) {}
  }

  @Test("a session that only a snapshot knows, as after a restart of the tracker, ends with its bytes, once")
  func knownBySnapshot() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    var end = QueuedAnnounce(record: makeRecord(uploaded: 700, event: .stopped, at: 1_700_001_800))
    end.record.isGone = true
    let start = QueuedAnnounce(record: makeRecord(uploaded: 100, event: .started))
    let reply = try caller.send([start, end, end], first: 0)
    #expect(reply.counts.unannounced == 0)
    let events = try caller.connection.events(of: "tracker:traffic")
    #expect(events.map(\.uploadedDelta) == [0, 600, 0])
    #expect(events.map(\.event) == [.started, .stopped, .stopped])
  }

  @Test("an entry has twenty fields in stream order")
  func order() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    _ = try caller.send([QueuedAnnounce(record: makeRecord(uploaded: 5))], first: 0)
    let entry = try caller.connection.entries(of: "tracker:traffic")[0]
    let names = stride(from: 0, to: entry.count, by: 2).map { entry[$0] }
    #expect(names == TrafficField.streamOrder.map(\.name))
    #expect(Set(names.map(\.count)).max()! <= 12)
  }

  @Test("a counter of 2^53 is credited to the byte, and one above it is refused and counted, alone")
  func largest() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    let edge = UInt64(1) << 53
    let reply = try caller.send(
      [
        QueuedAnnounce(record: makeRecord(uploaded: 1)),
        QueuedAnnounce(record: makeRecord(peer: 2, uploaded: edge + 1)),
        QueuedAnnounce(record: makeRecord(peer: 3, uploaded: .max)),
        QueuedAnnounce(record: makeRecord(uploaded: edge)),
      ], first: 0)
    #expect(reply.counts.tooLarge == 2 && reply.next == 4)
    #expect(try caller.connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, edge - 1])
  }

  @Test("two announces of one millisecond that arrive in the wrong order are no new beginning")
  func lateWithinMillisecond() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    let order: UInt64 = 1_700_000_000_000_000
    let reply = try caller.send(
      [
        QueuedAnnounce(record: makeRecord(uploaded: 100), order: order),
        QueuedAnnounce(record: makeRecord(uploaded: 700), order: order + 500),
        QueuedAnnounce(record: makeRecord(uploaded: 400), order: order + 480),
        QueuedAnnounce(record: makeRecord(uploaded: 900), order: order + 990),
      ], first: 0)
    #expect(reply.counts.late == 1 && reply.counts.resets == 0)
    #expect(try caller.connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 600, 0, 200])
  }

  @Test("a full stream takes what fits and leaves the snapshot of the rest alone")
  func full() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis, maximum: 3)
    let batch = (0..<5).map {
      QueuedAnnounce(record: makeRecord(uploaded: UInt64($0) * 10, at: 1_700_000_000 + Int64($0)))
    }
    let reply = try caller.send(batch, first: 0)
    #expect(reply.status == .full && reply.next == 3 && reply.applied == 3)
    let snapshot = try caller.connection.command(
      ["HGET", "tracker:last:passkey1:\(batch[0].record.infoHash.hex):\(batch[0].record.peerID.hex)", "uploaded"])
      .string
    #expect(snapshot == "20")
    #expect(try caller.send(batch, first: 0).status == .full)
    _ = try caller.connection.command(["XTRIM", "tracker:traffic", "MAXLEN", "0"])
    #expect(try caller.send(batch, first: 0).applied == 2)
    #expect(try caller.connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [10, 10])
  }

  @Test("a call from beyond the next record changes nothing and says so")
  func gap() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    let batch = [QueuedAnnounce(record: makeRecord(uploaded: 5))]
    #expect(try caller.send(batch, first: 0).next == 1)
    let reply = try caller.send(batch, first: 2)
    #expect(reply.status == .gap && reply.next == 1)
    #expect(try caller.connection.events(of: "tracker:traffic").count == 1)
  }

  @Test("a gap is accepted only from the place and with the records given back that the publisher knows of")
  func acceptedGap() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    #expect(try caller.send([QueuedAnnounce(record: makeRecord(uploaded: 5))], first: 0).next == 1)
    let given = PushCall.GivenBack(process: UInt64.max, turn: 2, records: 3)
    _ = try caller.connection.command([
      "HSET", caller.call.partition.stateKey(run: caller.call.run.id), "given", given.text,
    ])
    let others = [
      PushCall.GivenBack(process: 1, turn: 2, records: 3), PushCall.GivenBack(process: UInt64.max, turn: 1, records: 3),
      PushCall.GivenBack(process: UInt64.max, turn: 2, records: 4),
    ]
    for gap in [PushCall.Gap(place: 0, given: given)] + others.map({ PushCall.Gap(place: 1, given: $0) }) {
      let reply = try caller.send([], first: 9, gapFrom: gap)
      #expect(reply.status == .gap && reply.next == 1)
    }
    #expect(try caller.send([], first: 9, gapFrom: PushCall.Gap(place: 1, given: given)).next == 9)
    // More than one gap may be in what was given back.
    #expect(try caller.send([], first: 12, gapFrom: PushCall.Gap(place: 9, given: given)).next == 12)
    // Who gives nothing back goes on, whatever a process gave back that ended before it could.
    #expect(try caller.send([], first: 15, gapFrom: PushCall.Gap(place: 11)).status == .gap)
    #expect(try caller.send([], first: 15, gapFrom: PushCall.Gap(place: 12)).next == 15)
    // A Redis that has forgotten knows of nothing that was given back.
    _ = try caller.connection.command(["FLUSHALL"])
    #expect(try caller.send([], first: 15, gapFrom: PushCall.Gap(place: 0, given: given)).status == .gap)
  }

  @Test("a snapshot key of another type is refused and counted; its neighbours are applied")
  func wrongType() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    let bad = makeRecord(peer: 9, uploaded: 5)
    _ = try caller.connection.command(["SET", "tracker:last:passkey1:\(bad.infoHash.hex):\(bad.peerID.hex)", "x"])
    let reply = try caller.send(
      [makeRecord(uploaded: 1), bad, makeRecord(uploaded: 3)].map { QueuedAnnounce(record: $0) }, first: 0)
    #expect(reply.counts.wrongType == 1 && reply.next == 3)
    #expect(try caller.connection.events(of: "tracker:traffic").map(\.uploadedDelta) == [0, 2])
  }

  @Test("a snapshot of the Chihaya fork, without generation, is taken over")
  func foreignSnapshot() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    let record = makeRecord(uploaded: 150, at: 1_700_000_060)
    _ = try caller.connection.command([
      "HSET", "tracker:last:passkey1:\(record.infoHash.hex):\(record.peerID.hex)", "uploaded", "100", "downloaded", "0",
      "port", "1", "ip", "192.0.2.1", "af", "IPv4", "ts", "1700000000",
    ])
    _ = try caller.send([QueuedAnnounce(record: record)], first: 0)
    let event = try caller.connection.events(of: "tracker:traffic")[0]
    #expect(event.uploadedDelta == 50 && event.counters?.creditedUpload == 50 && event.elapsedSeconds == 60)
  }

  @Test(
    "more bytes than max_bytes_per_second allows are refused and counted; the next honest announce is credited whole")
  func implausible() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    caller.call.maximumBytesPerSecond = 1000
    let most = UInt64(1000 * (1800 + Int(PushScript.constant("RATE_GRACE_SECONDS")!)!))
    let start: Int64 = 1_700_000_000
    let announces = [
      makeRecord(uploaded: 0, at: start),
      makeRecord(uploaded: most + 1, at: start + 1800),
      makeRecord(uploaded: 0, downloaded: 1 << 53, event: .completed, at: start + 1800),
      makeRecord(uploaded: most, at: start + 1800),
    ].map { QueuedAnnounce(record: $0) }
    let reply = try caller.send(announces, first: 0)
    #expect(reply.counts.implausible == 2 && reply.next == 4)
    let events = try caller.connection.events(of: "tracker:traffic")
    #expect(events.map(\.uploadedDelta) == [0, most] && events.map(\.downloadedDelta) == [0, 0])
  }

  @Test("a snapshot field that is no counter begins a generation, and a damaged `s` is another producer's")
  func damagedSnapshot() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var caller = try ScriptCaller(redis)
    let values = ["nan", "-1", "1e300", "", "0x", "9007199254740994"]
    for (peer, value) in values.enumerated() {
      let record = makeRecord(peer: peer, uploaded: 500)
      let key = "tracker:last:passkey1:\(record.infoHash.hex):\(record.peerID.hex)"
      _ = try caller.connection.command([
        "HSET", key, "uploaded", value, "downloaded", "0", "ts", "1e99", "s", String(repeating: "x", count: peer * 13),
      ])
      _ = try caller.send([QueuedAnnounce(record: record)], first: UInt64(peer))
    }
    // 52 bytes are a snapshot of ours, whatever is in them.
    let events = try caller.connection.events(of: "tracker:traffic")
    #expect(events.count == values.count && events.allSatisfy { $0.uploadedDelta == 0 })
  }
}
