// RedisSocket: one connected, non-blocking socket with deadlines. Blocks its caller up to the deadline, never longer, and
// never raises SIGPIPE (MSG_NOSIGNAL). Belongs to a RedisConnection.
//
// hiredis' own sockets are not used: its 0.14 closes the descriptor of a failed connect twice, its write(2) raises
// SIGPIPE, and its timeouts begin anew with every byte that arrives.

import CLinux
import Glibc
import Linux

struct RedisSocket: ~Copyable {
  let descriptor: FileDescriptor
  /// What stands in for the descriptor in a simulation.
  private let wire: RedisWire?

  /// Connects within `milliseconds`, trying each address of the name in turn.
  init(address: RedisAddress, milliseconds: Int) throws(RedisError) {
    let deadline = Deadline(milliseconds: milliseconds)
    switch address {
    case .unix(let path):
      descriptor = try Self.connectUnix(path, deadline)
      wire = nil
    case .tcp(let host, let port):
      descriptor = try Self.connectTCP(host, port, deadline)
      wire = nil
    case .simulated(let dialer):
      wire = try dialer.dial(milliseconds: milliseconds)
      descriptor = FileDescriptor(owning: -1)
    }
  }

  /// Sends everything or throws.
  borrowing func send(_ bytes: UnsafeRawBufferPointer, milliseconds: Int) throws(RedisError) {
    if let wire { return try wire.send(bytes, milliseconds: milliseconds) }
    let deadline = Deadline(milliseconds: milliseconds)
    var sent = 0
    while sent < bytes.count {
      let count = retryingInterrupts {
        Glibc.send(descriptor.number, bytes.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      if count >= 0 {
        sent += count
      } else if errno == EAGAIN || errno == EWOULDBLOCK {
        guard try Self.wait(descriptor.number, POLLOUT, deadline) else { throw .timedOut(.write) }
      } else {
        throw .closed(SystemError("send").description)
      }
    }
  }

  /// Waits for bytes and returns how many were read, at least one; throws at the deadline and at the end of the stream.
  borrowing func receive(into buffer: UnsafeMutableRawBufferPointer, by deadline: Deadline) throws(RedisError) -> Int {
    if let wire {
      guard let count = try wire.receive(into: buffer, isWaiting: true) else { throw .timedOut(.read) }
      return count
    }
    while true {
      if let count = try receiveAvailable(into: buffer) { return count }
      guard try Self.wait(descriptor.number, POLLIN, deadline) else { throw .timedOut(.read) }
    }
  }

  /// Whether something arrives, or the stream ends, within the time. A simulation does not wait.
  borrowing func isReadable(withinMilliseconds milliseconds: Int) -> Bool {
    if wire != nil { return true }
    return (try? Self.wait(descriptor.number, POLLIN, Deadline(milliseconds: milliseconds))) ?? true
  }

  /// What has arrived already; nil when nothing has.
  borrowing func receiveAvailable(into buffer: UnsafeMutableRawBufferPointer) throws(RedisError) -> Int? {
    if let wire { return try wire.receive(into: buffer, isWaiting: false) }
    let count = retryingInterrupts { recv(descriptor.number, buffer.baseAddress, buffer.count, 0) }
    if count > 0 { return count }
    if count == 0 { throw .closed("by the server") }
    guard errno == EAGAIN || errno == EWOULDBLOCK else { throw .closed(SystemError("recv").description) }
    return nil
  }

  /// A moment on the monotonic clock.
  struct Deadline {
    private let nanoseconds: UInt64

    init(milliseconds: Int) {
      nanoseconds = Clock.monotonicNanoseconds() &+ UInt64(max(0, milliseconds)) &* 1_000_000
    }

    /// This moment, or `milliseconds` from now if that is earlier.
    func orIn(milliseconds: Int) -> Deadline {
      let soon = Deadline(milliseconds: milliseconds)
      return soon.nanoseconds < nanoseconds ? soon : self
    }

    /// For poll(2): rounded up, so that the last wait does not end early.
    var remainingMilliseconds: Int32 {
      let now = Clock.monotonicNanoseconds()
      return now >= nanoseconds ? 0 : Int32(min((nanoseconds - now + 999_999) / 1_000_000, UInt64(Int32.max)))
    }
  }

  /// Whether the descriptor became ready (or failed: the next call on it says how) before the deadline.
  private static func wait(_ number: Int32, _ events: Int32, _ deadline: Deadline) throws(RedisError) -> Bool {
    var poll = pollfd(fd: number, events: Int16(events), revents: 0)
    while true {
      let count = Glibc.poll(&poll, 1, deadline.remainingMilliseconds)
      if count > 0 { return true }
      if count == 0 { return false }
      guard errno == EINTR else { throw .closed(SystemError("poll").description) }
    }
  }

  private static func connectUnix(_ path: String, _ deadline: Deadline) throws(RedisError) -> FileDescriptor {
    guard let address = UnixSocketName(path: path) else {
      throw .unreachable("\(RedisAddress.unix(path: path)): the path is too long for a socket (unix(7): 107 bytes)")
    }
    return try address.withSockaddr { (name, length) throws(RedisError) in
      try connect(name, length, family: AF_UNIX, name: "unix:\(path)", deadline)
    }
  }

  private static func connectTCP(_ host: String, _ port: UInt16, _ deadline: Deadline) throws(RedisError)
    -> FileDescriptor
  {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, String(port), &hints, &list)
    guard code == 0, let first = list else {
      throw .unreachable("\(host): \(String(cString: gai_strerror(code)))")
    }
    defer { freeaddrinfo(first) }
    let name = RedisAddress.tcp(host: host, port: port).description
    let socket = try connectFirst(
      of: sequence(first: first) { $0.pointee.ai_next }.map(\.pointee), name: name, deadline)
    // Requests are written whole; without this the last piece of a batch waits for an ACK (tcp(7)).
    var on: Int32 = 1
    setsockopt(socket.number, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout.size(ofValue: on)))
    setsockopt(socket.number, SOL_SOCKET, SO_KEEPALIVE, &on, socklen_t(MemoryLayout.size(ofValue: on)))
    return socket
  }

