// HTTPFrontend: one worker's HTTP listeners: parses requests, puts announces through the pipeline, writes the replies.
// Owns the server; the pipeline is the worker's. On the worker's thread.

import Glibc
import HTTP
import Linux
import Settings
import Wire

/// What the HTTP side of a worker is configured with.
struct HTTPRules: Sendable {
  var parser: QueryParser
  var clientAddress: ClientAddress
  /// What a connection may take.
  var connections: HTTPLimits
  var limits: RequestLimits
  /// The same for all workers of a process.
  var trackerID: [UInt8]
}

extension HTTPRules {
  /// The rules of a configuration, for each of `workers`.
  init(_ settings: HTTPSettings, workers: Int, trackerID: [UInt8]) {
    func nanoseconds(_ duration: Duration) -> UInt64 { UInt64(duration.wholeNanoseconds) }
    self.init(
      parser: QueryParser(
        routes: settings.routes, maxScrapeInfoHashes: settings.limits.maxScrapeInfohashes,
        allowIPSpoofing: settings.allowIPSpoofing),
      clientAddress: ClientAddress(
        header: settings.realIPHeader.map { Array($0.lowercased().utf8) }, trustedProxies: settings.trustedProxies),
      connections: HTTPLimits(
        readTimeoutNanoseconds: nanoseconds(settings.readTimeout),
        writeTimeoutNanoseconds: nanoseconds(settings.writeTimeout),
        idleTimeoutNanoseconds: nanoseconds(settings.idleTimeout), keepsAlive: settings.enableKeepalive,
        maximumConnections: DescriptorLimit.connectionsPerWorker(
          workers: workers, wanted: HTTPLimits.defaultMaximumConnections),
        maximumPerAddress: settings.maxConnectionsPerAddress, proxies: settings.trustedProxies),
      limits: settings.limits, trackerID: trackerID)
  }
}

/// Answers announces and scrapes over HTTP.
final class HTTPFrontend: HTTPHandler, ParkedRequestReceiver {
  /// What a scrape asks for, at most a request line's worth, and the address family of its connection.
  private struct ParkedScrape {
    let infoHashes: [InfoHash]
    let family: IPAddress.Family
  }

  /// How long a stopping worker waits for replies in flight.
  private static let drainNanoseconds: UInt64 = 3_000_000_000

  private let pipeline: AnnouncePipeline
  private var rules: HTTPRules
  private let loop: EventLoop
  private var writer: HTTPWriter
  private var infoHashes: UnsafeMutableRawPointer
  /// By their tickets: at most one per connection.
  private var parkedScrapes: [UInt64: ParkedScrape] = [:]
  private var metrics: ResponseMetrics
  private let unanswered: Counter
  private var time = BatchTime.now()
  private var server: HTTPServer?

  /// Serves `listeners` on `loop`.
  init(
    listeners: [Listener], pipeline: AnnouncePipeline, rules: HTTPRules, metrics registry: MetricRegistry,
    loop: EventLoop
  ) throws(SystemError) {
    self.pipeline = pipeline
    self.rules = rules
    self.loop = loop
    writer = HTTPWriter(maxNumwant: rules.limits.maxNumwant, trackerID: rules.trackerID)
    infoHashes = .allocate(byteCount: rules.parser.maxScrapeInfoHashes * InfoHash.byteCount, alignment: 8)
    metrics = ResponseMetrics(name: "chihaya_http_response_duration_milliseconds", registry: registry)
    unanswered = registry.counter(
      "tracker_http_unanswered_total",
      help: "Announces that waited for a look-up and were decided when their connections had ended.")
    pipeline.httpReceiver = self
    let server = HTTPServer(
      loop: loop, listeners: listeners, limits: rules.connections,
      metrics: HTTPServerMetrics(registry: registry, prefix: "tracker_http"), handler: self)
    self.server = server
    try server.start()
    loop.afterEachBatch { [unowned self] in metrics.endBatch(startNanoseconds: time.monotonicNanoseconds) }
  }

