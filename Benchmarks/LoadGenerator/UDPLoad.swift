// UDPLoad: announces and scrapes of BEP 15 from a handful of sockets, in a closed loop (a window of requests in flight per
// socket) or at an offered rate. On the main thread; takes its memory before the first request.

import CLinux
import Glibc

/// One run.
struct UDPLoad: ~Copyable {
  private struct Socket {
    var descriptor: Int32 = -1
    var connectionID: UInt64 = 0
    var inFlight = 0
    /// The next peer in order, when filling.
    var nextIndex: UInt64 = 0
  }

  private let options: LoadOptions
  private let plan: PeerPlan
  private let datagram: AnnounceDatagram
  private let memory: DatagramMemory
  private var random = RandomSource()
  private var ring: InFlightRing
  private let sockets: UnsafeMutablePointer<Socket>
  private let epoll: Int32
  /// Announces made by each peer, when counters rise; and whether it has been answered, when filling.
  private let announcesOfPeer: UnsafeMutablePointer<UInt32>
  private let isAnswered: UnsafeMutablePointer<Bool>
  private var unanswered: Int
  private let addressByteCount: Int
  private var report = LoadReport()
  private var latency = LatencyHistogram()
  private var lastSweep: UInt64 = 0

  /// Opens the sockets and asks for their connection ids.
  static func connected(_ options: LoadOptions) throws(LoadError) -> UDPLoad {
    let target = try Target(host: options.host, port: options.port)
    let epoll = epoll_create1(0)
    return UDPLoad(options, try openSockets(options, target, epoll: epoll), epoll: epoll, isV6: target.isV6)
  }

  private init(_ options: LoadOptions, _ sockets: UnsafeMutablePointer<Socket>, epoll: Int32, isV6: Bool) {
    self.sockets = sockets
    self.epoll = epoll
    self.options = options
    plan = PeerPlan(options, sockets: options.sockets)
    datagram = AnnounceDatagram(options)
    memory = DatagramMemory(datagram, options)
    // At an offered rate a request may wait until it counts as lost, so all of that time's requests must fit.
    var capacity = 65_536
    if options.rate == 0 {
      capacity = 256
      while capacity < 8 * options.sockets * options.window { capacity *= 2 }
    }
    ring = InFlightRing(capacity: capacity)
    announcesOfPeer = .allocate(capacity: options.peers + 1)
    announcesOfPeer.initialize(repeating: 0, count: options.peers + 1)
    isAnswered = .allocate(capacity: options.peers + 1)
    isAnswered.initialize(repeating: false, count: options.peers + 1)
    unanswered = Int(plan.peersPerSocket) * options.sockets
    addressByteCount = isV6 ? 18 : 6
  }

  private static func openSockets(
    _ options: LoadOptions, _ target: Target, epoll: Int32
  ) throws(LoadError) -> UnsafeMutablePointer<Socket> {
    let sockets = UnsafeMutablePointer<Socket>.allocate(capacity: options.sockets)
    sockets.initialize(repeating: Socket(), count: options.sockets)
    for index in 0..<options.sockets {
      sockets[index].descriptor = try target.socket(type: SOCK_DGRAM, index: index)
      let code = target.connect(sockets[index].descriptor)
      guard code == 0 else { throw LoadError("connect: \(String(cString: strerror(code)))") }
      Target.set(sockets[index].descriptor, SOL_SOCKET, SO_RCVBUF, 4 << 20)
      sockets[index].connectionID = try connectionID(sockets[index].descriptor, transactionID: UInt32(index))
      clinux_epoll_ctl(epoll, EPOLL_CTL_ADD, sockets[index].descriptor, EPOLLIN.rawValue, UInt64(index))
    }
    return sockets
  }

  deinit {
    for index in 0..<options.sockets { close(sockets[index].descriptor) }
    close(epoll)
    sockets.deallocate()
    announcesOfPeer.deallocate()
    isAnswered.deallocate()
  }

