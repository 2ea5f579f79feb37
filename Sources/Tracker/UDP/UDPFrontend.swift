// UDPFrontend: one worker's UDP sockets: receives a batch, answers it, sends a batch. Owns the buffers of both; the
// sockets are the daemon's. On the worker's thread.

import CLinux
import Glibc
import Linux
import Wire

/// What the UDP side of a worker is configured with.
struct UDPRules: Sendable {
  var connectionID: ConnectionID
  var parser: UDPParser
  var limits: RequestLimits
  /// Whether scrapes are refused: BEP 41 extends announces only, so a scrape does not say who asks, and this
  /// tracker answers no strangers.
  var refusesScrapes = false
}

extension UDPRules {
  init(_ settings: UDPSettings, connectionID: ConnectionID, routes: RouteTable) {
    self.init(
      connectionID: connectionID,
      parser: UDPParser(
        routes: routes,
        maxScrapeInfoHashes: min(settings.limits.maxScrapeInfohashes, UDPWriter.maximumScrapeInfoHashes),
        allowIPSpoofing: settings.allowIPSpoofing),
      limits: settings.limits)
  }
}

/// An announce of a batch that has been parsed.
private struct PendingAnnounce {
  var request: AnnounceRequest
  /// Its datagram's number in the batch.
  var message: Int
  /// As it lies in memory.
  var transactionID: UInt32
}

/// Answers datagrams of BEP 15.
final class UDPFrontend: ParkedRequestReceiver {
  private let sockets: [UDPSocket]
  private let pipeline: AnnouncePipeline
  /// Changes with a reload.
  var rules: UDPRules
  private let batch = DatagramBatch()
  /// The announces of the current batch: parsed first, then put through together.
  private let pending: UnsafeMutablePointer<PendingAnnounce>
  private let keys: UnsafeMutablePointer<SwarmKey>
  private var pendingCount = 0
  private var metrics: ResponseMetrics
  private var errorBudget = ErrorBudget()
  private let dropped: Counter
  private let withheldErrors: Counter

  /// Watches the sockets on `loop`.
  init(
    sockets: [UDPSocket], pipeline: AnnouncePipeline, rules: UDPRules, metrics registry: MetricRegistry,
    loop: EventLoop
  ) throws(SystemError) {
    self.sockets = sockets
    self.pipeline = pipeline
    self.rules = rules
    pending = .allocate(capacity: DatagramBatch.capacity)
    keys = .allocate(capacity: DatagramBatch.capacity)
    metrics = ResponseMetrics(name: "chihaya_udp_response_duration_milliseconds", registry: registry)
    dropped = registry.counter(
      "tracker_udp_dropped_total", help: "Datagrams that got no answer: too short, no request, or not sendable.")
    withheldErrors = registry.counter(
      "tracker_udp_withheld_errors_total", help: "Bad connection ids that were not answered: too many in that second.")
    pipeline.udpReceiver = self
    for (index, socket) in sockets.enumerated() {
      let handler = UDPSocketHandler(frontend: self, socket: index)
      handler.registration = try loop.register(socket.descriptor, events: EPOLLIN.rawValue, handler: handler)
    }
  }

  deinit {
    pending.deallocate()
    keys.deallocate()
  }

  /// Batches served before the other sources of the loop get their turn.
  private static let batchesPerTurn = 16

  /// Serves what has arrived; the number of datagrams in the fullest batch.
  fileprivate func serve(socket index: Int, loop: EventLoop) -> Int {
    var fullest = 0
    for _ in 0..<Self.batchesPerTurn {
      let received = batch.receive(from: sockets[index].descriptor)
      if received == 0 { break }
      fullest = max(fullest, received)
      loop.noteRequests(received)
      serve(received, socket: index)
      if received < DatagramBatch.capacity { break }
    }
    return fullest
  }

