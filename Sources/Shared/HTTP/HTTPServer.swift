// HTTPServer: HTTP/1.1 on one event loop: accepts, reads, parses, has its handler answer, writes. All on the loop's
// thread. A request on a persistent connection costs one recv, one send and no allocation.

import CLinux
import Glibc

/// Serves listeners on a loop. The loop holds it until `drain` has finished.
public final class HTTPServer {
  /// One recv(2) takes this much: many pipelined requests, and the largest legal one.
  static let receiveBytes = 65536
  /// How long a closed connection's remaining input is awaited.
  static let lingerNanoseconds: UInt64 = 2_000_000_000
  /// Accepting connections that must be refused is logged this often; the counter has them all.
  static let logPauseNanoseconds: UInt64 = 60_000_000_000

  private let loop: EventLoop
  private let limits: HTTPLimits
  private let metrics: HTTPServerMetrics
  private let handler: any HTTPHandler
  private let connections = HTTPConnectionTable()
  private let receiveBuffer = UnsafeMutableRawPointer.allocate(byteCount: receiveBytes, alignment: 64)
  private var pool = HTTPBufferPool()
  private var writer = HTTPResponseWriter(capacity: 2 * HTTPLimits.pipelinedOutputBytes)
  private var listeners: [Listener]
  private var acceptors: [HTTPAcceptor] = []
  private var table: EventLoop.TableNumber?
  private var isSweepScheduled = false
  private var drained: (() -> Void)?
  private var refusalLog = RareLog(pauseNanoseconds: logPauseNanoseconds)
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
      case .idle: read(index)
      case .reading where !connections[index].pointee.input.isLent: read(index)
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

  // MARK: reading

  /// Takes what has arrived. Nothing is read while a reply waits: the client's own window stops it.
  private func read(_ index: UInt32) {
    let connection = connections[index]
    if connection.pointee.phase == .parked || connection.pointee.phase == .writing {
      watch(index, connection.pointee.phase == .writing ? EPOLLOUT.rawValue : 0)
      return
    }
    var target = receiveBuffer
    var room = Self.receiveBytes
    if connection.pointee.input.isLent && connection.pointee.phase != .lingering {
      pool.reserve(HTTPBufferPool.sizes[0] / 2, in: &connection.pointee.input)
      target = connection.pointee.input.base! + Int(connection.pointee.input.count)
      room = Int(connection.pointee.input.capacity - connection.pointee.input.count)
    }
    let descriptor = connection.pointee.descriptor
    let received = retryingInterrupts { recv(descriptor, target, room, 0) }
    guard received > 0 else {
      if received == 0 || errno != EAGAIN { close(index) } else { watch(index, EPOLLIN.rawValue) }
      return
    }
    if connection.pointee.phase == .lingering { return }
    if connection.pointee.input.isLent {
      connection.pointee.input.count += Int32(received)
      process(index, connection.pointee.input.bytes)
    } else {
      process(index, UnsafeRawBufferPointer(start: receiveBuffer, count: received))
    }
  }

  /// After a parked request is answered or waiting output is sent: goes on with the input that waited behind it.
  private func continueInput(_ index: UInt32) {
    let connection = connections[index]
    if !connection.pointee.closesAfterOutput { connection.pointee.deadline = UInt64.max }
    process(index, connection.pointee.input.bytes)
  }

  /// Answers the whole requests in `bytes` (the connection's input buffer, or the receive buffer), sends the replies,
  /// keeps the rest.
  private func process(_ index: UInt32, _ bytes: UnsafeRawBufferPointer) {
    let connection = connections[index]
    var offset = 0
    while offset < bytes.count && connection.pointee.phase != .parked && !connection.pointee.closesAfterOutput {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
      let step = connection.pointee.parser.advance(rest)
      switch step {
      case .incomplete: break
      case .complete:
        answer(index, rest)
        offset += connection.pointee.parser.byteCount
        connection.pointee.parser = HTTPRequestParser()
      case .failed(let failure): refuse(index, failure)
      }
      if step == .incomplete { break }
      if writer.count >= HTTPLimits.pipelinedOutputBytes {
        guard send(index) else { return }
        if connection.pointee.phase == .writing { break }
      }
    }
    // What a closing connection still holds is never parsed.
    if connection.pointee.closesAfterOutput && offset < bytes.count { connection.pointee.lingers = true }
    keep(index, bytes, from: offset)
    guard send(index) else { return }
    settle(index, hasAnswered: offset > 0)
  }

