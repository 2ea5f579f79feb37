// SwarmSimulator: a small private site's users, announcing through real sockets: seeders and leechers, HTTP and UDP,
// IPv4, IPv6 and both, clients that start over, stop, complete and repeat themselves. What was accepted goes into the
// ledger. One thread.

import Linux
import Wire

/// How large the swarm is.
public struct SwarmPlan: Sendable {
  public var users: Int
  public var torrents: Int
  public var seed: UInt64
  /// Sites on a machine without IPv6 leave it out.
  public var usesIPv6: Bool

  public init(users: Int, torrents: Int, seed: UInt64, usesIPv6: Bool = true) {
    self.users = users
    self.torrents = torrents
    self.seed = seed
    self.usesIPv6 = usesIPv6
  }
}

/// Where the tracker listens.
public struct TrackerEndpoints: Sendable {
  public var httpPort: UInt16
  public var udpPort: UInt16
  public init(httpPort: UInt16, udpPort: UInt16) {
    self.httpPort = httpPort
    self.udpPort = udpPort
  }
}

/// The users and their clients. `wave()` has every client announce once, more or less.
public final class SwarmSimulator {
  /// How a client reaches the tracker.
  public enum Transport: Sendable, CaseIterable {
    case httpPath, httpQuery, udpPath, udpQuery, httpV6, udpV6
    /// The same counters over both families, as libtorrent announces; one session.
    case dualStackHTTP, dualStackUDP
  }

  private final class Client {
    let transport: Transport
    let size: UInt64
    var announcement: Announcement
    var hasStarted = false
    /// The tracker that heard `completed` last: another one may take a `stopped` for the end of a download that it saw begin.
    var completedAt: Int?
    var isDone = false
    init(transport: Transport, size: UInt64, announcement: Announcement) {
      self.transport = transport
      self.size = size
      self.announcement = announcement
    }
  }

  public let passkeys: [String]
  public let infoHashes: [InfoHash]
  public private(set) var ledger = Ledger()
  public private(set) var announceCount = 0
  /// Every announce in words, with its passkey: what a failing run needs to be understood.
  public private(set) var history: [(passkey: String, tracker: Int, words: String)] = []
  /// Announces by way, for the progress line.
  public private(set) var httpCount = 0
  public private(set) var udpCount = 0
  private var random: SeededRandom
  private var clients: [Client] = []
  private let wires: [Wires]
  /// Trackers that clients announce to, by their place in `endpoints`; each announce goes to any of them.
  public var reachable: [Int]

  public convenience init(_ plan: SwarmPlan, endpoints: TrackerEndpoints) {
    self.init(plan, wanderingBetween: [endpoints])
  }

  /// Several trackers on one Redis.
  public init(_ plan: SwarmPlan, wanderingBetween endpoints: [TrackerEndpoints]) {
    random = SeededRandom(seed: plan.seed)
    wires = endpoints.map { Wires(endpoints: $0) }
    reachable = Array(endpoints.indices)
    var random = self.random
    passkeys = (0..<plan.users).map { _ in random.hex(digits: 32) }
    infoHashes = (0..<plan.torrents).map { _ in random.bytes20() }
    let transports = Transport.allCases.filter { plan.usesIPv6 || !$0.needsIPv6 }
    for (user, passkey) in passkeys.enumerated() {
      // Each user seeds one torrent and downloads another, with different clients.
      for role in 0..<2 {
        let size = UInt64.random(in: 1 << 28...1 << 33, using: &random)
        let isSeeder = role == 0
        clients.append(
          Client(
            transport: transports[(2 * user + role) % transports.count], size: size,
            announcement: Announcement(
              passkey: passkey, infoHash: infoHashes[(user + role) % infoHashes.count], peerID: random.bytes20(),
              port: UInt16.random(in: 1024...65535, using: &random),
              // Some clients had a life before this tracker saw them: a baseline, not a credit.
              uploaded: random.chance(oneIn: 3) ? UInt64.random(in: 1...1 << 40, using: &random) : 0,
              left: isSeeder ? 0 : size, event: .started)))
      }
    }
    self.random = random
  }

  /// Every client that has not stopped announces once; some twice, over another family or again after `stopped`.
  public func wave() throws(HarnessError) {
    for client in clients where !client.isDone {
      advance(client)
      try announce(client)
      if client.announcement.event == .stopped {
        // The reply got lost on the way, as far as the client knows: it says `stopped` again.
        if random.chance(oneIn: 2) { try announce(client) }
        // Some come back after a pause, where they were.
        if random.chance(oneIn: 2) {
          client.isDone = true
        } else {
          client.hasStarted = false
          client.announcement.event = .started
        }
      }
    }
  }

  /// Waits for the early part of a second at least `seconds` after the second of the last beat, so that what follows
  /// (some milliseconds of announces) lies within that second and the ledger knows its times exactly.
  public func beat(everySeconds seconds: Int64) async throws {
    while true {
      let now = Clock.unixNanoseconds()
      let (second, fraction) = (Int64(now / 1_000_000_000), now % 1_000_000_000)
      if second >= lastBeat + seconds && Self.earlyNanoseconds.contains(fraction) {
        lastBeat = second
        return
      }
      try await Task.sleep(nanoseconds: 10_000_000)
    }
  }
  private static let earlyNanoseconds: ClosedRange<UInt64> = 50_000_000...400_000_000
  private var lastBeat: Int64 = 0

  /// What to run again when a run has failed.
  public var seed: UInt64 { random.seed }

