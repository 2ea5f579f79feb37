// AnnounceReplyText: finds the end of an HTTP reply and checks that it is an announce's answer. Used by HTTPLoad.

import Glibc

/// What the first bytes received are.
enum AnnounceReplyText {
  case incomplete
  /// A whole reply, its length and how many peers it has.
  case announce(byteCount: Int, peers: Int)
  /// A whole reply that is a refusal or no announce reply.
  case refused(byteCount: Int)

  /// `isEnded`: the connection is closed, so that a reply without Content-Length is whole.
  @inline(__always)
  init(_ bytes: UnsafeRawBufferPointer, isEnded: Bool) {
    guard let head = Head(bytes) else {
      self = .incomplete
      return
    }
    let available = bytes.count - head.byteCount
    guard let bodyByteCount = head.contentLength ?? (isEnded ? available : nil), bodyByteCount <= available else {
      self = .incomplete
      return
    }
    let body = UnsafeRawBufferPointer(rebasing: bytes[head.byteCount..<head.byteCount + bodyByteCount])
    let byteCount = head.byteCount + bodyByteCount
    if head.isOK, let peers = Self.peers(in: body) {
      self = .announce(byteCount: byteCount, peers: peers)
    } else {
      self = .refused(byteCount: byteCount)
    }
  }

  /// Status line and headers (RFC 9112).
  private struct Head {
    var byteCount = 0
    var isOK = false
    var contentLength: Int?

    init?(_ bytes: UnsafeRawBufferPointer) {
      var line = 0
      while true {
        guard line < bytes.count, let found = memchr(bytes.baseAddress! + line, 0x0a, bytes.count - line) else {
          return nil
        }
        let end = UnsafeRawPointer(found) - bytes.baseAddress!
        if end - line <= 1 {
          byteCount = end + 1
          return
        }
        if line == 0 { isOK = end > 12 && bytes[9] == 0x32 && bytes[10] == 0x30 && bytes[11] == 0x30 }
        if bytes[line] | 0x20 == UInt8(ascii: "c") && end - line > 16 && bytes[line + 14] == UInt8(ascii: ":")
          && bytes[line + 8] | 0x20 == UInt8(ascii: "l")
        {
          contentLength = Self.number(UnsafeRawBufferPointer(rebasing: bytes[line + 15..<end]))
        }
        line = end + 1
      }
    }

    private static func number(_ bytes: UnsafeRawBufferPointer) -> Int {
      var value = 0
      for byte in bytes where byte >= 0x30 && byte <= 0x39 { value = value &* 10 &+ Int(byte - 0x30) }
      return value
    }
  }

  /// The compact peers of a bencoded announce reply (BEP 3, 7, 23); nil when it is none, or a refusal.
  @inline(__always)
  static func peers(in body: UnsafeRawBufferPointer) -> Int? {
    guard body.count >= 2, body[0] == UInt8(ascii: "d") else { return nil }
    var position = 1
    var peers: Int?
    while position < body.count, body[position] != UInt8(ascii: "e") {
      guard let key = string(body, &position), position < body.count else { return nil }
      if body[position] == UInt8(ascii: "i") {
        guard let end = memchr(body.baseAddress! + position, Int32(UInt8(ascii: "e")), body.count - position) else {
          return nil
        }
        position = UnsafeRawPointer(end) - body.baseAddress! + 1
        continue
      }
      guard let value = string(body, &position) else { return nil }
      if isKey("peers", key, body) && value.count % 6 == 0 { peers = (peers ?? 0) + value.count / 6 }
      if isKey("peers6", key, body) && value.count % 18 == 0 { peers = (peers ?? 0) + value.count / 18 }
      if isKey("failure reason", key, body) { return nil }
    }
    return position == body.count - 1 ? peers : nil
  }

  @inline(__always)
  private static func isKey(_ word: StaticString, _ key: Range<Int>, _ body: UnsafeRawBufferPointer) -> Bool {
    key.count == word.utf8CodeUnitCount && memcmp(body.baseAddress! + key.lowerBound, word.utf8Start, key.count) == 0
  }

  /// The content of the bencoded string at `position`, which moves behind it.
  @inline(__always)
  private static func string(_ body: UnsafeRawBufferPointer, _ position: inout Int) -> Range<Int>? {
    var length = 0
    let first = position
    while position < body.count, body[position] >= 0x30, body[position] <= 0x39, position - first < 7 {
      length = length * 10 + Int(body[position] - 0x30)
      position += 1
    }
    guard position > first, position < body.count, body[position] == UInt8(ascii: ":"),
      position + 1 + length <= body.count
    else { return nil }
    let start = position + 1
    position = start + length
    return start..<position
  }
}