  deinit { infoHashes.deallocate() }

  /// Takes the rules of a reload.
  func update(_ new: HTTPRules) {
    rules = new
    server?.update(new.connections)
    writer = HTTPWriter(maxNumwant: new.limits.maxNumwant, trackerID: new.trackerID)
    infoHashes.deallocate()
    infoHashes = .allocate(byteCount: new.parser.maxScrapeInfoHashes * InfoHash.byteCount, alignment: 8)
  }

  /// Stops accepting, answers what is in flight, then calls `done`.
  func drain(done: @escaping () -> Void) {
    guard let server else { return done() }
    server.drain(deadlineNanoseconds: Self.drainNanoseconds) { [unowned self] in
      self.server = nil
      done()
    }
  }

  func respond(to request: borrowing HTTPRequest, writer response: inout HTTPResponseWriter) -> HTTPHandling {
    loop.noteRequests(1)
    guard let match = rules.parser.routes.match(request.path) else {
      response.begin(.notFound, contentType: "text/plain")
      response.append("not found\n")
      return .answered
    }
    if loop.nowNanoseconds != time.monotonicNanoseconds {
      time = BatchTime(monotonicNanoseconds: loop.nowNanoseconds, unixSeconds: Clock.unixSeconds())
    }
    switch match.action {
    case .announce: return announce(request, match, into: &response)
    case .scrape: return scrape(request, match, into: &response)
    }
  }

  private func announce(
    _ request: borrowing HTTPRequest, _ match: RouteTable.Match, into response: inout HTTPResponseWriter
  ) -> HTTPHandling {
    // HEAD changes nothing (RFC 9110 section 9.2.1), and an announce does.
    guard !request.isHead else {
      refuse(.malformedRequest, .announce, request.peer?.address.family ?? .v4, into: &response)
      return .answered
    }
    guard let address = rules.clientAddress.resolve(request) else {
      refuse(.invalidAddress, .announce, .v4, into: &response)
      return .answered
    }
    let announce: AnnounceRequest
    let form: ReplyForm
    do throws(Refusal) {
      (announce, form) = try rules.parser.parseAnnounce(
        query: request.query, passkeySegment: passkeySegment(request, match), from: address)
    } catch {
      refuse(error, .announce, address.family, into: &response)
      return .answered
    }
    let origin = RequestOrigin.http(ticket: request.ticket.rawValue, form: form.rawValue)
    return put(announce, form: form, origin: origin, into: &response)
  }

  private func passkeySegment(_ request: borrowing HTTPRequest, _ match: RouteTable.Match) -> UnsafeRawBufferPointer? {
    match.passkey.map { UnsafeRawBufferPointer(rebasing: request.path[$0]) }
  }

  /// Puts an announce through the pipeline and writes its reply, if it was not parked.
  private func put(
    _ announce: AnnounceRequest, form: ReplyForm, origin: RequestOrigin, into response: inout HTTPResponseWriter
  ) -> HTTPHandling {
    let limit = rules.limits.peers(announce.numwant)
    var reply = AnnounceReply()
    reply.peers = writer.sink(limit: limit, form: form)
    switch pipeline.announce(announce, origin: origin, time: time, reply: &reply) {
    case .accepted:
      // Before the reply can leave: the client's next announce may reach another worker (see UDPFrontend.serve).
      pipeline.flushRecords()
      writer.announce(reply, to: announce.address, limit: limit, form: form, into: &response)
      metrics.count(.announce, announce.address.family, nil)
    case .refused(let refusal): refuse(refusal, .announce, announce.address.family, into: &response)
    case .parked: return .parked
    }
    return .answered
  }

  /// Puts an announce through whose connection ended while it waited: what it says counts, and nobody gets the reply.
  private func putUnanswered(_ announce: AnnounceRequest, origin: RequestOrigin) {
    var reply = AnnounceReply()
    reply.peers = writer.sink(limit: 0, form: [])
    let refusal: Refusal?
    switch pipeline.announce(announce, origin: origin, time: time, reply: &reply) {
    case .accepted: refusal = nil
    case .refused(let reason): refusal = reason
    case .parked: return
    }
    unanswered.addFromOwner()
    metrics.count(.announce, announce.address.family, refusal)
  }

