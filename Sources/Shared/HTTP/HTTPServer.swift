// HTTPServer: HTTP/1.1 on one event loop: accepts, reads, parses, has its handler answer, writes. All on the loop's
// thread.

/// Serves listeners on a loop. The loop holds it until `drain` has finished.
public final class HTTPServer {
  private let loop: EventLoop
  private let listeners: [Listener]
  private let limits: HTTPLimits
  private let metrics: HTTPServerMetrics
  private let handler: any HTTPHandler

  /// Prepares a server; `start` begins to accept.
  public init(
    loop: EventLoop, listeners: [Listener], limits: HTTPLimits, metrics: HTTPServerMetrics, handler: any HTTPHandler
  ) {
    self.loop = loop
    self.listeners = listeners
    self.limits = limits
    self.metrics = metrics
    self.handler = handler
  }

  /// Begins to accept connections.
  public func start() throws(SystemError) {}

  /// Answers a parked request: `body` begins the response and appends to it, before this returns. Nothing happens when
  /// the connection is gone or the ticket was used before (returns false).
  @discardableResult
  public func resume(_ ticket: HTTPTicket, _ body: (inout HTTPResponseWriter) -> Void) -> Bool { false }

  /// Stops accepting, closes idle connections, answers what is in flight with `Connection: close`, closes by force
  /// what is left after `deadlineNanoseconds`, then calls `done` once.
  public func drain(deadlineNanoseconds: UInt64, done: @escaping () -> Void) { done() }
}
