// Limits on connections: who goes when a new one comes, and who never does.

import Glibc
import HTTP
import Linux
import Simulation
import Testing
import Wire

@Suite("HTTP connection limits")
struct HTTPEvictionTests {
  private static let evictedOfAll = "test_connections_evicted_total{limit=\"all\"}"
  private static let evictedOfAddress = "test_connections_evicted_total{limit=\"address\"}"

  /// Unfinished requests, made one after the other; of connections that say nothing the kernel tells after a second.
  private func unfinished(_ count: Int, _ server: TestServer, from source: IPAddress? = nil) throws -> TestConnections {
    let connections = try TestConnections(count: 0, server.address)
    for _ in 0..<count {
      let before = server.metric("test_connections_total")
      try connections.add(server.address, from: source)
      try connections.sendLast("G")
      while server.metric("test_connections_total") == before { usleep(200) }
      // What that event led to has been done.
      server.onLoop { _, _ in }
    }
    return connections
  }

  @Test("in a full table the new connection is served, and the one that has been idle longest goes")
  func longestIdle() async throws {
    // A sixteenth of eight is one at a time.
    let server = try TestServer(.patient(maximumConnections: 8))
    defer { server.stop() }
    let idle = try TestConnections(count: 7, server.address)
    // Seven of eight persist.
    for number in [3, 0, 1, 2, 4, 5, 6] {
      #expect(try idle.get(number, "/echo").has("Connection: close") == false)
    }
    var eighth = try TestConnection(server.address)
    try eighth.get("/park")
    try await eventually("the eighth is parked") { server.onLoop { _, handler in handler.parked.count } == 1 }
    var ninth = try TestConnection(server.address)
    try ninth.get("/echo")
    // Above seven eighths an answer makes room.
    #expect(try ninth.response().has("Connection: close"))
    #expect(try idle.rest(3).isEmpty)
    #expect([0, 1, 2, 4, 5, 6].allSatisfy { !idle.isEnded($0) })
    #expect(server.metric(Self.evictedOfAll) == 1)
    server.resumeParked("done")
    #expect(try eighth.response().text == "done")
    #expect(server.metric("test_connections_refused_total") == 0)
  }

  @Test("unfinished requests go before idle connections, the oldest first")
  func unfinishedFirst() throws {
    let server = try TestServer(.patient(maximumConnections: 8))
    defer { server.stop() }
    let idle = try TestConnections(count: 5, server.address)
    for number in 0..<5 { _ = try idle.get(number, "/echo") }
    let old = try unfinished(3, server)
    // A byte now and then makes it no younger.
    for byte in ["E", "T", " "] { try old.send(0, byte) }
    let more = try unfinished(2, server)
    #expect(old.isEnded(0) && old.isEnded(1))
    #expect(!old.isEnded(2) && (0..<2).allSatisfy { !more.isEnded($0) })
    #expect((0..<5).allSatisfy { !idle.isEnded($0) })
    #expect(server.onLoop { server, _ in (server.connectionCount, server.lentBuffers) } == (8, 3))
  }

