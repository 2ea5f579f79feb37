// ClientAddress: whose address a request that came through a reverse proxy counts for. Pure; called by HTTPFrontend on a
// worker's thread.

import HTTP
import Wire

/// The rules of `real_ip_header` and `trusted_proxies`.
struct ClientAddress: Sendable {
  /// The header's name in lower case; nil when the connection's address always counts.
  let header: [UInt8]?
  let trustedProxies: [AddressPrefix]

  /// The client's address; nil when it is unknown: a unix socket without header, or a header that is none.
  ///
  /// A header such as X-Forwarded-For grows to the right, so the right-most address that is no trusted proxy is the
  /// last one that a trusted proxy has seen; everything left of it is what the client says. When all are trusted,
  /// the left-most is the client. A trusted proxy that sends no header speaks for itself (health checks).
  func resolve(_ request: borrowing HTTPRequest) -> IPAddress? {
    guard let header else { return request.peer?.address }
    if let peer = request.peer, !isTrusted(peer.address) { return peer.address }
    var walk = ForwardedWalk(client: request.peer?.address)
    header.withUnsafeBytes { name in
      request.forEachValue(ofHeader: name) { value in walk.add(value, isTrusted: isTrusted) }
    }
    return walk.isBroken ? nil : walk.client
  }

  private func isTrusted(_ address: IPAddress) -> Bool {
    for prefix in trustedProxies where prefix.contains(address) { return true }
    return false
  }
}

/// Goes through the addresses from left to right, remembering what a walk from the right would have found: the first one
/// that is not trusted, else the left-most.
private struct ForwardedWalk {
  private(set) var client: IPAddress?
  private var isFirst = true
  /// What is no address stands right of the one that would count: who the client is cannot be known.
  private(set) var isBroken = false

  init(client: IPAddress?) { self.client = client }

  mutating func add(_ value: UnsafeRawBufferPointer, isTrusted: (IPAddress) -> Bool) {
    var start = 0
    while start <= value.count {
      var end = start
      while end < value.count && value[end] != UInt8(ascii: ",") { end += 1 }
      take(UnsafeRawBufferPointer(rebasing: value[start..<end]), isTrusted)
      start = end + 1
    }
  }

  private mutating func take(_ text: UnsafeRawBufferPointer, _ isTrusted: (IPAddress) -> Bool) {
    guard let address = HostText.address(text) else {
      isBroken = true
      return
    }
    if !isTrusted(address) {
      client = address
      isBroken = false
    } else if isFirst {
      client = address
    }
    isFirst = false
  }
}
