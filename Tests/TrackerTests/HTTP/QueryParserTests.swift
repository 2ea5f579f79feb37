import Testing
import Wire

@testable import Tracker

/// Parses a query as the frontend does.
private func announce(
  _ query: [UInt8], passkey: String? = nil, from address: String = "192.0.2.1", spoofing: Bool = false
) throws(Refusal) -> (request: AnnounceRequest, form: ReplyForm) {
  let parser = QueryParser(
    routes: RouteTable(announceRoutes: [], scrapeRoutes: []), maxScrapeInfoHashes: 3, allowIPSpoofing: spoofing)
  let segment = passkey.map { Array($0.utf8) } ?? []
  let result: Result<(request: AnnounceRequest, form: ReplyForm), Refusal> = query.withUnsafeBytes { query in
    segment.withUnsafeBytes { segment in
      do throws(Refusal) {
        return .success(
          try parser.parseAnnounce(
            query: query, passkeySegment: passkey == nil ? nil : segment, from: IPAddress(address)!))
      } catch {
        return .failure(error)
      }
    }
  }
  return try result.get()
}

private func announce(
  _ query: String, passkey: String? = nil, from address: String = "192.0.2.1", spoofing: Bool = false
) throws(Refusal) -> (request: AnnounceRequest, form: ReplyForm) {
  try announce(Array(query.utf8), passkey: passkey, from: address, spoofing: spoofing)
}

private let infoHash = "aaaaaaaaaaaaaaaaaaaa"
private let complete = "info_hash=\(infoHash)&peer_id=-TR2940-k8hj0wgej6ch&port=51413&uploaded=1&downloaded=2&left=3"

@Suite("HTTP parser")
struct QueryParserTests {
  @Test("an announce is read with all its fields")
  func wholeAnnounce() throws {
    let (request, form) = try announce(
      complete + "&event=started&numwant=80&compact=1&key=7f&corrupt=0&supportcrypto=1", passkey: "0123abc")
    #expect(request.infoHash.bytes == Array(infoHash.utf8))
    #expect(request.peerID.bytes == Array("-TR2940-k8hj0wgej6ch".utf8))
    #expect(request.port == 51413)
    #expect((request.uploaded, request.downloaded, request.left) == (1, 2, 3))
    #expect(request.event == .started)
    #expect(request.numwant == 80)
    #expect(request.passkey == Passkey("0123abc"))
    #expect(request.address == IPAddress("192.0.2.1"))
    #expect(request.otherAddress == nil)
    #expect(form == [])
  }

  @Test("twenty raw bytes are decoded as clients escape them")
  func escapes() throws {
    let plain = Array("info_hash=".utf8)
    let rest = Array("&peer_id=-TR2940-k8hj0wgej6ch&port=1&uploaded=0&downloaded=0&left=0".utf8)
    let expected: [UInt8] = [0x00, 0xff, 0x2b, 0x25, 0x26, 0x3d, 0xab, 0xcd, 0x20, 0x7e] + Array("0123456789".utf8)
    // Everything escaped, digits of either case; then only what must be, with `+` and bytes above 0x7f as they are.
    let all = Array("%00%FF%2B%25%26%3d%aB%Cd%20%7e%30%31%32%33%34%35%36%37%38%39".utf8)
    let few = Array("%00".utf8) + [0xff] + Array("+%25%26=".utf8) + [0xab, 0xcd] + Array("%20~0123456789".utf8)
    #expect(try announce(plain + all + rest).request.infoHash.bytes == expected)
    #expect(try announce(plain + few + rest).request.infoHash.bytes == expected)
  }

