// PercentEncoding: escapes such as %2F in URLs (RFC 3986 section 2.1), over raw bytes. Pure, no allocation.

/// Percent-decoding.
public enum PercentEncoding {
  /// Decodes into at most `limit` bytes; returns their number, or nil when there are more or an escape is broken.
  @inlinable @inline(__always)
  public static func decode(
    _ encoded: UnsafeRawBufferPointer, atMost limit: Int, to target: UnsafeMutableRawPointer
  ) -> Int? {
    var count = 0
    var index = 0
    while index < encoded.count {
      guard count < limit else { return nil }
      var byte = encoded[index]
      index += 1
      if byte == UInt8(ascii: "%") {
        guard index + 1 < encoded.count, let high = Hex.value(of: encoded[index]),
          let low = Hex.value(of: encoded[index + 1])
        else { return nil }
        byte = high << 4 | low
        index += 2
      }
      target.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
      count += 1
    }
    return count
  }

  /// Whether it decodes to exactly `length` bytes.
  @inlinable @inline(__always)
  public static func decode(
    _ encoded: UnsafeRawBufferPointer, exactly length: Int, to target: UnsafeMutableRawPointer
  ) -> Bool {
    decode(encoded, atMost: length, to: target) == length
  }

  /// The decoded text, for code off the announce path; nil when an escape is broken. Bytes that are not UTF-8 are
  /// replaced.
  public static func decode(_ text: some StringProtocol) -> String? {
    var encoded = String(text)
    return encoded.withUTF8 { encoded in
      withUnsafeTemporaryAllocation(byteCount: max(1, encoded.count), alignment: 1) { decoded in
        decode(UnsafeRawBufferPointer(encoded), atMost: encoded.count, to: decoded.baseAddress!).map {
          String(decoding: decoded[..<$0], as: UTF8.self)
        }
      }
    }
  }
}
