// Bencode: a strict decoder of BEP 3's encoding for the tests, written apart from the tracker's writer. Pure.

/// A decoded value. Strings are bytes; a dictionary keeps its keys as text when they are UTF-8 and is refused when its
/// keys are not sorted (BEP 3: "Keys must be strings and appear in sorted order").
public indirect enum Bencode: Equatable, Sendable {
  case integer(Int64)
  case bytes([UInt8])
  case list([Bencode])
  case dictionary([[UInt8]: Bencode])

  public enum DecodeError: Error, Equatable {
    case truncated
    case trailingBytes
    case unexpected(UInt8, at: Int)
    case badInteger(at: Int)
    case keysNotSorted(at: Int)
  }

  /// Exactly one value.
  public static func decode(_ bytes: [UInt8]) throws(DecodeError) -> Bencode {
    var parser = Parser(bytes: bytes)
    let value = try parser.value()
    guard parser.index == bytes.count else { throw .trailingBytes }
    return value
  }

  public subscript(key: String) -> Bencode? {
    guard case .dictionary(let entries) = self else { return nil }
    return entries[Array(key.utf8)]
  }
  public subscript(key: [UInt8]) -> Bencode? {
    guard case .dictionary(let entries) = self else { return nil }
    return entries[key]
  }
  public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
  public var bytes: [UInt8]? { if case .bytes(let value) = self { value } else { nil } }
  public var text: String? { bytes.flatMap { String(validating: $0, as: UTF8.self) } }
  public var list: [Bencode]? { if case .list(let value) = self { value } else { nil } }

  private struct Parser {
    let bytes: [UInt8]
    var index = 0

    func peek() throws(DecodeError) -> UInt8 {
      guard index < bytes.count else { throw .truncated }
      return bytes[index]
    }

    mutating func value() throws(DecodeError) -> Bencode {
      switch try peek() {
      case UInt8(ascii: "i"):
        index += 1
        return .integer(try integer(until: UInt8(ascii: "e")))
      case UInt8(ascii: "l"):
        index += 1
        var items: [Bencode] = []
        while try peek() != UInt8(ascii: "e") { items.append(try value()) }
        index += 1
        return .list(items)
      case UInt8(ascii: "d"):
        return try dictionary()
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        return .bytes(try string())
      case let other:
        throw .unexpected(other, at: index)
      }
    }

    mutating func dictionary() throws(DecodeError) -> Bencode {
      index += 1
      var entries: [[UInt8]: Bencode] = [:]
      var last: [UInt8]?
      while try peek() != UInt8(ascii: "e") {
        let at = index
        let key = try string()
        if let last, !last.lexicographicallyPrecedes(key) { throw .keysNotSorted(at: at) }
        entries[key] = try value()
        last = key
      }
      index += 1
      return .dictionary(entries)
    }

    mutating func string() throws(DecodeError) -> [UInt8] {
      let at = index
      let count = try integer(until: UInt8(ascii: ":"))
      guard count >= 0 else { throw .badInteger(at: at) }
      guard index + Int(count) <= bytes.count else { throw .truncated }
      defer { index += Int(count) }
      return Array(bytes[index..<index + Int(count)])
    }

    /// BEP 3: no leading zeros, no negative zero.
    mutating func integer(until end: UInt8) throws(DecodeError) -> Int64 {
      let at = index
      while try peek() != end { index += 1 }
      let text = String(decoding: bytes[at..<index], as: UTF8.self)
      index += 1
      guard let value = Int64(text), String(value) == text else { throw .badInteger(at: at) }
      return value
    }
  }
}
