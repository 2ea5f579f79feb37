import HTTP
import Testing

/// Parses all of `text` at once.
private func parse(_ bytes: [UInt8]) -> (step: HTTPRequestParser.Step, parser: HTTPRequestParser) {
  var parser = HTTPRequestParser()
  let step = bytes.withUnsafeBytes { parser.advance($0) }
  return (step, parser)
}

private func parse(_ text: String) -> (step: HTTPRequestParser.Step, parser: HTTPRequestParser) {
  parse(Array(text.utf8))
}

private func text(_ bytes: [UInt8], _ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

private let announce =
  "GET /announce/abc?info_hash=%00%ff&port=1 HTTP/1.1\r\nHost: tracker\r\nX-Real-IP: \t192.0.2.1 \r\n\r\n"

@Suite("HTTP request parser")
struct HTTPRequestParserTests {
  @Test("a request is found with its path, query and headers")
  func wholeRequest() {
    let bytes = Array(announce.utf8)
    let (step, parser) = parse(bytes)
    #expect(step == .complete)
    #expect(text(bytes, parser.path) == "/announce/abc")
    #expect(text(bytes, parser.query) == "info_hash=%00%ff&port=1")
    #expect(text(bytes, parser.headerLines) == "Host: tracker\r\nX-Real-IP: \t192.0.2.1 \r\n")
    #expect(parser.byteCount == bytes.count)
    #expect(!parser.isHead && !parser.isVersion10 && parser.wantsPersistence)
    var values: [String] = []
    bytes[parser.headerLines].withUnsafeBytes { lines in
      Array("x-real-ip".utf8).withUnsafeBytes { name in
        HTTPHeaderLines(bytes: lines).forEachValue(of: name) { values.append(String(decoding: $0, as: UTF8.self)) }
      }
    }
    #expect(values == ["192.0.2.1"])
  }

  @Test(
    "a request split at any byte is the same request",
    arguments: [announce, "HEAD /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"])
  func splitAnywhere(request: String) {
    let bytes = Array(request.utf8)
    let whole = parse(bytes).parser
    for split in 0..<bytes.count {
      var parser = HTTPRequestParser()
      #expect(bytes[..<split].withUnsafeBytes { parser.advance($0) } == .incomplete, "split at \(split)")
      #expect(bytes.withUnsafeBytes { parser.advance($0) } == .complete, "split at \(split)")
      #expect(parser.path == whole.path && parser.query == whole.query && parser.byteCount == whole.byteCount)
      #expect(parser.headerLines == whole.headerLines)
    }
    var parser = HTTPRequestParser()
    for count in 0..<bytes.count {
      #expect(bytes[..<count].withUnsafeBytes { parser.advance($0) } == .incomplete, "\(count) bytes")
    }
    #expect(bytes.withUnsafeBytes { parser.advance($0) } == .complete)
    #expect(parser.byteCount == whole.byteCount)
  }

  @Test("the next request begins behind the body")
  func bodyIsPartOfTheRequest() {
    let (step, parser) = parse("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\n")
    #expect(step == .complete)
    #expect(parser.byteCount == "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello".utf8.count)
  }

  @Test(
    "what could be read in two ways, or is no HTTP, is refused",
    arguments: [
      ("\u{16}\u{03}\u{01}\u{02}", HTTPRequestParser.Failure.malformed),
      (" GET / HTTP/1.1\r\n", .malformed),
      ("GET / HTTP/1.1\n", .malformed),
      ("GET  / HTTP/1.1\r\n", .malformed),
      ("GET /  HTTP/1.1\r\n", .malformed),
      ("GET / HTTP/1.1 \r\n", .malformed),
      ("GET /\r\n", .malformed),
      ("GET / http/1.1\r\n", .malformed),
      ("GET /a b HTTP/1.1\r\n", .malformed),
      ("GET /a\tb HTTP/1.1\r\n", .malformed),
      ("GET /a\u{7f}bcdefghijkl HTTP/1.1\r\n", .malformed),
      ("GET /a\rb HTTP/1.1\r\n", .malformed),
      ("GET announce HTTP/1.1\r\n", .malformed),
      ("GET * HTTP/1.1\r\n", .malformed),
      ("GET http:///x HTTP/1.1\r\n", .malformed),
      ("GE(T / HTTP/1.1\r\n", .malformed),
      ("\r\n\r\nGET / HTTP/1.1\r\n", .malformed),
      ("GET / HTTP/2.0\r\n", .versionNotSupported),
      ("POST / HTTP/1.1\r\n", .methodNotAllowed),
      ("get / HTTP/1.1\r\n", .methodNotAllowed),
      ("GETS / HTTP/1.1\r\n", .methodNotAllowed),
      ("OPTIONS * HTTP/1.1\r\n", .methodNotAllowed),
      ("CONNECT tracker:80 HTTP/1.1\r\n", .methodNotAllowed),
      ("HEAD * HTTP/1.1\r\n", .malformed),
      ("CONNECT tracker:80\t HTTP/1.1\r\n", .malformed),
      ("PRI * HTTP/2.0\r\n", .versionNotSupported),
      ("GET / HTTP/1.1\r\n\r\n", .malformed),
      ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", .malformed),
      ("GET / HTTP/1.1\r\nHost : a\r\n", .malformed),
      ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n", .malformed),
      ("GET / HTTP/1.1\r\nHost: a\n", .malformed),
      ("GET / HTTP/1.1\r\nHost: a\u{0}b\r\n", .malformed),
      ("GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\rb\r\n", .malformed),
      ("GET / HTTP/1.1\r\nno colon\r\n", .malformed),
      ("GET / HTTP/1.1\r\n: value\r\n", .malformed),
      ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n", .malformed),
      ("GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n", .malformed),
      ("GET / HTTP/1.1\r\nContent-Length: +1\r\n", .malformed),
      ("GET / HTTP/1.1\r\nContent-Length: 0x1\r\n", .malformed),
      ("GET / HTTP/1.1\r\nContent-Length:\r\n", .malformed),
      ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n", .bodyTooLarge),
      ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", .transferCoding),
      ("GET / HTTP/1.0\r\ntransfer-encoding: identity\r\n", .transferCoding),
    ])
  func refused(request: String, failure: HTTPRequestParser.Failure) {
    #expect(parse(request).step == .failed(failure))
    // It makes no difference when it comes byte by byte.
    let bytes = Array(request.utf8)
    var parser = HTTPRequestParser()
    var step = HTTPRequestParser.Step.incomplete
    for count in 1...bytes.count where step == .incomplete {
      step = bytes[..<count].withUnsafeBytes { parser.advance($0) }
    }
    #expect(step == .failed(failure))
  }

  @Test(
    "persistence follows version and Connection header",
    arguments: [
      ("HTTP/1.1", "", true), ("HTTP/1.1", "Connection: close\r\n", false),
      ("HTTP/1.1", "connection: CLOSE\r\n", false),
      ("HTTP/1.1", "Connection: foo , Close\r\n", false), ("HTTP/1.1", "Connection: closed\r\n", true),
      ("HTTP/1.1", "Connection: keep-alive, close\r\n", false), ("HTTP/1.0", "", false),
      ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
      ("HTTP/1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
      ("HTTP/1.7", "", true),
    ])
  func persistence(version: String, header: String, persists: Bool) {
    let (step, parser) = parse("GET / \(version)\r\nHost: h\r\n\(header)\r\n")
    #expect(step == .complete)
    #expect(parser.wantsPersistence == persists)
  }

  @Test(
    "the absolute form has the same path and query",
    arguments: [
      ("http://tracker:80/announce?x=1", "/announce", "x=1"), ("HTTP://t?x", "", "x"), ("http://t", "", ""),
      ("/a?b?c", "/a", "b?c"), ("/a?", "/a", ""), ("//a", "//a", ""),
    ])
  func targets(target: String, path: String, query: String) {
    let request = "GET \(target) HTTP/1.1\r\nHost: h\r\n\r\n"
    let (step, parser) = parse(request)
    #expect(step == .complete)
    #expect(text(Array(request.utf8), parser.path) == path)
    #expect(text(Array(request.utf8), parser.query) == query)
  }

  @Test("bytes above ASCII in the target pass as they are")
  func unescapedBytes() {
    let bytes = Array("GET /a?info_hash=".utf8) + [0x80, 0xff, 0xfe] + Array(" HTTP/1.0\r\n\r\n".utf8)
    let (step, parser) = parse(bytes)
    #expect(step == .complete)
    #expect(Array(bytes[parser.query]).suffix(3) == [0x80, 0xff, 0xfe])
  }

  @Test("the request line may have its maximum length and no byte more", arguments: [0, 1])
  func requestLineLimit(excess: Int) {
    let frame = "GET / HTTP/1.0\r\n".utf8.count
    let padding = HTTPRequestParser.maximumRequestLineBytes - frame + excess
    let (step, _) = parse("GET /" + String(repeating: "a", count: padding) + " HTTP/1.0\r\n\r\n")
    #expect(step == (excess == 0 ? .complete : .failed(.requestLineTooLong)))
    let (partial, _) = parse("GET /" + String(repeating: "a", count: HTTPRequestParser.maximumRequestLineBytes + 1))
    #expect(partial == .failed(.requestLineTooLong))
  }

  @Test("the head may have its maximum length and no byte more", arguments: [0, 1])
  func headLimit(excess: Int) {
    let start = "GET / HTTP/1.0\r\nX: "
    let padding = HTTPRequestParser.maximumHeadBytes - start.utf8.count - 4 + excess
    let (step, _) = parse(start + String(repeating: "a", count: padding) + "\r\n\r\n")
    #expect(step == (excess == 0 ? .complete : .failed(.headTooLarge)))
  }

  @Test("header lines are limited in number", arguments: [0, 1])
  func headerLineLimit(excess: Int) {
    let lines = String(repeating: "X: y\r\n", count: HTTPRequestParser.maximumHeaderLines + excess)
    #expect(parse("GET / HTTP/1.0\r\n" + lines + "\r\n").step == (excess == 0 ? .complete : .failed(.headTooLarge)))
  }

  @Test("a body may have its maximum length and no byte more", arguments: [0, 1])
  func bodyLimit(excess: Int) {
    let length = HTTPRequestParser.maximumBodyBytes + excess
    let head = "GET / HTTP/1.0\r\nContent-Length: \(length)\r\n\r\n"
    #expect(parse(head).step == (excess == 0 ? .incomplete : .failed(.bodyTooLarge)))
    if excess == 0 { #expect(parse(head + String(repeating: "b", count: length)).step == .complete) }
  }

  @Test("random bytes and mutated requests give a step, never a trap", arguments: [UInt64(1), 2, 3])
  func randomBytes(seed: UInt64) {
    var random = SplitMix(state: seed)
    let template = Array(announce.utf8)
    for _ in 0..<4000 {
      var bytes = template
      for _ in 0..<Int(random.next() % 6) {
        let at = Int(random.next() % UInt64(bytes.count))
        switch random.next() % 3 {
        case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes.insert([0x0d, 0x0a, 0x20, 0x3a, 0x00][Int(random.next() % 5)], at: at)
        default: if bytes.count > 1 { bytes.remove(at: at) }
        }
      }
      let (step, parser) = parse(bytes)
      if step == .complete {
        #expect(parser.byteCount <= bytes.count, "seed \(seed)")
        #expect(parser.path.upperBound <= parser.query.lowerBound, "seed \(seed)")
        #expect(parser.query.upperBound < parser.headerLines.lowerBound, "seed \(seed)")
      }
    }
  }
}

/// A small generator with a printable seed (SplitMix64).
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
    return word ^ (word >> 31)
  }
}
