import Foundation
import Glibc
import Simulation
import Synchronization
import Testing
import Wire

@testable import Tracker

@Suite("redirects of the origin")
struct OriginRedirectTests {
  /// Answers every request on a loopback port: with a redirect to `location`, or, without one, that the passkey is valid.
  private final class Page: Sendable {
    let port: UInt16
    private let requests = Mutex<[String]>([])
    /// The heads of the requests so far.
    var seen: [String] { requests.withLock { $0 } }

    init(location: String? = nil) throws {
      let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
      var length = socklen_t(MemoryLayout<sockaddr_in>.size)
      let isListening = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(listener, $0, length) == 0 && listen(listener, 8) == 0 && getsockname(listener, $0, &length) == 0
        }
      }
      try #require(isListening)
      port = UInt16(bigEndian: address.sin_port)
      let body = "{\"valid\": true}"
      let answer =
        location.map { "HTTP/1.1 302 Found\r\nLocation: \($0)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" }
        ?? "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
      // It lives as long as the process.
      Thread.detachNewThread { [self] in
        while case let client = accept(listener, nil, nil), client >= 0 {
          var head: [UInt8] = []
          var bytes = [UInt8](repeating: 0, count: 4096)
          while !head.suffix(4).elementsEqual("\r\n\r\n".utf8) {
            let count = read(client, &bytes, bytes.count)
            guard count > 0 else { break }
            head += bytes[..<count]
          }
          requests.withLock { $0.append(String(decoding: head, as: UTF8.self).lowercased()) }
          _ = answer.withCString { send(client, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
          close(client)
        }
      }
    }
  }

  private func verdict(of page: Page) async throws -> ApprovalCache.Verdict? {
    let check = OriginCheck(
      url: "http://127.0.0.1:\(page.port)/verify", apiKeyHeader: "X-API-Key", apiKey: "s3cret", timeoutSeconds: 60)!
    let passkey = Passkey("good1")!
    let answer = Mutex<ApprovalCache.Verdict??>(nil)
    check.ask(passkey, key: KeyedHash(seed: 3).userKey(passkey), of: HostNetwork(of: .loopbackV4)) { verdict in
      answer.withLock { $0 = .some(verdict) }
    }
    return try await eventually("answered") { answer.withLock { $0 } }
  }

  @Test("a redirect to another host is followed, and the key is not sent there")
  func anotherHost() async throws {
    let other = try Page()
    let verdict = try await verdict(of: Page(location: "http://localhost:\(other.port)/verify?passkey=good1"))
    #expect(verdict == .approved && other.seen.count == 1)
    #expect(other.seen.allSatisfy { !$0.contains("s3cret") && !$0.contains("x-api-key") }, "\(other.seen)")
  }

  @Test(
    "the key is for the host it was written for",
    arguments: [
      ("http://pt.example/b", true), ("https://pt.example/b", true), ("http://PT.example:80/b", true),
      ("http://pt.example:8080/b", false), ("https://pt.example:8443/b", false), ("http://pt.example.evil/b", false),
      ("http://evil/pt.example", false), ("http://pt.example@evil/b", false),
    ])
  func hosts(target: String, hasKey: Bool) {
    #expect(OriginRedirect.mayHaveKey(URL(string: target), of: URL(string: "http://pt.example/a")) == hasKey)
    #expect(!OriginRedirect.mayHaveKey(URL(string: "http://pt.example/b"), of: URL(string: "https://pt.example/a")))
  }
}
