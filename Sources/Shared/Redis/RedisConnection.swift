// RedisConnection: one connection, its request buffer and its reply parser (hiredis' redisReader). Blocks its caller up
// to the timeouts; belongs to one thread at a time. After an error that `endsConnection` make a new one.

import CHiredis
import Glibc

/// How long a caller is held up at most, in milliseconds.
public struct RedisTimeouts: Hashable, Sendable {
  public var connectMilliseconds: Int
  /// For a whole reply, not for each piece of it.
  public var readMilliseconds: Int
  public var writeMilliseconds: Int

  public init(connectMilliseconds: Int = 5000, readMilliseconds: Int = 5000, writeMilliseconds: Int = 5000) {
    self.connectMilliseconds = connectMilliseconds
    self.readMilliseconds = readMilliseconds
    self.writeMilliseconds = writeMilliseconds
  }
}

/// A connection that is authenticated and has its database selected.
public struct RedisConnection: ~Copyable {
  /// Bytes fetched by one recv(2).
  private static let receiveBytes = 64 * 1024
  /// hiredis gives its input buffer back when it is empty and larger than this; kept, it need not grow again.
  private static let keptReaderBytes = 1 << 20

  private let socket: RedisSocket
  private let reader: UnsafeMutablePointer<redisReader>
  private let input: UnsafeMutableRawBufferPointer
  /// What hiredis is filling while a reply is not complete.
  private var partial: RedisReply
  private var output: RedisCommandBuffer
  public var timeouts: RedisTimeouts
  /// Replies that are owed for commands sent or appended.
  public private(set) var pendingReplies: Int
  /// The process at the other end.
  public let address: RedisAddress
  /// Whether the URL names one Redis that stands alone.
  private let isAlone: Bool

  /// Connects, authenticates and selects the database. Of a Sentinel endpoint it finds the master, of a Cluster the node
  /// that serves `key`.
  public init(endpoint: RedisEndpoint, timeouts: RedisTimeouts = RedisTimeouts(), key: String? = nil)
    throws(RedisError)
  {
    self = try Self.open(endpoint, timeouts, key)
  }

  /// Connects to a process that another connection of the endpoint has found.
  public init(endpoint: RedisEndpoint, timeouts: RedisTimeouts, at address: RedisAddress) throws(RedisError) {
    self = try Self.open(address, endpoint, timeouts)
  }

  /// Connects to one process with the credentials and the database of the endpoint.
  static func open(_ address: RedisAddress, _ endpoint: RedisEndpoint, _ timeouts: RedisTimeouts) throws(RedisError)
    -> RedisConnection
  {
    var connection = try RedisConnection(
      socket: RedisSocket(address: address, milliseconds: timeouts.connectMilliseconds), timeouts: timeouts, address,
      isAlone: endpoint.isAlone)
    if let password = endpoint.password {
      do {
        _ = try connection.command(endpoint.user.map { ["AUTH", $0, password] } ?? ["AUTH", password])
      } catch {
        // Before a user is known every refusal is one of the credentials (older servers say plain ERR).
        if case .server(let reply) = error { throw .authentication(reply) }
        throw error
      }
    }
    if endpoint.database != 0 { _ = try connection.command(["SELECT", String(endpoint.database)]) }
    return connection
  }

  private init(
    socket: consuming RedisSocket, timeouts: RedisTimeouts, _ address: RedisAddress, isAlone: Bool
  ) {
    self.socket = socket
    self.timeouts = timeouts
    self.address = address
    self.isAlone = isAlone
    partial = RedisReply()
    output = RedisCommandBuffer()
    pendingReplies = 0
    reader = redisReaderCreateWithFunctions(RedisReplyStorage.functions)
    reader.pointee.maxbuf = Self.keptReaderBytes
    input = .allocate(byteCount: Self.receiveBytes, alignment: 16)
  }

  deinit {
    redisReaderFree(reader)
    input.deallocate()
  }

  /// For poll(2) and epoll(7) only.
  public var descriptor: Int32 { socket.descriptor.number }

  /// Sends one command and waits for its reply; an error reply is thrown. Nothing else may be pending.
  public mutating func command(_ arguments: [String]) throws(RedisError) -> RedisReply {
    append(arguments)
    return try onlyReply()
  }

  /// The same; `late` is called, once, when the reply takes longer than `patienceMilliseconds`.
  public mutating func command(_ arguments: [String], patienceMilliseconds: Int, late: () -> Void) throws(RedisError)
    -> RedisReply
  {
    append(arguments)
    try flush()
    if !socket.isReadable(withinMilliseconds: min(patienceMilliseconds, timeouts.readMilliseconds)) { late() }
    return try onlyReply()
  }

