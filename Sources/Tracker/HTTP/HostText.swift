// HostText: IP addresses as proxies' headers and clients' parameters write them. Pure; used by ClientAddress and QueryParser
// on a worker's thread.

import Wire

/// An IP address as headers and parameters write it.
enum HostText {
  /// `a.b.c.d`, `a.b.c.d:port`, `v6`, `[v6]` or `[v6]:port`, blanks around it allowed.
  static func address(_ text: UnsafeRawBufferPointer) -> IPAddress? {
    var host = text
    while let first = host.first, isBlank(first) { host = UnsafeRawBufferPointer(rebasing: host.dropFirst()) }
    while let last = host.last, isBlank(last) { host = UnsafeRawBufferPointer(rebasing: host.dropLast()) }
    if host.first == UInt8(ascii: "[") {
      guard let end = host.firstIndex(of: UInt8(ascii: "]")) else { return nil }
      if end + 1 < host.count && host[end + 1] != UInt8(ascii: ":") { return nil }
      host = UnsafeRawBufferPointer(rebasing: host[1..<end])
    } else if let colon = host.firstIndex(of: UInt8(ascii: ":")), host.lastIndex(of: UInt8(ascii: ":")) == colon {
      host = UnsafeRawBufferPointer(rebasing: host[..<colon])
    }
    return IPAddress(ascii: host)
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}
