// SpoofingSocket: datagrams under a sender's name that is not his. One thread at a time.

import Glibc
import Linux
import Simulation

/// IPv4 datagrams with any sender (raw(7)); needs CAP_NET_RAW.
struct SpoofingSocket: ~Copyable {
  private let descriptor: FileDescriptor

  init() throws {
    let number = socket(AF_INET, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), Int32(IPPROTO_RAW))
    guard number >= 0 else { throw NotRun(description: "raw sockets: \(String(cString: strerror(errno)))") }
    descriptor = FileDescriptor(owning: number)
  }

  /// A UDP datagram from a port of 127.0.0.1 to another one.
  func send(from source: UInt16, to target: UInt16, _ payload: [UInt8]) throws {
    let loopback: [UInt8] = [127, 0, 0, 1]
    let number = { (value: Int) in [UInt8(value >> 8 & 255), UInt8(value & 255)] }
    // IPv4: version and length, TOS, total length, id, fragment, TTL, protocol 17, checksum (the kernel's), addresses.
    // UDP: ports, length, checksum (0: none).
    var packet: [UInt8] = [0x45, 0] + number(28 + payload.count) + [0, 0, 0, 0, 64, 17, 0, 0] + loopback + loopback
    packet += number(Int(source)) + number(Int(target)) + number(8 + payload.count) + [0, 0] + payload
    let sent = LoopbackEndpoint.v4(0).withSocketAddress { address, length in
      sendto(descriptor.number, packet, packet.count, 0, address, length)
    }
    guard sent == packet.count else { throw NotRun(description: "raw sockets: \(String(cString: strerror(errno)))") }
  }
}
