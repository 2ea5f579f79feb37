// Announces of ten clients, byte for byte, against a running tracker: what each gets back, and what lands in the stream.

import Foundation
import Redis
import Simulation
import Testing
import Wire

@Suite("Announces as real clients write them", .enabled(if: LoopbackEndpoint.hasIPv6, "many of them came over IPv6"))
struct ClientReplayTests {
  private static let intervalSeconds = 1800
  private static let minimumSeconds = 900
  /// Leechers of two other users in every torrent, one at an IPv4 address and one at an IPv6 address: the peers of whoever
  /// wants some.
  private static let others = (v4: (port: UInt16(7004), passkey: "other4"), v6: (port: UInt16(7006), passkey: "other6"))

  @Test("each gets peers in its form, counts, intervals and no warning, and the stream has each of its bytes once")
  func replay() async throws {
    let replays = try ClientReplay.all()
    let steps = replays.flatMap(\.steps)
    var settings = SiteSettings()
    settings.announceInterval = Self.intervalSeconds
    settings.minAnnounceInterval = Self.minimumSeconds
    let site = try Site(settings)
    try await site.redis.start()
    let passkeys = Set(steps.map(\.passkey)).subtracting([""])
    try site.approve(Array(passkeys) + [Self.others.v4.passkey, Self.others.v6.passkey])
    try await site.startTracker()
    for infoHash in Set(steps.map(\.infoHash)) { try Self.addOthers(to: infoHash, site) }
    for replay in replays { try Self.run(replay, site) }
    #expect(try await site.tracker?.terminate() == .code(0))
    let entries = try Self.entries(site)
    for replay in replays where !replay.stream.isEmpty {
      #expect(entries[replay.steps[0].passkey] == replay.stream, "\(replay)")
    }
    let known = Set(replays.filter { !$0.stream.isEmpty }.map { $0.steps[0].passkey })
    #expect(Set(entries.keys) == known.union([Self.others.v4.passkey, Self.others.v6.passkey]))
  }

  @Test("every client that the documentation names is replayed, with a source for each")
  func clients() throws {
    let replays = try ClientReplay.all()
    let document = TemporaryDirectory.read(Repository.path("docs/clients.md"))
    for client in ["qBittorrent", "Transmission", "rTorrent", "BiglyBT", "Deluge", "aria2", "KTorrent", "µTorrent"] {
      #expect(replays.contains { $0.client == client })
      #expect(document.contains(client))
    }
    // A session of its own each: what one leaves in the stream is found by its passkey.
    let passkeys = replays.filter { !$0.stream.isEmpty }.map { Set($0.steps.map(\.passkey)) }
    #expect(passkeys.allSatisfy { $0.count == 1 } && Set(passkeys).count == passkeys.count)
    #expect(replays.allSatisfy { $0.source.hasPrefix("captured") || $0.source.hasPrefix("built: ") })
  }

  // MARK: what comes back

  private static func run(_ replay: ClientReplay, _ site: Site) throws {
    let before = try scrape(replay.steps[0].infoHash, site)
    for (number, step) in replay.steps.enumerated() {
      let note = Comment(rawValue: "\(replay), step \(number + 1)")
      let reply = try step.send(to: site.endpoints)
      let own = step.counts
      let counts = own.map { own in
        SwarmCounts(
          complete: before.complete + own.complete, downloaded: before.downloaded + own.downloaded,
          downloaders: before.downloaders + own.downloaders, incomplete: before.incomplete + own.incomplete)
      }
      if step.via.isUDP {
        #expect(Hex.encode(reply) == Hex.encode(udpReply(to: step, counts)), note)
      } else {
        let (head, body) = try #require(ClientReplay.Step.split(reply))
        #expect(head.contains(" 200 OK\r\n") && !head.contains("Content-Encoding"), note)
        let value = try Bencode.decode(Array(body))
        #expect(value == httpReply(to: step, counts, trackerID: value["tracker id"]), note)
      }
      #expect(try scrape(step.infoHash, site) == counts ?? before, note)
    }
  }

  /// The datagram, all of it.
  private static func udpReply(to step: ClientReplay.Step, _ counts: SwarmCounts?) -> [UInt8] {
    guard let counts else { return [0, 0, 0, 3] + step.transaction + Array(step.refusal.utf8) }
    let numbers = [intervalSeconds, counts.incomplete, counts.complete].flatMap { number in
      withUnsafeBytes(of: UInt32(number).bigEndian) { Array($0) }
    }
    let peers = step.wantsPeers ? compact(step.via.family) : []
    return [0, 0, 0, 1] + step.transaction + numbers + peers
  }

