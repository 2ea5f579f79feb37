// HTTPResponseWriter: builds responses in the server's output buffer; handlers append their body to it. On the loop's
// thread. A body costs no allocation once the buffer has grown to the usual size.

import Glibc

/// The status codes this server sends (RFC 9110 section 15).
public enum HTTPStatus: UInt16, Sendable, CaseIterable {
  case ok = 200
  case badRequest = 400
  case notFound = 404
  case methodNotAllowed = 405
  case contentTooLarge = 413
  case uriTooLong = 414
  case headerFieldsTooLarge = 431
  case internalServerError = 500
  case notImplemented = 501
  case serviceUnavailable = 503
  case versionNotSupported = 505

  var line: StaticString {
    switch self {
    case .ok: "HTTP/1.1 200 OK\r\n"
    case .badRequest: "HTTP/1.1 400 Bad Request\r\n"
    case .notFound: "HTTP/1.1 404 Not Found\r\n"
    case .methodNotAllowed: "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"
    case .contentTooLarge: "HTTP/1.1 413 Content Too Large\r\n"
    case .uriTooLong: "HTTP/1.1 414 URI Too Long\r\n"
    case .headerFieldsTooLarge: "HTTP/1.1 431 Request Header Fields Too Large\r\n"
    case .internalServerError: "HTTP/1.1 500 Internal Server Error\r\n"
    case .notImplemented: "HTTP/1.1 501 Not Implemented\r\n"
    case .serviceUnavailable: "HTTP/1.1 503 Service Unavailable\r\n"
    case .versionNotSupported: "HTTP/1.1 505 HTTP Version Not Supported\r\n"
    }
  }
}

/// What the Connection header of a response says.
enum HTTPPersistence {
  /// HTTP/1.1 and staying: no header is needed.
  case implied
  /// HTTP/1.0 and staying.
  case keepAlive
  case close
}

/// Responses under construction. A handler calls `begin` once and appends the body; the server finishes the response.
public struct HTTPResponseWriter: ~Copyable {
  @usableFromInline var base: UnsafeMutableRawPointer
  @usableFromInline var capacity: Int
  /// Bytes of finished and begun responses.
  @usableFromInline var count = 0
  /// Where the current response's body begins; nil before `begin`.
  private var bodyStart: Int?
  /// How the current response is framed; set by the server before the handler runs.
  var isHead = false
  var persistence = HTTPPersistence.implied
  /// The `Date` line, owned by the server; empty for a response that is not sent.
  var dateLine = UnsafeRawBufferPointer(start: nil, count: 0)

  /// A begun response has this many digits' room for its length and is moved when it needs another number: three
  /// digits are an announce reply's usual length.
  private static let lengthDigitsReserved = 3

  init(capacity: Int) {
    base = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
    self.capacity = capacity
  }

  deinit { base.deallocate() }

  /// Starts a response; `contentType` without CR or LF.
  public mutating func begin(_ status: HTTPStatus, contentType: StaticString) {
    precondition(bodyStart == nil, "a response was begun twice")
    append(status.line)
    append(dateLine)
    append("Content-Type: ")
    append(contentType)
    switch persistence {
    case .implied: append("\r\nContent-Length: ")
    case .keepAlive: append("\r\nConnection: keep-alive\r\nContent-Length: ")
    case .close: append("\r\nConnection: close\r\nContent-Length: ")
    }
    // The length and the empty line are written by `finish`.
    _ = reserve(Self.lengthDigitsReserved + 4)
    advance(by: Self.lengthDigitsReserved + 4)
    bodyStart = count
  }

  /// Room for `byteCount` bytes; write them, then `advance(by:)`. The pointer is valid until the next call.
  @inlinable
  public mutating func reserve(_ byteCount: Int) -> UnsafeMutableRawPointer {
    if capacity - count < byteCount { grow(byteCount) }
    return base + count
  }

  /// Takes bytes written to `reserve`d room into the body.
  @inlinable
  public mutating func advance(by byteCount: Int) { count += byteCount }

  @inlinable
  public mutating func append(_ byte: UInt8) {
    reserve(1).storeBytes(of: byte, as: UInt8.self)
    count += 1
  }

  @inlinable
  public mutating func append(_ text: StaticString) {
    reserve(text.utf8CodeUnitCount).copyMemory(from: text.utf8Start, byteCount: text.utf8CodeUnitCount)
    count += text.utf8CodeUnitCount
  }

  @inlinable
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress else { return }
    reserve(bytes.count).copyMemory(from: start, byteCount: bytes.count)
    count += bytes.count
  }

  /// UTF-8; for handlers off the hot path.
  public mutating func append(_ text: String) {
    var text = text
    text.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }

  /// Decimal digits without leading zeros.
  @inlinable
  public mutating func append(decimal value: UInt64) {
    let digits = Self.digitCount(value)
    Self.writeDigits(value, count: digits, to: reserve(digits))
    count += digits
  }

  @inlinable
  static func digitCount(_ value: UInt64) -> Int {
    var digits = 1
    var bound: UInt64 = 10
    while digits < 20 && value >= bound {
      digits += 1
      bound = bound &* 10
    }
    return digits
  }

  @inlinable
  static func writeDigits(_ value: UInt64, count: Int, to target: UnsafeMutableRawPointer) {
    var rest = value
    var index = count - 1
    while index >= 0 {
      target.storeBytes(of: UInt8(truncatingIfNeeded: 0x30 + rest % 10), toByteOffset: index, as: UInt8.self)
      rest /= 10
      index -= 1
    }
  }

  @usableFromInline
  mutating func grow(_ byteCount: Int) {
    let larger = max(capacity * 2, count + byteCount)
    let moved = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
    moved.copyMemory(from: base, byteCount: count)
    base.deallocate()
    base = moved
    capacity = larger
  }

  // MARK: the server's part

  /// Whether the handler began a response.
  var isBegun: Bool { bodyStart != nil }

  /// Writes the body's length before it; drops the body of a HEAD response.
  mutating func finish() {
    guard let start = bodyStart else { preconditionFailure("finish without begin") }
    let length = count - start
    let digits = Self.digitCount(UInt64(length))
    let shift = digits - Self.lengthDigitsReserved
    let body = isHead ? 0 : length
    if shift != 0 {
      _ = reserve(max(0, shift))
      memmove(base + start + shift, base + start, body)
    }
    let lengthStart = start - Self.lengthDigitsReserved - 4
    Self.writeDigits(UInt64(length), count: digits, to: base + lengthStart)
    (base + lengthStart + digits).storeBytes(of: UInt32(0x0d0a_0d0a).bigEndian, as: UInt32.self)
    count = start + shift + body
    bodyStart = nil
  }

  /// Throws away a begun response and all bytes from `mark` on.
  mutating func rewind(to mark: Int) {
    count = mark
    bodyStart = nil
  }

  var finished: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }
  mutating func removeAll() { rewind(to: 0) }
}