  private func serve(_ received: Int, socket index: Int) {
    let time = BatchTime.now()
    for message in 0..<received { read(message, time: time) }
    pipeline.prepare(UnsafeBufferPointer(start: keys, count: pendingCount))
    for number in 0..<pendingCount { announce(pending + number, socket: index, time) }
    pendingCount = 0
    // Before the replies: a client that has its reply may announce to another worker next, and the queue must have the
    // two in their order, or counters seem to go backwards.
    pipeline.flushRecords()
    dropped.addFromOwner(UInt64(batch.send(to: sockets[index].descriptor)))
    metrics.endBatch(startNanoseconds: time.monotonicNanoseconds)
  }

  /// Answers one datagram of the batch, or notes the announce in it.
  private func read(_ message: Int, time: BatchTime) {
    let datagram = batch.datagram(message)
    guard datagram.count >= UDPRequestHead.byteCount, let sender = batch.sender(message), sender.isAnswerable else {
      dropped.addFromOwner()
      return
    }
    let head = UDPRequestHead(datagram)
    if head.connectionID == UDPParser.protocolID && head.action == UDPParser.connectAction {
      let id = rules.connectionID.make(for: sender.address, unixSeconds: time.unixSeconds)
      batch.reply(to: message, UDPWriter.connect(id, transactionID: head.transactionID, to: batch.replyBuffer))
      metrics.count(.connect, sender.address.family, nil)
      return
    }
    guard rules.connectionID.isValid(head.connectionID, for: sender.address, unixSeconds: time.unixSeconds) else {
      refuseUnconnected(message, head, datagram, sender, time)
      return
    }
    switch rules.parser.parse(datagram, action: head.action, from: sender.address) {
    case .announce(let request):
      keys[pendingCount] = pipeline.key(of: request)
      (pending + pendingCount).initialize(
        to: PendingAnnounce(request: request, message: message, transactionID: head.transactionID))
      pendingCount += 1
    case .scrape(let range):
      scrape(UnsafeRawBufferPointer(rebasing: datagram[range]), message, head, sender)
    case .refused(let refusal):
      refuse(
        refusal, message, head.transactionID, sender.address.family, ResponseMetrics.Action(udpAction: head.action))
    case .none: dropped.addFromOwner()
    }
  }

  private func announce(_ announce: UnsafePointer<PendingAnnounce>, socket: Int, _ time: BatchTime) {
    let message = announce.pointee.message
    let transactionID = announce.pointee.transactionID
    // An address that the client may speak for (`ip=`) is of the sender's family: see UDPParser.
    let family = announce.pointee.request.address.family
    var reply = AnnounceReply()
    reply.peers = UDPWriter.sink(
      for: family, limit: rules.limits.peers(announce.pointee.request.numwant), in: batch.replyBuffer)
    let origin = RequestOrigin.udp(socket: socket, path: batch.replyPath(message), transactionID: transactionID)
    switch pipeline.announce(announce.pointee.request, origin: origin, time: time, reply: &reply) {
    case .accepted:
      batch.reply(to: message, UDPWriter.announce(reply, transactionID: transactionID, to: batch.replyBuffer))
      metrics.count(.announce, family, nil)
    case .refused(let refusal): refuse(refusal, message, transactionID, family, .announce)
    case .parked: break
    }
  }

  private func scrape(
    _ infoHashes: UnsafeRawBufferPointer, _ message: Int, _ head: UDPRequestHead, _ sender: Endpoint
  ) {
    if rules.refusesScrapes {
      return refuse(.missingPasskey, message, head.transactionID, sender.address.family, .scrape)
    }
    var length = UDPWriter.scrapeHead(transactionID: head.transactionID, to: batch.replyBuffer)
    for offset in stride(from: 0, to: infoHashes.count, by: InfoHash.byteCount) {
      let counts = pipeline.scrape(InfoHash(infoHashes.baseAddress! + offset))
      length += UDPWriter.scrapeEntry(counts, to: batch.replyBuffer + length)
    }
    batch.reply(to: message, length)
    metrics.count(.scrape, sender.address.family, nil)
  }

