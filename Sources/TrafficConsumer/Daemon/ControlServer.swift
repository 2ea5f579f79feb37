// ControlServer: the daemon's end of the control socket: the verbs that write run on its writer thread. Thread "control"
// listens; each connection has a thread "control-N", so that a slow or silent one holds up no other.

import CLinux
import Glibc
import Linux
import Synchronization

/// What the verbs work on.
final class ControlContext: Sendable {
  let config: ConsumerConfig
  let queue: DeliveryQueue
  let engine: EngineState
  /// The requests that only need the writer.
  let requests: [StoreRequest]

  init(config: ConsumerConfig, queue: DeliveryQueue, engine: EngineState, requests: [StoreRequest]) {
    self.config = config
    self.queue = queue
    self.engine = engine
    self.requests = requests
  }

  /// A backup is being made: one at a time.
  let isBackingUp = Mutex(false)

  /// Runs work on the writer thread; nil when the writer has ended, and the work is not done.
  func onWriter<Value: Sendable>(_ work: @escaping @Sendable (StoreWriter) -> Value) -> Value? {
    let result = Monitor<Value?>(nil)
    let isTaken = queue.post { writer in
      let value = work(writer)
      result.withLock { $0 = value }
    }
    // A daemon that stops does it all the same: an answer that nothing was done must be true.
    while isTaken {
      let isClosed = queue.isClosed
      if let value = result.wait(milliseconds: 200, until: { $0 }) { return value }
      if isClosed { return nil }
    }
    return nil
  }
}

/// The thread's handle: stops and joins it.
final class ControlServer: Sendable {
  private let loop: ControlLoop
  private let thread: Mutex<NamedThread?>

  private init(_ loop: ControlLoop, _ thread: consuming NamedThread) {
    self.loop = loop
    self.thread = Mutex(consume thread)
  }

  /// Starts the thread. The socket appears when this process writes the database: a standby leaves it to the one it waits
  /// for.
  static func start(path: String, context: ControlContext) -> ControlServer? {
    let loop = ControlLoop(path: path, context: context)
    do throws(SystemError) {
      return ControlServer(loop, try NamedThread(name: "control") { loop.run() })
    } catch {
      Log.warning("no control socket: verbs that write need the daemon stopped", ["error": error.description])
      return nil
    }
  }

  /// Stops and joins the thread.
  func shutdown() {
    loop.stop()
    let running = thread.withLock { thread in
      let running = thread.take()
      return running
    }
    running?.join()
  }
}

private final class ControlLoop: Sendable {
  /// How long a client may take to send its request or take its answer.
  private static let clientSeconds = 10
  private static let pollMilliseconds: Int32 = 200
  /// Verbs at once: more than an operator and his scripts run. The next ones wait ...
  private static let maximumClients = 16
  private static let maximumWaiting = 64
  /// ... but not as long as a verb waits for an answer before it takes the daemon for dead.
  private static let waitingNanoseconds: UInt64 = 3_000_000_000
  private static let busyPollMilliseconds: Int32 = 10
  /// It is tried again every second; what is wrong stays the same for long.
  private static let warningNanoseconds: UInt64 = 3_600_000_000_000

  private let isStopping = Atomic<Bool>(false)
  private let path: String
  private let context: ControlContext

  init(path: String, context: ControlContext) {
    self.path = path
    self.context = context
  }

  func stop() { isStopping.store(true, ordering: .relaxed) }

  func run() {
    var warnings = RareLog(pauseNanoseconds: Self.warningNanoseconds)
    while !isStopping.load(ordering: .relaxed) {
      guard !context.engine.isStandby, !context.engine.committed.isEmpty else {
        usleep(UInt32(Self.pollMilliseconds) * 100)
        continue
      }
      do throws(SystemError) {
        let listener = try listen()
        Log.info("control socket listens", ["path": path])
        serve(listener)
        unlink(path)
      } catch {
        if warnings.next() != nil {
          Log.warning(
            "no control socket yet: verbs that write need it or the daemon stopped", ["error": error.description])
        }
        usleep(UInt32(Self.pollMilliseconds) * 5000)
      }
    }
  }

