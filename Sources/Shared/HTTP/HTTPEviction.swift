// HTTPEviction: who goes when a new connection finds a limit reached: of those that wait for their clients the ones that
// have waited longest, unfinished requests before idle connections. On the server's loop's thread; nothing is kept in
// order for it, so that a request costs nothing more: when it comes to that, the table is looked through once for many.

import Linux
import Wire

/// When evictions were logged and when they were in vain, by the limit: the table's, and an address'.
struct HTTPEviction {
  /// The part of a limit that goes at once: looking through 20,000 connections takes a few milliseconds, for the 1,250
  /// that come next.
  static let part = 16
  /// Where nobody could go, it is not tried again for so long: new connections are closed meanwhile.
  static let pauseNanoseconds: UInt64 = 10_000_000

  /// What is kept for each limit.
  struct Limit {
    var pausedUntil: UInt64 = 0
    var log = RareLog(pauseNanoseconds: HTTPServer.logPauseNanoseconds)
  }
  var all = Limit()
  var address = Limit()
}

extension HTTPConnection {
  /// What orders those that may go, the first one first; nil for those that may not: their replies are being made.
  fileprivate var rank: (isIdle: Int, deadline: UInt64)? {
    switch phase {
    case .free, .parked: nil
    // The next move is the client's, and overdue in seconds.
    case .reading, .writing, .lingering: (0, deadline)
    case .idle: (1, deadline)
    }
  }
}

extension HTTPServer {
  /// Whether one more connection may be, if need be in place of others; `network`: what it counts for.
  func hasRoom(for network: HostNetwork?) -> Bool {
    if let network, connections.count(of: network) >= limits.maximumPerAddress {
      let evicted = evict(from: limits.maximumPerAddress, of: network, &eviction.address)
      metrics.evictedForAddress.addFromOwner(UInt64(evicted))
      if evicted == 0 { return false }
    }
    if connections.count >= limits.maximumConnections {
      let evicted = evict(from: limits.maximumConnections, of: nil, &eviction.all)
      metrics.evictedForTable.addFromOwner(UInt64(evicted))
      if evicted == 0 { return false }
    }
    return true
  }

  /// Closes a part of the connections, all or those of one network, and says how many.
  private func evict(from limit: Int, of network: HostNetwork?, _ state: inout HTTPEviction.Limit) -> Int {
    let now = loop.nowNanoseconds
    // The end of the server is awaited: it closes what is open by itself.
    guard drained == nil, now >= state.pausedUntil else { return 0 }
    var waiting: [(isIdle: Int, deadline: UInt64, index: UInt32)] = []
    for index in 0..<UInt32(connections.usedSlots) {
      guard let rank = connections[index].pointee.rank else { continue }
      if let network, connections[index].pointee.peer.map({ HostNetwork(of: $0.address) }) != network { continue }
      waiting.append((rank.isIdle, rank.deadline, index))
    }
    waiting.sort { ($0.isIdle, $0.deadline) < ($1.isIdle, $1.deadline) }
    let leaving = waiting.prefix(max(1, limit / HTTPEviction.part))
    for connection in leaving { close(connection.index) }
    if leaving.isEmpty { state.pausedUntil = now &+ HTTPEviction.pauseNanoseconds }
    logLimit(limit, of: network, evicted: leaving.count, &state)
    return leaving.count
  }

  private func logLimit(_ limit: Int, of network: HostNetwork?, evicted: Int, _ state: inout HTTPEviction.Limit) {
    guard let suppressed = state.log.next(now: loop.nowNanoseconds) else { return }
    if let network {
      Log.warning(
        "HTTP connection limit of an address reached",
        ["address": "\(network)", "limit": limit, "evicted": evicted, "suppressed": suppressed])
    } else {
      Log.warning(
        "HTTP connection limit reached", ["limit": limit, "evicted": evicted, "suppressed": suppressed])
    }
  }
}
