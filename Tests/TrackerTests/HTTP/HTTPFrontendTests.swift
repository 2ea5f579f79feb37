import Simulation
import Testing

@testable import Linux
@testable import Tracker
@testable import Wire

/// One worker with an HTTP listener, and swarms of its own.
final class TestWorker {
  let registry = MetricRegistry()
  let endpoint: LoopbackEndpoint
  private let worker: WorkerThread

  init(
    host: String = "127.0.0.1", pipeline: PipelineRules = PipelineRules(), push: (any AnnounceRecordSink)? = nil,
    _ change: (inout HTTPSettings) -> Void = { _ in }
  ) throws {
    var config = HTTPSettings(address: "")
    config.enableKeepalive = true
    config.readTimeout = .seconds(120)
    config.writeTimeout = .seconds(120)
    change(&config)
    let listeners = try Listener.open(.host(IPAddress(host)!, port: 0), workers: 1)[0]
    endpoint = LoopbackEndpoint(IPAddress(host)!, port: listeners[0].address.port!)
    let rules = HTTPRules(config, workers: 1, trackerID: Array("cafe".utf8))
    worker = try WorkerThread(
      WorkerPlan(
        number: 0, mailbox: try EventLoopMailbox(), udpSockets: [], udpRules: nil, httpListeners: listeners,
        httpRules: rules, store: SwarmStore(shardCount: 4, snatches: try SnatchLedger(path: nil)), push: push,
        rules: pipeline, metrics: registry,
        heartbeat: Heartbeat())
    ) { error in Issue.record(error) }
  }

  deinit { worker.stop() }

  /// One request on a connection of its own, with these header lines; what comes back, head and body.
  func exchange(
    _ target: String, _ headers: [String] = [], method: String = "GET"
  ) throws -> (head: String, body: [UInt8]) {
    let socket = try ClientSocket(endpoint, udp: false)
    let lines = ["\(method) \(target) HTTP/1.1", "Host: t", "Connection: close"] + headers + ["", ""]
    try socket.send(Array(lines.joined(separator: "\r\n").utf8))
    var bytes: [UInt8] = []
    while let more = try socket.receive(), !more.isEmpty { bytes += more }
    guard let end = (0..<bytes.count).first(where: { bytes[$0...].starts(with: "\r\n\r\n".utf8) }) else {
      throw HarnessError("no response: \(bytes)")
    }
    return (String(decoding: bytes[..<end], as: UTF8.self), Array(bytes[(end + 4)...]))
  }

  func bencoded(_ target: String, _ headers: [String] = []) throws -> Bencode {
    let (head, body) = try exchange(target, headers)
    #expect(head.hasPrefix("HTTP/1.1 200 OK\r\nDate: ") && head.contains("\r\nContent-Type: text/plain\r\n"))
    return try Bencode.decode(body)
  }
}

private let torrent = "aaaaaaaaaaaaaaaaaaaa"

private func target(_ peer: Int, route: String = "/announce", left: Int = 1, _ more: String = "") -> String {
  let id = "-XX0000-" + String(String(1_000_000_000_000 + peer).suffix(12))
  return "\(route)?info_hash=\(torrent)&peer_id=\(id)&port=\(1000 + peer)&uploaded=0&downloaded=0&left=\(left)\(more)"
}

@Suite("HTTP frontend")
struct HTTPFrontendTests {
  @Test("peers find each other, seeders are counted apart, scrape says the same")
  func announceAndScrape() throws {
    let worker = try TestWorker()
    let first = try worker.bencoded(target(1, left: 0, "&event=started"))
    #expect(first["complete"]?.integer == 1 && first["incomplete"]?.integer == 0)
    #expect(first["peers"]?.bytes == [])
    let second = try worker.bencoded(target(2))
    #expect(second["peers"]?.bytes == [127, 0, 0, 1, 0x03, 0xe9])
    #expect(second["external ip"]?.bytes == [127, 0, 0, 1])
    #expect(second["interval"]?.integer == 1800 && second["min interval"]?.integer == 900)
    #expect(second["tracker id"]?.text == "cafe")
    let scrape = try worker.bencoded("/scrape?info_hash=\(torrent)&info_hash=bbbbbbbbbbbbbbbbbbbb")
    let entry = try #require(scrape["files"]?[Array(torrent.utf8)])
    #expect(entry["complete"]?.integer == 1 && entry["incomplete"]?.integer == 1 && entry["downloaded"]?.integer == 0)
    #expect(scrape["files"]?["bbbbbbbbbbbbbbbbbbbb"]?["complete"]?.integer == 0)
  }

  @Test("HEAD registers no peer")
  func head() throws {
    let worker = try TestWorker()
    let (head, body) = try worker.exchange(target(1, left: 0), method: "HEAD")
    #expect(head.hasPrefix("HTTP/1.1 200 OK\r\n") && body.isEmpty)
    #expect(try worker.bencoded(target(2))["complete"]?.integer == 0)
  }

