import CLinux
import Glibc
import Linux
import Simulation
import Testing

@testable import Redis

/// A socket that listens on 127.0.0.1 and accepts nothing.
private final class LoopbackListener {
  private let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
  private var isOpen = true
  let port: UInt16

  init(backlog: Int32 = 16) throws {
    port = try FreePort.take()
    let isListening = LoopbackEndpoint.v4(port).withSocketAddress { bind(number, $0, $1) } == 0
    #expect(isListening && listen(number, backlog) == 0)
  }

  func close() {
    if isOpen { Glibc.close(number) }
    isOpen = false
  }

  deinit { close() }
}

/// A connection to the first of some addresses that answers.
private func connect(to listeners: [LoopbackListener], milliseconds: Int = 30_000) throws -> Connected {
  var names = listeners.map {
    LoopbackEndpoint.v4($0.port).withSocketAddress { address, _ in
      UnsafeRawPointer(address).load(as: sockaddr_in.self)
    }
  }
  let count = names.count
  return try names.withUnsafeMutableBytes { bytes in
    let list = (0..<count).map { place in
      var info = addrinfo()
      info.ai_family = AF_INET
      info.ai_addrlen = socklen_t(MemoryLayout<sockaddr_in>.size)
      info.ai_addr = (bytes.baseAddress! + place * MemoryLayout<sockaddr_in>.stride).assumingMemoryBound(
        to: sockaddr.self)
      return info
    }
    return Connected(
      socket: try RedisSocket.connectFirst(of: list, name: "test", RedisSocket.Deadline(milliseconds: milliseconds)))
  }
}

private final class Connected {
  private let socket: FileDescriptor

  init(socket: consuming FileDescriptor) { self.socket = socket }

  var peerPort: UInt16 {
    var name = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafeMutablePointer(to: &name) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(socket.number, $0, &length) }
    }
    return code == 0 ? UInt16(bigEndian: name.sin_port) : 0
  }
}

