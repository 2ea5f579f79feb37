// The address of an entry's `ip` field, parsed from raw bytes without making a String. Pure.

import Glibc

extension IPAddress {
  /// Dotted or colon form as inet_pton(3) takes it, or nil.
  init?(textBytes bytes: UnsafeRawBufferPointer) {
    // INET6_ADDRSTRLEN with its zero; a longer text is no address.
    guard bytes.count < Int(INET6_ADDRSTRLEN), !bytes.contains(0) else { return nil }
    var address: IPAddress?
    withUnsafeTemporaryAllocation(byteCount: Int(INET6_ADDRSTRLEN), alignment: 8) { text in
      text.copyMemory(from: bytes)
      text[bytes.count] = 0
      let start = text.baseAddress!.assumingMemoryBound(to: CChar.self)
      var v4 = in_addr()
      var v6 = in6_addr()
      if inet_pton(AF_INET, start, &v4) == 1 {
        address = IPAddress(v4: v4.s_addr)
      } else if inet_pton(AF_INET6, start, &v6) == 1 {
        address = withUnsafeBytes(of: &v6) { IPAddress(v6: $0.baseAddress!) }
      }
    }
    guard let address else { return nil }
    self = address
  }
}
