// RedisModelTests: the model of Redis and a redis-server are told the same commands, and the scripts' real calls, and must
// answer the same.

import Linux
import Redis
import Simulation
import Testing
import Wire

@testable import Tracker

@Suite struct RedisModelTests {
  /// One value as RESP.
  private static func value(_ view: RedisReplyView) -> RESP {
    switch view.kind {
    case .nil: .null
    case .integer: .integer(view.integer!)
    case .string: .bulk(Array(view.bytes!))
    case .status: .status(view.string!)
    case .error: .error(view.string!)
    case .array: .array((0..<view.count).map { value(view[$0]) })
    }
  }

  /// What differs for a reason: times are those of two clocks, and of an error the code says it all.
  private static func comparable(_ reply: RESP, _ command: [String]) -> RESP {
    switch reply {
    case .nullArray: return .null
    case .error(let text): return .error(String(text.split(separator: " ")[0]))
    case .array(let items):
      if command[0] == "XPENDING", command.count > 3 {
        return .array(
          items.map { item in
            guard case .array(let parts) = item else { return item }
            return .array([parts[0], parts[1], parts[3]])
          })
      }
      var result: [RESP] = []
      var skips = false
      for item in items.map({ comparable($0, command) }) {
        if skips {
          skips = false
          continue
        }
        skips = item == .text("radix-tree-keys") || item == .text("radix-tree-nodes")
        if !skips { result.append(item) }
      }
      return .array(result)
    default: return reply
    }
  }

