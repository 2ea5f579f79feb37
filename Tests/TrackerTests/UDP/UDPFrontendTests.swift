import Linux
import Simulation
import Testing
import Wire

@testable import Tracker

@Suite("UDP frontend over real sockets")
struct UDPFrontendTests {
  /// A worker thread with UDP sockets of its own and no hooks.
  final class Bench {
    let store: SwarmStore
    let metrics = MetricRegistry()
    let ids = ConnectionID(privateKey: "test", maxClockSkewSeconds: 10)
    let port: UInt16
    private let worker: WorkerThread

    /// Serves `sockets`, or new ones at `address`.
    init(address: String = "127.0.0.1:0", sockets: [UDPSocket]? = nil, maxNumwant: Int = 100) throws {
      let sockets = try sockets ?? UDPSocket.open(SocketAddress(address), workers: 1)[0]
      port = sockets[0].endpoint.port
      store = try SwarmStore(shardCount: 4, snatches: SnatchLedger(path: nil))
      let rules = UDPRules(
        connectionID: ids,
        parser: UDPParser(
          routes: RouteTable(announceRoutes: ["/announce/:passkey"], scrapeRoutes: []), maxScrapeInfoHashes: 74,
          allowIPSpoofing: false), limits: RequestLimits(maxNumwant: maxNumwant))
      let plan = WorkerPlan(
        number: 0, mailbox: try EventLoopMailbox(), udpSockets: sockets, udpRules: rules, httpListeners: [],
        httpRules: nil, store: store, push: nil, rules: PipelineRules(),
        batchDelayNanoseconds: 1_000_000, metrics: metrics, heartbeat: Heartbeat())
      worker = try WorkerThread(plan) { _ in }
    }

    deinit { worker.stop() }

    var dropped: Int {
      let line = metrics.render().split(separator: "\n").first { $0.hasPrefix("tracker_udp_dropped_total ") }
      return line.flatMap { Int($0.split(separator: " ")[1]) } ?? -1
    }

    func connectionID(_ address: String = "127.0.0.1") -> UInt64 {
      ids.make(for: IPAddress(address)!, unixSeconds: Clock.unixSeconds())
    }
  }

