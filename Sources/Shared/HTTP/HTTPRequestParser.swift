// HTTPRequestParser: HTTP/1.x request heads (RFC 9112), strict where leniency lets two servers disagree about where a
// request ends. A pure value without project imports: bytes in, offsets out; libFuzzer compiles it with HTTPHeaderLines.
// Used by HTTPServer on its loop's thread.

import Glibc

/// Parses one request. Feed it all bytes received since the request began, each time from the same first byte; it
/// remembers the lines it has seen. Cost budget: 100 ns for an announce of 350 bytes.
public struct HTTPRequestParser: Sendable {
  /// The request line with its CRLF: method, target and version. A scrape of 74 info hashes, as many as a UDP packet
  /// holds, is 74 x 71 bytes = 5.3 KB fully escaped; 8 KB is also what nginx and Apache allow.
  public static let maximumRequestLineBytes = 8192
  /// The request line and all header lines with the empty line. Browsers and proxies stay below half of it.
  public static let maximumHeadBytes = 16384
  /// Header lines of one request.
  public static let maximumHeaderLines = 100
  /// A body is of no use to us; a small one is read and thrown away, so that the connection persists.
  public static let maximumBodyBytes = 16384

  /// Why a request is refused; each closes the connection.
  public enum Failure: Error, Equatable, Sendable {
    /// Not HTTP, or ambiguous (RFC 9112 sections 2.2, 3, 5.1, 6.3).
    case malformed
    case requestLineTooLong
    case headTooLarge
    case bodyTooLarge
    /// Neither GET nor HEAD.
    case methodNotAllowed
    /// Transfer codings: no client sends chunks with an announce, but request smuggling needs them.
    case transferCoding
    /// A major version other than 1.
    case versionNotSupported
  }

  public enum Step: Equatable, Sendable {
    case incomplete
    /// Head and body are there; `byteCount` is where the next request begins.
    case complete
    case failed(Failure)
  }

  /// Offsets from the first byte; valid once `complete`.
  public var path: Range<Int> { Int(pathStart)..<Int(pathEnd) }
  /// Without the `?`; empty when there is none.
  public var query: Range<Int> { Int(queryStart)..<Int(queryEnd) }
  /// The header lines, each with its CRLF.
  public var headerLines: Range<Int> { Int(headerStart)..<Int(headerEnd) }
  /// Bytes of the request, body included.
  public var byteCount: Int { Int(requestEnd) }
  public private(set) var isHead = false
  /// Whether the client speaks HTTP/1.0.
  public private(set) var isVersion10 = false
  /// Whether the client wants the connection to persist (RFC 9112 section 9.3).
  public var wantsPersistence: Bool { !saysClose && (!isVersion10 || saysKeepAlive) }

  // Offsets are 32 bits wide, because every open connection holds a parser.
  private var pathStart: Int32 = 0
  private var pathEnd: Int32 = 0
  private var queryStart: Int32 = 0
  private var queryEnd: Int32 = 0
  private var headerStart: Int32 = 0
  private var headerEnd: Int32 = 0
  private var requestEnd: Int32 = 0
  private var nextLine: Int32 = 0
  /// The announced length of the body, -1 when the request says nothing about it.
  private var contentLength: Int32 = -1
  private var headerLineCount: Int16 = 0
  private enum Stage { case requestLine, headers, body }
  private var stage = Stage.requestLine
  private var hasHost = false
  private var saysClose = false
  private var saysKeepAlive = false

  public init() {}

  /// Parses as far as the bytes go.
  public mutating func advance(_ bytes: UnsafeRawBufferPointer) -> Step {
    do throws(Failure) {
      while stage != .body {
        guard let end = try lineEnd(bytes) else { return .incomplete }
        let lineStart = Int(nextLine)
        // The line without its CRLF.
        let line = UnsafeRawBufferPointer(rebasing: bytes[lineStart..<end - 1])
        switch stage {
        case .requestLine:
          // RFC 9112 section 2.2: one empty line before the request line is forgiven.
          if line.isEmpty && lineStart == 0 { break }
          try parseRequestLine(line)
          headerStart = Int32(end + 1)
          stage = .headers
        case .headers where line.isEmpty: try endHead(at: end + 1)
        case .headers: try parseHeader(line)
        case .body: break
        }
        nextLine = Int32(end + 1)
      }
      return bytes.count >= Int(requestEnd) ? .complete : .incomplete
    } catch {
      return .failed(error)
    }
  }