@Suite struct RedisConnectionTests {
  @Test("replies of every kind, nested and empty, come as they were sent, in one pipeline")
  func kinds() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    connection.append(["SET", "k", "v\u{0}é"])
    connection.append(["INCR", "n"])
    connection.append(["INCR", "k"])
    connection.append(["GET", "missing"])
    connection.append(["EVAL", "return {1, {'a', {}, {false, 2}}, {}}", "0"])
    connection.append(["GET", "k"])
    var reply = try connection.nextReply()
    #expect(reply.view.kind == .status && reply.view.string == "OK")
    try connection.nextReply(reusing: &reply)
    #expect(reply.view.integer == 1)
    try connection.nextReply(reusing: &reply)
    #expect(reply.view.error?.code == .err)
    try connection.nextReply(reusing: &reply)
    #expect(reply.view.isNil)
    try connection.nextReply(reusing: &reply)
    let view = reply.view
    #expect(view.count == 3 && view[0].integer == 1 && view[1][0].string == "a" && view[1][1].count == 0)
    #expect(view[1][2][0].isNil && view[1][2][1].integer == 2 && view[2].kind == .array)
    try connection.nextReply(reusing: &reply)
    #expect(reply.view.string == "v\u{0}é")
    let pending = connection.pendingReplies
    #expect(pending == 0)
  }

  @Test("a password, a user with a password, and a database; a wrong password is an authentication error")
  func authentication() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(
      in: directory, extra: ["--requirepass", "geheim", "--user", "site", "on", ">p/w", "~*", "+@all"])
    let host = "127.0.0.1:\(redis.port)"
    for url in [
      "redis://geheim@\(host)/4", "redis://site:p%2Fw@\(host)/4", "redis+unix://:geheim@\(redis.socketPath)?db=4",
    ] {
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: url))
      let count = try connection.command(["INCR", "seen"]).integer
      #expect(count != nil)
      let info = try connection.command(["CLIENT", "INFO"]).string!
      #expect(info.contains(" db=4 "))
    }
    for url in ["redis://falsch@\(host)", "redis://site:falsch@\(host)"] {
      let error = #expect(throws: RedisError.self) { _ = try RedisConnection(endpoint: RedisEndpoint(url: url)) }
      guard case .authentication = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
      #expect(!error!.description.contains("falsch"))
    }
    var open = try RedisConnection(endpoint: RedisEndpoint(url: "redis://\(host)"))
    #expect(throws: RedisError.authentication(RedisServerError(code: .noAuth, message: "Authentication required."))) {
      _ = try open.command(["GET", "x"])
    }
  }

  @Test("addresses that refuse or say nothing do not keep a name from connecting by another one")
  func severalAddresses() throws {
    let (alive, refusing) = (try LoopbackListener(), try LoopbackListener())
    // One connection fills a backlog of 0: what comes after it is not answered (listen(2)).
    let silent = try LoopbackListener(backlog: 0)
    let filler = try connect(to: [silent])
    refusing.close()
    for addresses in [[silent, silent, alive], [refusing, alive], [refusing, silent, refusing, alive, silent]] {
      #expect(try connect(to: addresses).peerPort == alive.port)
    }
    #expect(throws: RedisError.timedOut(.connect)) { _ = try connect(to: [silent, silent], milliseconds: 50) }
    #expect(throws: RedisError.timedOut(.connect)) { _ = try connect(to: [refusing, silent], milliseconds: 50) }
    let error = #expect(throws: RedisError.self) { _ = try connect(to: [refusing, refusing]) }
    #expect(error?.description.contains("Connection refused") == true)
    #expect(throws: RedisError.timedOut(.connect)) { _ = try connect(to: []) }
    withExtendedLifetime(filler) {}
  }

  @Test("no server, a silent server and a closed connection are three different errors; descriptors do not leak")
  func failures() async throws {
    let directory = try TemporaryDirectory()
    let redis = try await RedisServer.start(in: directory)
    var silent = try RedisConnection(
      endpoint: RedisEndpoint(url: redis.url),
      timeouts: RedisTimeouts(connectMilliseconds: 1000, readMilliseconds: 30, writeMilliseconds: 1000))
    #expect(throws: RedisError.timedOut(.read)) { _ = try silent.command(["BLPOP", "nothing", "5"]) }
    let owed = #expect(throws: RedisError.self) { _ = try silent.command(["PING"]) }
    #expect(owed?.endsConnection == true, "what comes next may be the reply to BLPOP")
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: redis.url))
    let before = connection.descriptor
    redis.kill9()
    let closed = #expect(throws: RedisError.self) { _ = try connection.command(["PING"]) }
    guard case .closed = closed else {
      Issue.record("\(String(describing: closed))")
      return
    }
    for _ in 0..<50 {
      let error = #expect(throws: RedisError.self) {
        _ = try RedisConnection(endpoint: RedisEndpoint(url: redis.tcpURL))
      }
      guard case .unreachable = error else {
        Issue.record("\(String(describing: error))")
        return
      }
    }
    // A failed connect closes its descriptor exactly once: ours is still ours.
    #expect(fcntl(before, F_GETFD) != -1)
  }

  @Test("a Cluster's node behind redis:// is named for what it is, with what to write, in a pipeline too")
  func clusterNode() async throws {
    let cluster = try await RedisCluster.start()
    let slot = RedisClusterSlot.slot(of: "k")
    let master = try cluster.master(of: "k")
    let other = cluster.nodes.first { $0.port != master.port }!
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: other.tcpURL))
    connection.append(["CLUSTER", "KEYSLOT", "k"])
    connection.append(["GET", "k"])
    let served = try connection.nextReply().integer
    #expect(served == Int64(slot))
    let error = #expect(throws: RedisError.self) { _ = try connection.nextReply() }
    #expect(error?.endsConnection == true)
    #expect(
      error?.description.contains("127.0.0.1:\(other.port) is a node of a Redis Cluster: write redis+cluster://")
        == true)
    connection = try RedisConnection(endpoint: RedisEndpoint(url: master.tcpURL))
    let none = try connection.command(["GET", "k"]).isNil
    #expect(none, "what it serves it serves")
    let crossed = #expect(throws: RedisError.self) { _ = try connection.command(["DEL", "k", "l", "m"]) }
    #expect(crossed?.description.contains("redis+cluster://") == true)
    connection = try cluster.connection(to: "l")
    let moved = #expect(throws: RedisError.self) { _ = try connection.command(["GET", "k"]) }
    #expect(moved?.code == .moved, "who follows it gets it as it is")
  }

  @Test("backoff doubles up to its maximum, with the randomness it is given")
  func backoff() {
    var longest = RetryBackoff(firstMilliseconds: 10, maximumMilliseconds: 65, random: { $0.upperBound })
    #expect((0..<5).map { _ in longest.next() } == [10, 20, 40, 65, 65])
    longest.reset()
    #expect(longest.next() == 10)
    var shortest = RetryBackoff(firstMilliseconds: 1, maximumMilliseconds: 1, random: { $0.lowerBound })
    #expect((0..<3).map { _ in shortest.next() } == [1, 1, 1])
  }
}
