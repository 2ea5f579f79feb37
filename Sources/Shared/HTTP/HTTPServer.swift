// HTTPServer: HTTP/1.1 on one event loop: its connections from accept to close, their timeouts, parked requests and the
// end of it all. What happens in between is HTTPExchange. All on the loop's thread.

import CLinux
import Glibc
import Linux

/// Serves listeners on a loop. The loop holds it until `drain` has finished.
public final class HTTPServer {
  /// One recv(2) takes this much: many pipelined requests, and the largest legal one.
  static let receiveBytes = 65536
  /// How long a closed connection's remaining input is awaited.
  static let lingerNanoseconds: UInt64 = 2_000_000_000
  /// A lack of descriptors is logged this often; the counter has all pauses.
  static let logPauseNanoseconds: UInt64 = 60_000_000_000

  let loop: EventLoop
  private(set) var limits: HTTPLimits
  let metrics: HTTPServerMetrics
  let handler: any HTTPHandler
  let connections = HTTPConnectionTable()
  let receiveBuffer = UnsafeMutableRawPointer.allocate(byteCount: receiveBytes, alignment: 64)
  var pool = HTTPBufferPool()
  var writer = HTTPResponseWriter(capacity: 2 * HTTPLimits.pipelinedOutputBytes)
  var date = HTTPDate()
  private var listeners: [Listener]
  private var acceptors: [HTTPAcceptor] = []
  var table: EventLoop.TableNumber?
  private var isSweepScheduled = false
  var drained: (() -> Void)?
  var eviction = HTTPEviction()
  private var exhaustionLog = RareLog(pauseNanoseconds: logPauseNanoseconds)

  /// Prepares a server; `start` begins to accept.
  public init(
    loop: EventLoop, listeners: [Listener], limits: HTTPLimits, metrics: HTTPServerMetrics, handler: any HTTPHandler
  ) {
    precondition(limits.maximumConnections < EventLoop.maximumTableEntries, "more connections than table entries")
    self.loop = loop
    self.listeners = listeners
    self.limits = limits
    self.metrics = metrics
    self.handler = handler
  }

  deinit {
    closeAll()
    receiveBuffer.deallocate()
  }

  /// Begins to accept connections. Call it once.
  public func start() throws(SystemError) {
    table = loop.addTable(self)
    acceptors = listeners.map { HTTPAcceptor(loop: loop, listener: $0, owner: self) }
    for acceptor in acceptors { try acceptor.start() }
  }

  /// Takes new limits: what waits keeps the time it was given. Connections above a lower number end with their next reply.
  public func update(_ new: HTTPLimits) {
    precondition(new.maximumConnections < EventLoop.maximumTableEntries, "more connections than table entries")
    limits = new
  }

  /// Connections open now.
  public var connectionCount: Int { connections.count }

  /// Buffers that connections hold now: those with a partial request or an unsent reply.
  public var lentBuffers: Int { pool.lentCount }

  /// Answers a parked request: `body` begins the response and appends to it, before this returns, or says that the
  /// request stays parked under the same ticket. Nothing happens when the connection is gone or the ticket was used
  /// before (returns false).
  @discardableResult
  public func resume(_ ticket: HTTPTicket, _ body: (inout HTTPResponseWriter) -> HTTPHandling) -> Bool {
    let index = ticket.index
    guard Int(index) < connections.usedSlots else { return false }
    let connection = connections[index]
    guard connection.pointee.phase == .parked, connection.pointee.generation == ticket.generation,
      connection.pointee.sequence == ticket.sequence
    else { return false }
    writer.isHead = connection.pointee.parkedIsHead
    writer.persistence = drained == nil ? connection.pointee.parkedPersistence : .close
    writer.dateLine = date.line(nowNanoseconds: loop.nowNanoseconds)
    guard case .answered = body(&writer) else { return true }
    writer.finish()
    if writer.persistence == .close { connection.pointee.closesAfterOutput = true }
    connection.pointee.phase = .idle
    // Earlier replies may still wait: this one queues behind them.
    if connection.pointee.output.isLent {
      _ = send(index)
    } else {
      continueInput(index)
    }
    return true
  }

