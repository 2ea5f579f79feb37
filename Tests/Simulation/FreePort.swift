// FreePort: loopback ports for the servers of a test, given once, also when several test processes run at the same time.
// Any thread; a lock guards the current block.

import CLinux
import Glibc
import Synchronization
import Wire

/// Ports without a listener. A server that is restarted finds its port still free, even though nothing held it meanwhile:
/// ports come in blocks, and a process holds the first port of each of its blocks open until it ends.
public enum FreePort {
  /// Below the range of outgoing connections (ip(7), ip_local_port_range: 32768), above what services use.
  private static let range: Range<UInt16> = 10_000..<32_000
  private static let blockPorts: UInt16 = 50
  private static let blocks = Int((range.upperBound - range.lowerBound) / blockPorts)

  private struct State {
    var next: UInt16 = 0
    var end: UInt16 = 0
  }
  private static let state = Mutex(State())

  /// A port that is free for TCP and UDP on all addresses, and that no other caller is given while this process lives.
  public static func take() throws(HarnessError) -> UInt16 {
    try state.withLock { (state) throws(HarnessError) in
      while true {
        while state.next < state.end {
          let port = state.next
          state.next += 1
          if isFree(port) { return port }
        }
        let first = try holdBlock()
        state = State(next: first + 1, end: first + blockPorts)
      }
    }
  }

  /// Binds the first port of a block that no process holds, for good: the descriptor is closed by the end of the process.
  private static func holdBlock() throws(HarnessError) -> UInt16 {
    for _ in 0..<4 * blocks {
      let port = range.lowerBound + UInt16.random(in: 0..<UInt16(blocks)) * blockPorts
      let holder = socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      guard holder >= 0 else { throw HarnessError("socket: \(String(cString: strerror(errno)))") }
      if LoopbackEndpoint.v4(port).withSocketAddress({ bind(holder, $0, $1) }) == 0 { return port }
      close(holder)
    }
    throw HarnessError("no block of loopback ports is free")
  }

  private static func isFree(_ port: UInt16) -> Bool {
    let places = [IPAddress("0.0.0.0")!, IPAddress("::")!].map { LoopbackEndpoint($0, port: port) }
    return places.allSatisfy { isFree($0, SOCK_STREAM) && isFree($0, SOCK_DGRAM) }
  }

  private static func isFree(_ endpoint: LoopbackEndpoint, _ kind: __socket_type) -> Bool {
    // A child that another thread starts just now must not keep the port.
    let type = Int32(kind.rawValue | SOCK_CLOEXEC.rawValue)
    let number = socket(endpoint.address.family == .v4 ? AF_INET : AF_INET6, type, 0)
    // A machine without IPv6 has no IPv6 port to be taken.
    guard number >= 0 else { return true }
    defer { close(number) }
    return endpoint.withSocketAddress { address, length in
      bind(number, address, length) == 0 || errno == EADDRNOTAVAIL
    }
  }
}