  /// The offset of the line feed that ends the current line, nil when it has not come yet.
  private func lineEnd(_ bytes: UnsafeRawBufferPointer) throws(Failure) -> Int? {
    let lineStart = Int(nextLine)
    let limit = stage == .requestLine ? lineStart + Self.maximumRequestLineBytes : Self.maximumHeadBytes
    let available = min(bytes.count, limit) - lineStart
    guard available > 0, let start = bytes.baseAddress else {
      if bytes.count > lineStart { throw .headTooLarge }
      return nil
    }
    guard let found = memchr(start + lineStart, 0x0a, available) else {
      if bytes.count >= limit { throw stage == .requestLine ? .requestLineTooLong : .headTooLarge }
      // Not even the beginning of a method: a TLS hello, or another protocol altogether.
      let first = bytes[lineStart]
      if stage == .requestLine && !Self.isToken(first) && first != 0x0d { throw .malformed }
      return nil
    }
    let end = UnsafeRawPointer(found) - start
    // A bare LF is refused: a proxy in front may not take it for a line's end.
    guard end > lineStart, bytes[end - 1] == 0x0d else { throw .malformed }
    return end
  }

  /// `method SP request-target SP HTTP-version`, single spaces (RFC 9112 section 3).
  private mutating func parseRequestLine(_ line: UnsafeRawBufferPointer) throws(Failure) {
    guard let start = line.baseAddress, let space = memchr(start, 0x20, line.count) else { throw .malformed }
    let methodEnd = UnsafeRawPointer(space) - start
    guard methodEnd > 0 else { throw .malformed }
    for index in 0..<methodEnd where !Self.isToken(line[index]) { throw .malformed }
    // " HTTP/1.1" is nine bytes.
    let targetEnd = line.count - 9
    guard targetEnd > methodEnd + 1, line[targetEnd] == 0x20, Self.equals(line, at: targetEnd + 1, "HTTP/"),
      Self.isDigit(line[targetEnd + 6]), line[targetEnd + 7] == UInt8(ascii: "."), Self.isDigit(line[targetEnd + 8])
    else { throw .malformed }
    guard line[targetEnd + 6] == UInt8(ascii: "1") else { throw .versionNotSupported }
    isVersion10 = line[targetEnd + 8] == UInt8(ascii: "0")
    let target = methodEnd + 1..<targetEnd
    if Self.hasControlOrSpace(line, target) { throw .malformed }
    // Before the target: those of OPTIONS and CONNECT have forms of their own (RFC 9112 section 3.2).
    isHead = methodEnd == 4 && Self.equals(line, at: 0, "HEAD")
    guard isHead || methodEnd == 3 && Self.equals(line, at: 0, "GET") else { throw .methodNotAllowed }
    try parseTarget(line, target)
  }

  /// Origin form, or absolute form, which a server must accept (RFC 9112 section 3.2). Bytes above 0x7f pass: some
  /// clients send parts of an info_hash unescaped.
  private mutating func parseTarget(_ line: UnsafeRawBufferPointer, _ target: Range<Int>) throws(Failure) {
    var start = target.lowerBound
    if line[start] != UInt8(ascii: "/") {
      guard target.count > 7, Self.equalsFolded(line, start..<start + 7, "http://") else { throw .malformed }
      start += 7
      let authority = start
      while start < target.upperBound && line[start] != UInt8(ascii: "/") && line[start] != UInt8(ascii: "?") {
        start += 1
      }
      guard start > authority else { throw .malformed }
    }
    var pathEnd = target.upperBound
    if let mark = memchr(line.baseAddress! + start, 0x3f, pathEnd - start) {
      pathEnd = UnsafeRawPointer(mark) - line.baseAddress!
    }
    self.pathStart = nextLine + Int32(start)
    self.pathEnd = nextLine + Int32(pathEnd)
    queryStart = nextLine + Int32(min(pathEnd + 1, target.upperBound))
    queryEnd = nextLine + Int32(target.upperBound)
  }

  /// `field-name ":" OWS field-value OWS`; no blank before the colon, no continuation lines (RFC 9112 section 5).
  private mutating func parseHeader(_ line: UnsafeRawBufferPointer) throws(Failure) {
    headerLineCount += 1
    guard headerLineCount <= Self.maximumHeaderLines else { throw .headTooLarge }
    var nameEnd = 0
    while nameEnd < line.count && Self.isToken(line[nameEnd]) { nameEnd += 1 }
    guard nameEnd > 0, nameEnd < line.count, line[nameEnd] == UInt8(ascii: ":") else { throw .malformed }
    if Self.hasControl(line, nameEnd + 1..<line.count) { throw .malformed }
    let name = 0..<nameEnd
    switch nameEnd {
    case 4 where Self.equalsFolded(line, name, "host"):
      guard !hasHost else { throw .malformed }
      hasHost = true
    case 10 where Self.equalsFolded(line, name, "connection"): parseConnection(line, from: nameEnd + 1)
    case 14 where Self.equalsFolded(line, name, "content-length"): try parseContentLength(line, from: nameEnd + 1)
    case 17 where Self.equalsFolded(line, name, "transfer-encoding"): throw .transferCoding
    default: break
    }
  }

