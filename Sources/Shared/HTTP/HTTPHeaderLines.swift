// HTTPHeaderLines: finds headers by name among the lines HTTPRequestParser has accepted. Pure, without project imports.
// Used by handlers through HTTPRequest, on the loop's thread.

import Glibc

/// The header lines of a parsed request.
public struct HTTPHeaderLines {
  private let bytes: UnsafeRawBufferPointer

  /// Lines that the parser has accepted, each with its CRLF.
  public init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// Calls `body` with each value of a header in order, without surrounding blanks. `name` in lower case.
  public func forEachValue(of name: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void) {
    var start = 0
    while start < bytes.count, let found = memchr(bytes.baseAddress! + start, 0x0a, bytes.count - start) {
      let end = UnsafeRawPointer(found) - bytes.baseAddress!
      if end - start > name.count, bytes[start + name.count] == UInt8(ascii: ":"), matches(name, at: start) {
        body(UnsafeRawBufferPointer(rebasing: bytes[Self.trimmed(bytes, start + name.count + 1..<end - 1)]))
      }
      start = end + 1
    }
  }

  private func matches(_ name: UnsafeRawBufferPointer, at start: Int) -> Bool {
    for offset in 0..<name.count {
      let byte = bytes[start + offset]
      if ((0x41...0x5a).contains(byte) ? byte | 0x20 : byte) != name[offset] { return false }
    }
    return true
  }

  /// The range without blanks and tabs at its ends.
  static func trimmed(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Range<Int> {
    var (start, end) = (range.lowerBound, range.upperBound)
    while start < end && (bytes[start] == 0x20 || bytes[start] == 0x09) { start += 1 }
    while end > start && (bytes[end - 1] == 0x20 || bytes[end - 1] == 0x09) { end -= 1 }
    return start..<end
  }
}