  /// The same with arguments that are not text.
  public mutating func command(_ arguments: [[UInt8]]) throws(RedisError) -> RedisReply {
    output.begin(argumentCount: arguments.count)
    for argument in arguments { output.append(argument) }
    pendingReplies += 1
    return try onlyReply()
  }

  private mutating func onlyReply() throws(RedisError) -> RedisReply {
    // After a reply that did not come in time the next one would be taken for it.
    guard pendingReplies == 1 else { throw .protocolViolation("a reply is owed for an earlier command") }
    let reply = try nextReply()
    if let error = reply.error {
      throw error.code == .noAuth || error.code == .wrongPass ? .authentication(error) : .server(error)
    }
    return reply
  }

  /// Adds a command to the pipeline; it is sent by `flush` or by the next `nextReply`.
  public mutating func append(_ arguments: [String]) {
    output.append(command: arguments)
    pendingReplies += 1
  }

  /// Adds encoded commands to the pipeline.
  public mutating func append(_ commands: borrowing RedisCommandBuffer) {
    output.append(encoded: commands)
    pendingReplies += commands.commandCount
  }

  /// Sends what was appended.
  public mutating func flush() throws(RedisError) {
    guard output.count > 0 else { return }
    defer { output.removeAll() }
    try socket.send(output.bytes, milliseconds: timeouts.writeMilliseconds)
  }

  /// Sends encoded commands without copying them into the pipeline; each owes a reply.
  public mutating func send(_ commands: borrowing RedisCommandBuffer) throws(RedisError) {
    try flush()
    pendingReplies += commands.commandCount
    try socket.send(commands.bytes, milliseconds: timeouts.writeMilliseconds)
  }

  /// The next reply of the pipeline, or the next message of a subscription. An error reply is a value here.
  /// `waitMilliseconds` is for commands that block in the server, in addition to the read timeout.
  public mutating func nextReply(waitMilliseconds: Int = 0) throws(RedisError) -> RedisReply {
    var reply = RedisReply()
    try nextReply(reusing: &reply, waitMilliseconds: waitMilliseconds)
    return reply
  }

  /// The same into a reply that exists already: its old content goes, its memory is used again.
  public mutating func nextReply(reusing reply: inout RedisReply, waitMilliseconds: Int = 0) throws(RedisError) {
    try flush()
    let deadline = RedisSocket.Deadline(milliseconds: timeouts.readMilliseconds + waitMilliseconds)
    while try !parse(into: &reply) {
      let count = try socket.receive(into: input, by: deadline)
      try feed(count)
    }
    try refuseCluster(reply.view)
  }

  /// The next reply if it has arrived; false, at once, if it has not. For callers that watch `descriptor`.
  public mutating func nextReplyIfArrived(reusing reply: inout RedisReply) throws(RedisError) -> Bool {
    try flush()
    while try !parse(into: &reply) {
      guard let count = try socket.receiveAvailable(into: input) else { return false }
      try feed(count)
    }
    try refuseCluster(reply.view)
    return true
  }

  /// A node of a Cluster answers so to who takes it for a Redis that stands alone: asked again it would for ever.
  private func refuseCluster(_ reply: RedisReplyView) throws(RedisError) {
    guard isAlone, reply.kind == .error, let error = reply.error else { return }
    switch error.code {
    case .moved, .ask, .crossSlot, .clusterDown:
      throw .unreachable(
        "\(address) is a node of a Redis Cluster: write redis+cluster:// in the URL (it said \(error.code.text))")
    default: return
    }
  }

  private func feed(_ count: Int) throws(RedisError) {
    guard redisReaderFeed(reader, input.baseAddress!.assumingMemoryBound(to: CChar.self), count) == REDIS_OK else {
      throw readerError
    }
  }

  /// Takes one whole reply out of the reader, if it holds one.
  private mutating func parse(into reply: inout RedisReply) throws(RedisError) -> Bool {
    if reader.pointee.ridx == -1 {
      partial.storage.pointee.removeAll()
      reader.pointee.privdata = UnsafeMutableRawPointer(partial.storage)
    }
    var root: UnsafeMutableRawPointer?
    guard redisReaderGetReply(reader, &root) == REDIS_OK else { throw readerError }
    guard root != nil else { return false }
    swap(&partial.storage, &reply.storage)
    pendingReplies = max(0, pendingReplies - 1)
    return true
  }

  private var readerError: RedisError {
    .protocolViolation(
      withUnsafeBytes(of: reader.pointee.errstr) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
  }
}
