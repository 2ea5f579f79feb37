// AdminServer: /metrics and /health of both daemons, on its own thread "admin" with its own loop.

/// Serves `/metrics`, `/health`, `/health/live`, `/health/ready` and the routes its owner adds.
public final class AdminServer: Sendable {
  /// An extra GET route: an exact path and what writes the response, on the admin thread.
  public struct Route: Sendable {
    public let path: String
    public let respond: @Sendable (borrowing HTTPRequest, inout HTTPResponseWriter) -> Void
    public init(
      path: String, respond: @escaping @Sendable (borrowing HTTPRequest, inout HTTPResponseWriter) -> Void
    ) {
      self.path = path
      self.respond = respond
    }
  }

  /// Where it listens; port 0 has become the port the kernel chose.
  public let addresses: [SocketAddress]

  /// Listens and starts the thread. `metricPrefix` as for HTTPServerMetrics; `probe` runs on the admin thread and must
  /// not block.
  public init(
    address: SocketAddress, registry: MetricRegistry, metricPrefix: String, routes: [Route] = [],
    probe: @escaping @Sendable () -> Health
  ) throws(SystemError) {
    addresses = []
  }

  /// Stops accepting, finishes what is in flight and joins the thread. Call it once.
  public func shutdown() {}
}