  /// BEP 15's connect.
  private static func connectionID(_ descriptor: Int32, transactionID: UInt32) throws(LoadError) -> UInt64 {
    let request = UnsafeMutableRawPointer.allocate(byteCount: 16, alignment: 8)
    let reply = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 8)
    defer {
      request.deallocate()
      reply.deallocate()
    }
    AnnounceDatagram.put(UInt64(0x417_2710_1980), request, 0)
    AnnounceDatagram.put(UInt32(0), request, 8)
    AnnounceDatagram.put(transactionID, request, 12)
    for _ in 0..<20 {
      send(descriptor, request, 16, 0)
      var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&wait, 1, 200) > 0 else { continue }
      let length = recv(descriptor, reply, 64, 0)
      if length >= 16 && reply.load(as: UInt32.self) == 0 {
        return UInt64(bigEndian: reply.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      }
    }
    throw LoadError("no reply to connect")
  }

  /// Runs it and returns the JSON of what was found.
  mutating func run() throws(LoadError) -> String {
    let start = LoadClock.now()
    let end = start + UInt64(options.seconds * 1e9)
    let countFrom = options.fills ? start : start + UInt64(options.seconds * 0.2e9)
    lastSweep = start
    if options.fills {
      report.startCounting(options.process, latency: &latency)
      closedLoop(countFrom: UInt64.max, until: UInt64.max)
    } else if options.rate > 0 {
      try offeredLoop(start: start, countFrom: countFrom, until: end)
    } else {
      closedLoop(countFrom: countFrom, until: end)
    }
    report.stopCounting(options.process)
    collectRest()
    return report.json(latency)
  }

  // MARK: loops

  private mutating func closedLoop(countFrom: UInt64, until end: UInt64) {
    withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 64) { events in
      var now = LoadClock.now()
      var isCounting = false
      for index in 0..<options.sockets { fill(index, now) }
      while now < end && unanswered > 0 {
        if !isCounting && now >= countFrom {
          isCounting = true
          report.startCounting(options.process, latency: &latency)
        }
        let count = epoll_wait(epoll, events.baseAddress, 64, 50)
        now = LoadClock.now()
        for event in 0..<max(0, Int(count)) {
          let socket = Int(clinux_epoll_data(events.baseAddress! + event))
          receive(socket)
          fill(socket, LoadClock.now())
        }
        if now - lastSweep > LoadReport.lostAfterNanoseconds {
          sweep(now)
          for index in 0..<options.sockets { fill(index, now) }
        }
      }
    }
  }

  private mutating func offeredLoop(start: UInt64, countFrom: UInt64, until end: UInt64) throws(LoadError) {
    var pace = try Pacemaker(rate: options.rate, startNanoseconds: start)
    let timerData = UInt64(options.sockets)
    clinux_epoll_ctl(epoll, EPOLL_CTL_ADD, pace.timer, EPOLLIN.rawValue, timerData)
    withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 64) { events in
      var isCounting = false
      while true {
        var now = LoadClock.now()
        if now >= end { break }
        if !isCounting && now >= countFrom {
          isCounting = true
          report.startCounting(options.process, latency: &latency)
        }
        // Where the machine cannot keep up, replies are taken all the same, and the run ends.
        var burst = DatagramMemory.capacity
        while pace.nextNanoseconds <= now && burst > 0 {
          burst -= 1
          pace.advance()
          request(Int(random.below(UInt64(options.sockets))), count: 1, now)
          now = LoadClock.now()
        }
        pace.arm()
        let count = epoll_wait(epoll, events.baseAddress, 64, 50)
        for event in 0..<max(0, Int(count)) {
          let data = clinux_epoll_data(events.baseAddress! + event)
          if data != timerData { receive(Int(data)) }
        }
        if now - lastSweep > LoadReport.lostAfterNanoseconds { sweep(now) }
      }
    }
  }

  /// Takes the replies that are still on their way, outside the counted part, so that sent and answered can be compared.
  private mutating func collectRest() {
    let counted = report
    let deadline = LoadClock.now() + 2 * LoadReport.lostAfterNanoseconds
    withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 64) { events in
      while LoadClock.now() < deadline, (0..<options.sockets).contains(where: { sockets[$0].inFlight > 0 }) {
        let count = epoll_wait(epoll, events.baseAddress, 64, 20)
        for event in 0..<max(0, Int(count)) {
          let data = clinux_epoll_data(events.baseAddress! + event)
          if data < UInt64(options.sockets) { receive(Int(data)) }
        }
      }
    }
    let answered = report.announcesAnsweredEver
    report = counted
    report.announcesAnsweredEver = answered
  }

  // MARK: requests

  /// Fills a socket's window.
  @inline(__always)
  private mutating func fill(_ socket: Int, _ now: UInt64) {
    let free = options.window - sockets[socket].inFlight
    if free > 0 { request(socket, count: free, now) }
  }

  @inline(__always)
  private mutating func request(_ socket: Int, count: Int, _ now: UInt64) {
    var built = 0
    while built < count, build(built, socket, now) { built += 1 }
    if built == 0 { return }
    let sent = memory.send(built, to: sockets[socket].descriptor)
    // What did not go is found by the sweep, as is what got lost on the way.
    report.announcesSentEver += UInt64(sent)
    sockets[socket].inFlight += built
  }

  /// Builds a request in a slot; false: there is none to build.
  @inline(__always)
  private mutating func build(_ slot: Int, _ socket: Int, _ now: UInt64) -> Bool {
    if ring.oldest.transactionID != 0 { giveUp(ring.oldest) }
    var request = InFlight(sentNanoseconds: now, socket: UInt32(socket))
    if options.scrapePercent > 0 && random.below(100) < UInt64(options.scrapePercent) {
      request.isScrape = true
      let id = ring.add(request)
      AnnounceDatagram.writeScrape(
        of: UInt32(random.below(UInt64(options.torrents))), connectionID: sockets[socket].connectionID,
        transactionID: id, to: memory.request(slot))
      memory.setLength(AnnounceDatagram.scrapeByteCount, of: slot)
      return true
    }
    guard let peer = nextPeer(socket) else { return false }
    request.peer = peer
    let id = ring.add(request)
    var announce = AnnounceDatagram.Announce(
      connectionID: sockets[socket].connectionID, transactionID: id, peer: peer, torrent: plan.torrent(of: peer),
      port: plan.udpPort(of: peer), passkey: 0, uploaded: 0, downloaded: 0)
    if options.passkeys > 0 { announce.passkey = peer % UInt32(options.passkeys) }
    if options.hasRisingCounters {
      announcesOfPeer[Int(peer)] += 1
      announce.uploaded = UInt64(announcesOfPeer[Int(peer)]) * 1000
      announce.downloaded = UInt64(announcesOfPeer[Int(peer)]) * 500
    } else {
      announce.downloaded = random.below(1_000_000)
      announce.uploaded = random.below(1_000_000)
    }
    datagram.write(announce, to: memory.request(slot))
    memory.setLength(datagram.byteCount, of: slot)
    return true
  }

  @inline(__always)
  private mutating func nextPeer(_ socket: Int) -> UInt32? {
    if !options.fills { return plan.peer(random.below(plan.peersPerSocket), of: socket) }
    // In order, and round again for those that got lost.
    for _ in 0..<plan.peersPerSocket {
      let peer = plan.peer(sockets[socket].nextIndex, of: socket)
      sockets[socket].nextIndex = (sockets[socket].nextIndex + 1) % plan.peersPerSocket
      if !isAnswered[Int(peer)] { return peer }
    }
    return nil
  }

  // MARK: replies

  @inline(__always)
  private mutating func receive(_ socket: Int) {
    let count = memory.receive(from: sockets[socket].descriptor)
    if count == 0 { return }
    let now = LoadClock.now()
    for index in 0..<count { take(memory.reply(index), socket, now) }
  }

  @inline(__always)
  private mutating func take(_ reply: UnsafeRawBufferPointer, _ socket: Int, _ now: UInt64) {
    report.bytes += UInt64(reply.count)
    guard reply.count >= 8 else {
      report.errors += 1
      return
    }
    let id = UInt32(bigEndian: reply.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    guard let request = ring.remove(id), Int(request.socket) == socket else {
      report.unexpected += 1
      return
    }
    sockets[socket].inFlight -= 1
    latency.record(now &- request.sentNanoseconds)
    let action = UInt32(bigEndian: reply.loadUnaligned(as: UInt32.self))
    if action == 1 && !request.isScrape && reply.count >= 20 && (reply.count - 20) % addressByteCount == 0 {
      report.announces += 1
      report.announcesAnsweredEver += 1
      report.peers += UInt64((reply.count - 20) / addressByteCount)
      if options.fills && !isAnswered[Int(request.peer)] {
        isAnswered[Int(request.peer)] = true
        unanswered -= 1
      }
    } else if action == 2 && request.isScrape && reply.count == 20 {
      report.scrapes += 1
    } else {
      report.errors += 1
    }
  }

  private mutating func sweep(_ now: UInt64) {
    lastSweep = now
    for index in 0..<ring.capacity {
      let entry = ring[index]
      if entry.transactionID != 0 && now > entry.sentNanoseconds + LoadReport.lostAfterNanoseconds { giveUp(entry) }
    }
  }

  private mutating func giveUp(_ request: InFlight) {
    _ = ring.remove(request.transactionID)
    sockets[Int(request.socket)].inFlight -= 1
    report.lost += 1
  }
}