  @Test("who waits for an answer never goes: a new connection is closed and counted")
  func parkedStays() async throws {
    let server = try TestServer(.patient(maximumConnections: 4, maximumPerAddress: 2))
    defer { server.stop() }
    let (first, second) = (IPAddress("127.0.0.2")!, IPAddress("127.0.0.3")!)
    let parked = try TestConnections(count: 2, server.address, from: first)
    for number in 0..<2 { try parked.send(number, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n") }
    try await eventually("both are parked") { server.onLoop { _, handler in handler.parked.count } == 2 }
    // The limit of their address, then, with another's two, that of all.
    var third = try TestConnection(server.address, from: first)
    #expect(try third.rest().isEmpty && server.metric("test_connections_refused_total") == 1)
    let others = try TestConnections(count: 2, server.address, from: second)
    for number in 0..<2 { try others.send(number, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n") }
    try await eventually("four are parked") { server.onLoop { _, handler in handler.parked.count } == 4 }
    var fifth = try TestConnection(server.address, from: IPAddress("127.0.0.4")!)
    #expect(try fifth.rest().isEmpty && server.metric("test_connections_refused_total") == 2)
    #expect(server.resumeParked("done") == 4)
    #expect(server.metric(Self.evictedOfAll) == 0 && server.metric(Self.evictedOfAddress) == 0)
  }

  @Test("one address has its number of connections, and takes the place of none but its own")
  func ofAddress() async throws {
    let server = try TestServer(.patient(maximumPerAddress: 3))
    defer { server.stop() }
    let (first, second) = (IPAddress("127.0.0.2")!, IPAddress("127.0.0.3")!)
    let honest = try TestConnections(count: 2, server.address, from: second)
    for number in 0..<2 { _ = try honest.get(number, "/echo") }
    let slow = try unfinished(1, server, from: second)
    let flood = try unfinished(20, server, from: first)
    try await eventually("the last three are left") { server.onLoop { server, _ in server.connectionCount } == 6 }
    #expect(!slow.isEnded(0))
    #expect((0..<17).allSatisfy { flood.isEnded($0) } && (17..<20).allSatisfy { !flood.isEnded($0) })
    #expect(server.metric(Self.evictedOfAddress) == 17 && server.metric("test_connections_refused_total") == 0)
    // Those who go make room, and a connection that is answered and closed counts no more.
    for number in 0..<2 { #expect(try honest.get(number, "/echo").status == 200) }
    flood.closeAll()
    try await eventually("the flood has gone") { server.onLoop { server, _ in server.connectionCount } == 3 }
    let back = try unfinished(3, server, from: first)
    #expect((0..<3).allSatisfy { !back.isEnded($0) } && server.metric(Self.evictedOfAddress) == 17)
  }

  @Test("proxies and a unix socket's peers have no limit of their own")
  func exempt() throws {
    let proxy = IPAddress("127.0.0.9")!
    let server = try TestServer(.patient(maximumPerAddress: 1, proxies: [AddressPrefix("127.0.0.8/29")!]))
    defer { server.stop() }
    let connections = try unfinished(10, server, from: proxy)
    #expect((0..<10).allSatisfy { !connections.isEnded($0) })
    let path = try TemporaryDirectory()
    let local = try TestServer(.patient(maximumPerAddress: 1), at: .unix(path: "\(path.path)/http"))
    defer { local.stop() }
    let peers = try unfinished(10, local)
    #expect((0..<10).allSatisfy { !peers.isEnded($0) })
  }

  @Test("a new limit counts from the next connection on")
  func newLimit() throws {
    let server = try TestServer(.patient(maximumPerAddress: 4))
    defer { server.stop() }
    let four = try unfinished(4, server)
    server.onLoop { server, _ in server.update(.patient(maximumPerAddress: 2)) }
    let fifth = try unfinished(1, server)
    // One for one: what is above a lower limit goes by its timeouts.
    #expect(try four.rest(0).isEmpty)
    #expect((1..<4).allSatisfy { !four.isEnded($0) } && !fifth.isEnded(0))
    server.onLoop { server, _ in server.update(.patient()) }
    let more = try unfinished(4, server)
    #expect((1..<4).allSatisfy { !four.isEnded($0) } && (0..<4).allSatisfy { !more.isEnded($0) })
  }
}

@Suite("Host networks")
struct HostNetworkTests {
  @Test("an IPv4 address is alone, an IPv6 network has 64 bits")
  func networks() {
    func network(_ text: String) -> HostNetwork { HostNetwork(of: IPAddress(text)!) }
    #expect(network("192.0.2.1") != network("192.0.2.2"))
    #expect(network("2001:db8:0:1::1") == network("2001:db8:0:1:ffff::2"))
    #expect(network("2001:db8:0:1::1") != network("2001:db8:0:2::1"))
    #expect(network("::ffff:192.0.2.1") == network("192.0.2.1") && network("::1") != network("0.0.0.0"))
    #expect(network("192.0.2.1").description == "192.0.2.1" && network("2001:db8::5").description == "2001:db8::/64")
  }
}
