// HTTPRequest: one parsed request as ranges of the received bytes. Made by HTTPServer for its handler, on the loop's
// thread; nothing in it may be kept when the handler returns.

import Linux

/// Names a request whose answer comes later. Tickets of connections that are gone match nothing.
public struct HTTPTicket: Equatable, Sendable {
  /// For keeping it elsewhere; `HTTPTicket(rawValue:)` takes it back.
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A complete request: GET or HEAD, other methods never reach a handler.
public struct HTTPRequest: ~Copyable {
  /// The path of the target as received, percent-encoded; it begins with `/`.
  public let path: UnsafeRawBufferPointer
  /// What follows the `?` of the target, without it; empty when there is none.
  public let query: UnsafeRawBufferPointer
  /// The header lines, each with its CRLF.
  public let headerLines: UnsafeRawBufferPointer
  /// Whether the client wants no body; the writer sees to that.
  public let isHead: Bool
  /// The peer of the connection; nil on a unix socket.
  public let peer: Endpoint?
  /// For `HTTPHandling.parked`.
  public let ticket: HTTPTicket

  /// Calls `body` with each value of a header, in the order received, without surrounding blanks. `name` in lower case.
  public func forEachValue(ofHeader name: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void) {
    HTTPHeaderLines(bytes: headerLines).forEachValue(of: name, body)
  }
}

/// What a handler did with a request.
public enum HTTPHandling {
  /// The response is in the writer.
  case answered
  /// The response comes by `HTTPServer.resume`; later requests of the connection wait for it.
  case parked
}

/// What answers the requests of an HTTPServer, on its loop's thread.
public protocol HTTPHandler: AnyObject {
  /// Answers now (`writer.begin`, then the body) or parks the request; a parked request's writer is left untouched. Must
  /// not call `HTTPServer.resume` from within.
  func respond(to request: borrowing HTTPRequest, writer: inout HTTPResponseWriter) -> HTTPHandling
}

extension HTTPTicket {
  /// 8 bits sequence, 32 bits generation, 24 bits index.
  init(index: UInt32, generation: UInt32, sequence: UInt8) {
    self.init(rawValue: UInt64(sequence) << 56 | UInt64(generation) << 24 | UInt64(index))
  }
  var index: UInt32 { UInt32(rawValue & 0xff_ffff) }
  var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 24) }
  var sequence: UInt8 { UInt8(rawValue >> 56) }
}
