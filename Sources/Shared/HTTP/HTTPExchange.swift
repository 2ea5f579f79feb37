// HTTPExchange: the way of bytes through HTTPServer: received, parsed, answered, sent, and what a connection waits for
// next. On the loop's thread. A request on a persistent connection costs one recv, one send and no allocation.

import CLinux
import Glibc
import Linux

extension HTTPServer {
  /// Takes what has arrived. Nothing is read while a reply waits: the client's own window stops it.
  func receive(_ index: UInt32) {
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
  func continueInput(_ index: UInt32) {
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
    writer.dateLine = date.line(nowNanoseconds: loop.nowNanoseconds)
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
    writer.dateLine = date.line(nowNanoseconds: loop.nowNanoseconds)
    writer.begin(failure.status, contentType: "text/plain")
    writer.append(failure.text)
    writer.append("\n")
    writer.finish()
  }

  // MARK: writing

  /// Sends what the writer holds, keeping what the kernel does not take. False when the connection is closed.
  func send(_ index: UInt32) -> Bool {
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
  func flush(_ index: UInt32) {
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

  func watch(_ index: UInt32, _ events: UInt32) {
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
}
