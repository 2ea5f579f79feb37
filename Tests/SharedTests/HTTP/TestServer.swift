// TestServer: an HTTPServer on a thread of its own, with a handler whose paths the tests use.

import Glibc
import HTTP
import Linux
import Synchronization
import Wire

/// `/echo...` answers path?query, `/big/N` answers N bytes, `/park` parks until `resumeParked`, anything else is 404.
final class TestHandler: HTTPHandler {
  var parked: [HTTPTicket] = []
  /// The bytes 0...255 over and over.
  private static let pattern = (0..<65536).map { UInt8(truncatingIfNeeded: $0) }

  func respond(to request: borrowing HTTPRequest, writer: inout HTTPResponseWriter) -> HTTPHandling {
    let path = String(decoding: request.path, as: UTF8.self)
    if path.hasPrefix("/park") {
      parked.append(request.ticket)
      return .parked
    }
    if path.hasPrefix("/big/"), let count = Int(path.dropFirst(5)) {
      writer.begin(.ok, contentType: "application/octet-stream")
      var left = count
      while left > 0 {
        Self.pattern.withUnsafeBytes { writer.append(UnsafeRawBufferPointer(rebasing: $0[..<min(left, $0.count)])) }
        left -= Self.pattern.count
      }
    } else if path.hasPrefix("/echo") {
      writer.begin(.ok, contentType: "text/plain")
      writer.append(request.path)
      writer.append("?")
      writer.append(request.query)
    } else if path == "/peer" {
      writer.begin(.ok, contentType: "text/plain")
      writer.append(request.peer.map(\.address.description) ?? "none")
    } else {
      writer.begin(.notFound, contentType: "text/plain")
      writer.append("not found\n")
    }
    return .answered
  }
}

extension HTTPLimits {
  /// Timeouts that a loaded machine does not reach, but for those a test gives in milliseconds.
  static func patient(
    read: UInt64 = 120_000, write: UInt64 = 120_000, idle: UInt64 = 120_000, keepsAlive: Bool = true,
    maximumConnections: Int = HTTPLimits.defaultMaximumConnections, maximumPerAddress: Int = 0,
    proxies: [AddressPrefix] = []
  ) -> HTTPLimits {
    HTTPLimits(
      readTimeoutNanoseconds: read * 1_000_000, writeTimeoutNanoseconds: write * 1_000_000,
      idleTimeoutNanoseconds: idle * 1_000_000, keepsAlive: keepsAlive, maximumConnections: maximumConnections,
      maximumPerAddress: maximumPerAddress, proxies: proxies)
  }
}

/// The running server; `stop` drains it and joins its thread.
final class TestServer: Sendable {
  let addresses: [SocketAddress]
  let registry = MetricRegistry()
  private let mailbox: EventLoopMailbox
  private let thread: Mutex<NamedThread?>
  /// Set when the drain has called back.
  let hasDrained = Mutex(false)

  private final class State {
    let server: HTTPServer
    let handler: TestHandler
    init(_ server: HTTPServer, _ handler: TestHandler) {
      self.server = server
      self.handler = handler
    }
  }

  var address: SocketAddress { addresses[0] }

  init(
    _ limits: HTTPLimits = .patient(), at address: SocketAddress = .host(.loopbackV4, port: 0)
  ) throws {
    let listeners = try Listener.open(address, workers: 1)[0]
    addresses = listeners.map(\.address)
    let mailbox = try EventLoopMailbox()
    self.mailbox = mailbox
    let metrics = HTTPServerMetrics(registry: registry, prefix: "test")
    thread = Mutex(
      try NamedThread(name: "test-http") {
        let handler = TestHandler()
        let loop = try! EventLoop(mailbox: mailbox)
        let server = HTTPServer(loop: loop, listeners: listeners, limits: limits, metrics: metrics, handler: handler)
        try! server.start()
        loop.context = State(server, handler)
        loop.run()
      })
  }

  /// Runs `body` on the server's thread and waits for its result.
  func onLoop<Value: Sendable>(_ body: @escaping @Sendable (HTTPServer, TestHandler) -> Value) -> Value {
    let answer = Answer<Value>()
    mailbox.post { loop in
      let state = loop.context as! State
      answer.give(body(state.server, state.handler))
    }
    return answer.wait()
  }

  /// Answers all parked requests with `text`; returns how many were still there.
  @discardableResult
  func resumeParked(_ text: String) -> Int {
    onLoop { server, handler in
      let tickets = handler.parked
      handler.parked = []
      return tickets.count { ticket in
        server.resume(ticket) { writer in
          writer.begin(.ok, contentType: "text/plain")
          writer.append(text)
          return .answered
        }
      }
    }
  }

  /// Begins to drain; the loop ends when the server says it is done.
  func drain(deadlineNanoseconds: UInt64 = 20_000_000_000) {
    mailbox.post { loop in
      (loop.context as! State).server.drain(deadlineNanoseconds: deadlineNanoseconds) {
        self.hasDrained.withLock { $0 = true }
        loop.stop()
      }
    }
  }

  /// Waits for the thread after `drain`.
  func join() {
    let running = thread.withLock { thread in
      let running = thread.take()
      return running
    }
    running?.join()
  }

  func stop() {
    drain(deadlineNanoseconds: 0)
    join()
  }

  /// A sample of the metrics page, such as `test_timeouts_total{kind="read"}`.
  func metric(_ series: String) -> Int {
    for line in registry.render().split(separator: "\n") where line.hasPrefix(series + " ") {
      return Int(line.dropFirst(series.count + 1)) ?? -1
    }
    return -1
  }
}

/// A value that one thread gives and another waits for.
private final class Answer<Value: Sendable>: Sendable {
  private let value = Mutex<Value?>(nil)
  func give(_ new: Value) { value.withLock { $0 = new } }
  func wait() -> Value {
    while true {
      if let value = value.withLock({ $0 }) { return value }
      usleep(200)
    }
  }
}
