// FaultProxy: a TCP relay that hurts on purpose: it cuts, resets, swallows or delays a connection after an exact number of
// bytes in one direction. One thread per proxy; the plan may be changed from any thread.

import CLinux
import Glibc
import Linux
import Synchronization

/// A relay from a loopback port of its own to another one.
public final class FaultProxy: Sendable {
  public enum Direction: Sendable, CaseIterable { case request, reply }
  public enum Fault: Sendable, CaseIterable {
    /// Close both sides in order.
    case cut
    /// Close the client's side with RST.
    case reset
    /// Forward nothing more and close nothing.
    case blackHole
  }
  /// What happens once, when `bytes` bytes have gone in `direction` since the plan was made: they are the last ones.
  public struct Plan: Sendable {
    public var fault: Fault
    public var direction: Direction
    public var bytes: Int
    public init(_ fault: Fault, _ direction: Direction, after bytes: Int) {
      self.fault = fault
      self.direction = direction
      self.bytes = bytes
    }
  }

  private struct State {
    var plan: Plan?
    var requestBytes = 0
    var replyBytes = 0
    var faults = 0
    var delayMilliseconds: Int32 = 0
  }

  public let port: UInt16
  private let listener: FileDescriptor
  private let wake: FileDescriptor
  private let target: UInt16
  private let state = Mutex(State())
  /// Set by init, taken by deinit.
  private nonisolated(unsafe) var thread: NamedThread?

  /// Listens on a free port of 127.0.0.1 and relays to `target` on it.
  public init(target: UInt16) throws {
    self.target = target
    let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw SystemError("socket") }
    listener = FileDescriptor(owning: number)
    wake = FileDescriptor(owning: eventfd(0, Int32(EFD_CLOEXEC)))
    var address = Self.loopback(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(number, $0, length) == 0 && listen(number, 64) == 0 && getsockname(number, $0, &length) == 0
      }
    }
    guard bound else { throw SystemError("bind") }
    port = UInt16(bigEndian: address.sin_port)
    thread = try NamedThread(name: "fault-proxy") { [unowned self] in self.serve() }
  }

  deinit {
    eventfd_write(wake.number, 1)
    thread.take()?.join()
  }

  private static func loopback(_ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
  }

  /// Counts from zero, with this plan.
  public func arm(_ plan: Plan?) {
    state.withLock {
      $0.plan = plan
      $0.requestBytes = 0
      $0.replyBytes = 0
    }
  }

  /// How long every piece is held up before it is forwarded.
  public func delay(milliseconds: Int32) { state.withLock { $0.delayMilliseconds = milliseconds } }
  /// Bytes relayed since `arm`.
  public var relayed: (request: Int, reply: Int) { state.withLock { ($0.requestBytes, $0.replyBytes) } }
  /// Plans that came true.
  public var faults: Int { state.withLock { $0.faults } }

  private struct Pair {
    var client: Int32
    var server: Int32
    var isSwallowed = false
  }

  private func serve() {
    var pairs: [Pair] = []
    defer {
      for pair in pairs {
        close(pair.client)
        close(pair.server)
      }
    }
    while true {
      var polls = [
        pollfd(fd: wake.number, events: Int16(POLLIN), revents: 0),
        pollfd(fd: listener.number, events: Int16(POLLIN), revents: 0),
      ]
      for pair in pairs {
        polls.append(pollfd(fd: pair.isSwallowed ? -1 : pair.client, events: Int16(POLLIN), revents: 0))
        polls.append(pollfd(fd: pair.isSwallowed ? -1 : pair.server, events: Int16(POLLIN), revents: 0))
      }
      guard poll(&polls, nfds_t(polls.count), -1) > 0 else { continue }
      if polls[0].revents != 0 { return }
      var ended: [Int] = []
      for index in pairs.indices {
        var alive = true
        if polls[2 + index * 2].revents != 0 { alive = relay(&pairs[index], .request) }
        if alive, !pairs[index].isSwallowed, polls[3 + index * 2].revents != 0 { alive = relay(&pairs[index], .reply) }
        if !alive { ended.append(index) }
      }
      for index in ended.reversed() {
        close(pairs[index].client)
        close(pairs[index].server)
        pairs.remove(at: index)
      }
      if polls[1].revents != 0, let pair = acceptPair() { pairs.append(pair) }
    }
  }

  private func acceptPair() -> Pair? {
    // Not for children that another thread starts: with one the connection would go on after we close it.
    let client = clinux_accept(listener.number, nil, nil)
    guard client >= 0 else { return nil }
    _ = fcntl(client, F_SETFL, 0)
    let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = Self.loopback(target)
    let connected = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    guard connected else {
      close(client)
      close(server)
      return nil
    }
    var on: Int32 = 1
    for socket in [client, server] {
      setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout.size(ofValue: on)))
    }
    return Pair(client: client, server: server)
  }

  /// One piece in one direction; false when the pair is to be closed.
  private func relay(_ pair: inout Pair, _ direction: Direction) -> Bool {
    let (source, sink) = direction == .request ? (pair.client, pair.server) : (pair.server, pair.client)
    return withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 16) { buffer in
      let count = recv(source, buffer.baseAddress, buffer.count, 0)
      guard count > 0 else { return false }
      let (allowed, fault, delay) = decide(count, direction)
      if delay > 0 { _ = poll(nil, 0, delay) }
      var sent = 0
      while sent < allowed {
        let part = send(sink, buffer.baseAddress! + sent, allowed - sent, Int32(MSG_NOSIGNAL))
        guard part > 0 else { return false }
        sent += part
      }
      switch fault {
      case nil: return true
      case .cut: return false
      case .reset:
        var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
        setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
        return false
      case .blackHole:
        pair.isSwallowed = true
        return true
      }
    }
  }

  private func decide(_ count: Int, _ direction: Direction) -> (allowed: Int, fault: Fault?, delay: Int32) {
    state.withLock { state in
      let before = direction == .request ? state.requestBytes : state.replyBytes
      if direction == .request { state.requestBytes += count } else { state.replyBytes += count }
      guard let plan = state.plan, plan.direction == direction, before + count >= plan.bytes else {
        return (count, nil, state.delayMilliseconds)
      }
      state.plan = nil
      state.faults += 1
      return (max(0, plan.bytes - before), plan.fault, state.delayMilliseconds)
    }
  }
}
