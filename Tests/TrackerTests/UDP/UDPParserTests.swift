import Testing
import Wire

@testable import Tracker

@Suite("UDP parser")
struct UDPParserTests {
  static let parser = UDPParser(
    routes: RouteTable(announceRoutes: ["/announce", "/announce/:passkey"], scrapeRoutes: ["/scrape"]),
    maxScrapeInfoHashes: 3, allowIPSpoofing: false)
  static let sender = IPAddress("192.0.2.7")!

  /// An announce of 98 bytes with the given options behind it.
  static func announce(
    event: UInt32 = 2, numwant: Int32 = -1, port: UInt16 = 6881, options: [UInt8] = []
  ) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 98)
    func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
      withUnsafeBytes(of: value.bigEndian) { bytes.replaceSubrange(offset..<offset + $0.count, with: $0) }
    }
    put(UInt32(1), at: 8)
    for index in 0..<20 {
      bytes[16 + index] = UInt8(index)
      bytes[36 + index] = UInt8(100 + index)
    }
    put(UInt64(11), at: 56)
    put(UInt64(22), at: 64)
    put(UInt64(33), at: 72)
    put(event, at: 80)
    put(numwant, at: 92)
    put(port, at: 96)
    return bytes + options
  }

  static func parse(_ bytes: [UInt8], action: UInt32 = 1, parser: UDPParser = parser) -> UDPRequest {
    bytes.withUnsafeBytes { parser.parse($0, action: action, from: sender) }
  }

  static func urlData(_ text: String) -> [UInt8] { [2, UInt8(text.utf8.count)] + Array(text.utf8) }

  static func refusal(_ request: UDPRequest) -> Refusal? {
    if case .refused(let refusal) = request { return refusal }
    return nil
  }
  static func passkey(_ options: [UInt8]) -> String? {
    guard case .announce(let request) = parse(announce(options: options)) else { return nil }
    return request.passkey?.text
  }

  @Test("every field of an announce is read from its place")
  func fields() throws {
    guard case .announce(let request) = Self.parse(Self.announce(event: 1, numwant: 80)) else {
      Issue.record("refused")
      return
    }
    #expect(request.infoHash.bytes == (0..<20).map { UInt8($0) })
    #expect(request.peerID.bytes == (100..<120).map { UInt8($0) })
    #expect((request.downloaded, request.left, request.uploaded) == (11, 22, 33))
    #expect(request.event == .completed)
    #expect(request.numwant == 80)
    #expect(request.port == 6881)
    #expect(request.address == Self.sender)
    #expect(request.passkey == nil)
  }

  @Test("numwant -1 and every other negative number mean the default", arguments: [-1, -2, Int32.min])
  func defaultNumwant(numwant: Int32) {
    guard case .announce(let request) = Self.parse(Self.announce(numwant: numwant)) else {
      Issue.record("refused")
      return
    }
    #expect(request.numwant == nil)
  }

  @Test("the passkey comes as a path, as a query, split over options, percent-encoded")
  func passkeys() {
    #expect(Self.passkey(Self.urlData("/announce/abc")) == "abc")
    #expect(Self.passkey(Self.urlData("/announce/abc/")) == "abc")
    #expect(Self.passkey(Self.urlData("/announce?passkey=abc")) == "abc")
    #expect(Self.passkey(Self.urlData("/announce?x=1&passkey=abc&y=2")) == "abc")
    #expect(Self.passkey(Self.urlData("?passkey=abc")) == "abc")
    #expect(Self.passkey(Self.urlData("/announce/%61%62c")) == "abc")
    #expect(
      Self.passkey(Self.urlData("/anno") + [1, 1] + Self.urlData("unce/ab") + Self.urlData("c") + [0, 9]) == "abc")
    #expect(Self.passkey([9, 2, 0, 0] + Self.urlData("/announce/abc")) == "abc", "unknown options are skipped")
  }

  @Test("no URL data, an unknown path or an empty option give no passkey")
  func noPasskey() {
    #expect(Self.passkey([]) == nil)
    #expect(Self.refusal(Self.parse(Self.announce())) == nil)
    #expect(Self.passkey(Self.urlData("")) == nil)
    #expect(Self.passkey(Self.urlData("/elsewhere/abc")) == nil)
    #expect(Self.passkey(Self.urlData("/announce?passkey=")) == nil)
    #expect(Self.refusal(Self.parse(Self.announce(options: Self.urlData("/announce?passkey=")))) == nil)
  }

  @Test("of two passkeys the route's counts, of two in the query the last, as over HTTP")
  func manyPasskeys() {
    #expect(Self.passkey(Self.urlData("/announce/abc?passkey=def")) == "abc")
    #expect(Self.passkey(Self.urlData("/announce?passkey=abc&passkey=def")) == "def")
  }

  @Test("unknown events are regular announces, and 4 is BEP 21's paused", arguments: [4, 5, 256, 258, UInt32.max])
  func unknownEvents(event: UInt32) {
    guard case .announce(let request) = Self.parse(Self.announce(event: event)) else {
      Issue.record("refused")
      return
    }
    #expect(request.event == .none && request.isPaused == (event == 4))
  }

  @Test("who stops needs no port")
  func stoppedWithoutPort() {
    guard case .announce(let request) = Self.parse(Self.announce(event: 3, port: 0)) else {
      Issue.record("refused")
      return
    }
    #expect(request.event == .stopped && request.port == 0)
  }

  @Test("connect, announce and scrape may be requests; replies and what nobody knows are none")
  func requests() {
    for action in 0...2 as ClosedRange<UInt32> { #expect(UDPParser.isRequest(action)) }
    for action in [3, 7, UInt32.max] { #expect(!UDPParser.isRequest(action)) }
    guard case .none = Self.parse(Self.announce(), action: 7) else {
      Issue.record("answered")
      return
    }
  }

  @Test("what is wrong is named")
  func refusals() {
    #expect(Self.refusal(Self.parse(Array(Self.announce().prefix(97)))) == .malformedRequest)
    #expect(Self.refusal(Self.parse(Self.announce(port: 0))) == .invalidPort)
    #expect(Self.refusal(Self.parse(Self.announce(options: [2]))) == .malformedRequest)
    #expect(Self.refusal(Self.parse(Self.announce(options: [2, 5, 47]))) == .malformedRequest)
    #expect(Self.refusal(Self.parse(Self.announce(options: Self.urlData("/announce/a%2")))) == .invalidPasskey)
    #expect(Self.refusal(Self.parse(Self.announce(options: Self.urlData("/announce/a%20b")))) == .invalidPasskey)
  }

  @Test("a passkey of 64 bytes passes, of 65 does not")
  func passkeyLimit() {
    let longest = String(repeating: "a", count: Passkey.maximumLength)
    #expect(Self.passkey(Self.urlData("/announce/" + longest)) == longest)
    #expect(
      Self.refusal(Self.parse(Self.announce(options: Self.urlData("/announce/" + longest + "a")))) == .invalidPasskey)
  }

  @Test("URL data of 512 bytes is read, of 513 refused")
  func urlLimit() {
    let start = "?passkey=abc&"
    let filler = String(repeating: "x", count: UDPParser.maximumURLDataBytes - start.utf8.count)
    func options(_ text: String) -> [UInt8] {
      var result: [UInt8] = []
      var rest = Array(text.utf8)[...]
      while !rest.isEmpty {
        let part = rest.prefix(255)
        result += [2, UInt8(part.count)] + part
        rest = rest.dropFirst(255)
      }
      return result
    }
    #expect(Self.passkey(options(start + filler)) == "abc")
    #expect(Self.refusal(Self.parse(Self.announce(options: options(start + filler + "x")))) == .malformedRequest)
  }

  @Test("of a scrape the first ones are answered, and only for whole info hashes")
  func scrape() {
    func range(_ hashes: Int, extra: Int = 0) -> Range<Int>? {
      let request = Self.parse([UInt8](repeating: 0, count: 16 + hashes * 20 + extra), action: 2)
      if case .scrape(let range) = request { return range }
      return nil
    }
    #expect(range(1) == 16..<36)
    #expect(range(3) == 16..<76)
    #expect(range(4) == 16..<76)
    #expect(range(0) == nil)
    #expect(range(1, extra: 1) == nil)
  }

  @Test("an address in the packet counts only where spoofing is allowed")
  func spoofing() {
    var bytes = Self.announce()
    bytes.replaceSubrange(84..<88, with: [198, 51, 100, 1])
    guard case .announce(let plain) = Self.parse(bytes) else {
      Issue.record("refused")
      return
    }
    #expect(plain.address == Self.sender)
    let trusting = UDPParser(routes: Self.parser.routes, maxScrapeInfoHashes: 3, allowIPSpoofing: true)
    guard case .announce(let spoofed) = Self.parse(bytes, parser: trusting) else {
      Issue.record("refused")
      return
    }
    #expect(spoofed.address == IPAddress("198.51.100.1"))
  }

  @Test("any bytes give a request or a refusal", arguments: [1, 2, 3, 4] as [UInt64])
  func anyBytes(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<20_000 {
      var bytes = Self.announce(options: Self.urlData("/announce/abc?passkey=%61"))
      let length = Int.random(in: 16...bytes.count, using: &random)
      bytes = Array(bytes.prefix(length))
      for _ in 0..<Int.random(in: 0...8, using: &random) {
        bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
      }
      if case .scrape(let range) = Self.parse(bytes, action: UInt32.random(in: 0...3, using: &random)) {
        #expect(range.upperBound <= bytes.count)
      }
    }
  }
}
