import HTTP
import Linux
import Synchronization
import Testing

@Suite("admin server")
struct AdminServerTests {
  private final class Probe: Sendable {
    let health = Mutex(Health(isLive: true, isReady: true))
    func set(_ new: Health) { health.withLock { $0 = new } }
  }

  private func get(_ admin: AdminServer, _ path: String) throws -> TestResponse {
    var client = try TestConnection(admin.addresses[0])
    try client.get(path)
    return try client.response()
  }

  @Test("metrics are shown in the exposition format")
  func metrics() throws {
    let registry = MetricRegistry()
    registry.counter("some_total", help: "Some.").add(7)
    let admin = try AdminServer(
      address: .host(.loopbackV4, port: 0), registry: registry, metricPrefix: "test_admin",
      routes: [
        AdminServer.Route(path: "/extra") { _, writer in
          writer.begin(.ok, contentType: "text/plain")
          writer.append("more")
        }
      ], probe: { Health(isLive: true, isReady: true) })
    defer { admin.shutdown() }
    let page = try get(admin, "/metrics")
    #expect(page.status == 200 && page.has("Content-Type: text/plain; version=0.0.4; charset=utf-8"))
    #expect(page.text.contains("\nsome_total 7\n"))
    #expect(try get(admin, "/extra").text == "more")
    #expect(try get(admin, "/nothing").status == 404)
    #expect(try get(admin, "/metrics/").status == 404)
  }

  @Test("not ready is 503 on /health/ready only; not live is 503 everywhere")
  func health() throws {
    let probe = Probe()
    let admin = try AdminServer(
      address: .host(.loopbackV4, port: 0), registry: MetricRegistry(), metricPrefix: "test_admin",
      probe: { probe.health.withLock { $0 } })
    defer { admin.shutdown() }
    let paths = ["/health", "/health/live", "/health/ready"]
    #expect(try paths.map { try get(admin, $0).status } == [200, 200, 200])
    probe.set(
      Health(isLive: true, isReady: false, checks: [.init(name: "redis", isOK: false, detail: "said \"no\"")]))
    #expect(try paths.map { try get(admin, $0).status } == [200, 200, 503])
    let body = try get(admin, "/health/ready")
    #expect(body.has("Content-Type: application/json"))
    #expect(
      body.text == #"{"live":true,"ready":false,"checks":[{"name":"redis","ok":false,"detail":"said \"no\""}]}"# + "\n")
    probe.set(Health(isLive: false, isReady: true))
    #expect(try paths.map { try get(admin, $0).status } == [503, 503, 503])
  }

  @Test("after shutdown the port is closed, and the thread has ended")
  func shutdown() throws {
    let admin = try AdminServer(
      address: .host(.loopbackV4, port: 0), registry: MetricRegistry(), metricPrefix: "test_admin",
      probe: { Health(isLive: true, isReady: true) })
    var idle = try TestConnection(admin.addresses[0])
    try idle.get("/health")
    _ = try idle.response()
    admin.shutdown()
    #expect(try idle.rest().isEmpty)
    #expect(throws: SystemError.self) { _ = try TestConnection(admin.addresses[0]) }
    admin.shutdown()
  }
}
