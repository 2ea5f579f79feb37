// QueryParameters: the `key=value` pairs of a URL query, over raw bytes. Pure; used by QueryParser
// and UDPParser on a worker's thread. No allocation.

import Glibc

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
