// HTTPLoad: HTTP announces, a connection each or over kept connections (with pipelining), in a closed loop or at an offered
// rate. On the main thread; takes its memory before the first request.

import CLinux
import Glibc

/// One run.
struct HTTPLoad: ~Copyable {
  private struct Connection {
    var descriptor: Int32 = -1
    var isOpen = false
    var writeLength = 0
    var writeOffset = 0
    var readLength = 0
    /// Requests without a reply.
    var outstanding = 0
    /// From when their latency counts.
    var sentNanoseconds: UInt64 = 0
  }

  /// Room for one reply, and one more for each pipelined request: 200 peers of both families and the headers.
  private static let replyByteCount = 8192
  /// A connection that waits longer for a reply is given up and opened again.
  private static let patienceNanoseconds: UInt64 = 1_000_000_000

  private let options: LoadOptions
  private let plan: PeerPlan
  private let text: AnnounceRequestText
  private let target: Target
  private let epoll: Int32
  private let connections: UnsafeMutablePointer<Connection>
  private let writeMemory: UnsafeMutableRawPointer
  private let readMemory: UnsafeMutableRawPointer
  private let writeByteCount: Int
  private let readByteCount: Int
  /// Connections without a request, first in first out: only at an offered rate.
  private let idle: UnsafeMutablePointer<Int32>
  private var idleHead = 0
  private var idleCount = 0
  private let announcesOfPeer: UnsafeMutablePointer<UInt32>
  private var random = RandomSource()
  private var report = LoadReport()
  private var latency = LatencyHistogram()
  private var lastSweep: UInt64 = 0

  init(_ options: LoadOptions, _ target: Target) {
    self.target = target
    self.options = options
    plan = PeerPlan(options, sockets: options.connections)
    text = AnnounceRequestText(options)
    epoll = epoll_create1(0)
    connections = .allocate(capacity: options.connections)
    connections.initialize(repeating: Connection(), count: options.connections)
    writeByteCount = options.pipeline * AnnounceRequestText.maximumByteCount
    readByteCount = (options.pipeline + 1) * Self.replyByteCount
    writeMemory = .allocate(byteCount: options.connections * writeByteCount, alignment: 64)
    readMemory = .allocate(byteCount: options.connections * readByteCount, alignment: 64)
    idle = .allocate(capacity: options.connections)
    idle.initialize(repeating: 0, count: options.connections)
    announcesOfPeer = .allocate(capacity: options.peers + 1)
    announcesOfPeer.initialize(repeating: 0, count: options.peers + 1)
  }

  deinit {
    for index in 0..<options.connections where connections[index].descriptor >= 0 {
      close(connections[index].descriptor)
    }
    close(epoll)
    connections.deallocate()
    writeMemory.deallocate()
    readMemory.deallocate()
    idle.deallocate()
    announcesOfPeer.deallocate()
  }

  /// Runs it and returns the JSON of what was found.
  mutating func run() throws(LoadError) -> String {
    let start = LoadClock.now()
    lastSweep = start
    var pace = try Pacemaker(rate: max(options.rate, 1), startNanoseconds: start)
    if options.rate > 0 {
      clinux_epoll_ctl(epoll, EPOLL_CTL_ADD, pace.timer, EPOLLIN.rawValue, UInt64(options.connections))
      for index in 0..<options.connections { park(index) }
    } else {
      for index in 0..<options.connections { begin(index, start) }
    }
    loop(
      &pace, countFrom: start + UInt64(options.seconds * 0.2e9), until: start + UInt64(options.seconds * 1e9))
    report.stopCounting(options.process)
    collectRest()
    return report.json(latency)
  }

  // MARK: loop