  private func refuse(
    _ refusal: Refusal, _ message: Int, _ transactionID: UInt32, _ family: IPAddress.Family,
    _ action: ResponseMetrics.Action
  ) {
    batch.reply(to: message, UDPWriter.refusal(refusal, transactionID: transactionID, to: batch.replyBuffer))
    metrics.count(action, family, refusal)
  }

  /// A sender that has not shown that it receives at its address gets no more bytes than it sent, no answer to what is no
  /// request (the errors of other trackers are none), and few errors.
  private func refuseUnconnected(
    _ message: Int, _ head: UDPRequestHead, _ datagram: UnsafeRawBufferPointer, _ sender: Endpoint, _ time: BatchTime
  ) {
    let length = UDPWriter.refusal(.badConnectionID, transactionID: head.transactionID, to: batch.replyBuffer)
    guard UDPParser.isRequest(head.action), length <= datagram.count else {
      dropped.addFromOwner()
      return
    }
    guard errorBudget.spend(on: sender.address, monotonicSeconds: time.monotonicSeconds) else {
      withheldErrors.addFromOwner()
      return
    }
    batch.reply(to: message, length)
    metrics.count(ResponseMetrics.Action(udpAction: head.action), sender.address.family, .badConnectionID)
  }

  func resume(_ request: AnnounceRequest, origin: RequestOrigin) {
    guard case .udp(let socket, let path, let transactionID) = origin else { return }
    let time = BatchTime.now()
    let family: IPAddress.Family = sockets[socket].endpoint.address.family
    let target = batch.replyBuffer
    var reply = AnnounceReply()
    reply.peers = UDPWriter.sink(for: family, limit: rules.limits.peers(request.numwant), in: target)
    var refused: Refusal?
    let length: Int
    switch pipeline.announce(request, origin: origin, time: time, reply: &reply) {
    case .accepted: length = UDPWriter.announce(reply, transactionID: transactionID, to: target)
    case .refused(let refusal):
      refused = refusal
      length = UDPWriter.refusal(refusal, transactionID: transactionID, to: target)
    case .parked: return
    }
    pipeline.flushRecords()
    dropped.addFromOwner(
      UInt64(DatagramBatch.send(UnsafeRawBufferPointer(start: target, count: length), along: path, sockets[socket])))
    metrics.count(.announce, family, refused)
    metrics.endBatch(startNanoseconds: time.monotonicNanoseconds)
  }
}

/// One socket's readiness. A socket with full batches is polled until it has nothing: being in epoll costs the kernel
/// a call for every datagram that comes and every reply that goes.
private final class UDPSocketHandler: EventHandler {
  private unowned let frontend: UDPFrontend
  private let socket: Int
  var registration: EventLoop.Registration?
  private var isPolled = false

  init(frontend: UDPFrontend, socket: Int) {
    self.frontend = frontend
    self.socket = socket
  }

  func handle(events: UInt32, loop: EventLoop) {
    let fullest = frontend.serve(socket: socket, loop: loop)
    guard let registration else { return }
    if !isPolled && fullest == DatagramBatch.capacity {
      loop.poll(registration)
      isPolled = true
    } else if isPolled && fullest == 0 {
      isPolled = !loop.unpoll(registration)
    }
  }
}

extension Endpoint {
  /// Whether a reply may go there: not to port 0, nor to a multicast, broadcast or unspecified address (RFC 1122 3.2.1.3).
  var isAnswerable: Bool {
    guard port != 0 else { return false }
    if address.family == .v4 {
      let first = UInt8(truncatingIfNeeded: UInt32(bigEndian: address.v4NetworkOrder) >> 24)
      return first != 0 && first < 224
    }
    return !address.isMulticastOrUnspecifiedV6
  }
}

extension IPAddress {
  /// ff00::/8 and :: (RFC 4291 sections 2.5.2 and 2.7).
  fileprivate var isMulticastOrUnspecifiedV6: Bool {
    withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { bytes in
      store(to: bytes.baseAddress!)
      return bytes[0] == 0xff || bytes.allSatisfy { $0 == 0 }
    }
  }
}
