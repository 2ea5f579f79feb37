// TrafficField: the names of a traffic stream entry's fields and their order (docs/contract.md, section 4). The only
// place that knows them: the push script, the event's encoder and decoder and the consumer's output all take them from
// here. Pure.

/// One field of a traffic stream entry. The cases are in stream order: an entry lists them so, because Redis'
/// listpack stores repeated names once when every entry has the same fields in the same order.
public enum TrafficField: String, CaseIterable, Sendable {
  case passkey
  case infoHash = "infohash"
  case peerID = "peer_id"
  case port
  case ip
  case addressFamily = "af"
  case uploadedDelta = "du"
  case downloadedDelta = "dd"
  case left
  case event
  case timestamp = "ts"
  case elapsed = "dt"
  case interval
  case minInterval = "min_interval"
  case version = "v"
  case generation = "gen"
  case creditedUpload = "cu"
  case creditedDownload = "cd"
  case announces = "n"
  case order

  /// The name on the stream.
  public var name: String { rawValue }

  /// All fields, in the order of an entry.
  public static let streamOrder: [TrafficField] = allCases

  /// The first fourteen: a producer that sends only these is a legal one.
  public static let required: [TrafficField] = Array(allCases.prefix(14))

  /// The place in the stream order, 0...19.
  public var position: Int { Self.positions[self]! }
  private static let positions = Dictionary(uniqueKeysWithValues: allCases.enumerated().map { ($1, $0) })

  /// The longest name has twelve bytes; a name is packed into two words so that it compares without a loop.
  struct PackedName: Equatable {
    var low: UInt64
    var high: UInt64

    /// Nil when the name is none of ours: longer than any can be, or empty, or ending with what shorter ones are padded
    /// with.
    init?(_ bytes: UnsafeRawBufferPointer) {
      guard bytes.count >= 1, bytes.count <= 16, bytes[bytes.count - 1] != 0 else { return nil }
      var words: (UInt64, UInt64) = (0, 0)
      withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: bytes) }
      (low, high) = words
    }
  }

  static let packedNames: [PackedName] = allCases.map { field in
    Array(field.rawValue.utf8).withUnsafeBytes { PackedName($0)! }
  }
}
