import Glibc
import Linux
import Simulation
import Testing
import Wire

@Suite("HTTP server")
struct HTTPServerTests {
  @Test("pipelined requests are answered in their order on one connection")
  func pipelining() throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.send((1...50).map { "GET /echo/\($0)?q=\($0) HTTP/1.1\r\nHost: h\r\n\r\n" }.joined())
    for number in 1...50 { #expect(try client.response().text == "/echo/\(number)?q=\(number)") }
    try client.get("/missing")
    #expect(try client.response().status == 404)
    #expect(server.metric("test_connections_total") == 1)
  }

  @Test("a request that comes byte by byte is answered, and its buffer given back")
  func byteByByte() throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    for byte in Array("GET /echo/slow HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy".utf8) {
      try client.send([byte])
    }
    #expect(try client.response().text == "/echo/slow?")
    try client.send("GET /echo/a HTTP/1.1\r\nHost: h\r\n\r\nGET /echo/b HT")
    #expect(try client.response().text == "/echo/a?")
    #expect(server.onLoop { server, _ in server.lentBuffers } == 1)
    try client.send("TP/1.1\r\nHost: h\r\n\r\n")
    #expect(try client.response().text == "/echo/b?")
    // An idle connection holds no memory but its table entry.
    #expect(server.onLoop { server, _ in server.lentBuffers } == 0)
    #expect(server.onLoop { server, _ in server.connectionCount } == 1)
  }

  @Test("HEAD has the length of the body, and no body")
  func head() throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.send("HEAD /big/100000 HTTP/1.1\r\nHost: h\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n")
    let head = try client.response(isHead: true)
    #expect(head.status == 200 && head.has("Content-Length: 100000"))
    #expect(try client.response().text == "/echo?")
  }

  @Test(
    "lengths of any number of digits are written in full",
    arguments: [0, 9, 10, 99, 100, 999, 1000, 123_456, 3_000_000])
  func lengths(length: Int) throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.get("/big/\(length)")
    let response = try client.response()
    #expect(response.has("Content-Length: \(length)"))
    #expect(response.body.count == length)
    #expect(response.body.enumerated().allSatisfy { $1 == UInt8(truncatingIfNeeded: $0) })
  }

  @Test("HTTP/1.0 closes unless the client asks for keep-alive")
  func version10() throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.send("GET /echo HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
    #expect(try client.response().has("Connection: keep-alive"))
    try client.send("GET /echo HTTP/1.0\r\n\r\n")
    #expect(try client.response().has("Connection: close"))
    #expect(try client.rest().isEmpty)
  }

  @Test("without keep-alive every reply closes, and requests behind it are not answered")
  func noKeepAlive() throws {
    let server = try TestServer(.patient(keepsAlive: false))
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.send("GET /echo/1 HTTP/1.1\r\nHost: h\r\n\r\nGET /echo/2 HTTP/1.1\r\nHost: h\r\n\r\n")
    let response = try client.response()
    #expect(response.text == "/echo/1?" && response.has("Connection: close"))
    #expect(try client.rest().isEmpty)
  }

  @Test(
    "what is refused gets its status and the connection ends",
    arguments: [
      ("\u{16}\u{3}\u{1}", 400), ("GET /\r\n\r\n", 400), ("POST / HTTP/1.1\r\nHost: h\r\n\r\n", 405),
      ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 405), ("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", 405),
      ("GET /" + String(repeating: "a", count: 9000), 414),
      ("GET / HTTP/1.1\r\nX: " + String(repeating: "a", count: 17000), 431),
      ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n", 413),
      ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501), ("GET / HTTP/3.0\r\n\r\n", 505),
    ])
  func refused(request: String, status: Int) throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.send("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n" + request)
    #expect(try client.response().text == "/echo?")
    let response = try client.response()
    #expect(response.status == status && response.has("Connection: close"))
    #expect(try client.rest().isEmpty)
    #expect(server.metric("test_bad_requests_total") == 1)
  }

  @Test("a refusal reaches a client that goes on sending")
  func lingeringClose() throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n")
    // More than the socket buffers hold: without lingering the unread bytes would reset the connection.
    try client.send([UInt8](repeating: 0x61, count: 4_000_000))
    #expect(try client.response().status == 405)
    client.endSending()
    #expect(try client.rest().isEmpty)
  }

  @Test("a client that ends its sending direction still gets its reply")
  func halfClose() throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.get("/big/2000000")
    client.endSending()
    #expect(try client.response().body.count == 2_000_000)
    #expect(try client.rest().isEmpty)
  }

  @Test("pipelined replies that the client does not read wait in one place, and none is lost")
  func outputBackpressure() async throws {
    let server = try TestServer()
    defer { server.stop() }
    let address = server.address
    var client = try TestConnection(address, receiveBufferBytes: 4096)
    let count = 3000
    // A thread of its own: it blocks when the buffers are full.
    let sender = client.sender()
    let thread = try NamedThread(name: "sender") {
      try! sender.send((0..<count).map { "GET /big/5000?\($0) HTTP/1.1\r\nHost: h\r\n\r\n" }.joined())
    }
    try await eventually("replies wait in the server") { server.onLoop { server, _ in server.lentBuffers } >= 1 }
    for _ in 0..<count { #expect(try client.response().body.count == 5000) }
    thread.join()
    try client.get("/echo/after")
    #expect(try client.response().text == "/echo/after?")
    #expect(server.onLoop { server, _ in server.lentBuffers } == 0)
  }

  @Test("a slow-loris is cut off: its bytes do not extend the time of the request")
  func slowLoris() async throws {
    let server = try TestServer(.patient(read: 300))
    defer { server.stop() }
    var client = try TestConnection(server.address)
    // A request first: the time counts from the first byte of the second.
    try client.get("/echo")
    _ = try client.response()
    try client.send("GET /echo HTTP/1.1\r\nHost: h\r\n")
    try await eventually("the connection ends") {
      try? client.send("X: y\r\n")
      return client.isEnded()
    }
    #expect(server.metric("test_timeouts_total{kind=\"read\"}") == 1)
    #expect(server.onLoop { server, _ in server.connectionCount } == 0)
  }

  @Test("a connection that never sends anything is cut off by the read timeout")
  func silence() throws {
    let server = try TestServer(.patient(read: 50))
    defer { server.stop() }
    var client = try TestConnection(server.address)
    #expect(try client.rest().isEmpty)
    #expect(server.metric("test_timeouts_total{kind=\"read\"}") == 1)
  }

  @Test("an idle persistent connection is cut off by the idle timeout")
  func idle() throws {
    let server = try TestServer(.patient(idle: 50))
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.get("/echo")
    _ = try client.response()
    #expect(try client.rest().isEmpty)
    #expect(server.metric("test_timeouts_total{kind=\"idle\"}") == 1)
  }

  @Test("new limits count from the next wait on: what waits keeps its time, keep-alive ends with the next reply")
  func newLimits() throws {
    let server = try TestServer()
    defer { server.stop() }
    let clients = try TestConnections(count: 2, server.address)
    #expect(try clients.get(0, "/echo").has("Connection: close") == false)
    #expect(try clients.get(1, "/echo").has("Connection: close") == false)
    server.onLoop { server, _ in server.update(.patient(idle: 50)) }
    // The first connection waits again, with the new time; the second waits with the old one.
    #expect(try clients.get(0, "/echo").has("Connection: close") == false)
    #expect(try clients.rest(0).isEmpty)
    #expect(server.metric("test_timeouts_total{kind=\"idle\"}") == 1)
    server.onLoop { server, _ in server.update(.patient(keepsAlive: false)) }
    #expect(try clients.get(1, "/echo").has("Connection: close"))
    #expect(server.metric("test_timeouts_total{kind=\"idle\"}") == 1)
  }

  @Test("every reply has the date, a refusal, too, and one to a parked request")
  func date() async throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.send("GET /echo HTTP/1.1\r\nHost: h\r\n\r\nGET /park HTTP/1.1\r\nHost: h\r\n\r\nnonsense\r\n")
    let first = try client.response()
    try await eventually("it is parked") { server.onLoop { _, handler in handler.parked.count } == 1 }
    server.resumeParked("later")
    for response in [first, try client.response(), try client.response()] {
      #expect(response.head.contains(/\r\nDate: \w{3}, \d\d \w{3} 20\d\d \d\d:\d\d:\d\d GMT\r\n/), "\(response.head)")
    }
  }

  @Test("a client that reads a byte now and then is cut off by the write timeout")
  func slowReader() async throws {
    let server = try TestServer(.patient(write: 300))
    defer { server.stop() }
    var client = try TestConnection(server.address, receiveBufferBytes: 4096)
    try client.get("/big/30000000")
    try await eventually("the write timeout") {
      _ = try client.receiveMore(atMost: 1)
      return server.metric("test_timeouts_total{kind=\"write\"}") == 1
    }
    #expect(server.onLoop { server, _ in (server.connectionCount, server.lentBuffers) } == (0, 0))
  }

  @Test("a parked request is answered later, and requests behind it wait")
  func parking() async throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.send("GET /echo/1 HTTP/1.1\r\nHost: h\r\n\r\nHEAD /park HTTP/1.1\r\nHost: h\r\n\r\n")
    #expect(try client.response().text == "/echo/1?")
    try client.get("/echo/3")
    try client.get("/park")
    try await eventually("it is parked") { server.onLoop { _, handler in handler.parked.count } == 1 }
    #expect(server.resumeParked("first") == 1)
    let head = try client.response(isHead: true)
    #expect(head.has("Content-Length: 5"))
    #expect(try client.response().text == "/echo/3?")
    try await eventually("the other is parked") { server.onLoop { _, handler in handler.parked.count } == 1 }
    #expect(server.resumeParked("second") == 1)
    #expect(try client.response().text == "second")
  }

  @Test("a request may stay parked when it is resumed; a used ticket does nothing")
  func parkedAgain() async throws {
    let server = try TestServer()
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.get("/park")
    let ticket = try await eventually("it is parked") { server.onLoop { _, handler in handler.parked.first } }
    #expect(server.onLoop { server, _ in server.resume(ticket) { _ in .parked } })
    #expect(server.resumeParked("now") == 1)
    #expect(try client.response().text == "now")
    let isUsed = server.onLoop { server, _ in
      server.resume(ticket) { _ in
        Issue.record("a used ticket was resumed")
        return .parked
      }
    }
    #expect(!isUsed)
  }

  @Test("the ticket of a vanished connection does nothing, also when its place is taken again")
  func vanished() async throws {
    let server = try TestServer()
    defer { server.stop() }
    do {
      let client = try TestConnection(server.address)
      try client.get("/park")
      try await eventually("it is parked") { server.onLoop { _, handler in handler.parked.count } == 1 }
      // What comes behind a parked request is not read; a reset is noticed all the same.
      try client.get("/echo")
      client.reset()
    }
    try await eventually("the server has seen the end") { server.onLoop { server, _ in server.connectionCount } == 0 }
    var other = try TestConnection(server.address)
    try other.get("/park")
    try await eventually("the other is parked") { server.onLoop { _, handler in handler.parked.count } == 2 }
    #expect(server.resumeParked("for the other") == 1)
    #expect(try other.response().text == "for the other")
  }

  @Test("draining answers what is in flight, closes what is idle, and refuses new connections")
  func drain() async throws {
    let server = try TestServer()
    var idle = try TestConnection(server.address)
    try idle.get("/echo")
    _ = try idle.response()
    var silent = try TestConnection(server.address)
    var parked = try TestConnection(server.address)
    try parked.get("/park")
    var partial = try TestConnection(server.address)
    try partial.send("GET /echo/partial HTTP/1.1\r\n")
    try await eventually("all are there") {
      server.onLoop { server, handler in
        server.connectionCount == 4 && handler.parked.count == 1 && server.lentBuffers == 1
      }
    }
    server.drain()
    #expect(try idle.rest().isEmpty)
    #expect(try silent.rest().isEmpty)
    #expect(throws: SystemError.self) { _ = try TestConnection(server.address) }
    try partial.send("Host: h\r\n\r\n")
    let late = try partial.response()
    #expect(late.text == "/echo/partial?" && late.has("Connection: close"))
    #expect(try partial.rest().isEmpty)
    #expect(!server.hasDrained.withLock { $0 })
    #expect(server.resumeParked("in time") == 1)
    let answer = try parked.response()
    #expect(answer.text == "in time" && answer.has("Connection: close"))
    server.join()
    #expect(server.hasDrained.withLock { $0 })
  }

  @Test("draining ends by its deadline with what will not end by itself")
  func drainDeadline() async throws {
    let server = try TestServer()
    var parked = try TestConnection(server.address)
    try parked.get("/park")
    try await eventually("it is parked") { server.onLoop { _, handler in handler.parked.count } == 1 }
    server.drain(deadlineNanoseconds: 20_000_000)
    #expect(try parked.rest().isEmpty)
    server.join()
    #expect(server.hasDrained.withLock { $0 })
  }

  @Test("a unix socket serves requests whose peer has no address")
  func unixSocket() throws {
    let directory = try TemporaryDirectory()
    let server = try TestServer(at: .unix(path: "\(directory.path)/http.sock"))
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.get("/peer")
    #expect(try client.response().text == "none")
  }

  @Test("the peer's address is the client's, in both families", arguments: ["127.0.0.1", "::1"])
  func peer(host: String) throws {
    let server = try TestServer(at: .host(IPAddress(host)!, port: 0))
    defer { server.stop() }
    var client = try TestConnection(server.address)
    try client.get("/peer")
    #expect(try client.response().text == host)
  }

  @Test("running out of descriptors pauses accepting and recovers", .timeLimit(.minutes(10)))
  func outOfDescriptors() async {
    await #expect(processExitsWith: .success) {
      let server = try TestServer()
      var first = try TestConnection(server.address)
      try first.get("/echo")
      _ = try first.response()
      let clients = try TestConnections(count: 4, server.address)
      for number in 0..<4 { _ = try clients.get(number, "/echo") }
      // From here on accept(2) fails with EMFILE: sockets are made first, then the limit drops below them.
      var waiting = TestConnection(unconnectedTo: server.address)
      let highest = Int32(dup(0))
      close(highest)
      var limit = rlimit(rlim_cur: rlim_t(highest), rlim_max: rlim_t(4096))
      guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { throw SystemError("setrlimit") }
      try waiting.connectNow()
      // Not `eventually`: its sleep needs a descriptor the first time.
      while server.metric("test_descriptors_exhausted_total") < 2 { usleep(1000) }
      // Open connections are served meanwhile.
      try first.get("/echo/open")
      guard try first.response().text == "/echo/open?" else { throw TestFailure("an open connection was not served") }
      clients.closeAll()
      try waiting.get("/echo/late")
      guard try waiting.response().text == "/echo/late?" else { throw TestFailure("no answer after the pause") }
      server.stop()
    }
  }
}