  /// Keeps the unparsed end of `bytes` in the connection's input buffer, or gives the buffer back.
  private func keep(_ index: UInt32, _ bytes: UnsafeRawBufferPointer, from offset: Int) {
    let connection = connections[index]
    if offset == bytes.count || connection.pointee.closesAfterOutput {
      pool.giveBack(&connection.pointee.input)
    } else if connection.pointee.input.isLent {
      connection.pointee.input.start += Int32(offset)
    } else {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
      connection.pointee.input = pool.lend(atLeast: rest.count)
      connection.pointee.input.append(rest)
    }
  }

  /// Has the handler answer or park the request the parser has found at the start of `bytes`.
  private func answer(_ index: UInt32, _ bytes: UnsafeRawBufferPointer) {
    let connection = connections[index]
    let parser = connection.pointee.parser
    let persists = limits.keepsAlive && drained == nil && parser.wantsPersistence && connections.count <= softLimit
    let persistence: HTTPPersistence = !persists ? .close : parser.isVersion10 ? .keepAlive : .implied
    let request = HTTPRequest(
      path: UnsafeRawBufferPointer(rebasing: bytes[parser.path]),
      query: UnsafeRawBufferPointer(rebasing: bytes[parser.query]),
      headerLines: UnsafeRawBufferPointer(rebasing: bytes[parser.headerLines]), isHead: parser.isHead,
      peer: connection.pointee.peer,
      ticket: HTTPTicket(
        index: index, generation: connection.pointee.generation, sequence: connection.pointee.sequence &+ 1))
    writer.isHead = parser.isHead
    writer.persistence = persistence
    switch handler.respond(to: request, writer: &writer) {
    case .answered:
      writer.finish()
      connection.pointee.closesAfterOutput = !persists
    case .parked:
      precondition(!writer.isBegun, "a request was parked and answered")
      connection.pointee.sequence &+= 1
      connection.pointee.phase = .parked
      connection.pointee.deadline = UInt64.max
      connection.pointee.parkedIsHead = parser.isHead
      connection.pointee.parkedPersistence = persistence
    }
  }

  /// From seven eighths of the limit on, replies end their connections, so that idle ones make room before new ones
  /// are turned away.
  private var softLimit: Int { limits.maximumConnections - limits.maximumConnections / 8 }

  private func refuse(_ index: UInt32, _ failure: HTTPRequestParser.Failure) {
    metrics.badRequests.addFromOwner()
    connections[index].pointee.closesAfterOutput = true
    connections[index].pointee.lingers = true
    writer.isHead = false
    writer.persistence = .close
    writer.begin(failure.status, contentType: "text/plain")
    writer.append(failure.text)
    writer.append("\n")
    writer.finish()
  }

  // MARK: writing

  /// Sends what the writer holds, keeping what the kernel does not take. False when the connection is closed.
  private func send(_ index: UInt32) -> Bool {
    guard writer.count > 0 else { return true }
    defer { writer.removeAll() }
    let connection = connections[index]
    let bytes = writer.finished
    if connection.pointee.output.isLent {
      pool.reserve(bytes.count, in: &connection.pointee.output)
      connection.pointee.output.append(bytes)
      if connection.pointee.phase != .parked { connection.pointee.phase = .writing }
      return true
    }
    let descriptor = connection.pointee.descriptor
    // The last bytes wait in the kernel for the close that follows, and leave in one segment with its FIN (tcp(7),
    // MSG_MORE).
    let flags = Int32(connection.pointee.closesAfterOutput ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL)
    let sent = retryingInterrupts { Glibc.send(descriptor, bytes.baseAddress, bytes.count, flags) }
    if sent == bytes.count { return true }
    guard sent >= 0 || errno == EAGAIN else {
      close(index)
      return false
    }
    let rest = UnsafeRawBufferPointer(rebasing: bytes[max(0, sent)...])
    connection.pointee.output = pool.lend(atLeast: rest.count)
    connection.pointee.output.append(rest)
    if connection.pointee.phase != .parked { connection.pointee.phase = .writing }
    connection.pointee.deadline = loop.nowNanoseconds &+ limits.writeTimeoutNanoseconds
    return true
  }

