// QueryParameters: the `key=value` pairs of a URL query, and percent-encoding, over raw bytes. Pure; used by HTTPParser
// on a worker's thread. No allocation.

import Glibc
import Wire

/// One pair, still encoded. Names are compared as they are: clients do not escape them.
struct QueryParameter {
  let name: UnsafeRawBufferPointer
  /// Empty when there is no `=`.
  let value: UnsafeRawBufferPointer

  @inline(__always)
  func hasName(_ text: StaticString) -> Bool { Self.equals(name, text) }

  @inline(__always)
  static func equals(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    bytes.count == text.utf8CodeUnitCount
      && (bytes.isEmpty || memcmp(bytes.baseAddress!, text.utf8Start, bytes.count) == 0)
  }

  /// The same without regard to the case of letters; `text` is letters in lower case.
  @inline(__always)
  static func equalsFolded(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    guard bytes.count == text.utf8CodeUnitCount else { return false }
    for index in bytes.indices where bytes[index] | 0x20 != text.utf8Start[index] { return false }
    return true
  }
}

/// Walks a query from left to right.
struct QueryParameters {
  private var rest: UnsafeRawBufferPointer

  /// A query without its `?`.
  init(_ query: UnsafeRawBufferPointer) { rest = query }

  /// The next pair that is not empty.
  mutating func next() -> QueryParameter? {
    while let start = rest.baseAddress, !rest.isEmpty {
      let end = memchr(start, 0x26, rest.count).map { UnsafeRawPointer($0) - start } ?? rest.count
      let pair = UnsafeRawBufferPointer(start: start, count: end)
      rest = UnsafeRawBufferPointer(rebasing: rest[min(end + 1, rest.count)...])
      if pair.isEmpty { continue }
      guard let equal = memchr(start, 0x3d, end).map({ UnsafeRawPointer($0) - start }) else {
        return QueryParameter(name: pair, value: UnsafeRawBufferPointer(rebasing: pair[end...]))
      }
      return QueryParameter(
        name: UnsafeRawBufferPointer(rebasing: pair[..<equal]),
        value: UnsafeRawBufferPointer(rebasing: pair[(equal + 1)...]))
    }
    return nil
  }
}

/// Percent-encoding (RFC 3986 section 2.1).
enum PercentEncoding {
  /// Decodes into at most `limit` bytes; returns their number, or nil when there are more or an escape is broken.
  @inline(__always)
  static func decode(_ encoded: UnsafeRawBufferPointer, atMost limit: Int, to target: UnsafeMutableRawPointer) -> Int? {
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
  @inline(__always)
  static func decode(_ encoded: UnsafeRawBufferPointer, exactly length: Int, to target: UnsafeMutableRawPointer) -> Bool
  {
    decode(encoded, atMost: length, to: target) == length
  }
}
