import Testing

@testable import HTTP
@testable import Linux
@testable import Tracker
@testable import Wire

@Suite("client address behind a proxy")
struct ClientAddressTests {
  private let rules = ClientAddress(
    header: Array("x-forwarded-for".utf8), trustedProxies: [AddressPrefix("10.0.0.0/8")!, AddressPrefix("::1")!])

  private func resolve(_ rules: ClientAddress, peer: String?, _ lines: [String]) -> String? {
    let headers = Array(lines.map { $0 + "\r\n" }.joined().utf8)
    return headers.withUnsafeBytes { headers in
      let none = UnsafeRawBufferPointer(start: nil, count: 0)
      let request = HTTPRequest(
        path: none, query: none, headerLines: headers, isHead: false,
        peer: peer.map { Endpoint(address: IPAddress($0)!, port: 1) }, ticket: HTTPTicket(rawValue: 0))
      return rules.resolve(request)?.description
    }
  }

  @Test(
    "the right-most untrusted address counts",
    arguments: [
      (["X-Forwarded-For: 203.0.113.1"], "203.0.113.1"),
      (["x-forwarded-for: 203.0.113.1, 203.0.113.2"], "203.0.113.2"),
      (["X-Forwarded-For: 203.0.113.1, 10.1.1.1,10.2.2.2"], "203.0.113.1"),
      (["X-FORWARDED-FOR: 1.1.1.1", "Host: h", "X-Forwarded-For: 203.0.113.2 , 10.0.0.3"], "203.0.113.2"),
      (["X-Forwarded-For: 10.0.0.7, 10.0.0.8"], "10.0.0.7"),
      (["X-Forwarded-For: garbage, 203.0.113.1"], "203.0.113.1"),
      (["X-Forwarded-For: 203.0.113.1:4711"], "203.0.113.1"),
      (["X-Forwarded-For: [2001:db8::1]:4711"], "2001:db8::1"),
      (["X-Forwarded-For: 2001:db8::2"], "2001:db8::2"),
      (["X-Forwarded-For: ::ffff:203.0.113.9"], "203.0.113.9"),
      (["X-Real-IP: 203.0.113.1"], "10.0.0.1"), ([], "10.0.0.1"),
    ])
  func rightMostUntrusted(lines: [String], address: String) {
    #expect(resolve(rules, peer: "10.0.0.1", lines) == address)
  }

  @Test(
    "nonsense where the address must stand leaves the client unknown",
    arguments: ["", "unknown", "203.0.113.1, unknown", "203.0.113.1, unknown, 10.0.0.1", "203.0.113.1,", "1.2.3.4.5"])
  func nonsense(value: String) {
    #expect(resolve(rules, peer: "10.0.0.1", ["X-Forwarded-For: \(value)"]) == nil)
  }

  @Test("the header of a peer that is no trusted proxy is ignored")
  func untrustedPeer() {
    #expect(resolve(rules, peer: "192.0.2.1", ["X-Forwarded-For: 203.0.113.1"]) == "192.0.2.1")
    #expect(resolve(rules, peer: "192.0.2.1", ["X-Forwarded-For: nonsense"]) == "192.0.2.1")
    let none = ClientAddress(header: Array("x-real-ip".utf8), trustedProxies: [])
    #expect(resolve(none, peer: "10.0.0.1", ["X-Real-IP: 203.0.113.1"]) == "10.0.0.1")
    let off = ClientAddress(header: nil, trustedProxies: [AddressPrefix("10.0.0.0/8")!])
    #expect(resolve(off, peer: "10.0.0.1", ["X-Forwarded-For: 203.0.113.1"]) == "10.0.0.1")
  }

  @Test("a unix socket's peer is trusted, and unknown without the header")
  func unixSocket() {
    #expect(resolve(rules, peer: nil, ["X-Forwarded-For: 203.0.113.1"]) == "203.0.113.1")
    #expect(resolve(rules, peer: nil, []) == nil)
  }
}
