// A real nginx in front of the tracker: on the configuration that ships, and on chains of proxies. docs/install.md names
// both.

import Foundation
import Redis
import Simulation
import Testing
import Wire

@Suite("Behind a real nginx", .enabled(if: TestNetwork.isThere, "\(TestNetwork.reason)"))
struct ProxyTests {
  private static let passkey = "00112233445566778899aabbccddeeff"

  /// A site whose tracker listens on a unix socket, with an nginx in front.
  private final class Proxied {
    let site: Site
    let nginx: ChildProcess
    private var requests: UInt32 = 0

    /// `configure` writes what stands in nginx' `http` block, given the directory of the test.
    init(http: [String], directory: TemporaryDirectory, nginxHTTP: String) async throws {
      var settings = SiteSettings()
      settings.httpAddress = "unix:\(directory.path)/http.sock"
      settings.http = http
      site = try Site(settings, in: directory)
      try await site.redis.start()
      try site.approve([ProxyTests.passkey])
      try await site.startTracker()
      // One process: its end is the end of all of it.
      let config = try directory.write(
        """
        master_process off;
        pid \(directory.path)/nginx.pid;
        events { }
        http {
          client_body_temp_path \(directory.path)/body;
          proxy_temp_path \(directory.path)/proxy;
          fastcgi_temp_path \(directory.path)/fastcgi;
          scgi_temp_path \(directory.path)/scgi;
          uwsgi_temp_path \(directory.path)/uwsgi;
          access_log off;
          \(nginxHTTP)
        }

        """, as: "nginx.conf")
      nginx = try ChildProcess(
        ["nginx", "-p", directory.path, "-e", "\(directory.path)/nginx-errors.log", "-c", config, "-g", "daemon off;"],
        name: "nginx", logPath: "\(directory.path)/nginx.log")
    }

    /// Announces `count` times on one connection from a client's address; the last reply.
    func announce(from host: String, at base: String, headers: [String] = [], count: Int = 1) async throws -> Bencode {
      requests += 1
      let announcement = Announcement(
        passkey: ProxyTests.passkey, infoHash: InfoHash(words: (1, 2, requests)),
        peerID: PeerID(words: (4, 5, requests)),
        port: 1000, left: 0, event: .started)
      let body = "\(site.directory.path)/body-\(requests)"
      let target = HTTPAnnounceClient.target(announcement, route: .path)
      let output = (0..<count).flatMap { _ in ["-o", body, base + target] }
      let result = try await eventually("nginx answers", evidence: self.nginx.log + self.site.logs) {
        let result = try await CommandResult.run(
          ["curl", "-sS", "-f", "-k", "--fail-early", "--noproxy", "*", "--interface", host, "-w", "%{num_connects} "]
            + headers.flatMap { ["-H", $0] } + output)
        // 7: connection refused, it does not listen yet.
        return result.exit == .code(7) ? nil : result
      }
      guard result.exit == .code(0) else { throw HarnessError("curl: \(result.exit)\n\(result.errors)\n\(site.logs)") }
      #expect(result.output.split(separator: " ") == (0..<count).map { $0 == 0 ? "1" : "0" }, "one connection")
      return try Bencode.decode(Array(Data(contentsOf: URL(fileURLWithPath: body))))
    }

    /// The addresses in the stream, oldest first.
    func credited() throws -> [String] {
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
      let reply = try connection.command(["XRANGE", "tracker:traffic", "-", "+"])
      return try (0..<reply.count).map { index in
        let fields = reply.view[index][1]
        return try TrafficEvent.decode((0..<fields.count).map { fields[$0].string ?? "" }).address.description
      }
    }
  }

  private func bytes(_ address: String) -> [UInt8] {
    let address = IPAddress(address)!
    return [UInt8](unsafeUninitializedCapacity: address.byteCount) { buffer, count in
      address.store(to: UnsafeMutableRawPointer(buffer.baseAddress!))
      count = address.byteCount
    }
  }