  private static let wrong: [(query: String, refusal: Refusal)] = [
    ("", .invalidInfoHash), ("info_hash=", .invalidInfoHash),
    ("info_hash=aaaaaaaaaaaaaaaaaaa", .invalidInfoHash),
    ("info_hash=aaaaaaaaaaaaaaaaaaaaa", .invalidInfoHash), ("info_hash=%", .invalidInfoHash),
    ("info_hash=aaaaaaaaaaaaaaaaaaa%", .invalidInfoHash), ("info_hash=aaaaaaaaaaaaaaaaaaa%0", .invalidInfoHash),
    ("info_hash=aaaaaaaaaaaaaaaaaaa%0g", .invalidInfoHash), ("info_hash", .invalidInfoHash),
    ("info_hash=\(infoHash)&info_hash=bbbbbbbbbbbbbbbbbbbb", .invalidInfoHash),
    ("info_hash=\(infoHash)", .invalidPeerID), ("info_hash=\(infoHash)&peer_id=short", .invalidPeerID),
    ("info_hash=\(infoHash)&peer_id=\(infoHash)", .invalidPort), (complete + "&port=0", .invalidPort),
    (complete + "&port=65536", .invalidPort), (complete + "&port=-1", .invalidPort),
    (complete + "&port=0&event=completed", .invalidPort),
    (complete + "&port=", .invalidPort),
    (complete + "&port=6881x", .invalidPort), (complete + "&port=%36", .invalidPort),
    (complete + "&uploaded=18446744073709551616", .invalidUploaded), (complete + "&uploaded=", .invalidUploaded),
    (complete + "&downloaded=-1", .invalidDownloaded), (complete + "&left=1e3", .invalidLeft),
    (complete + "&left=000000000000000000001", .invalidLeft), (complete + "&left=-", .invalidLeft),
    (complete + "&numwant=x", .invalidNumwant), (complete + "&numwant=-", .invalidNumwant),
    (complete + "&numwant=-99999999999999999999", .invalidNumwant),
    ("info_hash=\(infoHash)&peer_id=\(infoHash)&port=1&downloaded=0&left=0", .invalidUploaded),
    ("info_hash=\(infoHash)&peer_id=\(infoHash)&port=1&uploaded=0&left=0", .invalidDownloaded),
    ("info_hash=\(infoHash)&peer_id=\(infoHash)&port=1&uploaded=0&downloaded=0", .invalidLeft),
  ]

  @Test("a missing or wrong field gets its reason", arguments: wrong)
  func refused(query: String, refusal: Refusal) {
    #expect(throws: refusal) { try announce(query) }
  }

  @Test(
    "an event may be written in any case, and none and paused are regular announces",
    arguments: [
      ("Started", .started), ("STOPPED", .stopped), ("completeD", .completed), ("none", .none), ("None", .none),
      ("paused", .none), ("", .none),
    ] as [(String, AnnounceEvent)])
  func events(text: String, event: AnnounceEvent) throws {
    #expect(try announce(complete + "&event=\(text)").request.event == event)
  }

  @Test(
    "what only looks like an event is a regular announce",
    arguments: ["starte", "\u{13}tarted", "n@ne", "startedx", "empty", "resumed"])
  func unknownEvents(text: String) throws {
    #expect(try announce(complete + "&event=\(text)").request.event == .none)
  }

  @Test("a negative left is not known yet, which makes no seeder", arguments: ["-1", "-0", "-9223372036854775808"])
  func unknownLeft(text: String) throws {
    #expect(try announce(complete + "&left=\(text)").request.left == AnnounceRequest.unknownLeft)
  }

  @Test("who stops needs no port")
  func stoppedWithoutPort() throws {
    let request = try announce(complete + "&port=0&event=stopped").request
    #expect(request.event == .stopped && request.port == 0)
  }

  @Test("numbers reach to the end of 64 bits")
  func largestNumbers() throws {
    let (request, _) = try announce(
      complete + "&uploaded=18446744073709551615&downloaded=00000000000000000007&port=65535")
    #expect(request.uploaded == .max && request.downloaded == 7 && request.port == 65535)
  }

  @Test(
    "numwant may be absent, zero, negative, empty or huge",
    arguments: [
      ("", nil), ("&numwant=0", 0), ("&numwant=-1", nil), ("&numwant=", nil),
      ("&numwant=4294967295", UInt32.max), ("&numwant=18446744073709551615", UInt32.max), ("&numwant=7&numwant=9", 9),
    ] as [(String, UInt32?)])
  func numwant(query: String, wanted: UInt32?) throws {
    #expect(try announce(complete + query).request.numwant == wanted)
  }