  /// The dictionary, all of it.
  private static func httpReply(to step: ClientReplay.Step, _ counts: SwarmCounts?, trackerID: Bencode?) -> Bencode {
    guard let counts else { return dictionary(["failure reason": .bytes(Array(step.refusal.utf8))]) }
    var fields: [String: Bencode] = [
      "complete": .integer(Int64(counts.complete)), "incomplete": .integer(Int64(counts.incomplete)),
      "downloaded": .integer(Int64(counts.downloaded)), "interval": .integer(Int64(intervalSeconds)),
      "min interval": .integer(Int64(minimumSeconds)), "external ip": .bytes(compact(step.via.family).dropLast(2)),
      "peers": .bytes(step.wantsPeers ? compact(.v4) : []),
    ]
    if step.wantsPeers { fields["peers6"] = .bytes(compact(.v6)) }
    fields["tracker id"] = trackerID
    return dictionary(fields)
  }

  private static func dictionary(_ fields: [String: Bencode]) -> Bencode {
    .dictionary(Dictionary(uniqueKeysWithValues: fields.map { (Array($0.key.utf8), $0.value) }))
  }

  /// The other leecher of a family as compact lists have it (BEP 23, 7).
  private static func compact(_ family: IPAddress.Family) -> [UInt8] {
    let address: [UInt8] = family == .v4 ? [127, 0, 0, 1] : [UInt8](repeating: 0, count: 15) + [1]
    let port = family == .v4 ? others.v4.port : others.v6.port
    return address + [UInt8(port >> 8), UInt8(port & 255)]
  }

  // MARK: what is there besides

  private static func addOthers(to infoHash: InfoHash, _ site: Site) throws {
    let port = site.endpoints.httpPort
    for (other, endpoint) in [(others.v4, LoopbackEndpoint.v4(port)), (others.v6, LoopbackEndpoint.v6(port))] {
      var client = HTTPAnnounceClient(endpoint)
      let announcement = Announcement(
        passkey: other.passkey, infoHash: infoHash, peerID: PeerID(words: (1, 2, UInt32(other.port))), port: other.port,
        left: 1, event: .started)
      _ = try client.announce(announcement).reply()
    }
  }

  private static func scrape(_ infoHash: InfoHash, _ site: Site) throws -> SwarmCounts {
    let reply = try Site.get(
      port: site.endpoints.httpPort, "/scrape?info_hash=\(HTTPAnnounceClient.escaped(infoHash.bytes))")
    let file = try Bencode.decode(reply.body)["files"]?[infoHash.bytes]
    let count = { (name: String) in Int(try #require(file?[name]?.integer)) }
    return SwarmCounts(
      complete: try count("complete"), downloaded: try count("downloaded"), downloaders: try count("downloaders"),
      incomplete: try count("incomplete"))
  }

  /// Each passkey's entries as the fixture writes them, oldest first.
  private static func entries(_ site: Site) throws -> [String: [String]] {
    var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
    let reply = try connection.command(["XRANGE", "tracker:traffic", "-", "+"])
    var entries: [String: [String]] = [:]
    for index in 0..<reply.count {
      let fields = reply.view[index][1]
      let event = try TrafficEvent.decode((0..<fields.count).map { fields[$0].string ?? "" })
      let numbers = "\(event.uploadedDelta) \(event.downloadedDelta) \(event.left)"
      entries[event.passkey.text, default: []].append("\(event.event.text) \(numbers) \(event.addressFamily.text)")
    }
    return entries
  }
}

/// What a scrape says of a torrent.
struct SwarmCounts: Equatable {
  var complete: Int
  var downloaded: Int
  /// Leechers that are no partial seeds.
  var downloaders: Int
  var incomplete: Int
}

extension ClientReplay.Step {
  /// The client's own part in the torrent's counts, nil when it is refused.
  fileprivate var counts: SwarmCounts? {
    let words = reply.split(separator: " ")
    guard let complete = Int(words[0]) else { return nil }
    let isPartialSeed = words[1].hasSuffix("p")
    let incomplete = Int(words[1].filter(\.isNumber)) ?? 0
    return SwarmCounts(
      complete: complete, downloaded: Int(words[2]) ?? 0, downloaders: isPartialSeed ? 0 : incomplete,
      incomplete: incomplete)
  }

  fileprivate var refusal: String { String(reply.dropFirst("failure ".count)) }
}