  private func listen() throws(SystemError) -> FileDescriptor {
    let listener = try ControlSocket.make(timeoutSeconds: Self.clientSeconds)
    let number = listener.number
    if ControlSocket.connect(path, timeoutSeconds: 1) != nil {
      throw SystemError("bind", subject: path, code: EADDRINUSE)
    }
    // No answer: a socket left by a process that is gone.
    unlink(path)
    guard ControlSocket.withAddress(path, { bind(number, $0, $1) }) == 0 else {
      throw SystemError("bind", subject: path)
    }
    chmod(path, 0o660)
    guard Glibc.listen(number, 128) == 0 else { throw SystemError("listen", subject: path) }
    return listener
  }

  private func serve(_ listener: borrowing FileDescriptor) {
    var clients: [ControlClient] = []
    var waiting: [(connection: ControlConnection, since: UInt64)] = []
    while !isStopping.load(ordering: .relaxed) {
      clients.removeAll { $0.joinIfEnded() }
      while clients.count < Self.maximumClients, !waiting.isEmpty {
        if let client = ControlClient.start(waiting.removeFirst().connection) { clients.append(client) }
      }
      let now = Clock.monotonicNanoseconds()
      while let first = waiting.first, now &- first.since >= Self.waitingNanoseconds {
        waiting.removeFirst().connection.refuse("\(Self.maximumClients) other verbs are being carried out; try again")
      }
      // With no room at all they stay in the kernel's line.
      var poll = pollfd(fd: listener.number, events: Int16(POLLIN), revents: 0)
      let count: nfds_t = waiting.count < Self.maximumWaiting ? 1 : 0
      let pause = waiting.isEmpty ? Self.pollMilliseconds : Self.busyPollMilliseconds
      guard Glibc.poll(&poll, count, pause) > 0 else { continue }
      let number = accept(listener.number, nil, nil)
      guard number >= 0 else { continue }
      ControlSocket.setTimeout(number, seconds: Self.clientSeconds)
      waiting.append((ControlConnection(FileDescriptor(owning: number), context), now))
    }
    for client in clients { client.end() }
  }
}

/// One connection.
private final class ControlConnection: Sendable {
  private let socket: FileDescriptor
  private let context: ControlContext
  private let hasEndedFlag = Atomic<Bool>(false)

  init(_ socket: consuming FileDescriptor, _ context: ControlContext) {
    self.socket = socket
    self.context = context
  }

  var number: Int32 { socket.number }
  var hasEnded: Bool { hasEndedFlag.load(ordering: .acquiring) }

  func serve() {
    while let request = ControlMessage.receive(from: socket.number, atMost: ControlMessage.maximumRequestBytes) {
      let answer = ControlRequests.answer(request, context, isWanted: { !hasClientGone })
      guard answer.send(to: socket.number) else { break }
    }
    // The other side must not wait until the thread is joined.
    close(for: SHUT_RDWR)
    hasEndedFlag.store(true, ordering: .releasing)
  }

  /// Answers what was not read.
  func refuse(_ reason: String) {
    ControlMessage.error(.locked, reason).send(to: socket.number)
    close(for: SHUT_RDWR)
  }

  private var hasClientGone: Bool {
    var poll = pollfd(fd: socket.number, events: 0, revents: 0)
    return Glibc.poll(&poll, 1, 0) > 0 && Int32(poll.revents) & POLLHUP != 0
  }

  func close(for directions: some BinaryInteger) { _ = shutdown(socket.number, Int32(directions)) }
}

/// A connection's thread.
private final class ControlClient: Sendable {
  private let connection: ControlConnection
  private let thread: Mutex<NamedThread?>

  private init(_ connection: ControlConnection, _ thread: consuming NamedThread) {
    self.connection = connection
    self.thread = Mutex(consume thread)
  }

  /// Nil when there is no thread for it.
  static func start(_ connection: ControlConnection) -> ControlClient? {
    do throws(SystemError) {
      return ControlClient(
        connection, try NamedThread(name: "control-\(connection.number)") { connection.serve() })
    } catch {
      return nil
    }
  }

  func joinIfEnded() -> Bool {
    guard connection.hasEnded else { return false }
    join()
    return true
  }

  /// Ends a connection that waits for its client; a request that is being carried out is answered first.
  func end() {
    connection.close(for: SHUT_RD)
    join()
  }

  private func join() {
    let running = thread.withLock { thread in
      let running = thread.take()
      return running
    }
    running?.join()
  }
}