  static func head(_ id: UInt64, _ action: UInt32, _ transaction: UInt32) -> [UInt8] {
    bytes(id) + bytes(action) + bytes(transaction)
  }
  static func bytes(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }
  static func number(_ reply: [UInt8], _ offset: Int) -> UInt32 {
    reply[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
  }

  static func exchange(_ bench: Bench, _ request: [UInt8]) throws -> [UInt8] {
    let socket = try ClientSocket(.v4(bench.port), udp: true)
    try socket.send(request)
    return try #require(try socket.receive())
  }

  static func announce(_ id: UInt64, transaction: UInt32 = 7) -> [UInt8] {
    head(id, 1, transaction) + UDPParserTests.announce()[16...]
  }

  @Test("full batches make the worker poll, and when they end it waits for the next datagram again")
  func fullBatches() throws {
    let count = 3 * DatagramBatch.capacity + 1
    let id = ConnectionID(privateKey: "test", maxClockSkewSeconds: 10).make(
      for: IPAddress("127.0.0.1")!, unixSeconds: Clock.unixSeconds())
    let sockets = try UDPSocket.open(SocketAddress("127.0.0.1:0"), workers: 1)[0]
    let socket = try ClientSocket(.v4(sockets[0].endpoint.port), udp: true)
    for number in 0..<count { try socket.send(Self.announce(id, transaction: UInt32(number))) }
    let bench = try Bench(sockets: sockets)
    var transactions = Set<UInt32>()
    for _ in 0..<count { transactions.insert(Self.number(try #require(try socket.receive()), 4)) }
    #expect(transactions == Set(0..<UInt32(count)))
    for _ in 0..<3 { #expect(try Self.exchange(bench, Self.announce(id)).count == 20) }
    #expect(bench.store.counts().leechers == 1)
  }

  @Test("connect gives an id that announce accepts; every reply carries the caller's transaction id")
  func connect() throws {
    let bench = try Bench()
    let connected = try Self.exchange(bench, Self.head(UDPParser.protocolID, 0, 0xdead_beef))
    #expect(connected.count == 16)
    #expect(Self.number(connected, 0) == 0 && Self.number(connected, 4) == 0xdead_beef)
    let id = UInt64(Self.number(connected, 8)) << 32 | UInt64(Self.number(connected, 12))
    let announced = try Self.exchange(bench, Self.announce(id, transaction: 0x0102_0304))
    #expect(announced.count == 20)
    #expect(Self.number(announced, 0) == 1 && Self.number(announced, 4) == 0x0102_0304)
    #expect(Self.number(announced, 8) == 1800)
    #expect(Self.number(announced, 12) == 1 && Self.number(announced, 16) == 0)
  }

  @Test("a wildcard socket answers from the address it was asked at", arguments: ["127.0.0.2", "127.1.2.3"])
  func sourceAddress(asked: String) throws {
    let bench = try Bench(address: ":0")
    // A connected socket takes datagrams from that address only (udp(7)), as clients do.
    let socket = try ClientSocket(LoopbackEndpoint(IPAddress(asked)!, port: bench.port), udp: true)
    try socket.send(Self.head(UDPParser.protocolID, 0, 5))
    let connected = try #require(try socket.receive())
    #expect(Self.number(connected, 0) == 0 && Self.number(connected, 4) == 5)
  }

  @Test("scrape gives seeders, snatches, leechers in the order asked, zeros for the unknown")
  func scrape() throws {
    let bench = try Bench()
    var lottery = PeerLottery(seed: 1)
    for user in 1...3 as ClosedRange<UInt64> {
      let announce = SwarmStoreTests.make(
        user: user, event: user == 1 ? .completed : .started, left: user == 1 ? 0 : 1, downloaded: 1)
      _ = SwarmStoreTests.announce(bench.store, announce, lottery: &lottery)
    }
    let request =
      Self.head(bench.connectionID(), 2, 9) + [UInt8](repeating: 9, count: 20) + SwarmStoreTests.infoHash(1).bytes
    let reply = try Self.exchange(bench, request)
    #expect(reply.count == 8 + 24)
    #expect((8..<20).allSatisfy { reply[$0] == 0 })
    #expect((Self.number(reply, 20), Self.number(reply, 24), Self.number(reply, 28)) == (1, 1, 2))
  }

  @Test("a sender without a valid id gets at most as many bytes as it sent")
  func noAmplification() throws {
    let bench = try Bench()
    let socket = try ClientSocket(.v4(bench.port), udp: true)
    // 16 bytes would be answered with 25: silence, and the counter says so.
    try socket.send(Self.head(12345, 2, 1))
    // The next reply on this socket belongs to the connect behind it.
    try socket.send(Self.head(UDPParser.protocolID, 0, 2))
    let first = try #require(try socket.receive())
    #expect(Self.number(first, 4) == 2)
    #expect(bench.dropped == 1)
    let refused = try Self.exchange(bench, Self.announce(12345, transaction: 3))
    #expect(Self.number(refused, 0) == 3 && Self.number(refused, 4) == 3)
    #expect(String(decoding: refused[8...], as: UTF8.self) == "bad connection ID")
  }

  @Test("an error of another tracker, sent by way of a forged address, is not answered")
  func noLoop() throws {
    let bench = try Bench()
    let socket = try ClientSocket(.v4(bench.port), udp: true)
    try socket.send(Self.announce(12345, transaction: 3))
    let refused = try #require(try socket.receive())
    #expect(refused.count == 25)
    // What this tracker says to a forged sender is what another tracker receives.
    try socket.send(refused)
    try socket.send(Self.head(bench.connectionID(), 7, 4))
    try socket.send(Self.head(UDPParser.protocolID, 0, 5))
    #expect(Self.number(try #require(try socket.receive()), 4) == 5)
    #expect(bench.dropped == 2)
  }

  @Test("an address that has shown nothing gets so many errors a second, and the others theirs")
  func errorBudget() {
    var budget = ErrorBudget()
    func spend(_ address: String, _ second: UInt32, times: UInt32) -> Int {
      (0..<times).filter { _ in budget.spend(on: IPAddress(address)!, monotonicSeconds: second) }.count
    }
    let limit = Int(ErrorBudget.errorsPerSecond)
    #expect(spend("192.0.2.1", 7, times: ErrorBudget.errorsPerSecond) == limit)
    #expect(spend("192.0.2.1", 7, times: 5) == 0)
    #expect(spend("192.0.2.1", 8, times: 100) == limit)
    // One host may have a whole /64. The sum over addresses that cannot all share one place shows that others have theirs.
    #expect(spend("2001:db8::1", 9, times: 100) == limit)
    #expect(spend("2001:db8::ffff:2", 9, times: 100) == 0)
    #expect((0..<8).reduce(0) { $0 + spend("198.51.100.\($1)", 9, times: 100) } > 2 * limit)
  }

  @Test("truncated and oversized datagrams get no reply or a refusal, and the next one is served")
  func oddSizes() throws {
    let bench = try Bench()
    let id = bench.connectionID()
    let socket = try ClientSocket(.v4(bench.port), udp: true)
    for length in [1, 15] { try socket.send(Array(Self.announce(id).prefix(length))) }
    try socket.send(Self.announce(id) + [UInt8](repeating: 1, count: 3000))
    try socket.send(Array(Self.announce(id, transaction: 5).prefix(97)))
    let reply = try #require(try socket.receive())
    #expect(Self.number(reply, 0) == 3 && Self.number(reply, 4) == 5)
    #expect(bench.dropped == 3)
    #expect(try Self.exchange(bench, Self.announce(id)).count == 20)
  }

  @Test("the largest reply fits one frame: 242 IPv4 peers of 300, however many are asked for")
  func largestReply() throws {
    let bench = try Bench(maxNumwant: 1000)
    var lottery = PeerLottery(seed: 1)
    let infoHash = InfoHash(words: SwarmStoreTests.infoHash(1).words)
    for user in 1...300 as ClosedRange<UInt64> {
      _ = SwarmStoreTests.announce(bench.store, SwarmStoreTests.make(user: user), limit: 0, lottery: &lottery)
    }
    var request = Self.head(bench.connectionID(), 1, 1) + UDPParserTests.announce(numwant: 1000)[16...]
    request.replaceSubrange(16..<36, with: infoHash.bytes)
    let reply = try Self.exchange(bench, request)
    #expect(reply.count == 20 + UDPWriter.maximumPeersV4 * 6)
    #expect(reply.count <= UDPWriter.maximumReplyBytesV4)
  }

  @Test("IPv6 senders get IPv6 peers, IPv4 senders IPv4 ones")
  func families() throws {
    let bench = try Bench(address: "[::1]:0")
    var lottery = PeerLottery(seed: 1)
    for address in ["192.0.2.1", "2001:db8::1"] {
      _ = SwarmStoreTests.announce(
        bench.store, SwarmStoreTests.make(user: 1, address: IPAddress(address)!), lottery: &lottery)
    }
    var request = Self.head(bench.connectionID("::1"), 1, 1) + UDPParserTests.announce()[16...]
    request.replaceSubrange(16..<36, with: SwarmStoreTests.infoHash(1).bytes)
    let socket = try ClientSocket(.v6(bench.port), udp: true)
    try socket.send(request)
    let reply = try #require(try socket.receive())
    #expect(Array(reply[20...]) == SwarmModel.compact(IPAddress("2001:db8::1")!, 6881))
  }

  @Test("no reply goes to port 0 or to multicast, broadcast and unspecified addresses")
  func unanswerable() {
    for address in ["0.0.0.0", "224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1", "::"] {
      #expect(!Endpoint(address: IPAddress(address)!, port: 6881).isAnswerable)
    }
    for address in ["1.0.0.1", "223.255.255.255", "127.0.0.1", "2001:db8::1", "::1"] {
      #expect(Endpoint(address: IPAddress(address)!, port: 6881).isAnswerable)
      #expect(!Endpoint(address: IPAddress(address)!, port: 0).isAnswerable)
    }
  }
}