  private func refuse(
    _ refusal: Refusal, _ action: ResponseMetrics.Action, _ family: IPAddress.Family,
    into response: inout HTTPResponseWriter
  ) {
    writer.refusal(refusal, into: &response)
    metrics.count(action, family, refusal)
  }

  /// A scrape tells nothing about users, and a route without `:passkey` is open to all. But a passkey that comes along
  /// must be an approved one.
  private func scrape(
    _ request: borrowing HTTPRequest, _ match: RouteTable.Match, into response: inout HTTPResponseWriter
  ) -> HTTPHandling {
    let family = request.peer?.address.family ?? .v4
    do throws(Refusal) {
      let (count, passkey) = try rules.parser.parseScrape(
        query: request.query, passkeySegment: passkeySegment(request, match), into: infoHashes)
      guard let passkey else {
        writeScrape(count, family, into: &response)
        return .answered
      }
      let ticket = request.ticket.rawValue
      // Nobody's, where a proxy does not say whose it is.
      let source = rules.clientAddress.resolve(request) ?? IPAddress(v4: 0)
      switch pipeline.admitScrape(
        passkey: passkey, from: source, lookedUp: 0, origin: .httpScrape(ticket: ticket), time: time)
      {
      case .accepted: writeScrape(count, family, into: &response)
      case .refused(let refusal): throw refusal
      case .parked:
        parkedScrapes[ticket] = ParkedScrape(
          infoHashes: (0..<count).map { InfoHash(infoHashes + $0 * InfoHash.byteCount) }, family: family)
        return .parked
      }
    } catch {
      refuse(error, .scrape, family, into: &response)
    }
    return .answered
  }

  /// The counts of the first `count` of `infoHashes`.
  private func writeScrape(_ count: Int, _ family: IPAddress.Family, into response: inout HTTPResponseWriter) {
    writer.beginScrape(into: &response)
    for index in 0..<count {
      let infoHash = InfoHash(infoHashes + index * InfoHash.byteCount)
      writer.scrapeEntry(infoHash, pipeline.scrape(infoHash), into: &response)
    }
    writer.endScrape(into: &response)
    metrics.count(.scrape, family, nil)
  }

  func resume(_ request: AnnounceRequest, origin: RequestOrigin) {
    time = BatchTime(monotonicNanoseconds: loop.nowNanoseconds, unixSeconds: Clock.unixSeconds())
    switch origin {
    case .http(let ticket, let form):
      let isConnected = server?.resume(HTTPTicket(rawValue: ticket)) { response in
        put(request, form: ReplyForm(rawValue: form), origin: origin, into: &response)
      }
      if isConnected != true { putUnanswered(request, origin: origin) }
    case .httpScrape(let ticket): resumeScrape(request, ticket)
    case .udp: break
    }
  }

  private func resumeScrape(_ request: AnnounceRequest, _ ticket: UInt64) {
    guard let parked = parkedScrapes.removeValue(forKey: ticket) else { return }
    server?.resume(HTTPTicket(rawValue: ticket)) { response in
      switch pipeline.admitScrape(
        passkey: request.passkey, from: request.source, lookedUp: request.lookedUp, origin: .httpScrape(ticket: ticket),
        time: time)
      {
      case .accepted:
        // A reload may have lowered the limit meanwhile.
        let count = min(parked.infoHashes.count, rules.parser.maxScrapeInfoHashes)
        for index in 0..<count { parked.infoHashes[index].store(to: infoHashes + index * InfoHash.byteCount) }
        writeScrape(count, parked.family, into: &response)
      case .refused(let refusal): refuse(refusal, .scrape, parked.family, into: &response)
      case .parked:
        parkedScrapes[ticket] = parked
        return .parked
      }
      return .answered
    }
  }
}
