// CRC32: the checksum of spool records. Pure.

/// CRC-32 as in ISO 3309 and zlib: reflected polynomial 0xEDB88320.
enum CRC32 {
  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? 0xedb8_8320 ^ (value >> 1) : value >> 1 }
  }

  static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    table.withUnsafeBufferPointer { table in
      var value = UInt32.max
      for byte in bytes { value = table[Int((value ^ UInt32(byte)) & 0xff)] ^ (value >> 8) }
      return ~value
    }
  }

  static func checksum(_ text: String) -> UInt32 { Array(text.utf8).withUnsafeBytes { checksum($0) } }
}