  @Test("several routes with named parameters serve announce and scrape; other paths are not found")
  func routes() throws {
    let worker = try TestWorker {
      $0.announceRoutes = ["/a", "/:passkey/announce", "/x/:user/:passkey"]
      $0.scrapeRoutes = ["/s", "/:passkey/scrape"]
    }
    for (number, route) in ["/a", "/key/announce", "/x/me/key", "/x/me/key/"].enumerated() {
      #expect(try worker.bencoded(target(number, route: route))["interval"]?.integer == 1800, "\(route)")
    }
    for route in ["/s", "/key/scrape"] {
      #expect(try worker.bencoded("\(route)?info_hash=\(torrent)")["files"] != nil, "\(route)")
    }
    for path in ["/", "/announce", "/x/me", "/x//key", "/a/b", "//announce", "/key/announce/more", "/A"] {
      #expect(try worker.exchange(target(9, route: path)).head.hasPrefix("HTTP/1.1 404 Not Found\r\n"), "\(path)")
    }
    #expect(try worker.bencoded(target(1, route: "/a%20b/announce"))["failure reason"]?.text == "invalid passkey")
  }

  @Test(
    "refusals are replies with a reason",
    arguments: [
      ("/announce", "invalid info_hash"), ("/announce?info_hash=\(torrent)", "invalid peer_id"),
      (target(1, "&port=0"), "invalid port"), (target(1, "&passkey=%00"), "invalid passkey"),
      ("/scrape", "invalid info_hash"),
    ])
  func refusals(target: String, reason: String) throws {
    let worker = try TestWorker()
    #expect(try worker.bencoded(target)["failure reason"]?.text == reason)
  }

  @Test("compact=0 gives dictionaries, numwant limits them")
  func dictionaryReplies() throws {
    let worker = try TestWorker { $0.limits.maxNumwant = 3 }
    for peer in 1...5 { _ = try worker.bencoded(target(peer, left: 0)) }
    #expect(try worker.bencoded(target(9, "&compact=0"))["peers"]?.list?.count == 3)
    #expect(try worker.bencoded(target(9, "&compact=0&numwant=2"))["peers"]?.list?.count == 2)
    #expect(try worker.bencoded(target(9, "&numwant=0"))["peers"]?.bytes?.count == 0)
    #expect(try worker.bencoded(target(9, "&numwant=-1"))["peers"]?.bytes?.count == 18)
    #expect(try worker.bencoded(target(9, "&numwant=4000000000"))["peers"]?.bytes?.count == 18)
    let peers = try #require(try worker.bencoded(target(9, "&compact=0&no_peer_id=1"))["peers"]?.list)
    #expect(peers.allSatisfy { $0["peer id"] == nil && $0["ip"]?.text == "127.0.0.1" })
  }

  @Test("a peer behind a trusted proxy has the address the proxy saw; IPv6 peers come as peers6")
  func behindProxy() throws {
    let worker = try TestWorker {
      $0.realIPHeader = "X-Forwarded-For"
      $0.trustedProxies = [AddressPrefix("127.0.0.0/8")!]
    }
    let first = try worker.bencoded(target(1, left: 0), ["X-Forwarded-For: 6.6.6.6, 2001:db8::1, 127.0.0.9"])
    #expect(first["external ip"]?.bytes?.count == 16)
    _ = try worker.bencoded(target(2, left: 0), ["X-Forwarded-For: 192.0.2.7"])
    let third = try worker.bencoded(target(3), ["X-Forwarded-For: 192.0.2.8"])
    #expect(third["peers"]?.bytes == [192, 0, 2, 7, 0x03, 0xea])
    #expect(third["peers6"]?.bytes?.prefix(4) == [0x20, 0x01, 0x0d, 0xb8])
    #expect(try worker.bencoded(target(4), ["X-Forwarded-For: who"])["failure reason"]?.text == "invalid ip")
  }

  @Test("the header of an untrusted peer and ip= change nothing")
  func noSpoofing() throws {
    let worker = try TestWorker {
      $0.realIPHeader = "X-Forwarded-For"
      $0.trustedProxies = [AddressPrefix("10.0.0.0/8")!]
    }
    let reply = try worker.bencoded(target(1, "&ip=192.0.2.1&ipv6=2001:db8::1"), ["X-Forwarded-For: 192.0.2.7"])
    #expect(reply["external ip"]?.bytes == [127, 0, 0, 1])
    #expect(try worker.bencoded(target(2, "&compact=0"))["peers"]?.list?.compactMap { $0["ip"]?.text } == ["127.0.0.1"])
  }

  @Test("with allow_ip_spoofing a client may name both its addresses")
  func spoofing() throws {
    let worker = try TestWorker { $0.allowIPSpoofing = true }
    _ = try worker.bencoded(target(1, left: 0, "&ip=192.0.2.1&ipv6=2001:db8::1"))
    let reply = try worker.bencoded(target(2, "&compact=0"))
    #expect(reply["peers"]?.list?.compactMap { $0["ip"]?.text } == ["192.0.2.1", "2001:db8::1"])
    #expect(reply["complete"]?.integer == 1)
  }

