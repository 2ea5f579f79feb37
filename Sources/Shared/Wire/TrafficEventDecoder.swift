// TrafficEventDecoder: takes an entry field by field and gives the event. No allocation unless an entry is wrong: the
// consumer decodes every entry of the stream with it. One value per entry, any thread.

/// Decodes one entry. `take` each name and value, then `finish`.
public struct TrafficEventDecoder {
  private var seen: UInt32 = 0
  /// The position the next field has when the producer keeps the stream order.
  private var expected = 0
  /// The names so far were the first ones of the stream order, and nothing else.
  public private(set) var isInOrder = true

  private var passkey: Passkey?
  private var infoHash: InfoHash?
  private var peerID: PeerID?
  private var address: IPAddress?
  private var addressIsColonForm = false
  private var addressFamily = IPAddress.Family.v4
  private var event = AnnounceEvent.none
  private var generation: TrafficGeneration?
  private var port: UInt64 = 0
  private var uploadedDelta: UInt64 = 0
  private var downloadedDelta: UInt64 = 0
  private var left: UInt64 = 0
  private var timestamp: UInt64 = 0
  private var elapsed: UInt64 = 0
  private var backward: UInt64 = 0
  private var interval: UInt64 = 0
  private var minInterval: UInt64 = 0
  private var creditedUpload: UInt64 = 0
  private var creditedDownload: UInt64 = 0
  private var announces: UInt64 = 1
  private var order: UInt64?

  public init() {}

  /// Takes one field; unknown names are passed over. Throws on a repeated field and on a value not of the field's form.
  public mutating func take(
    name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
  ) throws(TrafficDecodeError) {
    guard let field = field(named: name) else { return }
    let bit = UInt32(1) << UInt32(expected - 1)
    guard seen & bit == 0 else { throw .duplicate(field) }
    seen |= bit
    switch field {
    case .passkey:
      passkey = Passkey(value)
      if passkey == nil { throw .malformed(field, expected: "1 to \(Passkey.maximumLength) printable characters") }
    case .infoHash: infoHash = InfoHash(words: try words(field, value))
    case .peerID: peerID = PeerID(words: try words(field, value))
    case .port: port = try number(field, value, in: 0...65535)
    case .ip: try takeAddress(value)
    case .addressFamily: try takeFamily(value)
    case .uploadedDelta: uploadedDelta = try number(field, value, in: 0...TrafficEvent.maximumBytes)
    case .downloadedDelta: downloadedDelta = try number(field, value, in: 0...TrafficEvent.maximumBytes)
    case .left: left = try number(field, value, in: 0...UInt64.max)
    case .event: try takeEvent(value)
    case .timestamp: timestamp = try number(field, value, in: 1...TrafficEvent.maximumSeconds)
    case .elapsed where value.first == UInt8(ascii: "-"):
      backward = try number(field, UnsafeRawBufferPointer(rebasing: value[1...]), in: 0...TrafficEvent.maximumSeconds)
    case .elapsed: elapsed = try number(field, value, in: 0...TrafficEvent.maximumSeconds)
    case .interval: interval = try number(field, value, in: 0...TrafficEvent.maximumSeconds)
    case .minInterval: minInterval = try number(field, value, in: 0...TrafficEvent.maximumSeconds)
    case .version:
      guard value.elementsEqual("1".utf8) else { throw .unsupportedVersion(Self.shown(value)) }
    case .generation:
      generation = TrafficGeneration(value)
      if generation == nil {
        throw .malformed(field, expected: "1 to \(TrafficGeneration.maximumLength) printable characters")
      }
    case .creditedUpload: creditedUpload = try number(field, value, in: 0...TrafficEvent.maximumBytes)
    case .creditedDownload: creditedDownload = try number(field, value, in: 0...TrafficEvent.maximumBytes)
    case .announces: announces = try number(field, value, in: 1...TrafficEvent.maximumSeconds)
    case .order: order = try number(field, value, in: 0...TrafficEvent.maximumOrder)
    }
  }

