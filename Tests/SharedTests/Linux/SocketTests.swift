import Glibc
import Linux
import Simulation
import Testing
import Wire

@Suite("listening addresses and sockets")
struct SocketTests {
  @Test(
    "addresses are read as operators write them",
    arguments: [
      (":6969", SocketAddress.wildcard(port: 6969)), ("0.0.0.0:6969", .wildcard(port: 6969)),
      ("[::]:6969", .wildcard(port: 6969)), ("127.0.0.1:0", .host(.loopbackV4, port: 0)),
      ("localhost:80", .host(.loopbackV4, port: 80)), ("[::1]:65535", .host(IPAddress("::1")!, port: 65535)),
      ("unix:/run/x.sock", .unix(path: "/run/x.sock")),
    ])
  func reads(text: String, address: SocketAddress) throws {
    #expect(try SocketAddress(text) == address)
    #expect(try SocketAddress(address.description) == address)
  }

  @Test(
    "what is no address says why",
    arguments: [
      ("6969", SocketAddressError.missingPort("6969")), ("127.0.0.1", .missingPort("127.0.0.1")),
      ("", .missingPort("")),
      ("[::1]", .missingPort("[::1]")), (":", .missingPort(":")), (":65536", .invalidPort(":65536")),
      (":-1", .invalidPort(":-1")), (":http", .invalidPort(":http")), (":+1", .invalidPort(":+1")),
      ("::1:80", .invalidHost("::1:80")), ("[127.0.0.1]:80", .invalidHost("[127.0.0.1]:80")),
      ("[]:80", .invalidHost("[]:80")), ("example.org:80", .invalidHost("example.org:80")),
      ("unix:", .invalidUnixPath("unix:")), ("unix:relative", .invalidUnixPath("unix:relative")),
    ])
  func refuses(text: String, error: SocketAddressError) {
    #expect(throws: error) { try SocketAddress(text) }
  }

  @Test("a unix path may have its maximum length and no byte more")
  func unixPathLimit() throws {
    let longest = "/" + String(repeating: "a", count: UnixSocketName.maximumPathBytes - 1)
    #expect(try SocketAddress("unix:\(longest)") == .unix(path: longest))
    #expect(throws: SocketAddressError.invalidUnixPath("unix:\(longest)a")) { try SocketAddress("unix:\(longest)a") }
  }

  @Test("a wildcard listens on IPv4 and IPv6 at the same port, once for each worker")
  func wildcard() throws {
    let sets = try Listener.open(.wildcard(port: 0), workers: 3)
    #expect(sets.map(\.count) == [2, 2, 2])
    let ports = Set(sets.joined().compactMap(\.address.port))
    let port = try #require(ports.first)
    #expect(ports.count == 1 && port != 0)
    #expect(sets[0].map(\.address) == [.host(.unspecifiedV4, port: port), .host(.unspecifiedV6, port: port)])
    _ = try TestConnection(.host(.loopbackV4, port: port))
    _ = try TestConnection(.host(IPAddress("::1")!, port: port))
  }

  @Test("a port that is taken is refused, however many workers want it", arguments: [1, 2])
  func takenPort(workers: Int) throws {
    let first = try Listener.open(.host(.loopbackV4, port: 0), workers: 2)
    let address = first[0][0].address
    #expect(throws: SystemError("bind", subject: address.description, code: EADDRINUSE)) {
      try Listener.open(address, workers: workers)
    }
    let udp = try UDPSocket.open(.host(.loopbackV4, port: 0), workers: 2)
    let endpoint = udp[0][0].endpoint
    #expect(udp[1][0].endpoint == endpoint)
    #expect(throws: SystemError("bind", subject: endpoint.description, code: EADDRINUSE)) {
      try UDPSocket.open(.host(endpoint.address, port: endpoint.port), workers: workers)
    }
  }

  @Test("a port is free again as soon as its listener is gone")
  func portIsFreed() throws {
    let address = try Listener.open(.host(.loopbackV4, port: 0), workers: 1)[0][0].address
    _ = try Listener.open(address, workers: 1)
  }

  @Test("a unix socket replaces the file of a dead process, and is gone at the end")
  func staleUnixSocket() throws {
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/s"
    // What a killed process leaves: a bound file without a listener.
    let server = try TestServer(at: .unix(path: path))
    #expect(throws: SystemError("bind", subject: path, code: EADDRINUSE)) {
      try Listener.open(.unix(path: path), workers: 1)
    }
    #expect(rename(path, path + ".old") == 0)
    server.stop()
    #expect(rename(path + ".old", path) == 0)
    var listeners = try Listener.open(.unix(path: path), workers: 2, unixMode: 0o600)
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    _ = try TestConnection(.unix(path: path))
    listeners = []
    #expect(listeners.isEmpty && access(path, F_OK) != 0)
  }

  @Test("a unix socket leaves alone what is no socket")
  func unixSocketRefusesFiles() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write("precious", as: "file")
    #expect(throws: SystemError("bind", subject: path, code: EEXIST)) {
      try Listener.open(.unix(path: path), workers: 1)
    }
    #expect(TemporaryDirectory.read(path) == "precious")
  }

  @Test("a listener that stops listening refuses connections")
  func stopListening() throws {
    let listener = try Listener.open(.host(.loopbackV4, port: 0), workers: 1)[0][0]
    _ = try TestConnection(listener.address)
    listener.stopListening()
    #expect(throws: SystemError("connect", subject: listener.address.description, code: ECONNREFUSED)) {
      _ = try TestConnection(listener.address)
    }
  }

  @Test("an endpoint reads back what it wrote", arguments: ["192.0.2.7", "2001:db8::7", "0.0.0.0", "::"])
  func sockaddr(host: String) throws {
    let endpoint = Endpoint(address: try #require(IPAddress(host)), port: 51413)
    #expect(endpoint.withSockaddr { name, _ in Endpoint(sockaddr: name) } == endpoint)
  }
}
