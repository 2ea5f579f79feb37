// AttackSocket: sockets of an attacker: at an address of his own (all of 127.0.0.0/8 is this machine), never waiting, ended as
// rudely as he likes. One thread at a time.

import Glibc
import Linux
import Simulation
import Wire

struct AttackSocket: ~Copyable {
  private let descriptor: FileDescriptor

  /// Connects from `source`; nil when it is refused.
  init?(from source: String, to endpoint: LoopbackEndpoint, udp: Bool) {
    let kind = udp ? SOCK_DGRAM : SOCK_STREAM
    let number = socket(AF_INET, Int32(kind.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { return nil }
    let owned = FileDescriptor(owning: number)
    let bound = LoopbackEndpoint(IPAddress(source)!, port: 0).withSocketAddress { bind(number, $0, $1) }
    guard bound == 0, endpoint.withSocketAddress({ connect(number, $0, $1) }) == 0 else { return nil }
    descriptor = owned
  }

  /// Whether the kernel took them.
  @discardableResult
  func send(_ bytes: [UInt8]) -> Bool {
    Glibc.send(descriptor.number, bytes, bytes.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT)) == bytes.count
  }

  /// What has come within the time.
  func receive(withinMilliseconds: Int32 = 1000) -> [UInt8]? {
    var wanted = pollfd(fd: descriptor.number, events: Int16(POLLIN), revents: 0)
    guard poll(&wanted, 1, withinMilliseconds) == 1 else { return nil }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = recv(descriptor.number, &buffer, buffer.count, 0)
    return count > 0 ? Array(buffer[..<count]) : nil
  }

  /// The connection id of a UDP tracker (BEP 15).
  func connectionID() -> [UInt8]? {
    for _ in 0..<5 {
      send([0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4])
      if let reply = receive(), reply.count == 16 { return Array(reply[8...]) }
    }
    return nil
  }

  /// Ends the connection with a reset (socket(7), SO_LINGER).
  consuming func reset() {
    var rude = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor.number, SOL_SOCKET, SO_LINGER, &rude, socklen_t(MemoryLayout<linger>.size))
  }
}
