// TestConnection: a raw client socket of the tests, TCP or unix, and the responses read from it.

import CLinux
import Glibc
import Linux
import Wire

struct TestFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

struct TestResponse {
  let status: Int
  let head: String
  let body: [UInt8]
  var text: String { String(decoding: body, as: UTF8.self) }
  func has(_ header: String) -> Bool { head.split(separator: "\r\n").contains { $0 == header } }
}

/// Blocking, with a timeout of 20 seconds that only ends a broken run.
struct TestConnection: ~Copyable {
  private let handle: FileDescriptor
  private let address: SocketAddress
  private var received: [UInt8] = []

  /// `source`: the address it comes from, such as another loopback address.
  init(_ address: SocketAddress, from source: IPAddress? = nil, receiveBufferBytes: Int32? = nil) throws {
    self.init(unconnectedTo: address, receiveBufferBytes: receiveBufferBytes)
    if let source {
      let bound = Endpoint(address: source, port: 0).withSockaddr { bind(handle.number, $0, $1) }
      guard bound == 0 else { throw SystemError("bind", subject: source.description) }
    }
    try connectNow()
  }

  /// Makes the socket; `connectNow` connects it.
  init(unconnectedTo address: SocketAddress, receiveBufferBytes: Int32? = nil) {
    self.address = address
    let family =
      switch address {
      case .unix: AF_UNIX
      case .host(let ip, _) where ip.family == .v6: AF_INET6
      default: AF_INET
      }
    handle = FileDescriptor(owning: socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
    if let receiveBufferBytes {
      var bytes = receiveBufferBytes
      setsockopt(handle.number, SOL_SOCKET, SO_RCVBUF, &bytes, 4)
    }
    var time = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(handle.number, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(handle.number, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    var one: Int32 = 1
    if family != AF_UNIX { setsockopt(handle.number, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4) }
  }

  func connectNow() throws {
    let code: Int32
    if case .host(let ip, let port) = address {
      code = Endpoint(address: ip, port: port).withSockaddr { connect(handle.number, $0, $1) == 0 ? 0 : errno }
    } else {
      code = Self.connectUnix(handle.number, address)
    }
    guard code == 0 else { throw SystemError("connect", subject: address.description, code: code) }
  }

  private static func connectUnix(_ descriptor: Int32, _ address: SocketAddress) -> Int32 {
    guard case .unix(let path) = address else { return EINVAL }
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &name.sun_path) { target in
      for (index, byte) in path.utf8.enumerated() { target[index] = byte }
    }
    return withUnsafeBytes(of: &name) { bytes in
      let base = bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
      return connect(descriptor, base, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0 ? 0 : errno
    }
  }

  /// Sends all; throws when the server has closed.
  func send(_ bytes: [UInt8]) throws { try sendAll(bytes, to: handle.number) }

  func send(_ text: String) throws { try send(Array(text.utf8)) }

  func get(_ target: String) throws { try send("GET \(target) HTTP/1.1\r\nHost: test\r\n\r\n") }

  /// Makes the close a reset instead of an orderly end.
  func reset() {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(handle.number, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  /// A second handle of the connection, for a thread that only sends.
  func sender() -> TestSender { TestSender(FileDescriptor(owning: dup(handle.number))) }

  /// Ends the sending direction.
  func endSending() { shutdown(handle.number, Int32(SHUT_WR)) }

  /// Some more bytes; empty at the end of the stream or after a reset.
  mutating func receiveMore(atMost limit: Int = 65536) throws -> Bool {
    var buffer = [UInt8](repeating: 0, count: limit)
    let count = recv(handle.number, &buffer, limit, 0)
    if count < 0 && errno == EAGAIN { throw TestFailure("nothing received in 20 seconds") }
    if count > 0 { received += buffer[..<count] }
    return count > 0
  }

  /// Whether the server has ended the connection by now, without waiting.
  func isEnded() -> Bool {
    var byte: UInt8 = 0
    let count = recv(handle.number, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT))
    return count == 0 || (count < 0 && errno != EAGAIN)
  }

  /// Waits for the end of the stream and returns what came before it.
  mutating func rest() throws -> [UInt8] {
    while try receiveMore() {}
    defer { received = [] }
    return received
  }

  /// The next whole response. `isHead`: it has no body whatever its length says.
  mutating func response(isHead: Bool = false) throws -> TestResponse {
    while true {
      if let end = Self.find(Array("\r\n\r\n".utf8), in: received) {
        let head = String(decoding: received[..<end], as: UTF8.self)
        guard let line = head.split(separator: "\r\n").first(where: { $0.hasPrefix("Content-Length: ") }),
          let length = Int(line.dropFirst("Content-Length: ".count)), let status = Int(head.split(separator: " ")[1])
        else { throw TestFailure("no response: \(head)") }
        let bodyEnd = end + 4 + (isHead ? 0 : length)
        if received.count >= bodyEnd {
          let body = Array(received[(end + 4)..<bodyEnd])
          received.removeFirst(bodyEnd)
          return TestResponse(status: status, head: head, body: body)
        }
      }
      guard try receiveMore() else {
        throw TestFailure("the connection ended in a response: \(String(decoding: received, as: UTF8.self))")
      }
    }
  }

  private static func find(_ pattern: [UInt8], in bytes: [UInt8]) -> Int? {
    guard bytes.count >= pattern.count else { return nil }
    for start in 0...(bytes.count - pattern.count)
    where bytes[start] == pattern[0] && bytes[start..<start + pattern.count].elementsEqual(pattern) { return start }
    return nil
  }
}

/// Sends on a connection that another thread reads.
final class TestSender: Sendable {
  private let handle: FileDescriptor
  init(_ handle: consuming FileDescriptor) { self.handle = handle }
  func send(_ text: String) throws { try sendAll(Array(text.utf8), to: handle.number) }
}

private func sendAll(_ bytes: [UInt8], to descriptor: Int32) throws {
  var sent = 0
  while sent < bytes.count {
    let count = bytes[sent...].withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    guard count > 0 else { throw SystemError("send") }
    sent += count
  }
}

/// Several connections by number: an array of them, which Array cannot be.
final class TestConnections {
  private final class Box {
    var connection: TestConnection
    init(_ address: SocketAddress, _ source: IPAddress?) throws {
      connection = try TestConnection(address, from: source)
    }
  }
  private var boxes: [Box]

  init(count: Int, _ address: SocketAddress, from source: IPAddress? = nil) throws {
    boxes = try (0..<count).map { _ in try Box(address, source) }
  }

  func add(_ address: SocketAddress, from source: IPAddress? = nil) throws { boxes.append(try Box(address, source)) }

  func send(_ number: Int, _ text: String) throws { try boxes[number].connection.send(text) }

  func sendLast(_ text: String) throws { try send(boxes.count - 1, text) }

  /// Whether the server has ended it by now.
  func isEnded(_ number: Int) -> Bool { boxes[number].connection.isEnded() }

  func get(_ number: Int, _ target: String) throws -> TestResponse {
    try boxes[number].connection.get(target)
    return try boxes[number].connection.response()
  }

  /// What comes until the end of the stream.
  func rest(_ number: Int) throws -> [UInt8] { try boxes[number].connection.rest() }

  func closeAll() { boxes = [] }
}