  @Test(
    "events are BEP 3's words, empty and BEP 21's paused",
    arguments: [
      ("", AnnounceEvent.none), ("&event=", .none), ("&event=started", .started), ("&event=stopped", .stopped),
      ("&event=completed", .completed), ("&event=paused", .none),
    ])
  func events(query: String, event: AnnounceEvent) throws {
    let request = try announce(complete + query).request
    #expect(request.event == event && request.isPaused == query.hasSuffix("paused"))
  }

  @Test("of a repeated key the last value counts, except that info hashes must agree")
  func repeatedKeys() throws {
    let (request, _) = try announce(complete + "&left=9&uploaded=8&info_hash=%61aaaaaaaaaaaaaaaaaaa&port=7")
    #expect((request.left, request.uploaded, request.port) == (9, 8, 7))
  }

  @Test("unknown keys, empty pairs and pairs without value are ignored")
  func ignored() throws {
    #expect(throws: Never.self) { try announce("&&=&=x&foo&bar=&" + complete + "&INFO_HASH=x&peer_idx=1&") }
  }

  @Test(
    "the form of the peer list is compact unless asked otherwise",
    arguments: [
      ("", ReplyForm()), ("&compact=1", []), ("&compact=", []), ("&compact=0", .dictionary),
      ("&compact=0&compact=1", []),
      ("&compact=0&no_peer_id=1", [.dictionary, .withoutPeerIDs]), ("&compact=0&no_peer_id=0", .dictionary),
      ("&no_peer_id=1", .withoutPeerIDs),
    ] as [(String, ReplyForm)])
  func forms(query: String, form: ReplyForm) throws {
    #expect(try announce(complete + query).form == form)
  }

  @Test("the passkey comes from the route, else from the query; an empty one is none")
  func passkeys() throws {
    #expect(try announce(complete + "&passkey=query").request.passkey == Passkey("query"))
    #expect(try announce(complete + "&passkey=query", passkey: "route").request.passkey == Passkey("route"))
    #expect(try announce(complete + "&passkey=%61b").request.passkey == Passkey("ab"))
    #expect(try announce(complete + "&passkey=one&passkey=two").request.passkey == Passkey("two"))
    #expect(try announce(complete + "&passkey=").request.passkey == nil)
    #expect(try announce(complete).request.passkey == nil)
    let longest = String(repeating: "a", count: Passkey.maximumLength)
    #expect(try announce(complete, passkey: longest).request.passkey == Passkey(longest))
    for bad in [longest + "a", "a b", "a%20b", "a%00", "a%", "a%zz", "\u{e4}"] {
      #expect(throws: Refusal.invalidPasskey) { try announce(complete, passkey: bad) }
    }
  }

  @Test("ip=, ipv4= and ipv6= count only where spoofing is allowed")
  func spoofing() throws {
    let claims = complete + "&ip=203.0.113.9&ipv4=203.0.113.8:80&ipv6=%5B2001%3Adb8%3A%3A1%5D%3A6881"
    let caution = try announce(claims).request
    #expect(caution.address == IPAddress("192.0.2.1") && caution.otherAddress == nil)
    let trusting = try announce(claims, spoofing: true).request
    #expect(trusting.address == IPAddress("203.0.113.9") && trusting.otherAddress == IPAddress("2001:db8::1"))
    let other = try announce(claims.replacing("&ip=203.0.113.9", with: ""), from: "2001:db8::7", spoofing: true).request
    #expect(other.address == IPAddress("2001:db8::7") && other.otherAddress == IPAddress("203.0.113.8"))
    #expect(throws: Refusal.invalidAddress) { try announce(complete + "&ip=example.org", spoofing: true) }
    #expect(try announce(complete + "&ip=&ipv6=nonsense", spoofing: true).request.otherAddress == nil)
    // A mapped address is IPv4: it is no second family.
    #expect(try announce(complete + "&ipv6=::ffff:1.2.3.4", spoofing: true).request.otherAddress == nil)
  }