  private mutating func parseConnection(_ line: UnsafeRawBufferPointer, from start: Int) {
    var index = start
    while index < line.count {
      let tokenStart = index
      while index < line.count && line[index] != UInt8(ascii: ",") { index += 1 }
      let token = HTTPHeaderLines.trimmed(line, tokenStart..<index)
      if Self.equalsFolded(line, token, "close") { saysClose = true }
      if Self.equalsFolded(line, token, "keep-alive") { saysKeepAlive = true }
      index += 1
    }
  }

  /// One decimal number, once: lists and repetitions are how requests are smuggled (RFC 9112 section 6.3).
  private mutating func parseContentLength(_ line: UnsafeRawBufferPointer, from start: Int) throws(Failure) {
    let digits = HTTPHeaderLines.trimmed(line, start..<line.count)
    guard contentLength < 0, !digits.isEmpty else { throw .malformed }
    var value: Int32 = 0
    for index in digits {
      guard Self.isDigit(line[index]) else { throw .malformed }
      // Saturates far above the limit instead of overflowing.
      value = min(value * 10 + Int32(line[index] - 0x30), 1 << 24)
    }
    contentLength = value
  }

  private mutating func endHead(at end: Int) throws(Failure) {
    // RFC 9112 section 3.2: HTTP/1.1 requests name their host.
    guard hasHost || isVersion10 else { throw .malformed }
    let body = max(contentLength, 0)
    guard body <= Self.maximumBodyBytes else { throw .bodyTooLarge }
    headerEnd = nextLine
    requestEnd = Int32(end) + body
    stage = .body
  }

  // MARK: bytes

  /// tchar of RFC 9110 section 5.6.2.
  private static func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x61...0x7a, 0x41...0x5a, 0x30...0x39, 0x2d, 0x5f: true
    case 0x21, 0x23...0x27, 0x2a, 0x2b, 0x2e, 0x5e, 0x60, 0x7c, 0x7e: true
    default: false
    }
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  private static func equals(_ line: UnsafeRawBufferPointer, at start: Int, _ text: StaticString) -> Bool {
    start + text.utf8CodeUnitCount <= line.count
      && memcmp(line.baseAddress! + start, text.utf8Start, text.utf8CodeUnitCount) == 0
  }

  /// `text` in lower case.
  private static func equalsFolded(_ line: UnsafeRawBufferPointer, _ range: Range<Int>, _ text: StaticString) -> Bool {
    guard range.count == text.utf8CodeUnitCount else { return false }
    for offset in 0..<range.count {
      let byte = line[range.lowerBound + offset]
      let folded = (0x41...0x5a).contains(byte) ? byte | 0x20 : byte
      if folded != text.utf8Start[offset] { return false }
    }
    return true
  }

  /// Whether any byte is at most 0x20 or is 0x7f. Eight bytes at a time: the bit trick flags a byte below n exactly when
  /// one exists (Bit Twiddling Hacks, hasless).
  private static func hasControlOrSpace(_ line: UnsafeRawBufferPointer, _ range: Range<Int>) -> Bool {
    var index = range.lowerBound
    while index + 8 <= range.upperBound {
      if flagged(line.loadUnaligned(fromByteOffset: index, as: UInt64.self), below: 0x21) { return true }
      index += 8
    }
    while index < range.upperBound {
      if line[index] <= 0x20 || line[index] == 0x7f { return true }
      index += 1
    }
    return false
  }

  /// Whether any byte is a control character other than a tab.
  private static func hasControl(_ line: UnsafeRawBufferPointer, _ range: Range<Int>) -> Bool {
    var index = range.lowerBound
    while index + 8 <= range.upperBound
      && !flagged(line.loadUnaligned(fromByteOffset: index, as: UInt64.self), below: 0x20)
    {
      index += 8
    }
    while index < range.upperBound {
      if line[index] < 0x20 && line[index] != 0x09 || line[index] == 0x7f { return true }
      index += 1
    }
    return false
  }

  private static func flagged(_ word: UInt64, below bound: UInt64) -> Bool {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let less = (word &- ones &* bound) & ~word
    let delete = word ^ (ones &* 0x7f)
    return (less | ((delete &- ones) & ~delete)) & (ones &* 0x80) != 0
  }
}