  private mutating func loop(_ pace: inout Pacemaker, countFrom: UInt64, until end: UInt64) {
    withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 128) { events in
      var isCounting = false
      var isHeldUp = false
      while true {
        let now = LoadClock.now()
        if now >= end { break }
        if !isCounting && now >= countFrom {
          isCounting = true
          report.startCounting(options.process, latency: &latency)
        }
        if options.rate > 0 { offer(&pace, &isHeldUp, now) }
        handle(epoll_wait(epoll, events.baseAddress, 128, 50), events.baseAddress!)
        if now - lastSweep > LoadReport.lostAfterNanoseconds { sweep(now) }
      }
    }
  }

  /// Sends what is due over connections that are free. A request that found none counts from when it was due: it is the
  /// tracker that kept it waiting.
  private mutating func offer(_ pace: inout Pacemaker, _ isHeldUp: inout Bool, _ now: UInt64) {
    var now = now
    while pace.nextNanoseconds <= now {
      guard idleCount > 0 else {
        isHeldUp = true
        return
      }
      begin(unpark(), isHeldUp ? pace.nextNanoseconds : now)
      pace.advance()
      now = LoadClock.now()
    }
    isHeldUp = false
    pace.arm()
  }

  private mutating func handle(_ count: Int32, _ events: UnsafeMutablePointer<epoll_event>) {
    for event in 0..<max(0, Int(count)) {
      let index = Int(clinux_epoll_data(events + event))
      // The timer, or the reset of a connection that has been ended.
      if index == options.connections || !connections[index].isOpen { continue }
      let flags = events[event].events
      if flags & EPOLLOUT.rawValue != 0 { flush(index) }
      if flags & (EPOLLIN.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0 { receive(index) }
    }
  }

  /// Waits for the replies that are still on their way, outside the counted part, so that sent and answered can be compared.
  private mutating func collectRest() {
    let counted = report
    let deadline = LoadClock.now() + 2 * LoadReport.lostAfterNanoseconds
    isEnding = true
    withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 128) { events in
      while LoadClock.now() < deadline, (0..<options.connections).contains(where: { connections[$0].outstanding > 0 }) {
        handle(epoll_wait(epoll, events.baseAddress, 128, 20), events.baseAddress!)
      }
    }
    let (sent, answered) = (report.announcesSentEver, report.announcesAnsweredEver)
    report = counted
    (report.announcesSentEver, report.announcesAnsweredEver) = (sent, answered)
  }
  private var isEnding = false

  // MARK: connections

  private mutating func park(_ index: Int) {
    idle[(idleHead + idleCount) % options.connections] = Int32(index)
    idleCount += 1
  }

  private mutating func unpark() -> Int {
    defer {
      idleHead = (idleHead + 1) % options.connections
      idleCount -= 1
    }
    return Int(idle[idleHead])
  }

  /// Sends requests over a connection, a new one unless it is kept.
  @inline(__always)
  private mutating func begin(_ index: Int, _ now: UInt64) {
    if connections[index].isOpen {
      fill(index, now)
      flush(index)
    } else {
      open(index, now)
    }
  }

  /// Connects, for the first time or again.
  private mutating func open(_ index: Int, _ now: UInt64) {
    connections[index].readLength = 0
    connections[index].outstanding = 0
    connections[index].sentNanoseconds = now
    connections[index].isOpen = true
    let isNew = connections[index].descriptor < 0
    if isNew {
      guard let descriptor = try? target.socket(type: SOCK_STREAM, index: index % 64) else {
        report.errors += 1
        return
      }
      connections[index].descriptor = descriptor
      if options.keepsAlive { Target.set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1) }
    }
    let code = target.connect(connections[index].descriptor)
    if code != 0 && code != EINPROGRESS { report.errors += 1 }
    report.connectionsOpened += 1
    fill(index, now)
    if isNew {
      clinux_epoll_ctl(
        epoll, EPOLL_CTL_ADD, connections[index].descriptor, EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLET.rawValue,
        UInt64(index))
    }
  }

  /// Ends a connection with a reset, so that no port waits in TIME_WAIT, and keeps the socket for the next one: on the wire
  /// it is what SO_LINGER with 0 and close(2) do, at less cost for the generator.
  private mutating func end(_ index: Int) {
    target.disconnect(connections[index].descriptor)
    connections[index].isOpen = false
  }

  /// Writes the next requests into a connection's buffer.
  @inline(__always)
  private mutating func fill(_ index: Int, _ now: UInt64) {
    let memory = writeMemory + index * writeByteCount
    var length = 0
    for _ in 0..<options.pipeline {
      let peer = plan.peer(random.below(plan.peersPerSocket), of: index)
      var announce = AnnounceRequestText.Announce(
        peer: peer, torrent: plan.torrent(of: peer), passkey: 0, uploaded: 0, downloaded: 0)
      if options.passkeys > 0 { announce.passkey = peer % UInt32(options.passkeys) }
      if options.hasRisingCounters {
        announcesOfPeer[Int(peer)] += 1
        announce.uploaded = UInt64(announcesOfPeer[Int(peer)]) * 1000
        announce.downloaded = UInt64(announcesOfPeer[Int(peer)]) * 500
      } else {
        announce.uploaded = random.below(1_000_000)
        announce.downloaded = random.below(1_000_000)
      }
      length += text.write(announce, to: memory + length)
    }
    connections[index].writeLength = length
    connections[index].writeOffset = 0
    connections[index].outstanding += options.pipeline
    connections[index].sentNanoseconds = now
    report.announcesSentEver += UInt64(options.pipeline)
  }

  @inline(__always)
  private mutating func flush(_ index: Int) {
    while connections[index].writeOffset < connections[index].writeLength {
      let sent = send(
        connections[index].descriptor, writeMemory + index * writeByteCount + connections[index].writeOffset,
        connections[index].writeLength - connections[index].writeOffset, Int32(MSG_NOSIGNAL))
      // Not connected yet, or full: EPOLLOUT comes again.
      if sent <= 0 { return }
      connections[index].writeOffset += sent
    }
  }

  @inline(__always)
  private mutating func receive(_ index: Int) {
    var isEnded = false
    while true {
      let room = readByteCount - connections[index].readLength
      let count = recv(
        connections[index].descriptor, readMemory + index * readByteCount + connections[index].readLength, room, 0)
      if count > 0 {
        connections[index].readLength += count
        report.bytes += UInt64(count)
        // epoll(7): a short read means that there is no more, and an end comes as an event of its own.
        if count < room { break }
        continue
      }
      isEnded = count == 0 || errno != EAGAIN
      break
    }
    let now = LoadClock.now()
    let done = take(index, isEnded: isEnded)
    if done > 0 {
      latency.record(now - min(now, connections[index].sentNanoseconds))
      connections[index].outstanding -= done
    }
    if isEnded && connections[index].outstanding > 0 {
      report.errors += UInt64(connections[index].outstanding)
      connections[index].outstanding = 0
    } else if done == 0 && !isEnded {
      return
    }
    if isEnded || !options.keepsAlive { end(index) }
    if connections[index].outstanding > 0 || isEnding { return }
    if options.rate > 0 { park(index) } else { begin(index, now) }
  }

  /// Takes whole replies out of a connection's buffer; how many.
  @inline(__always)
  private mutating func take(_ index: Int, isEnded: Bool) -> Int {
    let memory = readMemory + index * readByteCount
    let length = connections[index].readLength
    var position = 0
    var done = 0
    while position < length {
      switch AnnounceReplyText(
        UnsafeRawBufferPointer(start: memory + position, count: length - position), isEnded: isEnded)
      {
      case .incomplete:
        memmove(memory, memory + position, length - position)
        connections[index].readLength = length - position
        return done
      case .announce(let byteCount, let peers):
        report.announces += 1
        report.announcesAnsweredEver += 1
        report.peers += UInt64(peers)
        position += byteCount
      case .refused(let byteCount):
        report.errors += 1
        position += byteCount
      }
      done += 1
    }
    connections[index].readLength = 0
    return done
  }

  private mutating func sweep(_ now: UInt64) {
    lastSweep = now
    for index in 0..<options.connections
    where connections[index].outstanding > 0 && now > connections[index].sentNanoseconds + Self.patienceNanoseconds {
      report.lost += UInt64(connections[index].outstanding)
      end(index)
      if options.rate > 0 {
        connections[index].outstanding = 0
        park(index)
      } else {
        open(index, now)
      }
    }
  }
}
