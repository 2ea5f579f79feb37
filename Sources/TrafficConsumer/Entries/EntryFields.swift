// EntryFields: an entry's names and values as received: what a dead letter keeps, an anchor hashes and a repair changes. A
// value; any thread.

import Redis
import Wire

/// Names and values as received, byte for byte and in order; of an entry beyond `maximumBytes` the first.
struct EntryFields: Equatable, Sendable {
  /// So much of an entry is kept, with four bytes for each name and value: 10,000 times what the tracker writes, and little
  /// enough that a few of them, each copied on its way, leave the daemon its memory. SQLite itself takes 10^9 bytes a row.
  static let maximumBytes = 4 << 20
  /// The last name of an entry that was larger; its value is how many bytes are missing.
  static let missingBytesName = "bytes_not_kept"

  /// Names and values in turn; the last may be a name without value.
  var items: [[UInt8]]

  init(items: [[UInt8]]) { self.items = items }

  /// Copies the fields of a delivered entry.
  init(_ fields: RedisReplyView) {
    items = []
    items.reserveCapacity(min(fields.count, 64))
    var room = Self.maximumBytes
    var missing = 0
    for index in 0..<fields.count {
      let bytes = fields[index].bytes ?? UnsafeRawBufferPointer(start: nil, count: 0)
      if missing == 0 && bytes.count + 4 <= room {
        items.append(Array(bytes))
        room -= bytes.count + 4
      } else if missing == 0 && room > 4 {
        items.append(Array(bytes.prefix(room - 4)))
        missing = bytes.count + 4 - room
        room = 0
      } else {
        missing += bytes.count
        room = 0
      }
    }
    guard room == 0, missing > 0 else { return }
    if !items.count.isMultiple(of: 2) { items.append([]) }
    items += [Array(Self.missingBytesName.utf8), Array(String(missing).utf8)]
  }

  /// How many bytes of the entry are not here; nil: it is whole.
  var missingBytes: Int? {
    guard items.count >= 2, items[items.count - 2].elementsEqual(Self.missingBytesName.utf8),
      items.reduce(0, { $0 + $1.count + 4 }) > Self.maximumBytes
    else { return nil }
    return Int(String(decoding: items[items.count - 1], as: UTF8.self))
  }

  /// Each item behind its length, 32 bits little-endian.
  var stored: [UInt8] {
    var bytes: [UInt8] = []
    for item in items {
      withUnsafeBytes(of: UInt32(item.count).littleEndian) { bytes.append(contentsOf: $0) }
      bytes += item
    }
    return bytes
  }

  /// Reads `stored`; nil when it is not that.
  init?(stored bytes: UnsafeRawBufferPointer) {
    items = []
    var at = 0
    while at < bytes.count {
      guard at + 4 <= bytes.count else { return nil }
      let count = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
      guard at + 4 + count <= bytes.count else { return nil }
      items.append(Array(bytes[(at + 4)..<(at + 4 + count)]))
      at += 4 + count
    }
  }

  /// Names and values for people and for JSON. Text is shown as it is, except that bytes that are not UTF-8, and a
  /// backslash, become `\xNN`: nothing is lost and nothing is ambiguous. A name that appears again gets `#2`, `#3`; a name
  /// without value has the value `null`.
  var shown: [(name: String, value: String?)] {
    var seen: [String: Int] = [:]
    return stride(from: 0, to: items.count, by: 2).map { index in
      let name = Self.text(items[index])
      seen[name, default: 0] += 1
      let count = seen[name]!
      let value = index + 1 < items.count ? Self.text(items[index + 1]) : nil
      return (count == 1 ? name : "\(name)#\(count)", value)
    }
  }

  /// Sets a field: replaces the first of that name and removes any other, or adds it.
  mutating func set(_ name: String, to value: String) {
    let name = Array(name.utf8)
    var result: [[UInt8]] = []
    var isSet = false
    for index in stride(from: 0, to: items.count, by: 2) {
      if items[index] != name {
        result += items[index..<min(index + 2, items.count)]
      } else if !isSet {
        result += [name, Array(value.utf8)]
        isSet = true
      }
    }
    if !isSet {
      // A name without value at the end would swallow what is added behind it.
      if !result.count.isMultiple(of: 2) { result.append([]) }
      result += [name, Array(value.utf8)]
    }
    items = result
  }

  static func text(_ bytes: [UInt8]) -> String {
    if !bytes.contains(UInt8(ascii: "\\")), let text = String(validating: bytes, as: UTF8.self) { return text }
    var result = ""
    var rest = bytes[...]
    while let byte = rest.first {
      // The longest valid sequence at this place, at most four bytes (RFC 3629).
      let length = (1...4).first { count in
        rest.count >= count && byte != UInt8(ascii: "\\")
          && String(validating: rest.prefix(count), as: UTF8.self) != nil
      }
      if let length {
        result += String(decoding: rest.prefix(length), as: UTF8.self)
        rest = rest.dropFirst(length)
      } else {
        result += "\\x" + Hex.encode([byte])
        rest = rest.dropFirst()
      }
    }
    return result
  }
}