  @Test("random commands are answered as redis-server answers them", arguments: 0..<6)
  func commands(round: Int) async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory, extra: ["--save", "", "--appendonly", "no"])
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let model = RedisModel()
    var random = SeededRandom(seed: UInt64(round) &* 104_729 &+ 5)
    var ids: [String] = ["0-0", "0-1"]
    var next: UInt64 = 1
    func id() -> String { ids.randomElement(using: &random)! }
    func key() -> String { random.chance(oneIn: 6) ? "other" : "stream" }
    func group() -> String { random.chance(oneIn: 4) ? "g2" : "g1" }
    func consumer() -> String { random.chance(oneIn: 3) ? "c2" : "c1" }
    func pick() -> [String] {
      switch Int.random(in: 0..<31, using: &random) {
      case 0...6:
        next += UInt64.random(in: 0...2, using: &random)
        let text = "\(next)-\(UInt64.random(in: 0...3, using: &random))"
        ids.append(text)
        return ["XADD", key(), text, "a", "1", "b", "2"]
      case 7...11:
        return [
          "XREADGROUP", "GROUP", group(), consumer(), "COUNT", "\(Int.random(in: 1...4, using: &random))", "STREAMS",
          key(), random.chance(oneIn: 3) ? id() : ">",
        ]
      case 12...14: return ["XACK", key(), group(), id(), id(), id()]
      case 15: return ["XDEL", key(), id(), id()]
      case 16: return ["XTRIM", key(), "MINID", id()]
      case 17: return ["XGROUP", "CREATE", key(), group(), random.chance(oneIn: 2) ? "0" : id(), "MKSTREAM"]
      case 18: return ["XGROUP", "SETID", key(), group(), random.chance(oneIn: 4) ? "$" : id()]
      case 19: return random.chance(oneIn: 3) ? ["XGROUP", "DESTROY", key(), group()] : ["XLEN", key()]
      case 20: return random.chance(oneIn: 6) ? ["DEL", key()] : ["EXISTS", key()]
      case 21...22: return ["XAUTOCLAIM", key(), group(), consumer(), "0", id(), "COUNT", "2"]
      case 23: return ["XPENDING", key(), group()]
      case 24: return ["XPENDING", key(), group(), "-", "+", "10"]
      case 25: return ["XRANGE", key(), random.chance(oneIn: 2) ? "-" : "(\(id())", "+", "COUNT", "3"]
      case 26: return ["XREVRANGE", key(), "+", id(), "COUNT", "2"]
      case 27: return ["HSET", "h", "f\(next % 3)", "v", "g", "w"]
      case 28: return ["HMGET", random.chance(oneIn: 5) ? "stream" : "h", "f0", "f1", "zzz"]
      case 29: return ["SET", "s", "\(next)", "NX"]
      default: return ["GET", random.chance(oneIn: 5) ? "h" : "s"]
      }
    }
    for step in 0..<1500 {
      let command = pick()
      for command in [command, ["XINFO", "STREAM", "stream"], ["XINFO", "GROUPS", "stream"]] {
        connection.append(command)
        let real = try connection.nextReply()
        let expected = Self.comparable(Self.value(real.view), command)
        let answer = Self.comparable(model.execute(command), command)
        guard expected == answer else {
          Issue.record("step \(step) \(command): redis \(expected), model \(answer)")
          return
        }
      }
    }
  }

  @Test("the scripts leave in the model what they leave in redis-server", arguments: 0..<6)
  func scripts(round: Int) async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory, extra: ["--save", "", "--appendonly", "no"])
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let model = RedisModel()
    model.now = Clock.unixNanoseconds() / 1_000_000
    var failures: [String] = []
    model.onScriptError = { failures.append($0) }
    var random = SeededRandom(seed: UInt64(round) &* 15_485_863 &+ 3)
    var session = RedisModel.Session()
    /// One call to both; the same reply, but for the text of errors.
    func both(_ real: borrowing RedisCommandBuffer, _ simulated: borrowing RedisCommandBuffer) throws -> RESP {
      try connection.send(real)
      let reply = try connection.nextReply()
      let expected = Self.withoutTime(Self.value(reply.view))
      let answer = Self.withoutTime(model.execute(RESP.commands(simulated.bytes)[0], &session))
      if expected != answer { Issue.record("round \(round): redis \(expected), model \(answer)") }
      return expected
    }
    let hashes = try [PushScript.text, PushScript.restoreText].map { text in
      (
        try connection.command(["SCRIPT", "LOAD", text]).string!,
        String(decoding: bulk(model.execute(["SCRIPT", "LOAD", text])), as: UTF8.self)
      )
    }
    let partition = PushPartition.all(streamKey: "tracker:traffic", lastKeyPrefix: "tracker:last", count: 1)[0]
    for _ in 0..<4 {
      let run = PushRun(id: random.next() | 1, generationBase: random.next() & (1 << 48 - 1))
      var call = PushCall(
        partition: partition, run: run, scriptHash: "", ttlSeconds: 86_400,
        maximumStreamLength: random.chance(oneIn: 2) ? 120 : 0, creditFirstAnnounce: random.chance(oneIn: 3),
        maximumBytesPerSecond: random.chance(oneIn: 3) ? 1 << 30 : 0,
        nowMicroseconds: UInt64(Clock.unixSeconds()) * 1_000_000)
      var number: UInt64 = 0
      // The scripts compare times with the server's.
      var clock = Clock.unixSeconds() - 5000
      for _ in 0..<30 {
        var batch: [QueuedAnnounce] = []
        for _ in 0..<Int.random(in: 0...6, using: &random) {
          clock += Int64.random(in: -3...40, using: &random)
          let record = AnnounceRecord(
            passkey: Passkey("user\(Int.random(in: 1...2, using: &random))")!,
            infoHash: InfoHash(words: (UInt64.random(in: 1...2, using: &random), 0, 0)),
            peerID: PeerID(words: (1, 2, 3)),
            address: IPAddress(random.chance(oneIn: 2) ? "192.0.2.1" : "2001:db8::1")!,
            port: UInt16.random(in: 1...3, using: &random),
            event: AnnounceEvent.allCases.randomElement(using: &random)!,
            uploaded: UInt64.random(in: 0...9, using: &random) << UInt64.random(in: 0...50, using: &random),
            downloaded: UInt64.random(in: 0...9, using: &random), left: 5, timestamp: clock, intervalSeconds: 1800,
            minIntervalSeconds: 900)
          batch.append(
            QueuedAnnounce(
              record: record, order: UInt64(clock + Int64.random(in: -5...5, using: &random)) * 1_000_000,
              announces: UInt32.random(in: 1...3, using: &random)))
        }
        var real = RedisCommandBuffer()
        var simulated = RedisCommandBuffer()
        var records = PushRecords()
        let first = random.chance(oneIn: 8) ? number + UInt64.random(in: 0...5, using: &random) : number
        let gap = random.chance(oneIn: 10) ? PushCall.Gap(place: number) : nil
        call.scriptHash = hashes[0].0
        call.encode(batch, first: first, gapFrom: gap, records: &records, into: &real)
        call.scriptHash = hashes[0].1
        call.encode(batch, first: first, gapFrom: gap, records: &records, into: &simulated)
        let reply = try both(real, simulated)
        if case .array(let items) = reply, case .integer(let next) = items[1] { number = UInt64(next) }
        if random.chance(oneIn: 6) {
          _ = try connection.command(["DEL", "tracker:last:user1:" + InfoHash(words: (1, 0, 0)).hex])
        }
      }
    }
    #expect(failures.isEmpty)
    // Everything but ids, which are two clocks'.
    let real = try connection.entries()
    let simulated = model.data.stream("tracker:traffic")?.entries.map { $0.fields } ?? []
    #expect(real == simulated)
    let names = try connection.command(["KEYS", "tracker:last:*"])
    #expect(
      Set((0..<names.count).map { names.view[$0].string! })
        == Set(model.data.keys("tracker:last:").map { String(decoding: $0, as: UTF8.self) }))
    for name in model.data.keys("tracker:last:").map({ String(decoding: $0, as: UTF8.self) }) {
      let there = try connection.command(["HMGET", name, "s", "uploaded", "downloaded", "port", "ip", "af", "ts"])
      #expect(
        Self.value(there.view)
          == model.execute(["HMGET", name, "s", "uploaded", "downloaded", "port", "ip", "af", "ts"]))
    }
  }

  @Test("the script of the clock does in the model what it does in redis-server, with TIME and without")
  func clock() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let model = RedisModel()
    var failures: [String] = []
    model.onScriptError = { failures.append($0) }
    /// Times are those of two clocks: they are the same when they differ by less than a minute.
    func isSame(_ one: RESP, _ other: RESP) -> Bool {
      func number(_ reply: RESP) -> Int64? {
        switch reply {
        case .integer(let value): value
        case .bulk(let bytes): Int64(String(decoding: bytes, as: UTF8.self))
        default: nil
        }
      }
      if case .array(let one) = one, case .array(let other) = other {
        return one.count == other.count && zip(one, other).allSatisfy(isSame)
      }
      if let one = number(one), let other = number(other) { return (one - other).magnitude < 60_000_000 }
      return Self.comparable(one, ["EVAL"]) == Self.comparable(other, ["EVAL"])
    }
    func both(_ command: [String]) throws {
      connection.append(command)
      let real = try connection.nextReply()
      let expected = Self.value(real.view)
      model.now = Clock.unixNanoseconds() / 1_000_000
      let answer = model.execute(command)
      #expect(isSame(expected, answer), "\(command.suffix(6)): redis \(expected), model \(answer)")
    }
    let ahead = "\(Clock.unixNanoseconds() / 1000 + 7_200_000_000)"
    for isTimeAllowed in [true, false] {
      _ = try connection.command(["ACL", "SETUSER", "default", isTimeAllowed ? "+time" : "-time"])
      model.hasNoTime = !isTimeAllowed
      for left in [[], ["XADD", "entry", "9999999999999-7", "a", "b"], ["SET", "entry", "a"]] {
        for question in [
          ["-", "-", "-", "0", "0", "0"], ["-", "0", "3600000000", "1", "9", "0"],
          ["-", "-", "-", "0", "7000000", ahead],
          [ahead, "-", "-", "0", "0", "0"],
        ] {
          for isFull in [false, true] {
            if !left.isEmpty { try both(left) }
            _ = try connection.command(["CONFIG", "SET", "maxmemory", isFull ? "1" : "0"])
            model.isOutOfMemory = isFull
            try both(["EVAL", PushScript.clockText, "1", "clock"] + question)
            try both(["EVAL", PushScript.clockText, "2", "clock", "entry"] + question)
            _ = try connection.command(["CONFIG", "SET", "maxmemory", "0"])
            model.isOutOfMemory = false
            try both(["HMGET", "clock", "shift", "top", "since"])
            try both(["TYPE", "entry"])
            try both(["DEL", "entry"])
          }
        }
      }
      try both(["HSET", "clock", "top", ahead])
      try both(["EVAL", PushScript.clockText, "2", "clock", "entry", "-", "-", "-", "0", "0", "0"])
      try both(["DEL", "clock"])
    }
    #expect(failures.isEmpty)
  }

  /// Two clocks': push.lua's answer but for Redis' time.
  private static func withoutTime(_ reply: RESP) -> RESP {
    guard case .array(var items) = reply, items.count == 12 else { return reply }
    items.remove(at: 10)
    return .array(items)
  }

  private func bulk(_ reply: RESP) -> [UInt8] { if case .bulk(let bytes) = reply { bytes } else { [] } }
}

extension RedisConnection {
  /// Names and values of all entries of the traffic stream.
  fileprivate mutating func entries() throws -> [[[UInt8]]] {
    let reply = try command(["XRANGE", "tracker:traffic", "-", "+"])
    let view = reply.view
    return (0..<view.count).map { index in
      let fields = view[index][1]
      return (0..<fields.count).map { Array(fields[$0].bytes!) }
    }
  }
}