  @Test("the configuration that ships: HTTPS, HTTP/2 and a unix socket, and the client's address is his own")
  func shipped() async throws {
    let directory = try TemporaryDirectory()
    let port = try FreePort.take()
    let made = try await CommandResult.run([
      "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tracker.example.com",
      "-keyout", "\(directory.path)/privkey.pem", "-out", "\(directory.path)/fullchain.pem",
    ])
    #expect(made.exit == .code(0), "\(made.errors)")
    let http = TemporaryDirectory.read(Repository.path("dist/nginx/tracker.conf"))
      .replacing("/etc/ssl/tracker", with: directory.path).replacing("/var/log/nginx", with: directory.path)
      .replacing("/run/pt-tracker/http.sock", with: "\(directory.path)/http.sock")
      .replacing("/etc/nginx/proxy_params_tracker", with: Repository.path("dist/nginx/proxy_params_tracker"))
      .replacing("443 ssl", with: "\(port) ssl")
    let proxied = try await Proxied(http: ["real_ip_header: \"x-real-ip\""], directory: directory, nginxHTTP: http)
    let forged = ["X-Real-IP: 6.6.6.6", "X-Forwarded-For: 6.6.6.6"]
    let v4 = TestHost.aria2.address(.v4)
    let v6 = TestHost.aria2.address(.v6)
    let first = try await proxied.announce(
      from: v4, at: "https://\(TestHost.tracker.address(.v4)):\(port)", headers: forged, count: 3)
    #expect(first["external ip"]?.bytes == bytes(v4))
    let second = try await proxied.announce(
      from: v6, at: "https://[\(TestHost.tracker.address(.v6))]:\(port)", headers: forged)
    #expect(second["external ip"]?.bytes == bytes(v6))
    // What it does not serve, and what is in its log.
    let other = try await CommandResult.run([
      "curl", "-sS", "-k", "--http2", "-o", "/dev/null", "-w", "%{http_code} %{http_version}",
      "https://\(TestHost.tracker.address(.v4)):\(port)/metrics",
    ])
    #expect(other.output == "404 2")
    let log = TemporaryDirectory.read("\(directory.path)/tracker.log")
    #expect(log.split(separator: "\n").count == 5 && !log.contains(Self.passkey), "\(log)")
    try await eventually("the stream has them") { try proxied.credited().count == 4 }
    #expect(try Set(proxied.credited()) == [v4, v6])
  }

  @Test("X-Forwarded-For grown by nginx: what the client claims does not count, whether one proxy or two add to it")
  func forwardedFor() async throws {
    let directory = try TemporaryDirectory()
    let host = TestHost.tracker.address(.v4)
    let inner = try FreePort.take()
    let outer = try FreePort.take()
    let pass = "proxy_http_version 1.1; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    let proxied = try await Proxied(
      http: ["real_ip_header: \"X-Forwarded-For\"", "trusted_proxies: [ \"\(host)\" ]"], directory: directory,
      nginxHTTP: """
        upstream tracker { server unix:\(directory.path)/http.sock; keepalive 4; }
        server {
          listen \(host):\(inner);
          location / { \(pass) proxy_set_header Connection ""; proxy_pass http://tracker; }
        }
        server { listen \(host):\(outer); location / { \(pass) proxy_pass http://\(host):\(inner); } }
        """)
    let client = TestHost.qBittorrent.address(.v4)
    for port in [inner, outer] {
      for headers in [[], ["X-Forwarded-For: 6.6.6.6"], ["X-Forwarded-For: nonsense, \(host)"]] {
        let reply = try await proxied.announce(from: client, at: "http://\(host):\(port)", headers: headers, count: 2)
        #expect(reply["external ip"]?.bytes == bytes(client), "port \(port), \(headers)")
      }
    }
    try await eventually("the stream has them") { try proxied.credited().count == 12 }
    #expect(try Set(proxied.credited()) == [client])
  }
}
