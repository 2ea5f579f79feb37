// EntryID: the id of a stream entry, ordered as Redis orders it. A value; any thread.

/// `<milliseconds>-<sequence>` (https://redis.io/docs/latest/develop/data-types/streams/, "Entry IDs").
struct EntryID: Hashable, Comparable, Sendable, CustomStringConvertible {
  var milliseconds: UInt64
  var sequence: UInt64

  static let zero = EntryID(milliseconds: 0, sequence: 0)
  static let maximum = EntryID(milliseconds: .max, sequence: .max)
  /// The bytes `store(to:)` writes: big-endian, so that SQLite's memcmp order is the order of ids.
  static let byteCount = 16

  init(milliseconds: UInt64, sequence: UInt64) {
    self.milliseconds = milliseconds
    self.sequence = sequence
  }

  /// The id of its text; a text without `-` means sequence 0, as Redis reads it.
  init?(_ text: some StringProtocol) {
    var copy = String(text)
    guard let id = copy.withUTF8({ EntryID(UnsafeRawBufferPointer($0)) }) else { return nil }
    self = id
  }

  /// The id of its text as bytes.
  init?(_ bytes: UnsafeRawBufferPointer) {
    var parts: (UInt64, UInt64) = (0, 0)
    var digits = 0
    var inSequence = false
    for byte in bytes {
      if byte == UInt8(ascii: "-"), !inSequence, digits > 0 {
        inSequence = true
        digits = 0
        continue
      }
      guard case let digit = byte &- 0x30, digit <= 9 else { return nil }
      let (product, high) = (inSequence ? parts.1 : parts.0).multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
      guard !high, !carry else { return nil }
      if inSequence { parts.1 = sum } else { parts.0 = sum }
      digits += 1
    }
    guard digits > 0 else { return nil }
    (milliseconds, sequence) = parts
  }

  /// Reads what `bytes` gave.
  init?(stored: UnsafeRawBufferPointer) {
    guard stored.count == Self.byteCount else { return nil }
    milliseconds = UInt64(bigEndian: stored.loadUnaligned(as: UInt64.self))
    sequence = UInt64(bigEndian: stored.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
  }

  /// Sixteen bytes for a database key.
  var bytes: [UInt8] {
    var words = (milliseconds.bigEndian, sequence.bigEndian)
    return withUnsafeBytes(of: &words) { Array($0) }
  }

  /// The id just below, for ranges that begin with an id; zero has none and stays.
  var predecessor: EntryID {
    if sequence > 0 { return EntryID(milliseconds: milliseconds, sequence: sequence - 1) }
    return milliseconds > 0 ? EntryID(milliseconds: milliseconds - 1, sequence: .max) : .zero
  }

  /// The id just above; the maximum has none and stays.
  var successor: EntryID {
    if sequence < .max { return EntryID(milliseconds: milliseconds, sequence: sequence + 1) }
    return milliseconds < .max ? EntryID(milliseconds: milliseconds + 1, sequence: 0) : .maximum
  }

  var description: String { withText { String(decoding: $0, as: UTF8.self) } }

  /// Calls `body` with the text; it is not valid after it.
  func withText<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    withUnsafeTemporaryAllocation(byteCount: Self.longestText, alignment: 1) { text in
      var at = text.count
      func put(_ value: UInt64) {
        var rest = value
        repeat {
          at -= 1
          text[at] = UInt8(truncatingIfNeeded: rest % 10) + 0x30
          rest /= 10
        } while rest > 0
      }
      put(sequence)
      at -= 1
      text[at] = UInt8(ascii: "-")
      put(milliseconds)
      return body(UnsafeRawBufferPointer(rebasing: text[at...]))
    }
  }

  /// Twice the digits of 2^64 - 1, and the dash.
  private static let longestText = 41

  static func < (left: EntryID, right: EntryID) -> Bool {
    left.milliseconds != right.milliseconds
      ? left.milliseconds < right.milliseconds : left.sequence < right.sequence
  }
}
