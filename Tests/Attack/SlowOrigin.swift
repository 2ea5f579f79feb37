// SlowOrigin: a site's origin check that takes its time: HTTP on loopback, a thread for each connection.

import Foundation
import Glibc
import Linux
import Simulation
import Synchronization

final class SlowOrigin: Sendable {
  /// How the passkeys that it approves begin.
  static let valid = "newc0mer"
  private let thread: AttackThread

  init(port: UInt16, milliseconds: UInt32) throws {
    let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var yes: Int32 = 1
    setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
    let bound = LoopbackEndpoint.v4(port).withSocketAddress { bind(number, $0, $1) }
    guard bound == 0, listen(number, 512) == 0 else { throw HarnessError("the origin cannot listen") }
    thread = AttackThread("origin") { _ in
      let client = accept(number, nil, nil)
      guard client >= 0 else { return }
      Thread.detachNewThread { Self.serve(FileDescriptor(owning: client), milliseconds) }
    }
  }

  /// One request after the other, until the client goes.
  private static func serve(_ client: consuming FileDescriptor, _ milliseconds: UInt32) {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(client.number, &buffer, buffer.count, 0)
      guard count > 0 else { return }
      usleep(milliseconds * 1000)
      let isValid = String(decoding: buffer[..<count], as: UTF8.self).contains("passkey=\(valid)")
      let body = #"{"valid": \#(isValid)}"#
      let reply =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
      _ = send(client.number, reply, reply.utf8.count, Int32(MSG_NOSIGNAL))
    }
  }
}