  /// The kernel has room again.
  private func flush(_ index: UInt32) {
    let connection = connections[index]
    let bytes = connection.pointee.output.bytes
    let descriptor = connection.pointee.descriptor
    let sent = retryingInterrupts { Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL)) }
    guard sent >= 0 || errno == EAGAIN else { return close(index) }
    connection.pointee.output.start += Int32(max(0, sent))
    guard sent == bytes.count else { return }
    pool.giveBack(&connection.pointee.output)
    connection.pointee.deadline = UInt64.max
    guard connection.pointee.phase == .writing else { return watch(index, 0) }
    connection.pointee.phase = .idle
    continueInput(index)
  }

  /// Chooses what the connection waits for next.
  private func settle(_ index: UInt32, hasAnswered: Bool) {
    let connection = connections[index]
    if connection.pointee.output.isLent { return watch(index, EPOLLOUT.rawValue) }
    if connection.pointee.closesAfterOutput { return finish(index) }
    let now = loop.nowNanoseconds
    switch connection.pointee.phase {
    case .parked: break
    case .free, .reading, .idle, .writing, .lingering:
      if connection.pointee.input.isLent {
        // The time of a request counts from its first byte; it is not extended by those that follow.
        if hasAnswered || connection.pointee.phase != .reading || connection.pointee.deadline == UInt64.max {
          connection.pointee.deadline = now &+ limits.readTimeoutNanoseconds
        }
        connection.pointee.phase = .reading
      } else {
        connection.pointee.phase = .idle
        connection.pointee.deadline = now &+ limits.idleTimeoutNanoseconds
      }
    }
    watch(index, EPOLLIN.rawValue)
  }

  /// Everything owed has been sent: closes, or lingers when the client may still be sending.
  private func finish(_ index: UInt32) {
    let connection = connections[index]
    guard connection.pointee.lingers else { return close(index) }
    shutdown(connection.pointee.descriptor, Int32(SHUT_WR))
    connection.pointee.phase = .lingering
    connection.pointee.deadline = loop.nowNanoseconds &+ Self.lingerNanoseconds
    watch(index, EPOLLIN.rawValue)
  }

  private func watch(_ index: UInt32, _ events: UInt32) {
    let connection = connections[index]
    guard connection.pointee.watched != events, let table else { return }
    let isNew = connection.pointee.watched == nil
    connection.pointee.watched = events
    let generation = connection.pointee.generation
    if isNew {
      do throws(SystemError) {
        try loop.watch(
          connection.pointee.descriptor, events: events, table: table, index: index, generation: generation)
      } catch {
        close(index)
      }
    } else {
      loop.rewatch(connection.pointee.descriptor, events: events, table: table, index: index, generation: generation)
    }
  }

  private func close(_ index: UInt32) {
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
      read(index)
    }
  }
}

extension HTTPServer: HTTPAcceptorOwner {
  func accepted(_ descriptor: consuming FileDescriptor, peer: Endpoint?) {
    metrics.accepted.addFromOwner()
    guard connections.count < limits.maximumConnections else {
      metrics.refused.addFromOwner()
      if let suppressed = refusalLog.next(now: loop.nowNanoseconds) {
        Log.warning(
          "HTTP connection limit reached",
          ["limit": limits.maximumConnections, "refused_since_last_line": suppressed + 1])
      }
      return
    }
    metrics.open.add(1)
    let deadline = loop.nowNanoseconds &+ limits.readTimeoutNanoseconds
    let index = connections.add(descriptor: descriptor.release(), peer: peer, deadline: deadline)
    scheduleSweep()
    // The request is usually there already: a connection that is answered and closed is never registered.
    read(index)
  }

  func acceptingPaused(_ error: SystemError, listener: Listener) {
    metrics.descriptorsExhausted.addFromOwner()
    if exhaustionLog.next(now: loop.nowNanoseconds) != nil {
      Log.error("accepting paused", ["address": listener.address.description, "error": error.description])
    }
  }
}

extension HTTPTicket {
  /// 8 bits sequence, 32 bits generation, 24 bits index.
  init(index: UInt32, generation: UInt32, sequence: UInt8) {
    self.init(rawValue: UInt64(sequence) << 56 | UInt64(generation) << 24 | UInt64(index))
  }
  var index: UInt32 { UInt32(rawValue & 0xff_ffff) }
  var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 24) }
  var sequence: UInt8 { UInt8(rawValue >> 56) }
}

extension HTTPRequestParser.Failure {
  var status: HTTPStatus {
    switch self {
    case .malformed: .badRequest
    case .requestLineTooLong: .uriTooLong
    case .headTooLarge: .headerFieldsTooLarge
    case .bodyTooLarge: .contentTooLarge
    case .methodNotAllowed: .methodNotAllowed
    case .transferCoding: .notImplemented
    case .versionNotSupported: .versionNotSupported
    }
  }

  var text: StaticString {
    switch self {
    case .malformed: "malformed request"
    case .requestLineTooLong: "request line too long"
    case .headTooLarge: "request headers too large"
    case .bodyTooLarge: "request body too large"
    case .methodNotAllowed: "only GET and HEAD are allowed"
    case .transferCoding: "transfer codings are not supported"
    case .versionNotSupported: "only HTTP/1.0 and HTTP/1.1 are supported"
    }
  }
}