  /// The event of what was taken. Throws when something is missing or two fields contradict each other.
  public consuming func finish() throws(TrafficDecodeError) -> TrafficEvent {
    let required: UInt32 = (1 << 14) - 1
    if seen & required != required { throw .missing(firstMissing(of: required)) }
    // `v` promises the counters; and any of the three without the others is half a promise.
    let counterBits: UInt32 = 0b111 << 15
    let hasCounters = seen & (counterBits | 1 << 14) != 0
    if hasCounters, seen & counterBits != counterBits { throw .missing(firstMissing(of: counterBits)) }
    if let address, addressIsColonForm != (addressFamily == .v6), !(addressIsColonForm && address.family == .v4) {
      throw .impossible(.addressFamily, expected: "the family of the address in field \(TrafficField.ip.name)")
    }
    if hasCounters, creditedUpload < uploadedDelta {
      throw .impossible(.creditedUpload, expected: "at least \(TrafficField.uploadedDelta.name), which it includes")
    }
    if hasCounters, creditedDownload < downloadedDelta {
      throw .impossible(.creditedDownload, expected: "at least \(TrafficField.downloadedDelta.name), which it includes")
    }
    var result = TrafficEvent(
      passkey: passkey!, infoHash: infoHash!, peerID: peerID!, port: UInt16(port), address: address!,
      addressFamily: addressFamily, uploadedDelta: uploadedDelta, downloadedDelta: downloadedDelta, left: left,
      event: event, timestamp: Int64(timestamp), elapsedSeconds: UInt32(elapsed), intervalSeconds: UInt32(interval),
      minIntervalSeconds: UInt32(minInterval),
      counters: hasCounters
        ? TrafficEvent.Counters(
          generation: generation!, creditedUpload: creditedUpload, creditedDownload: creditedDownload) : nil,
      announces: UInt32(announces), order: order)
    result.backwardSeconds = UInt32(backward)
    return result
  }

  /// Finds the field and leaves `expected` one behind its position: in stream order one comparison each.
  private mutating func field(named name: UnsafeRawBufferPointer) -> TrafficField? {
    guard let packed = TrafficField.PackedName(name) else {
      isInOrder = false
      return nil
    }
    let names = TrafficField.packedNames
    if expected >= names.count || names[expected] != packed {
      isInOrder = false
      guard let found = names.firstIndex(of: packed) else { return nil }
      expected = found
    }
    expected += 1
    return TrafficField.streamOrder[expected - 1]
  }

  private func firstMissing(of bits: UInt32) -> TrafficField {
    TrafficField.streamOrder[(bits & ~seen).trailingZeroBitCount]
  }

  /// Decimal digits only: no sign, no space. Leading zeros are harmless and taken.
  private func number(
    _ field: TrafficField, _ value: UnsafeRawBufferPointer, in range: ClosedRange<UInt64>
  ) throws(TrafficDecodeError) -> UInt64 {
    guard !value.isEmpty else { throw .malformed(field, expected: "a decimal number") }
    var result: UInt64 = 0
    var overflow = false
    for byte in value {
      let digit = byte &- 0x30
      guard digit <= 9 else { throw .malformed(field, expected: "a decimal number") }
      let (product, high) = result.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
      overflow = overflow || high || carry
      result = sum
    }
    guard !overflow, range.contains(result) else {
      throw .impossible(field, expected: "between \(range.lowerBound) and \(range.upperBound)")
    }
    return result
  }

  private func words(
    _ field: TrafficField, _ value: UnsafeRawBufferPointer
  ) throws(TrafficDecodeError) -> (UInt64, UInt64, UInt32) {
    guard value.count == 40 else { throw .malformed(field, expected: "40 hex digits") }
    var words: (UInt64, UInt64, UInt32) = (0, 0, 0)
    let complete = withUnsafeMutableBytes(of: &words) { target in
      for index in 0..<20 {
        guard let high = Hex.value(of: value[2 * index]), let low = Hex.value(of: value[2 * index + 1]) else {
          return false
        }
        target[index] = high << 4 | low
      }
      return true
    }
    guard complete else { throw .malformed(field, expected: "40 hex digits") }
    return words
  }

  private mutating func takeAddress(_ value: UnsafeRawBufferPointer) throws(TrafficDecodeError) {
    address = IPAddress(ascii: value)
    if address == nil { throw .malformed(.ip, expected: "an IPv4 or IPv6 address") }
    addressIsColonForm = value.contains(0x3a)
  }

  private mutating func takeFamily(_ value: UnsafeRawBufferPointer) throws(TrafficDecodeError) {
    if value.elementsEqual("IPv4".utf8) {
      addressFamily = .v4
    } else if value.elementsEqual("IPv6".utf8) {
      addressFamily = .v6
    } else {
      throw .malformed(.addressFamily, expected: "IPv4 or IPv6")
    }
  }

  private mutating func takeEvent(_ value: UnsafeRawBufferPointer) throws(TrafficDecodeError) {
    for candidate in AnnounceEvent.allCases where value.elementsEqual(candidate.text.utf8) {
      event = candidate
      return
    }
    throw .malformed(.event, expected: "none, started, completed or stopped")
  }

  /// A few characters of an unknown version, safe to print.
  private static func shown(_ value: UnsafeRawBufferPointer) -> String {
    let plain = value.prefix(16).map { $0 > 0x20 && $0 < 0x7f ? $0 : 0x3f }
    return "\"" + String(decoding: plain, as: UTF8.self) + (value.count > 16 ? "...\"" : "\"")
  }
}