  /// After this long without an answer the next address is tried as well (RFC 8305, Connection Attempt Delay): one that
  /// says nothing uses up nobody's time, and one that is slow keeps all of its own.
  private static let attemptDelayMilliseconds = 250

  /// The first of a name's addresses that answers; with none the last one's error.
  static func connectFirst(of addresses: [addrinfo], name: String, _ deadline: Deadline) throws(RedisError)
    -> FileDescriptor
  {
    let delay = min(attemptDelayMilliseconds, Int(deadline.remainingMilliseconds) / max(1, 2 * addresses.count))
    var failure = RedisError.timedOut(.connect)
    var attempts: [ConnectAttempt] = []
    defer { for attempt in attempts { close(attempt.number) } }
    var waiting = addresses[...]
    while true {
      if let info = waiting.popFirst() {
        do throws(RedisError) {
          attempts.append(try ConnectAttempt(info.ai_addr, info.ai_addrlen, family: info.ai_family, name: name))
        } catch {
          failure = error
        }
      }
      if attempts.isEmpty {
        if waiting.isEmpty { throw failure }
        continue
      }
      if let ready = try firstReady(of: attempts, waiting.isEmpty ? deadline : deadline.orIn(milliseconds: delay)) {
        let attempt = attempts.remove(at: ready)
        let socket = FileDescriptor(owning: attempt.number)
        guard let error = attempt.error(name: name) else { return socket }
        failure = error
      } else if waiting.isEmpty {
        throw .timedOut(.connect)
      }
    }
  }

  /// The place of the first attempt that has ended, well or not; nil when none has before the deadline.
  private static func firstReady(of attempts: [ConnectAttempt], _ deadline: Deadline) throws(RedisError) -> Int? {
    var polls = attempts.map { pollfd(fd: $0.number, events: Int16(POLLOUT), revents: 0) }
    while !polls.isEmpty {
      let count = Glibc.poll(&polls, nfds_t(polls.count), deadline.remainingMilliseconds)
      if count > 0 { return polls.firstIndex { $0.revents != 0 } }
      if count == 0 { return nil }
      guard errno == EINTR else { throw .closed(SystemError("poll").description) }
    }
    return nil
  }

  private static func connect(
    _ address: UnsafePointer<sockaddr>, _ length: socklen_t, family: Int32, name: String, _ deadline: Deadline
  ) throws(RedisError) -> FileDescriptor {
    let attempt = try ConnectAttempt(address, length, family: family, name: name)
    let descriptor = FileDescriptor(owning: attempt.number)
    guard try wait(attempt.number, POLLOUT, deadline) else { throw .timedOut(.connect) }
    if let error = attempt.error(name: name) { throw error }
    return descriptor
  }

  /// A connect(2) under way, or done. Whoever holds it closes the descriptor.
  private struct ConnectAttempt {
    let number: Int32

    init(_ address: UnsafePointer<sockaddr>, _ length: socklen_t, family: Int32, name: String) throws(RedisError) {
      let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
      number = socket(family, type, 0)
      guard number >= 0 else { throw .unreachable(SystemError("socket", subject: name).description) }
      if Glibc.connect(number, address, length) == 0 || errno == EINPROGRESS || errno == EINTR { return }
      let error = SystemError("connect", subject: name)
      close(number)
      throw .unreachable(error.description)
    }

    /// Why it failed, once poll(2) says that it has ended.
    func error(name: String) -> RedisError? {
      var code: Int32 = 0
      var length = socklen_t(MemoryLayout.size(ofValue: code))
      getsockopt(number, SOL_SOCKET, SO_ERROR, &code, &length)
      return code == 0 ? nil : .unreachable(SystemError("connect", subject: name, code: code).description)
    }
  }
}
