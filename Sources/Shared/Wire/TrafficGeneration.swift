// TrafficGeneration: the name of one run of a session's counters, held inline so that decoding does not allocate. Pure.

/// The `gen` of an entry: the producer's name for the snapshot a delta was taken from. To the consumer it is opaque, 1 to
/// 32 printable ASCII bytes; equal names of one session are one run of counters.
public struct TrafficGeneration: Hashable, Sendable {
  /// The longest accepted name: a 128-bit identifier in hex.
  public static let maximumLength = 32

  private var storage: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  private let count: UInt8

  /// Copies the bytes, or nil when they are no generation name.
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= 1, bytes.count <= Self.maximumLength else { return nil }
    for byte in bytes where byte <= 0x20 || byte >= 0x7f { return nil }
    count = UInt8(bytes.count)
    withUnsafeMutableBytes(of: &storage) { $0.copyMemory(from: bytes) }
  }

  /// The generation of a text, or nil when it is none.
  public init?(_ text: some StringProtocol) {
    var copy = String(text)
    guard let generation = copy.withUTF8({ TrafficGeneration(UnsafeRawBufferPointer($0)) }) else { return nil }
    self = generation
  }

  /// Calls `body` with the bytes; they are not valid after it.
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try withUnsafeBytes(of: storage) { try body(UnsafeRawBufferPointer(rebasing: $0[..<Int(count)])) }
  }

  /// The name as text.
  public var text: String { withBytes { String(decoding: $0, as: UTF8.self) } }

  public static func == (left: TrafficGeneration, right: TrafficGeneration) -> Bool {
    // Unused bytes are zero, so the words may be compared whole.
    left.count == right.count && left.storage == right.storage
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(storage.0)
    hasher.combine(storage.1)
    hasher.combine(storage.2)
    hasher.combine(storage.3)
  }
}