  /// Enters what a test put on the stream itself.
  public func enter(uploaded: UInt64, for passkey: String, torrent: InfoHash) {
    ledger.enter(uploaded: uploaded, for: passkey, torrent: torrent)
  }

  /// Every client that is there moves some bytes and says so: nothing that a later announce could not say again.
  public func quietWave() throws(HarnessError) {
    for client in clients where client.hasStarted && !client.isDone {
      client.announcement.event = .none
      client.announcement.uploaded += UInt64.random(in: 0...1 << 31, using: &random)
      let amount = UInt64.random(in: 0...client.announcement.left / 2, using: &random)
      client.announcement.left -= amount
      client.announcement.downloaded += amount
      try announce(client)
    }
  }

  /// The clients that are left say goodbye.
  public func stopAll() throws(HarnessError) {
    for client in clients where !client.isDone && client.hasStarted {
      advance(client)
      if client.announcement.event == .completed { try announce(client) }
      client.announcement.event = .stopped
      try announce(client)
      client.isDone = true
    }
  }

  /// What happened since the client's last announce.
  private func advance(_ client: Client) {
    var next = client.announcement
    guard client.hasStarted else {
      client.hasStarted = true
      return
    }
    next.event = .none
    if random.chance(oneIn: 12) {
      // The client was restarted: its counters begin again.
      next.uploaded = UInt64.random(in: 0...next.uploaded / 2, using: &random)
      next.downloaded = next.downloaded / 2
      next.event = .started
    } else if !random.chance(oneIn: 5) {
      next.uploaded += UInt64.random(in: 0...1 << 31, using: &random)
      if next.left > 0 {
        let amount = min(next.left, UInt64.random(in: 1...client.size / 3, using: &random))
        next.left -= amount
        next.downloaded += amount
        if next.left == 0 { next.event = .completed }
      }
    }
    if next.event == .none && random.chance(oneIn: 25) { next.event = .stopped }
    client.announcement = next
  }

  private func announce(_ client: Client) throws(HarnessError) {
    for way in client.transport.ways {
      // No random number where there is nothing to choose: a seed means what it did before.
      var tracker = reachable.count == 1 ? reachable[0] : reachable.randomElement(using: &random)!
      if client.announcement.event == .completed { client.completedAt = tracker }
      if client.announcement.event == .stopped, let home = client.completedAt, reachable.contains(home) {
        tracker = home
      }
      let before = Clock.unixSeconds()
      let outcome = try wires[tracker].announce(client.announcement, way)
      let after = Clock.unixSeconds()
      let reply: AnnounceReply
      do {
        reply = try outcome.reply()
      } catch {
        throw HarnessError("\(error) (seed \(random.seed), announce \(announceCount), \(way))")
      }
      ledger.record(client.announcement, interval: reply.interval, at: before...after)
      announceCount += 1
      let said = client.announcement
      history.append(
        (
          said.passkey, tracker,
          "\(after) peer \(said.peerID.hex.prefix(6)) tracker \(tracker): \(said.event) up \(said.uploaded) down \(said.downloaded) left \(said.left)"
        ))
      if way.isUDP { udpCount += 1 } else { httpCount += 1 }
    }
  }
}

extension SwarmSimulator.Transport {
  var needsIPv6: Bool {
    switch self {
    case .httpPath, .httpQuery, .udpPath, .udpQuery: false
    case .httpV6, .udpV6, .dualStackHTTP, .dualStackUDP: true
    }
  }

  fileprivate var ways: [Way] {
    switch self {
    case .httpPath: [.http(.v4, .path)]
    case .httpQuery: [.http(.v4, .query)]
    case .udpPath: [.udp(.v4, .path)]
    case .udpQuery: [.udp(.v4, .query)]
    case .httpV6: [.http(.v6, .path)]
    case .udpV6: [.udp(.v6, .query)]
    case .dualStackHTTP: [.http(.v4, .path), .http(.v6, .path)]
    case .dualStackUDP: [.udp(.v6, .path), .udp(.v4, .path)]
    }
  }
}

/// One way to say an announce.
private enum Way {
  case http(IPAddress.Family, HTTPAnnounceClient.Route)
  case udp(IPAddress.Family, UDPAnnounceClient.URLData)
  var isUDP: Bool { if case .udp = self { true } else { false } }
}

/// The sockets all simulated clients share, made when first needed.
private final class Wires {
  private let endpoints: TrackerEndpoints
  private var http4: HTTPAnnounceClient
  private var http6: HTTPAnnounceClient
  private var udp4: UDPAnnounceClient?
  private var udp6: UDPAnnounceClient?

  init(endpoints: TrackerEndpoints) {
    self.endpoints = endpoints
    http4 = HTTPAnnounceClient(.v4(endpoints.httpPort))
    http6 = HTTPAnnounceClient(.v6(endpoints.httpPort))
  }

  func announce(_ announcement: Announcement, _ way: Way) throws(HarnessError) -> AnnounceOutcome {
    switch way {
    case .http(.v4, let route): return try http4.announce(announcement, route: route)
    case .http(.v6, let route): return try http6.announce(announcement, route: route)
    case .udp(.v4, let data):
      if udp4 == nil { udp4 = try UDPAnnounceClient(.v4(endpoints.udpPort)) }
      return try udp4!.announce(announcement, urlData: data)
    case .udp(.v6, let data):
      if udp6 == nil { udp6 = try UDPAnnounceClient(.v6(endpoints.udpPort)) }
      return try udp6!.announce(announcement, urlData: data)
    }
  }
}
