// AdminServer: /metrics and /health of both daemons, on its own thread "admin" with its own loop, so that they answer
// while the workers are busy.

import Linux
import Synchronization

/// Serves `/metrics`, `/health`, `/health/live`, `/health/ready` and the routes its owner adds; anything else is 404.
public final class AdminServer: Sendable {
  /// An extra GET route: an exact path and what writes the response, on the admin thread.
  public struct Route: Sendable {
    public let path: String
    public let respond: @Sendable (borrowing HTTPRequest, inout HTTPResponseWriter) -> Void
    /// For an answer that takes its time: begins, and says after how many nanoseconds `finish` writes the response; nil:
    /// `respond` answers now.
    public let begin: (@Sendable (borrowing HTTPRequest) -> UInt64?)?
    public let finish: (@Sendable (inout HTTPResponseWriter) -> Void)?

    /// A route whose answer is there at once.
    public init(
      path: String, respond: @escaping @Sendable (borrowing HTTPRequest, inout HTTPResponseWriter) -> Void
    ) {
      self.path = path
      self.respond = respond
      begin = nil
      finish = nil
    }

    /// A route whose answer takes its time; `refuse` answers when `begin` says nil.
    public init(
      path: String, begin: @escaping @Sendable (borrowing HTTPRequest) -> UInt64?,
      refuse: @escaping @Sendable (borrowing HTTPRequest, inout HTTPResponseWriter) -> Void,
      finish: @escaping @Sendable (inout HTTPResponseWriter) -> Void
    ) {
      self.path = path
      self.begin = begin
      self.respond = refuse
      self.finish = finish
    }
  }

  /// Scrapers and health checks are few.
  public static let maximumConnections = 256
  /// The first room for an answer whose client has gone.
  private static let unreadBytes = 4096
  /// How long `shutdown` waits for replies in flight.
  private static let drainNanoseconds: UInt64 = 1_000_000_000

  /// Where it listens; port 0 has become the port the kernel chose.
  public let addresses: [SocketAddress]
  private let mailbox: EventLoopMailbox
  private let isStopping = Flag()
  private let thread: Mutex<NamedThread?>

  /// Set by `shutdown`, looked at by the admin thread.
  private final class Flag: Sendable {
    let value = Atomic<Bool>(false)
  }

  /// Listens and starts the thread. `metricPrefix` as for HTTPServerMetrics; `probe` runs on the admin thread and must
  /// not block.
  public convenience init(
    address: SocketAddress, registry: MetricRegistry, metricPrefix: String, routes: [Route] = [],
    probe: @escaping @Sendable () -> Health
  ) throws(SystemError) {
    try self.init(
      listeners: try Listener.open(address, workers: 1)[0], registry: registry, metricPrefix: metricPrefix,
      routes: routes, probe: probe)
  }

  /// The same on sockets that listen already.
  public init(
    listeners: [Listener], registry: MetricRegistry, metricPrefix: String, routes: [Route] = [],
    probe: @escaping @Sendable () -> Health
  ) throws(SystemError) {
    addresses = listeners.map(\.address)
    mailbox = try EventLoopMailbox()
    let metrics = HTTPServerMetrics(registry: registry, prefix: metricPrefix)
    let (mailbox, isStopping) = (mailbox, isStopping)
    let thread = try NamedThread(name: "admin") {
      do throws(SystemError) {
        let loop = try EventLoop(mailbox: mailbox)
        let pages = AdminPages(registry: registry, routes: routes, probe: probe)
        let server = HTTPServer(
          loop: loop, listeners: listeners, limits: HTTPLimits(maximumConnections: Self.maximumConnections),
          metrics: metrics, handler: pages)
        pages.answerLater = { [unowned server, unowned loop] ticket, delayNanoseconds, write in
          loop.schedule(afterNanoseconds: delayNanoseconds) {
            // The client may be gone; what was begun is ended all the same.
            var isWritten = false
            server.resume(ticket) { writer in
              write(&writer)
              isWritten = true
              return .answered
            }
            if isWritten { return }
            var unread = HTTPResponseWriter(capacity: Self.unreadBytes)
            write(&unread)
          }
        }
        try server.start()
        var isDraining = false
        loop.afterEachBatch {
          guard !isDraining, isStopping.value.load(ordering: .acquiring) else { return }
          isDraining = true
          server.drain(deadlineNanoseconds: Self.drainNanoseconds) { loop.stop() }
        }
        loop.run()
      } catch {
        Log.error("admin server failed", ["error": error.description])
      }
    }
    self.thread = Mutex(thread)
  }

  /// Stops accepting, finishes what is in flight and joins the thread. A second call does nothing.
  public func shutdown() {
    isStopping.value.store(true, ordering: .releasing)
    mailbox.post { _ in }
    let running = thread.withLock { thread in
      let running = thread.take()
      return running
    }
    running?.join()
  }
}

/// The pages, on the admin thread.
private final class AdminPages: HTTPHandler {
  private let registry: MetricRegistry
  private let routes: [AdminServer.Route]
  private let probe: @Sendable () -> Health
  /// Resumes a parked request after a while with what writes its response.
  var answerLater: (HTTPTicket, UInt64, @escaping @Sendable (inout HTTPResponseWriter) -> Void) -> Void = { _, _, _ in }

  init(registry: MetricRegistry, routes: [AdminServer.Route], probe: @escaping @Sendable () -> Health) {
    self.registry = registry
    self.routes = routes
    self.probe = probe
  }

  func respond(to request: borrowing HTTPRequest, writer: inout HTTPResponseWriter) -> HTTPHandling {
    let path = String(decoding: request.path, as: UTF8.self)
    switch path {
    case "/metrics":
      writer.begin(.ok, contentType: "text/plain; version=0.0.4; charset=utf-8")
      writer.append(registry.render())
    // `/health` is for people and simple supervisors: it fails when a restart would help, and shows the rest.
    case "/health", "/health/live":
      let health = probe()
      write(health, isGood: health.isLive, &writer)
    case "/health/ready":
      let health = probe()
      write(health, isGood: health.isLive && health.isReady, &writer)
    default:
      if let route = routes.first(where: { $0.path == path }) {
        if let finish = route.finish, let delayNanoseconds = route.begin?(request) {
          answerLater(request.ticket, delayNanoseconds, finish)
          return .parked
        }
        route.respond(request, &writer)
      } else {
        writer.begin(.notFound, contentType: "text/plain")
        writer.append("not found\n")
      }
    }
    return .answered
  }

  private func write(_ health: Health, isGood: Bool, _ writer: inout HTTPResponseWriter) {
    writer.begin(isGood ? .ok : .serviceUnavailable, contentType: "application/json")
    writer.append(health.json)
  }
}
