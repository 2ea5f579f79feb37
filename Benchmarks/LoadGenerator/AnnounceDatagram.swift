// AnnounceDatagram: the bytes of UDP requests (BEP 15, URL data of BEP 41), written into a slot that keeps what never
// changes. Used by UDPLoad.
//
//    0 connection id 8 |  8 action 4 | 12 transaction id 4 | 16 info_hash 20 | 36 peer_id 20 | 56 downloaded 8 | 64 left 8
//   72 uploaded 8      | 80 event 4  | 84 IP 4             | 88 key 4        | 92 num_want 4 | 96 port 2
//   98 option 2, length 1, path and passkey

/// Builds requests.
struct AnnounceDatagram {
  static let announceByteCount = 98
  static let scrapeByteCount = 36
  /// An announce with the longest path and passkey.
  static let slotByteCount = 384
  static let passkeyDigits = 32

  let byteCount: Int
  private let passkeyOffset: Int

  init(_ options: LoadOptions) {
    let pathByteCount = options.path.utf8.count
    let hasPasskey = options.passkeys > 0
    passkeyOffset = hasPasskey ? Self.announceByteCount + 2 + pathByteCount : 0
    let urlDataByteCount = pathByteCount + (hasPasskey ? Self.passkeyDigits : 0)
    byteCount = Self.announceByteCount + (urlDataByteCount > 0 ? 2 + urlDataByteCount : 0)
  }

  /// Fills a slot with what all announces have.
  func prepare(_ slot: UnsafeMutableRawPointer, _ options: LoadOptions) {
    slot.initializeMemory(as: UInt8.self, repeating: 0, count: Self.slotByteCount)
    Self.put(UInt32(1), slot, 8)
    for (index, byte) in "-TR3000-aaaaaaaaaaaa".utf8.enumerated() {
      slot.storeBytes(of: byte, toByteOffset: 36 + index, as: UInt8.self)
    }
    Self.put(UInt32(0x1234_5678), slot, 88)
    Self.put(UInt32(options.numwant), slot, 92)
    guard byteCount > Self.announceByteCount else { return }
    slot.storeBytes(of: 2, toByteOffset: Self.announceByteCount, as: UInt8.self)
    slot.storeBytes(
      of: UInt8(byteCount - Self.announceByteCount - 2), toByteOffset: Self.announceByteCount + 1, as: UInt8.self)
    for (index, byte) in options.path.utf8.enumerated() {
      slot.storeBytes(of: byte, toByteOffset: Self.announceByteCount + 2 + index, as: UInt8.self)
    }
    for index in 0..<(passkeyOffset > 0 ? Self.passkeyDigits : 0) {
      slot.storeBytes(of: UInt8(ascii: "0"), toByteOffset: passkeyOffset + index, as: UInt8.self)
    }
  }

  /// What changes from one announce to the next.
  struct Announce {
    var connectionID: UInt64
    var transactionID: UInt32
    var peer: UInt32
    var torrent: UInt32
    var port: UInt16
    var passkey: UInt32
    var uploaded: UInt64
    var downloaded: UInt64
  }

  /// Writes an announce into a prepared slot.
  @inline(__always)
  func write(_ announce: Announce, to slot: UnsafeMutableRawPointer) {
    Self.put(announce.connectionID, slot, 0)
    Self.put(UInt32(1), slot, 8)
    Self.put(announce.transactionID, slot, 12)
    Self.put(PeerPlan.infoHashHead(announce.torrent), slot, 16)
    Self.put(announce.peer, slot, 52)
    Self.put(announce.downloaded, slot, 56)
    Self.put(announce.peer & 1 == 1 ? UInt64(0) : 1_000_000, slot, 64)
    Self.put(announce.uploaded, slot, 72)
    Self.put(announce.port, slot, 96)
    if passkeyOffset > 0 {
      HexDigits.put(announce.passkey, slot + passkeyOffset + Self.passkeyDigits - HexDigits.count)
    }
  }

  /// Writes a scrape of one torrent into a prepared slot.
  @inline(__always)
  static func writeScrape(
    of torrent: UInt32, connectionID: UInt64, transactionID: UInt32, to slot: UnsafeMutableRawPointer
  ) {
    put(connectionID, slot, 0)
    put(UInt32(2), slot, 8)
    put(transactionID, slot, 12)
    put(PeerPlan.infoHashHead(torrent), slot, 16)
  }

  @inline(__always)
  static func put<Number: FixedWidthInteger & BitwiseCopyable>(
    _ number: Number, _ memory: UnsafeMutableRawPointer, _ offset: Int
  ) {
    (memory + offset).storeBytes(of: number.bigEndian, as: Number.self)
  }
}

/// Lower-case hexadecimal.
enum HexDigits {
  static let count = 8

  /// The eight digits of a number.
  @inline(__always)
  static func put(_ number: UInt32, _ memory: UnsafeMutableRawPointer) {
    // One nibble in each byte, then 0...9 to '0'... and 10...15 to 'a'..., all eight at once.
    var nibbles = UInt64(number)
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f
    let letters = ((nibbles &+ 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
    let digits = nibbles &+ 0x3030_3030_3030_3030 &+ letters &* 39
    memory.storeBytes(of: digits.bigEndian, as: UInt64.self)
  }
}