  /// Stops accepting, closes idle connections, answers what is in flight with `Connection: close`, closes by force
  /// what is left after `deadlineNanoseconds`, then calls `done` once.
  public func drain(deadlineNanoseconds: UInt64, done: @escaping () -> Void) {
    precondition(table != nil && drained == nil, "drain is called once, after start")
    drained = done
    for acceptor in acceptors { acceptor.stop() }
    acceptors = []
    listeners = []
    for index in 0..<UInt32(connections.usedSlots) {
      // A request may wait in the kernel; what has none is closed.
      switch connections[index].pointee.phase {
      case .idle: receive(index)
      case .reading where !connections[index].pointee.input.isLent: receive(index)
      case .free, .reading, .parked, .writing, .lingering: break
      }
      let connection = connections[index]
      let isUnused = connection.pointee.phase == .reading && !connection.pointee.input.isLent
      if connection.pointee.phase == .idle || isUnused { close(index) }
    }
    loop.schedule(afterNanoseconds: deadlineNanoseconds) { [weak self] in self?.closeAll() }
    finishDrainIfEmpty()
  }

  private func finishDrainIfEmpty() {
    guard connections.count == 0, let done = drained, let number = table else { return }
    table = nil
    // The loop's reference may be the last, and this runs inside an event: let go when that is over.
    loop.schedule(afterNanoseconds: 0) { [self] in
      loop.removeTable(number)
      done()
    }
  }

  // MARK: timeouts

  /// Timeouts are looked for every quarter of the shortest, so that they are at most that much late; there is no timer
  /// per connection and nothing to do for a request that is in time.
  private var sweepNanoseconds: UInt64 {
    let shortest = min(
      limits.readTimeoutNanoseconds, limits.writeTimeoutNanoseconds, limits.idleTimeoutNanoseconds,
      Self.lingerNanoseconds)
    return max(10_000_000, shortest / 4)
  }

  private func scheduleSweep() {
    guard !isSweepScheduled else { return }
    isSweepScheduled = true
    loop.schedule(afterNanoseconds: sweepNanoseconds) { [weak self] in self?.sweep() }
  }

  private func sweep() {
    isSweepScheduled = false
    let now = loop.nowNanoseconds
    for index in 0..<UInt32(connections.usedSlots) where connections[index].pointee.deadline <= now {
      switch connections[index].pointee.phase {
      case .reading: metrics.readTimeouts.addFromOwner()
      case .idle: metrics.idleTimeouts.addFromOwner()
      case .writing: metrics.writeTimeouts.addFromOwner()
      case .parked: metrics.writeTimeouts.addFromOwner()
      case .lingering, .free: break
      }
      close(index)
    }
    if connections.count > 0 { scheduleSweep() }
  }

  // MARK: closing

  func close(_ index: UInt32) {
    let connection = connections[index]
    guard connection.pointee.phase != .free else { return }
    _ = Glibc.close(connection.pointee.descriptor)
    pool.giveBack(&connection.pointee.input)
    pool.giveBack(&connection.pointee.output)
    connections.remove(index)
    metrics.open.add(-1)
    if drained != nil { finishDrainIfEmpty() }
  }

  private func closeAll() {
    for index in 0..<UInt32(connections.usedSlots) { close(index) }
  }
}

extension HTTPServer: EventTable {
  public func handle(events: UInt32, index: UInt32, generation: UInt32) {
    guard Int(index) < connections.usedSlots, connections[index].pointee.generation == generation,
      connections[index].pointee.phase != .free
    else { return }
    if events & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0 {
      close(index)
    } else if events & EPOLLOUT.rawValue != 0 {
      flush(index)
    } else {
      receive(index)
    }
  }
}

extension HTTPServer: HTTPAcceptorOwner {
  func accepted(_ descriptor: consuming FileDescriptor, peer: Endpoint?) {
    metrics.accepted.addFromOwner()
    let network = limits.network(of: peer)
    guard hasRoom(for: network) else { return metrics.refused.addFromOwner() }
    metrics.open.add(1)
    let deadline = loop.nowNanoseconds &+ limits.readTimeoutNanoseconds
    let index = connections.add(descriptor: descriptor.release(), peer: peer, network: network, deadline: deadline)
    scheduleSweep()
    // The request is usually there already: a connection that is answered and closed is never registered.
    receive(index)
  }

  func acceptingPaused(_ error: SystemError, listener: Listener) {
    metrics.descriptorsExhausted.addFromOwner()
    if exhaustionLog.next(now: loop.nowNanoseconds) != nil {
      Log.error("accepting paused", ["address": listener.address.description, "error": error.description])
    }
  }
}