  @Test("an IPv6 client is served like an IPv4 one")
  func overIPv6() throws {
    let worker = try TestWorker(host: "::1")
    _ = try worker.bencoded(target(1, left: 0))
    let reply = try worker.bencoded(target(2))
    #expect(reply["peers"]?.bytes == [] && reply["peers6"]?.bytes?.count == 18)
  }

  @Test("who announces before its time again and again is warned; started, completed and stopped are always welcome")
  func minimumInterval() throws {
    let worker = try TestWorker()
    let warning = "announced before the minimum interval has passed"
    #expect(try worker.bencoded(target(1, "&event=started"))["warning message"] == nil)
    // One after the other from one address: the listeners of one libtorrent session, or somebody at a button.
    for _ in 0..<PeerProgress.maximumEarlyAnnounces {
      #expect(try worker.bencoded(target(1))["warning message"] == nil)
    }
    let early = try worker.bencoded(target(1))
    #expect(early["warning message"]?.text == warning && early["incomplete"]?.integer == 1)
    let completed = try worker.bencoded(target(1, left: 0, "&event=completed"))
    #expect(completed["warning message"] == nil && completed["downloaded"]?.integer == 1)
    #expect(completed["complete"]?.integer == 1 && completed["incomplete"]?.integer == 0)
    let stopped = try worker.bencoded(target(1, left: 0, "&event=stopped"))
    #expect(stopped["warning message"] == nil && stopped["complete"]?.integer == 0)
    #expect(try worker.bencoded(target(1, left: 0, "&event=started"))["warning message"] == nil)
  }

  @Test("partial seeds are leechers that are no downloaders")
  func partialSeeds() throws {
    let worker = try TestWorker()
    for peer in 1...3 { _ = try worker.bencoded(target(peer, "&event=started")) }
    let reply = try worker.bencoded(target(1, "&event=paused"))
    #expect(reply["incomplete"]?.integer == 3 && reply["complete"]?.integer == 0)
    #expect(reply["peers"]?.bytes?.count == 12, "leechers are shown to it as to any other")
    _ = try worker.bencoded(target(2, left: 0, "&event=paused"))
    let file = try #require(try worker.bencoded("/scrape?info_hash=\(torrent)")["files"]?[torrent])
    #expect(file["complete"]?.integer == 1 && file["incomplete"]?.integer == 2)
    #expect(file["downloaders"]?.integer == 1 && file["downloaded"]?.integer == 0)
  }

  @Test("a user has as many sessions on a torrent as the rules say; one that ends makes room")
  func sessionsOfUser() throws {
    var rules = PipelineRules()
    rules.swarmPolicy.maxPeersPerUser = 2
    let worker = try TestWorker(pipeline: rules)
    for peer in 1...2 { #expect(try worker.bencoded(target(peer, "&passkey=me"))["failure reason"] == nil) }
    let third = try worker.bencoded(target(3, "&passkey=me"))
    #expect(third["failure reason"]?.text == "too many clients of yours on this torrent")
    #expect(try worker.bencoded(target(3, "&passkey=you"))["incomplete"]?.integer == 3)
    _ = try worker.bencoded(target(1, "&passkey=me&event=stopped"))
    #expect(try worker.bencoded(target(4, "&passkey=me"))["failure reason"] == nil)
  }

  @Test("hooks decide in the order of the config")
  func hookOrder() throws {
    let clients = ClientApproval(ClientApprovalOptions(blacklist: ["XX"]))
    let ports = PortApproval(PortApprovalOptions(blacklist: [1001...1001]))
    for (hooks, reason) in [([clients, ports], "unapproved client"), ([ports, clients], "unapproved port")]
      as [([any AnnounceHook], String)]
    {
      var rules = PipelineRules()
      rules.hooks = hooks
      let worker = try TestWorker(pipeline: rules)
      #expect(try worker.bencoded(target(1))["failure reason"]?.text == reason)
      #expect(try worker.bencoded(target(2))["failure reason"]?.text == "unapproved client")
    }
  }

  @Test("replies are counted by action, family and reason under Chihaya's name")
  func metrics() async throws {
    let worker = try TestWorker()
    _ = try worker.bencoded(target(1))
    _ = try worker.bencoded(target(1, "&port=0"))
    _ = try worker.bencoded("/scrape?info_hash=\(torrent)")
    let name = "chihaya_http_response_duration_milliseconds_count"
    let labels = [
      #"{action="announce",address_family="IPv4",error=""} 1"#,
      #"{action="announce",address_family="IPv4",error="invalid port"} 1"#,
      #"{action="scrape",address_family="IPv4",error=""} 1"#,
    ]
    // They are written at the end of a batch, after its replies have left.
    try await eventually("all three are counted", evidence: worker.registry.render()) {
      let text = worker.registry.render()
      return labels.allSatisfy { text.contains("\n\(name)\($0)\n") }
    }
  }
}
