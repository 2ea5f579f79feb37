// EchoServer: the limit of the machine: a server that makes the system calls of a tracker and does nothing else. It answers
// every announce with the same reply of 50 peers. `LoadGenerator echo-udp|echo-http PORT`; on the main thread, until killed.

import CLinux
import Glibc

/// One server.
struct EchoServer: ~Copyable {
  private static let peerCount = 50
  private static let batch = 64

  private let listener: Int32

  init(type: __socket_type, port: UInt16) throws(LoadError) {
    listener = socket(AF_INET, Int32(type.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard listener >= 0 else { throw LoadError(call: "socket") }
    Target.set(listener, SOL_SOCKET, SO_REUSEADDR, 1)
    Target.set(listener, SOL_SOCKET, SO_RCVBUF, 4 << 20)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let bound = withUnsafeBytes(of: &address) {
      bind(listener, $0.bindMemory(to: sockaddr.self).baseAddress, socklen_t($0.count))
    }
    guard bound == 0 else { throw LoadError(call: "bind") }
    if type == SOCK_STREAM { guard listen(listener, 4096) == 0 else { throw LoadError(call: "listen") } }
  }

  deinit { close(listener) }

  // MARK: UDP

  /// recvmmsg, sendmmsg, and epoll when there is nothing.
  func serveUDP() -> Never {
    let epoll = epoll_create1(0)
    clinux_epoll_ctl(epoll, EPOLL_CTL_ADD, listener, EPOLLIN.rawValue, 0)
    let requestBytes = 1500
    let replyBytes = 20 + 6 * Self.peerCount
    let requests = UnsafeMutableRawPointer.allocate(byteCount: Self.batch * requestBytes, alignment: 64)
    let replies = UnsafeMutableRawPointer.allocate(byteCount: Self.batch * replyBytes, alignment: 64)
    replies.initializeMemory(as: UInt8.self, repeating: 1, count: Self.batch * replyBytes)
    let senders = UnsafeMutablePointer<sockaddr_in>.allocate(capacity: Self.batch)
    let slices = UnsafeMutablePointer<iovec>.allocate(capacity: 2 * Self.batch)
    let messages = UnsafeMutablePointer<clinux_mmsghdr>.allocate(capacity: 2 * Self.batch)
    senders.initialize(repeating: sockaddr_in(), count: Self.batch)
    messages.initialize(repeating: clinux_mmsghdr(), count: 2 * Self.batch)
    for index in 0..<Self.batch {
      slices[index] = iovec(iov_base: requests + index * requestBytes, iov_len: requestBytes)
      slices[Self.batch + index] = iovec(iov_base: replies + index * replyBytes, iov_len: replyBytes)
    }
    for index in 0..<2 * Self.batch {
      messages[index].msg_hdr.msg_iov = slices + index
      messages[index].msg_hdr.msg_iovlen = 1
      messages[index].msg_hdr.msg_name = UnsafeMutableRawPointer(senders + index % Self.batch)
      messages[index].msg_hdr.msg_namelen = socklen_t(MemoryLayout<sockaddr_in>.size)
    }
    var event = epoll_event()
    while true {
      let count = Int(clinux_recvmmsg(listener, messages, UInt32(Self.batch), 0))
      if count <= 0 {
        epoll_wait(epoll, &event, 1, -1)
        continue
      }
      for index in 0..<count {
        let request = requests + index * requestBytes
        let reply = replies + index * replyBytes
        let isConnect = messages[index].msg_len == 16
        AnnounceDatagram.put(UInt32(isConnect ? 0 : 1), reply, 0)
        (reply + 4).copyMemory(from: request + 12, byteCount: 4)
        slices[Self.batch + index].iov_len = isConnect ? 16 : replyBytes
      }
      var sent = 0
      while sent < count {
        sent += max(1, Int(clinux_sendmmsg(listener, messages + Self.batch + sent, UInt32(count - sent), 0)))
      }
    }
  }

  // MARK: HTTP

  /// epoll, accept4, recv, send, and close where the client says so. A request is taken to come in one piece, alone.
  func serveHTTP() -> Never {
    let epoll = epoll_create1(0)
    clinux_epoll_ctl(epoll, EPOLL_CTL_ADD, listener, EPOLLIN.rawValue, UInt64(listener))
    let body = "d8:completei1e10:incompletei1e8:intervali1800e5:peers\(6 * Self.peerCount):"
    let text =
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: \(body.utf8.count + 6 * Self.peerCount + 1)\r\n\r\n"
    let reply = Array((text + body).utf8) + [UInt8](repeating: 1, count: 6 * Self.peerCount) + [UInt8(ascii: "e")]
    reply.withUnsafeBytes { reply in
      withUnsafeTemporaryAllocation(byteCount: 8192, alignment: 64) { request in
        withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: Self.batch) { events in
          while true {
            let count = Int(epoll_wait(epoll, events.baseAddress, Int32(Self.batch), -1))
            for index in 0..<max(0, count) {
              let descriptor = Int32(truncatingIfNeeded: clinux_epoll_data(events.baseAddress! + index))
              if descriptor == listener { accept(into: epoll) } else { answer(descriptor, reply, request) }
            }
          }
        }
      }
    }
    exit(0)
  }

  private func accept(into epoll: Int32) {
    while true {
      let descriptor = clinux_accept(listener, nil, nil)
      if descriptor < 0 { return }
      clinux_epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, EPOLLIN.rawValue, UInt64(descriptor))
    }
  }

  private func answer(_ descriptor: Int32, _ reply: UnsafeRawBufferPointer, _ request: UnsafeMutableRawBufferPointer) {
    let length = recv(descriptor, request.baseAddress, request.count, 0)
    // The generator's last header: "Connection: close" or "Connection: keep-alive", then an empty line.
    let isKept = length > 12 && request[length - 5] == UInt8(ascii: "e") && request[length - 10] == UInt8(ascii: "-")
    if length > 0 { send(descriptor, reply.baseAddress, reply.count, Int32(MSG_NOSIGNAL)) }
    if length <= 0 || !isKept { close(descriptor) }
  }
}
