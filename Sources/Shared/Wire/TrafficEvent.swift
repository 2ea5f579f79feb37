// TrafficEvent: one entry of the traffic stream as a typed value, and its encoding. Decoding is TrafficEventDecoder's.
// Pure; made by the consumer's stream reader, by the tests and by the model of the push script.

/// What one announce, or several coalesced ones, adds to a session (docs/contract.md, section 4).
public struct TrafficEvent: Hashable, Sendable {
  /// The counters a delta was taken from; absent from producers that send only the first fourteen fields.
  public struct Counters: Hashable, Sendable {
    /// The run of counters this entry belongs to.
    public var generation: TrafficGeneration
    /// Bytes credited so far in this generation, this entry included: `cu` and `cd`.
    public var creditedUpload: UInt64
    public var creditedDownload: UInt64

    public init(generation: TrafficGeneration, creditedUpload: UInt64, creditedDownload: UInt64) {
      self.generation = generation
      self.creditedUpload = creditedUpload
      self.creditedDownload = creditedDownload
    }
  }

  /// The version of the fields behind the first fourteen that this program writes.
  public static let version = 1
  /// The largest byte count of `du`, `dd`, `cu`, `cd`: 2^53, to which the push script's arithmetic (Lua doubles) is exact.
  public static let maximumBytes: UInt64 = 1 << 53
  /// The largest `order`: six bytes of ticks of 16 us reach the year 2112.
  public static let maximumOrder: UInt64 = 1 << 48 - 1
  /// The largest `ts`, `dt`, `interval`, `min_interval` and `n`: 32 bits reach the year 2106, and a timestamp in
  /// milliseconds, the usual mistake, lies above it.
  public static let maximumSeconds: UInt64 = UInt64(UInt32.max)

  public var passkey: Passkey
  public var infoHash: InfoHash
  public var peerID: PeerID
  public var port: UInt16
  public var address: IPAddress
  /// As the entry says; an IPv4-mapped address of an IPv6 socket is an `address` of IPv4 here.
  public var addressFamily: IPAddress.Family
  /// Bytes to credit: `du` and `dd`.
  public var uploadedDelta: UInt64
  public var downloadedDelta: UInt64
  /// Bytes left as the client reported it; any 64-bit number (clients send 2^63 - 1 for "not known yet").
  public var left: UInt64
  public var event: AnnounceEvent
  /// Unix seconds of the announce.
  public var timestamp: Int64
  /// Seconds since this peer's previous announce, 0 if none: `dt`.
  public var elapsedSeconds: UInt32
  /// A `dt` below zero without its sign: the clock of a producer that is not ours was set back. It is no time.
  public var backwardSeconds: UInt32 = 0
  /// As sent in the reply.
  public var intervalSeconds: UInt32
  public var minIntervalSeconds: UInt32
  /// `gen`, `cu` and `cd`.
  public var counters: Counters?
  /// The announces this entry stands for, 1 or more: `n`.
  public var announces: UInt32
  /// When the announce came, by the clock that the trackers have in common, in ticks of 16 us since 1970; nil: the producer
  /// does not say.
  public var order: UInt64?

  public init(
    passkey: Passkey, infoHash: InfoHash, peerID: PeerID, port: UInt16, address: IPAddress,
    addressFamily: IPAddress.Family? = nil, uploadedDelta: UInt64, downloadedDelta: UInt64, left: UInt64,
    event: AnnounceEvent, timestamp: Int64, elapsedSeconds: UInt32, intervalSeconds: UInt32,
    minIntervalSeconds: UInt32, counters: Counters?, announces: UInt32 = 1,
    order: UInt64? = nil
  ) {
    self.passkey = passkey
    self.infoHash = infoHash
    self.peerID = peerID
    self.port = port
    self.address = address
    self.addressFamily = addressFamily ?? address.family
    self.uploadedDelta = uploadedDelta
    self.downloadedDelta = downloadedDelta
    self.left = left
    self.event = event
    self.timestamp = timestamp
    self.elapsedSeconds = elapsedSeconds
    self.intervalSeconds = intervalSeconds
    self.minIntervalSeconds = minIntervalSeconds
    self.counters = counters
    self.announces = announces
    self.order = order
  }

  /// It says that a download is complete: nothing is while something is left, whatever a client calls it.
  public var completes: Bool { event == .completed && left == 0 }

  /// The value of one field as the stream has it; nil for those behind the first fourteen when there are no counters, but for
  /// an `n` and an `order` that say something.
  public func value(of field: TrafficField) -> String? {
    switch field {
    case .passkey: passkey.text
    case .infoHash: infoHash.hex
    case .peerID: peerID.hex
    case .port: String(port)
    case .ip: address.description
    case .addressFamily: addressFamily.text
    case .uploadedDelta: String(uploadedDelta)
    case .downloadedDelta: String(downloadedDelta)
    case .left: String(left)
    case .event: event.text
    case .timestamp: String(timestamp)
    case .elapsed: (backwardSeconds > 0 ? "-" : "") + String(max(elapsedSeconds, backwardSeconds))
    case .interval: String(intervalSeconds)
    case .minInterval: String(minIntervalSeconds)
    case .version: counters.map { _ in String(Self.version) }
    case .generation: counters?.generation.text
    case .creditedUpload: counters.map { String($0.creditedUpload) }
    case .creditedDownload: counters.map { String($0.creditedDownload) }
    case .announces: counters == nil && announces == 1 ? nil : String(announces)
    case .order: order.map { String($0) }
    }
  }

  /// Names and values in turn, in stream order: 40 strings, or 28 of the first fourteen fields.
  public func encode() -> [String] {
    var fields: [String] = []
    for field in TrafficField.streamOrder {
      guard let value = value(of: field) else { continue }
      fields.append(field.name)
      fields.append(value)
    }
    return fields
  }

  /// The event of names and values in turn.
  public static func decode(_ fields: [String]) throws(TrafficDecodeError) -> TrafficEvent {
    try decode(bytes: fields.map { Array($0.utf8) })
  }

  /// The event of names and values in turn, as raw bytes. Fields may come in any order; unknown ones are passed over, so
  /// that a producer can add fields before its consumers know them.
  public static func decode(bytes fields: [[UInt8]]) throws(TrafficDecodeError) -> TrafficEvent {
    guard fields.count.isMultiple(of: 2) else { throw .oddFieldCount(fields.count) }
    var decoder = TrafficEventDecoder()
    for index in stride(from: 0, to: fields.count, by: 2) {
      let taken: Result<Void, TrafficDecodeError> = fields[index].withUnsafeBytes { name in
        fields[index + 1].withUnsafeBytes { value in
          Result { () throws(TrafficDecodeError) in try decoder.take(name: name, value: value) }
        }
      }
      try taken.get()
    }
    return try decoder.finish()
  }
}