  /// Scrapes with room for three.
  private func scrape(_ query: String) throws(Refusal) -> [[UInt8]] { try parseScrape(query).infoHashes }

  private func parseScrape(
    _ query: String, passkey: String? = nil
  ) throws(Refusal) -> (infoHashes: [[UInt8]], passkey: Passkey?) {
    let parser = QueryParser(
      routes: RouteTable(announceRoutes: [], scrapeRoutes: []), maxScrapeInfoHashes: 3, allowIPSpoofing: false)
    var room = [UInt8](repeating: 0, count: 3 * InfoHash.byteCount)
    let result: Result<(count: Int, passkey: Passkey?), Refusal> = Array(query.utf8).withUnsafeBytes { query in
      Array((passkey ?? "").utf8).withUnsafeBytes { segment in
        room.withUnsafeMutableBytes { room in
          do throws(Refusal) {
            return .success(
              try parser.parseScrape(
                query: query, passkeySegment: passkey == nil ? nil : segment, into: room.baseAddress!))
          } catch {
            return .failure(error)
          }
        }
      }
    }
    let (count, passkey) = try result.get()
    return ((0..<count).map { Array(room[($0 * 20)..<($0 * 20 + 20)]) }, passkey)
  }

  private func hash(_ character: Character) -> String { String(repeating: character, count: 20) }

  @Test("a scrape's info hashes come sorted and once each")
  func scrapeSorted() throws {
    let found = try scrape(
      "info_hash=\(hash("c"))&x=1&info_hash=\(hash("a"))&info_hash=\(hash("c"))&info_hash=\(hash("b"))")
    #expect(found == [Array(hash("a").utf8), Array(hash("b").utf8), Array(hash("c").utf8)])
    let high = "%ff" + String(repeating: "%00", count: 19)
    #expect(try scrape("info_hash=\(high)&info_hash=\(hash("a"))").first == Array(hash("a").utf8))
  }

  @Test("of a scrape for too many the first ones are answered; one for none or a broken one is refused")
  func scrapeLimits() throws {
    let query = "dcba".map { "info_hash=\(hash($0))" }.joined(separator: "&")
    #expect(try scrape(query) == "bcd".map { Array(hash($0).utf8) })
    for broken in ["", "x=1", "info_hash=short", "info_hash=\(hash("a"))&info_hash=%"] {
      #expect(throws: Refusal.invalidInfoHash) { try scrape(broken) }
    }
  }

  @Test("a scrape's passkey comes from the route, else from the query, also behind the last info hash that counts")
  func scrapePasskey() throws {
    let query = "dcba".map { "info_hash=\(hash($0))" }.joined(separator: "&")
    #expect(try parseScrape(query).passkey == nil)
    #expect(try parseScrape(query + "&passkey=%61b").passkey == Passkey("ab"))
    #expect(try parseScrape("passkey=ab&" + query, passkey: "cd").passkey == Passkey("cd"))
    #expect(try parseScrape(query + "&passkey=").passkey == nil)
    #expect(throws: Refusal.invalidPasskey) { try parseScrape(query, passkey: "a%00") }
  }

  @Test("any bytes give a request or a refusal", arguments: [UInt64(7), 8, 9])
  func randomQueries(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let template = Array((complete + "&event=started&numwant=5&passkey=abc&ip=1.2.3.4&ipv6=%3A%3A1").utf8)
    let alphabet = Array("%&=+0aF-\u{0}".utf8) + [0xff]
    for _ in 0..<3000 {
      var query = template
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        let at = Int.random(in: 0..<query.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: query[at] = alphabet.randomElement(using: &random)!
        case 1: query.insert(UInt8.random(in: 0...255, using: &random), at: at)
        default: query.remove(at: at)
        }
      }
      do throws(Refusal) {
        let request = try announce(query, spoofing: true).request
        #expect(request.port != 0, "seed \(seed)")
      } catch {
        #expect(Refusal.allCases.contains(error), "seed \(seed)")
      }
    }
  }
}
