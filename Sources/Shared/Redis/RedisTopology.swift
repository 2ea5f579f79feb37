// RedisTopology: finds the process to talk to: a Sentinel's master (redis.io, "Guidelines for Redis clients with support for
// Sentinel") or the Cluster node that serves a key's slot (cluster specification). Blocks up to the timeouts, each time
// anew: after a failover the next connection asks again.

extension RedisConnection {
  /// Sentinels and seeds are asked in turn; one that is dead must not use up the time of the others.
  private static let questionMilliseconds = 1000

  /// Connects to where the endpoint's topology says.
  static func open(_ endpoint: RedisEndpoint, _ timeouts: RedisTimeouts, _ key: String?) throws(RedisError)
    -> RedisConnection
  {
    switch endpoint.topology {
    case .single(let address): return try open(address, endpoint, timeouts)
    case .sentinel(let sentinels, let master): return try openMaster(master, sentinels, endpoint, timeouts)
    case .cluster(let seeds): return try openNode(of: key ?? "", seeds, endpoint, timeouts)
    }
  }

  private static func questionTimeouts(_ timeouts: RedisTimeouts) -> RedisTimeouts {
    RedisTimeouts(
      connectMilliseconds: min(questionMilliseconds, timeouts.connectMilliseconds),
      readMilliseconds: min(questionMilliseconds, timeouts.readMilliseconds),
      writeMilliseconds: min(questionMilliseconds, timeouts.writeMilliseconds))
  }

  // MARK: Sentinel

  private static func openMaster(
    _ name: String, _ sentinels: [RedisAddress], _ endpoint: RedisEndpoint, _ timeouts: RedisTimeouts
  ) throws(RedisError) -> RedisConnection {
    var failure = RedisError.unreachable("no Sentinel given")
    for sentinel in sentinels {
      do throws(RedisError) {
        let address = try askSentinel(sentinel, name, endpoint, timeouts)
        var connection = try open(address, endpoint, timeouts)
        try connection.requireMaster(address)
        return connection
      } catch {
        failure = error
      }
    }
    throw failure
  }

  private static func askSentinel(
    _ sentinel: RedisAddress, _ name: String, _ endpoint: RedisEndpoint, _ timeouts: RedisTimeouts
  ) throws(RedisError) -> RedisAddress {
    let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]
    // Sentinels are often open while Redis is not; one that wants a password gets the endpoint's.
    let bare = RedisEndpoint(topology: .single(sentinel))
    let known = RedisEndpoint(topology: .single(sentinel), user: endpoint.user, password: endpoint.password)
    var connection = try open(sentinel, bare, questionTimeouts(timeouts))
    let reply: RedisReply
    do throws(RedisError) {
      reply = try connection.command(question)
    } catch {
      guard case .authentication = error, endpoint.password != nil else { throw error }
      connection = try open(sentinel, known, questionTimeouts(timeouts))
      reply = try connection.command(question)
    }
    let view = reply.view
    guard view.count == 2, let host = view[0].string, let port = view[1].string.flatMap({ UInt16($0) }) else {
      throw .unreachable("Sentinel \(sentinel) knows no master named \(name)")
    }
    return .tcp(host: host, port: port)
  }

  /// A Sentinel may be late: the process says itself what it is. One that does not let us ask is believed.
  private mutating func requireMaster(_ address: RedisAddress) throws(RedisError) {
    do throws(RedisError) {
      let reply = try command(["ROLE"])
      guard reply.view.count > 0, reply.view[0].string == "master" else {
        throw .unreachable("\(address) is not the master (yet)")
      }
    } catch {
      guard error.code == .noPerm else { throw error }
    }
  }

  // MARK: Cluster

  private static func openNode(
    of key: String, _ seeds: [RedisAddress], _ endpoint: RedisEndpoint, _ timeouts: RedisTimeouts
  ) throws(RedisError) -> RedisConnection {
    var failure = RedisError.unreachable("no Cluster node given")
    for seed in seeds {
      do throws(RedisError) {
        var connection = try open(seed, endpoint, questionTimeouts(timeouts))
        let address = try connection.node(of: RedisClusterSlot.slot(of: key), seed)
        if address == seed {
          connection.timeouts = timeouts
          return connection
        }
        return try open(address, endpoint, timeouts)
      } catch {
        failure = error
      }
    }
    throw failure
  }

  /// The master of a slot by CLUSTER SLOTS: arrays of first slot, last slot, master, replicas; a node is host, port, ...
  private mutating func node(of slot: Int, _ seed: RedisAddress) throws(RedisError) -> RedisAddress {
    let reply = try command(["CLUSTER", "SLOTS"])
    let view = reply.view
    for index in 0..<view.count {
      let range = view[index]
      guard range.count >= 3, let first = range[0].integer, let last = range[1].integer,
        first <= slot && slot <= last, range[2].count >= 2,
        let port = range[2][1].integer.flatMap({ UInt16(exactly: $0) })
      else { continue }
      // An empty host is the one that was asked.
      if let host = range[2][0].string, !host.isEmpty { return .tcp(host: host, port: port) }
      if case .tcp(let host, _) = seed { return .tcp(host: host, port: port) }
    }
    throw .unreachable("the Cluster serves slot \(slot) nowhere")
  }

  /// Connects to the node that an ASK or MOVED error names: `ASK 3999 127.0.0.1:6381`.
  public init(redirectedBy error: RedisServerError, endpoint: RedisEndpoint, timeouts: RedisTimeouts)
    throws(RedisError)
  {
    guard let address = RedisClusterSlot.address(in: error) else {
      throw .protocolViolation("a redirection without an address")
    }
    self = try Self.open(address, endpoint, timeouts)
  }
}

/// Slots of Redis Cluster.
public enum RedisClusterSlot {
  /// CRC16 (XMODEM) of the key, or of what stands between its first `{` and the next `}` if that is not empty, modulo
  /// 16384 (cluster specification, "Key distribution model").
  public static func slot(of key: String) -> Int {
    let bytes = Array(key.utf8)
    var hashed = bytes[...]
    if let open = bytes.firstIndex(of: UInt8(ascii: "{")),
      let close = bytes[(open + 1)...].firstIndex(of: UInt8(ascii: "}")), close > open + 1
    {
      hashed = bytes[(open + 1)..<close]
    }
    var crc: UInt16 = 0
    for byte in hashed {
      crc ^= UInt16(byte) << 8
      for _ in 0..<8 { crc = crc & 0x8000 != 0 ? crc << 1 ^ 0x1021 : crc << 1 }
    }
    return Int(crc) % 16384
  }

  /// The address in a MOVED or ASK error; nil when there is none.
  static func address(in error: RedisServerError) -> RedisAddress? {
    let parts = error.message.split(separator: " ")
    guard error.code == .moved || error.code == .ask, parts.count >= 2, let colon = parts[1].lastIndex(of: ":"),
      let port = UInt16(parts[1][parts[1].index(after: colon)...]), colon > parts[1].startIndex
    else { return nil }
    return .tcp(host: String(parts[1][..<colon]), port: port)
  }
}
