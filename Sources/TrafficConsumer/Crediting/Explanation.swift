// Explanation: why an entry was credited what it was: what it reported, what was credited, by which rule. Packed per batch
// into one blob, so that keeping it costs some thirty bytes an entry and one row a batch. Pure.

struct Explanation: Equatable, Sendable {
  var session: Int64
  var entryID: EntryID
  var timestamp: Int64
  var rule: CreditRule
  /// Bytes and seconds as the entry says.
  var reportedUpload: UInt64
  var reportedDownload: UInt64
  var elapsedSeconds: Int64
  /// As credited.
  var creditedUpload: Int64
  var creditedDownload: Int64
  var seedSeconds: Int64
  var leechSeconds: Int64

  /// Appends the entry: twelve numbers, seven bits a byte, low ones first, the high bit set on all but the last (LEB128).
  func append(to bytes: inout [UInt8]) {
    func put(_ number: UInt64) {
      var rest = number
      while rest >= 0x80 {
        bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
        rest >>= 7
      }
      bytes.append(UInt8(rest))
    }
    put(UInt64(session))
    put(entryID.milliseconds)
    put(entryID.sequence)
    put(UInt64(timestamp))
    put(UInt64(rule.rawValue))
    put(reportedUpload)
    put(reportedDownload)
    put(UInt64(elapsedSeconds))
    put(UInt64(creditedUpload))
    put(UInt64(creditedDownload))
    put(UInt64(seedSeconds))
    put(UInt64(leechSeconds))
  }

  /// The entries of a blob whose session is wanted; nil when it is not one.
  static func unpack(_ bytes: UnsafeRawBufferPointer, sessions: Set<Int64>) -> [Explanation]? {
    var found: [Explanation] = []
    var at = 0
    func number() -> UInt64? {
      var value: UInt64 = 0
      var shift: UInt64 = 0
      while at < bytes.count, shift < 64 {
        let byte = bytes[at]
        at += 1
        value |= UInt64(byte & 0x7f) << shift
        if byte < 0x80 { return value }
        shift += 7
      }
      return nil
    }
    while at < bytes.count {
      var numbers: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
      numbers = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
      let isWhole = withUnsafeMutableBytes(of: &numbers) { raw in
        raw.withMemoryRebound(to: UInt64.self) { words in
          for index in words.indices {
            guard let next = number() else { return false }
            words[index] = next
          }
          return true
        }
      }
      guard isWhole, let rule = CreditRule(rawValue: UInt8(truncatingIfNeeded: numbers.4)) else { return nil }
      guard sessions.contains(Int64(bitPattern: numbers.0)) else { continue }
      found.append(
        Explanation(
          session: Int64(bitPattern: numbers.0), entryID: EntryID(milliseconds: numbers.1, sequence: numbers.2),
          timestamp: Int64(bitPattern: numbers.3), rule: rule, reportedUpload: numbers.5, reportedDownload: numbers.6,
          elapsedSeconds: Int64(bitPattern: numbers.7), creditedUpload: Int64(bitPattern: numbers.8),
          creditedDownload: Int64(bitPattern: numbers.9), seedSeconds: Int64(bitPattern: numbers.10),
          leechSeconds: Int64(bitPattern: numbers.11)))
    }
    return found
  }
}
